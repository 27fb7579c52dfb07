// The output of a build on a terminal and in a log.

import assert from "node:assert/strict";
import { startRegistry } from "../support/registry.ts";
import { screen } from "../support/screen.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

describe("a build on a terminal", () => {
  let shop: Workshop;
  before(async () => {
    shop = await openWorkshop();
  });
  after(() => shop[Symbol.dispose]());
  const shown = (text: string): readonly string[] => screen(text, null).lines;

  it("shows the whole log of a step that failed", async () => {
    const context = shop.context("failing", {
      Dockerfile: "FROM base\nRUN echo fine\nRUN seq 1 500; exit 3\n",
    });
    const { code, stdout } = await shop.run(["build", context], { terminal: true });
    assert.equal(code, 1);
    const lines = shown(stdout);
    const from = lines.indexOf(" > [2/3] RUN seq 1 500; exit 3:");
    assert.ok(from > 0, stdout);
    const log = lines.slice(from + 1, lines.indexOf("------", from));
    assert.deepEqual(
      log.map((line) => line.replace(/^\d+\.\d+ /, "")),
      Array.from({ length: 500 }, (_, at) => `${at + 1}`),
    );
    assert.ok(!stdout.includes("0 fine"), "only the failed step's");
  });

  it("with -q shows it too", async () => {
    const context = shop.context("quiet", { Dockerfile: "FROM base\nRUN seq 1 50; exit 3\n" });
    const { stderr } = await shop.run(["build", "-q", context]);
    for (const line of [1, 50]) assert.match(stderr, new RegExp(`^\\d+\\.\\d+ ${line}$`, "m"));
  });
});

describe("tsbuild run on a terminal", () => {
  it("leaves the screen to the command, whether it takes its time or not", async () => {
    using shop = await openWorkshop();
    await shop.ok(["build", "-t", "app", shop.context("app", { Dockerfile: "FROM base\n" })]);
    const first = await shop.run(["run", "-t", "app", "printf", "first"], { terminal: true });
    const { lines } = screen(first.stdout, null);
    assert.match(lines[0] ?? "", /^\[\+\] Loading /);
    assert.match(lines[1] ?? "", /^ => load app /); // its layers are fetched
    assert.equal(lines.at(-1), "first");
    for (const pause of ["", "sleep 0.4; "]) {
      const args = ["run", "-i", "-t", "app", "sh", "-c", `${pause}printf 'my screen'`];
      const { code, stdout } = await shop.run(args, { terminal: true });
      assert.equal(code, 0);
      assert.equal(stdout.replace("^D\b\b", ""), "my screen"); // the terminal's echo of the end of input
    }
  });
});

