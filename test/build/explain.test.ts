// One change between two builds, and what --explain reports for the first step that ran because of it.

import assert from "node:assert/strict";
import { chmodSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { writeBaseImage } from "../support/base-image.ts";
import { temporaryDir } from "../support/store.ts";
import { buildHere, explained } from "./in-process.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

const DOCKERFILE = `
FROM base AS one
ARG LEVEL=low
ARG WHERE=/by-arg
ENV MODE=slow
WORKDIR /work
COPY src ./src
COPY docs/a.txt /docs/
COPY --chmod=644 docs/a.txt \${WHERE}
RUN echo level $LEVEL mode $MODE > /level
COPY <<EOF /inline
first
EOF
RUN <<EOF
echo script
EOF
USER app
RUN id -u > /tmp/uid
FROM base AS two
RUN --mount=type=bind,source=docs,target=/ctx cat /ctx/a.txt > /bound
RUN --mount=type=cache,target=/cache,id=first touch /cache/x
COPY --from=more . /more
FROM two
COPY --from=one /level /level
RUN echo last > /last
`;
const FILES: Readonly<Record<string, string>> = {
  Dockerfile: DOCKERFILE,
  "src/a.txt": "a\n",
  "src/b.txt": "b\n",
  "src/deep/c.txt": "c\n",
  "docs/a.txt": "docs\n",
  "docs/b.txt": "docs\n",
};

interface Case {
  readonly what: string;
  /** Changes the context. */
  readonly change?: (dir: string) => void;
  readonly edit?: readonly [from: string, to: string];
  readonly args?: readonly string[];
  /** The step that is looked at: the first that ran whose name has this. */
  readonly step: string;
  readonly culprit: Readonly<Record<string, unknown>>;
  /** In the words of the text form. */
  readonly words: RegExp;
}

const at =
  (...names: string[]) =>
  (dir: string) =>
    join(dir, ...names);
const file = (path: string, how: string, more: object = {}) => ({ kind: "file", path, how, ...more });

const CASES: readonly Case[] = [
  {
    what: "a file's content",
    change: (dir) => writeFileSync(at("src", "a.txt")(dir), "A\n"),
    step: "COPY src",
    culprit: file("src/a.txt", "content"),
    words: /file src\/a\.txt: content changed/,
  },
  {
    what: "a file of the same size deep below",
    change: (dir) => writeFileSync(at("src", "deep", "c.txt")(dir), "d\n"),
    step: "COPY src",
    culprit: file("src/deep/c.txt", "content"),
    words: /src\/deep\/c\.txt/,
  },
  {
    what: "a file that came",
    change: (dir) => writeFileSync(at("src", "new.txt")(dir), ""),
    step: "COPY src",
    culprit: file("src/new.txt", "added"),
    words: /src\/new\.txt: added/,
  },
  {
    what: "a file that went",
    change: (dir) => rmSync(at("src", "b.txt")(dir)),
    step: "COPY src",
    culprit: file("src/b.txt", "removed"),
    words: /src\/b\.txt: removed/,
  },
  {
    what: "a file's name",
    change: (dir) => renameSync(at("src", "b.txt")(dir), at("src", "z.txt")(dir)),
    step: "COPY src",
    culprit: file("src/z.txt", "added"),
    words: /b\.txt: removed\n.*z\.txt: added/,
  },
  {
    what: "a file's mode",
    change: (dir) => chmodSync(at("src", "a.txt")(dir), 0o755),
    step: "COPY src",
    culprit: file("src/a.txt", "mode", { before: "644", after: "755" }),
    words: /mode 644 → 755/,
  },
  {
    what: "a link's target",
    change: (dir) => {
      rmSync(at("src", "link")(dir));
      symlinkSync("b.txt", at("src", "link")(dir));
    },
    step: "COPY src",
    culprit: file("src/link", "link", { before: "a.txt", after: "b.txt" }),
    words: /link target a\.txt → b\.txt/,
  },
  {
    what: "a file that became a link",
    change: (dir) => {
      rmSync(at("src", "b.txt")(dir));
      symlinkSync("a.txt", at("src", "b.txt")(dir));
    },
    step: "COPY src",
    culprit: file("src/b.txt", "type", { before: "file", after: "link" }),
    words: /type file → link/,
  },
  {
    what: "a directory that came",
    change: (dir) => {
      mkdirSync(at("src", "dir")(dir));
      writeFileSync(at("src", "dir", "x")(dir), "x");
    },
    step: "COPY src",
    culprit: file("src/dir", "added"),
    words: /src\/dir: added/,
  },
  {
    what: "a rule in .dockerignore",
    change: (dir) => writeFileSync(at(".dockerignore")(dir), "src/deep\n"),
    step: "COPY src",
    culprit: file("src/deep", "removed"),
    words: /src\/deep: removed/,
  },
  {
    what: "a file read through a bind mount",
    change: (dir) => writeFileSync(at("docs", "b.txt")(dir), "new\n"),
    step: "cat /ctx",
    culprit: file("docs/b.txt", "content"),
    words: /docs\/b\.txt/,
  },
  {
    what: "a file of a named context",
    change: (dir) => writeFileSync(at("..", "more", "m.txt")(dir), "new\n"),
    step: "COPY --from=more",
    culprit: file("m.txt", "content"),
    words: /m\.txt/,
  },
  {
    what: "a build argument",
    args: ["--build-arg", "LEVEL=high"],
    step: "RUN echo level",
    culprit: { kind: "build-arg", name: "LEVEL", before: "low", after: "high" },
    words: /build argument LEVEL: low → high/,
  },
  {
    what: "the default of a build argument",
    edit: ["LEVEL=low", "LEVEL=mid"],
    step: "RUN echo level",
    culprit: { kind: "build-arg", name: "LEVEL", after: "mid" },
    words: /LEVEL: low → mid/,
  },
  {
    what: "a build argument in a path",
    args: ["--build-arg", "WHERE=/elsewhere"],
    step: "COPY --chmod=644",
    culprit: { kind: "command", via: "WHERE" },
    words: /by build argument WHERE/,
  },
  {
    what: "an environment variable",
    edit: ["MODE=slow", "MODE=fast"],
    step: "RUN echo level",
    culprit: { kind: "environment", name: "MODE", before: "slow", after: "fast" },
    words: /environment variable MODE: slow → fast/,
  },
  {
    what: "a new environment variable",
    edit: ["ENV MODE=slow", "ENV MODE=slow MORE=1"],
    step: "RUN echo level",
    culprit: { kind: "environment", name: "MORE", before: null, after: "1" },
    words: /MORE: \(none\) → 1/,
  },
  {
    what: "the command",
    edit: ["echo last", "echo changed"],
    step: "RUN echo changed",
    culprit: { kind: "command", before: "echo last > /last", after: "echo changed > /last" },
    words: /instruction: echo last > \/last → echo changed/,
  },
  {
    what: "the form of a command",
    edit: ["RUN echo last > /last", 'RUN ["touch", "/last"]'],
    step: "RUN [",
    culprit: { kind: "command" },
    words: /instruction: .* → touch \/last/,
  },
  {
    what: "a here document that is a script",
    edit: ["echo script", "echo another"],
    step: "RUN <<EOF",
    culprit: { kind: "command" },
    words: /another/,
  },
  {
    what: "a here document that is a file",
    edit: ["first\n", "second\n"],
    step: "COPY <<EOF",
    culprit: { kind: "parent-step" },
    words: /inline|here document/,
  },
  {
    what: "the shell",
    edit: ["FROM two\n", 'FROM two\nSHELL ["/bin/busybox", "sh", "-c"]\n'],
    step: "RUN echo last",
    culprit: { kind: "option", name: "shell" },
    words: /shell: \/bin\/sh -c → \/bin\/busybox sh -c/,
  },
  {
    what: "the user",
    edit: ["USER app", "USER 1000:1000"],
    step: "RUN id -u",
    culprit: { kind: "option", name: "user", before: "app", after: "1000:1000" },
    words: /user: app → 1000:1000/,
  },
  {
    what: "the working directory",
    edit: ["WORKDIR /work", "WORKDIR /other"],
    step: "WORKDIR /other",
    culprit: { kind: "command", before: "WORKDIR /work" },
    words: /WORKDIR \/work → WORKDIR \/other/,
  },
  {
    what: "the network of a step",
    edit: ["RUN echo last", "RUN --network=none echo last"],
    step: "echo last",
    culprit: { kind: "option", name: "--network" },
    words: /--network: .* → none/,
  },
  {
    what: "a mount that came",
    edit: ["RUN echo last", "RUN --mount=type=tmpfs,target=/t echo last"],
    step: "echo last",
    culprit: { kind: "option", name: "--mount", before: null },
    words: /--mount: \(none\) → type=tmpfs,target=\/t/,
  },
  {
    what: "the id of a cache mount",
    edit: ["id=first", "id=second"],
    step: "touch /cache/x",
    culprit: { kind: "option", name: "--mount" },
    words: /id=.*first.* → .*id=.*second/,
  },
  {
    what: "the owner of a copy",
    edit: ["COPY src", "COPY --chown=1000:1000 src"],
    step: "COPY --chown",
    culprit: { kind: "option", name: "--chown", before: null, after: "1000" },
    words: /--chown: \(none\) → 1000/,
  },
  {
    what: "the mode of a copy",
    edit: ["--chmod=644", "--chmod=600"],
    step: "COPY --chmod=600",
    culprit: { kind: "option", name: "--chmod", before: "644", after: "600" },
    words: /--chmod: 644 → 600/,
  },
  {
    what: "where a copy goes",
    edit: ["./src", "./source"],
    step: "COPY src",
    culprit: { kind: "command", after: "COPY src ./source" },
    words: /COPY src \.\/src → COPY src \.\/source/,
  },
  {
    what: "what is copied",
    edit: ["COPY docs/a.txt /docs/", "COPY docs/b.txt /docs/"],
    step: "COPY docs/b.txt",
    culprit: { kind: "command", after: "COPY docs/b.txt /docs/" },
    words: /COPY docs\/a\.txt/,
  },
  {
    what: "what a copy leaves out",
    edit: ["COPY src", "COPY --exclude=*.md src"],
    step: "COPY --exclude",
    culprit: { kind: "option", name: "--exclude" },
    words: /--exclude: .* → \["\*\.md"\]/,
  },
  {
    what: "an extra host",
    args: ["--add-host", "other:10.0.0.1"],
    step: "RUN echo level",
    culprit: { kind: "option", name: "--add-host" },
    words: /--add-host/,
  },
  {
    what: "a limit",
    args: ["--ulimit", "nofile=512:512"],
    step: "RUN echo level",
    culprit: { kind: "option", name: "--ulimit" },
    words: /--ulimit/,
  },
  {
    what: "a secret in the environment",
    edit: ["RUN echo last", "RUN --mount=type=secret,id=s,env=S,required=false echo last"],
    step: "echo last",
    culprit: { kind: "option", name: "--mount" },
    words: /secret/,
  },
  {
    what: "the platform",
    args: ["--platform", "linux/386"],
    step: "RUN echo level",
    culprit: { kind: "platform" },
    words: /platform: linux\/.* → linux\/386/,
  },
  {
    what: "a step that came",
    edit: ["RUN echo last", "RUN echo between\nRUN echo last"],
    step: "RUN echo between",
    culprit: { kind: "new-step" },
    words: /not built before/,
  },
  {
    what: "a step that came below another",
    edit: ["RUN echo last", "RUN echo inserted\nRUN echo last"],
    step: "RUN echo last",
    culprit: { kind: "parent-step", ran: true },
    words: /follows a different step: .*COPY --from=one .* → .*RUN echo inserted/,
  },
  {
    what: "a step that went",
    edit: ["COPY --from=one /level /level\n", ""],
    step: "RUN echo last",
    culprit: { kind: "parent-step" },
    words: /follows a different step/,
  },
  {
    what: "a step below that gave something else",
    edit: ["level $LEVEL", "levels $LEVEL"],
    step: "COPY --from=one",
    culprit: { kind: "parent-step", ran: true },
    words: /COPY --from=one \/level \/level\n {2}an earlier step ran and its result changed: .*RUN id -u/,
  },
  {
    what: "another base image",
    edit: ["FROM base AS two", "FROM second AS two"],
    step: "cat /ctx",
    culprit: { kind: "base-image" },
    words: /base image .*second/,
  },
  {
    what: "--no-cache",
    args: ["--no-cache"],
    step: "RUN echo level",
    culprit: { kind: "no-cache", scope: "build" },
    words: /--no-cache/,
  },
  {
    what: "--no-cache-filter",
    args: ["--no-cache-filter", "two"],
    step: "touch /cache/x",
    culprit: { kind: "no-cache", scope: "step" },
    words: /--no-cache-filter/,
  },
];

describe("explain names what changed:", () => {
  let shop: Workshop;
  let dir: string;
  before(async () => {
    shop = await openWorkshop();
    await writeBaseImage(shop.at("second"), { note: "another" });
    restore();
    assert.equal((await run()).code, 0);
  });
  after(() => shop[Symbol.dispose]());

  function restore(): void {
    for (const name of ["app", "more"]) rmSync(shop.at(name), { recursive: true, force: true });
    dir = shop.context("app", FILES);
    shop.context("more", { "m.txt": "more\n" });
    symlinkSync("a.txt", join(dir, "src", "link"));
  }

  function run(args: readonly string[] = []) {
    const contexts = [
      "--build-context",
      `more=${shop.at("more")}`,
      "--build-context",
      `second=oci-layout://${shop.at("second")}`,
    ];
    return buildHere(shop, ["--explain", "-o", "type=cacheonly", ...contexts, ...args, dir]);
  }

  for (const { what, change, edit, args, step, culprit, words } of CASES) {
    it(what, async () => {
      if (edit !== undefined) {
        assert.ok(DOCKERFILE.includes(edit[0]));
        writeFileSync(join(dir, "Dockerfile"), DOCKERFILE.replace(...edit));
      }
      change?.(dir);
      const { code, stderr } = await run(args);
      assert.equal(code, 0, stderr);
      const build = await explained(shop);
      const found = build.steps.find((one) => one.step.includes(step));
      assert.ok(found, `${step} did not run:\n${stderr}`);
      const matching = found.changes.filter((one) =>
        Object.entries(culprit).every(([name, value]) => (one as Record<string, unknown>)[name] === value),
      );
      assert.equal(matching.length, 1, JSON.stringify(found.changes, null, 1));
      assert.match(stderr, words);
      restore();
      const again = await run();
      assert.match(again.stderr, /No step ran/, "back to how it was");
    });
  }

  it("a result that was pruned", async () => {
    await shop.ok(["prune", "--all", "--force"]);
    const { stderr } = await run();
    assert.match(stderr, /the earlier result is no longer in the store/);
    const { steps } = await explained(shop);
    assert.ok(
      steps.every(({ changes }) =>
        changes.every(({ kind }) => kind === "result-gone" || kind === "parent-step"),
      ),
      stderr,
    );
  });

  it("the base image under the same name", async () => {
    await writeBaseImage(shop.at("second"), { note: "first" });
    const use = ["FROM base AS two", "FROM second AS two"] as const;
    writeFileSync(join(dir, "Dockerfile"), DOCKERFILE.replace(...use));
    await run();
    await writeBaseImage(shop.at("second"), { note: "moved" });
    const { stderr } = await run();
    assert.match(stderr, /base image .*second.*: sha256:\w+ → sha256:\w+/);
    restore();
  });

  it("the content of a download", async () => {
    let body = "one";
    const server = createServer((_request, response) => response.end(body)).listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    try {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/file`;
      const context = shop.context("download", { Dockerfile: `FROM base\nADD ${url} /file\n` });
      const args = ["--explain", "-o", "type=cacheonly", context];
      assert.equal((await buildHere(shop, args)).code, 0);
      body = "two";
      assert.match((await buildHere(shop, args)).stderr, new RegExp(`content of ${url}`));
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

  it("a build that fails tells why its steps ran, and the next one knows the steps it had not reached", async () => {
    const files = { Dockerfile: "FROM base\nCOPY f /f\nRUN grep -q good /f\nRUN echo after\n", f: "good\n" };
    const context = shop.context("fails", files);
    const args = ["--explain", "-o", "type=cacheonly", context];
    assert.equal((await buildHere(shop, args)).code, 0);
    shop.context("fails", { f: "bad\n" });
    const failed = await buildHere(shop, args);
    assert.equal(failed.code, 1);
    assert.match(failed.stderr, /COPY f \/f\n {2}file f: content changed/);
    assert.match(failed.stderr, /RUN grep -q good \/f \(failed\)/);
    shop.context("fails", { f: "good again\n" });
    const { stderr } = await buildHere(shop, args);
    assert.match(stderr, /RUN echo after\n {2}an earlier step ran/);
  });

  it("the command prints the last build as text and as JSON", async () => {
    const text = await shop.ok(["explain"]);
    assert.match(text.stdout, /^Last build: .*fails/);
    const { stdout } = await shop.ok(["explain", "--format", "json"]);
    const build = JSON.parse(stdout) as {
      steps: { step: string; changes: { kind: string; path?: string }[] }[];
    };
    assert.equal(build.steps[0]?.changes[0]?.path, "f");
    const empty = temporaryDir();
    try {
      const { code, stderr } = await shop.run(["explain"], { root: empty.path });
      assert.equal(code, 1);
      assert.match(stderr, /no build was recorded/);
    } finally {
      empty[Symbol.dispose]();
    }
  });
});