describe("a build that leaves, in a log", () => {
  it("says what was made and sent, in buildx's words, as `tsbuild push` does", async () => {
    await using registry = await startRegistry();
    using shop = await openWorkshop();
    const context = shop.context("app", { Dockerfile: "FROM base\nRUN echo made > /made\n" });
    const name = `${registry.host}/app`;
    const words = (text: string, vertex: RegExp): readonly string[] => {
      const number = vertex.exec(text)?.[1];
      const lines = text.split("\n").filter((line) => line.startsWith(`#${number} `));
      return lines.map((line) =>
        line
          .replace(/^#\d+ /, "")
          .replaceAll(/sha256:[0-9a-f]{64}/g, "DIGEST")
          .replaceAll(/ [\d.]+k?M?B/g, " SIZE")
          .replace(/ \d+\.\ds(?: done)?$| done$/, " done"),
      );
    };
    const push = ["build", "--progress=plain", "-t", `${name}:1`, "-t", `${name}:2`, "--push", context];
    const built = words((await shop.ok(push)).stderr, /^#(\d+) exporting to image$/m);
    for (const line of [
      "exporting layer 2/2 (/bin/sh -c echo made > /made) SIZE / SIZE done",
      "exporting layers done",
      "exporting manifest DIGEST done",
      "exporting config DIGEST done",
      `naming to ${name}:1 done`,
      `naming to ${name}:2 done`,
      "pushing layer DIGEST SIZE / SIZE done",
      "pushing config DIGEST SIZE / SIZE done",
      "pushing layers done",
      `pushing manifest for ${name}:1@DIGEST done`,
      `pushing manifest for ${name}:2@DIGEST done`,
      "DONE done",
    ])
      assert.ok(built.includes(line), `no "${line}" in\n${built.join("\n")}`);

    await shop.ok(["tag", `${name}:1`, `${name}-copy:1`]);
    const { stderr } = await shop.ok(["push", "--progress=plain", `${name}-copy:1`]);
    const pushed = words(stderr, /^#(\d+) pushing /m);
    for (const line of ["pushing layers done", `pushing manifest for ${name}-copy:1@DIGEST done`])
      assert.ok(pushed.includes(line), `no "${line}" in\n${pushed.join("\n")}`);
  });
});

describe("a build in a log", () => {
  let shop: Workshop;
  before(async () => {
    shop = await openWorkshop();
  });
  after(() => shop[Symbol.dispose]());
  const plain = async (...args: string[]): Promise<string> =>
    (await shop.run(["build", "--progress=plain", ...args])).stderr.replace(/ \d\.\ds\b/g, "");

  it("names the Dockerfile, the ignore file and the context, with what was read of it and what is used", async () => {
    const context = shop.context("sizes", {
      Dockerfile: "FROM base\nCOPY used /used\n",
      ".dockerignore": "ignored\n",
      "used/large": "x".repeat(50_000),
      "used/ignored": "x",
      unused: "x".repeat(70_000),
      "other.Dockerfile": "FROM base\nCOPY . /\n",
    });
    const first = await plain(context);
    const loaded = (text: string): string => text.slice(0, text.indexOf("\n\n#3 "));
    assert.equal(
      loaded(first),
      `#1 [internal] load build definition from Dockerfile
#1 transferring dockerfile: 26B done
#1 DONE

#2 [internal] load .dockerignore
#2 transferring context: 8B done
#2 DONE`,
    );
    assert.match(
      first,
      /^#(\d+) \[internal\] load build context\n#\1 transferring context: 50\.00kB \/ 50\.00kB done\n#\1 DONE$/m,
    );
    const other = await plain("-f", `${context}/other.Dockerfile`, context);
    assert.match(other, /^#1 \[internal\] load build definition from other\.Dockerfile$/m);
    assert.match(other, /^#\d+ transferring context: \d+\.\d+kB \/ 120\.05kB done$/m);
  });

  it("names the layers of a base that are fetched and unpacked", async () => {
    using fresh = await openWorkshop();
    const context = fresh.context("app", { Dockerfile: "FROM base\nRUN true\n" });
    const { stderr } = await fresh.run(["build", "--progress=plain", context]);
    const text = stderr.replace(/ \d\.\ds\b/g, "");
    assert.match(text, /^#\d+ sha256:[0-9a-f]{64} [\d.]+MB \/ [\d.]+MB done$/m);
  });

  it("says how much was written as files and into a cache, and what a cache is made of", async () => {
    const context = shop.context("files", { Dockerfile: "FROM scratch\nCOPY file /file\n", file: "12345" });
    const files = await plain("-o", shop.at("files"), context);
    assert.match(
      files,
      /^#(\d+) exporting to client directory\n(?:#\1 copying files\n)?#\1 copying files 5B done\n#\1 DONE$/m,
    );
    const tar = await plain("-o", `type=tar,dest=${shop.at("files.tar")}`, context);
    assert.match(
      tar,
      /^#(\d+) exporting to client tarball\n(?:#\1 sending tarball\n)?#\1 sending tarball [\d.]+kB done$/m,
    );
    const cache = await plain("--cache-to", `type=local,dest=${shop.at("cache")}`, context);
    const said = cache
      .slice(cache.indexOf("exporting cache to"))
      .replaceAll(/sha256:[0-9a-f]{64}/g, "DIGEST");
    for (const line of [
      /^#\d+ preparing build cache for export done$/m,
      /^#\d+ writing layer DIGEST [\d.]+k?B \/ [\d.]+k?B done$/m,
      /^#\d+ writing config DIGEST done$/m,
      /^#\d+ writing cache image manifest DIGEST done$/m,
    ])
      assert.match(said, line);
  });

  it("lists cached steps in the order of the Dockerfile", async () => {
    const context = shop.context("order", {
      Dockerfile: `FROM base AS one
RUN echo 1 > /1
COPY file /2
RUN echo 3 > /3
FROM base AS two
COPY file /4
RUN echo 5 > /5
FROM base
COPY --from=one /3 /6
COPY --from=two /5 /7
RUN echo 8 > /8
`,
      file: "text",
    });
    await plain(context);
    const again = await plain(context);
    const cached = [...again.matchAll(/^#\d+ \[.*\] ((?:RUN|COPY) .*)\n#\d+ CACHED$/gm)].map(
      ([, name]) => name,
    );
    assert.deepEqual(cached, [
      "RUN echo 1 > /1",
      "COPY file /2",
      "RUN echo 3 > /3",
      "COPY file /4",
      "RUN echo 5 > /5",
      "COPY --from=one /3 /6",
      "COPY --from=two /5 /7",
      "RUN echo 8 > /8",
    ]);
    const numbers = [...again.matchAll(/^#(\d+) \[/gm)].map(([, number]) => Number(number));
    assert.deepEqual(
      numbers,
      [...new Set(numbers)].toSorted((a, b) => a - b),
      "numbers go up",
    );
  });

  it("tells the warnings also when it fails, in the Dockerfile or in a step", async () => {
    const blank = shop.context("blank", { Dockerfile: "FROM ${BASE}\nRUN true\n" });
    const text = await plain(blank);
    assert.match(
      text,
      /2 warnings found.*:\n.*\n - UndefinedArgInFrom: FROM argument 'BASE' is not declared \(line 1\)\n/,
    );
    assert.ok(text.indexOf("warnings found") < text.indexOf("ERROR: failed to build"), text);
    const step = shop.context("step", { Dockerfile: "FROM base as x\nRUN exit 3\n" });
    assert.match(await plain(step), /FromAsCasing.*\n[^]*exit code: 3/);
    const wrong = shop.context("wrong", { Dockerfile: "FROM base as x\nRUM true\n" });
    assert.match(await plain(wrong), /FromAsCasing.*\n[^]*unknown instruction: RUM/);
    for (const mode of [["-q"], ["--progress=rawjson"]])
      assert.doesNotMatch((await shop.run(["build", ...mode, step])).stderr, /warnings? found/);
  });
});

describe("a transfer that fails, in a log", () => {
  it("says which step it was", async () => {
    await using registry = await startRegistry();
    using shop = await openWorkshop();
    const name = `${registry.host}/none:1`;
    const pull = await shop.run(["pull", "--progress=plain", name]);
    assert.equal(pull.code, 1);
    assert.ok(pull.stderr.startsWith(`#1 pull ${name}\n#1 ERROR: `), pull.stderr);
    assert.ok(!pull.stderr.includes("------"), pull.stderr); // there is no log of a step to be shown
    await shop.ok(["build", "-t", "127.0.0.1:1/app", shop.context("app", { Dockerfile: "FROM base\n" })]);
    const push = await shop.run(["push", "--progress=plain", "127.0.0.1:1/app"]);
    assert.equal(push.code, 1);
    assert.match(
      push.stderr,
      /^#1 pushing 127\.0\.0\.1:1\/app:latest\n(?:#1 .*\n)*#1 pushing layers\n#1 ERROR: /,
    );
  });
});

describe("the message of a failed RUN", () => {
  it("quotes the command as BuildKit does", async () => {
    using shop = await openWorkshop();
    const context = shop.context("quotes", {
      Dockerfile: "FROM base\nRUN echo \"a\\\\b\" 'c\td'; exit 3\n",
    });
    const { stderr } = await shop.run(["build", "--progress=plain", context]);
    const message =
      'process "/bin/sh -c echo \\"a\\\\\\\\b\\" \'c\\td\'; exit 3" did not complete successfully: exit code: 3';
    assert.ok(stderr.includes(`ERROR: ${message}\n`), stderr);
    assert.ok(stderr.endsWith(`ERROR: failed to build: failed to solve: ${message}\n`), stderr);
  });
});
