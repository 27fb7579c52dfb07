// Error messages for common beginners' mistakes.

import assert from "node:assert/strict";
import { ordinaryUser } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

describe("a mistake on the command line", () => {
  let shop: Workshop;
  before(async () => {
    shop = await openWorkshop();
    shop.context("app", { "sub/Dockerfile": "FROM base\ncopy sub /\nRUN true\n", empty: "", blank: "\n \n" });
  });
  after(() => shop[Symbol.dispose]());
  const failure = async (args: readonly string[]): Promise<string> => {
    const { code, stderr } = await shop.run(args);
    assert.notEqual(code, 0);
    return stderr;
  };

  it("is found where --check says it is: the file is named with its directory", async () => {
    const check = (...args: string[]) => shop.run(["build", "--check", ...args]);
    assert.match((await check("-f", "app/sub/Dockerfile", "app")).stdout, /^app\/sub\/Dockerfile:2$/m);
    assert.match(
      (await check("-f", shop.at("app", "sub", "Dockerfile"), "app")).stdout,
      /^app\/sub\/Dockerfile:2$/m,
    );
    assert.match((await check("app/sub")).stdout, /^Dockerfile:2$/m);
    const json = JSON.parse(
      (await check("-f", "app/sub/Dockerfile", "--call=check,format=json", "app")).stdout,
    ) as {
      sources: { filename: string }[];
    };
    assert.equal(json.sources[0]?.filename, "Dockerfile");
  });

  it("of a tag is no failure to solve anything", async () => {
    for (const tag of ["App", "app:", "a b", "app@sha256:0", "-app"]) {
      const said = await failure(["build", `--tag=${tag}`, "app"]);
      assert.match(said, /^ERROR: invalid tag ".+": .*\nhint: examples of names: app, /);
    }
  });

  it("of an empty Dockerfile has no excerpt of nothing", async () => {
    for (const name of ["empty", "blank"]) {
      const said = await failure(["build", "-f", `app/${name}`, "app"]);
      assert.doesNotMatch(said, />>>|---/);
      assert.match(said, /^ERROR: .*(?:cannot be empty|no instructions)/m);
    }
  });

  it("of a builder is said wherever it is named", async () => {
    const words = /no builder "far" found/;
    for (const args of [
      ["build", "--builder", "far", "app"],
      ["buildx", "build", "--builder=far", "app"],
      ["buildx", "--builder", "far", "build", "app"],
      ["buildx", "--builder=far", "build", "app"],
    ]) {
      assert.match(await failure(args), words, args.join(" "));
    }
    assert.match(
      await failure(["--builder", "far", "build", "app"]),
      /unknown flag: --builder\nhint: see 'tsbuild --help'/,
    );
  });

  it("of attributes names the flag they are of, and what there is", async () => {
    const bare = shop.context("bare", { Dockerfile: "FROM scratch\nCOPY Dockerfile /\n" });
    for (const [args, words] of [
      [["--sbom=yes"], /^ERROR: invalid value yes\nhint: use --sbom=true, false or generator=IMAGE\n$/],
      [
        ["--provenance=maximum"],
        /^ERROR: invalid value maximum\nhint: use --provenance=true, false, mode=min/,
      ],
      [
        ["-o", "type=oci,dest=x,compression=gzip,compression-level=10"],
        /^ERROR: failed to build: invalid output option: compression-level=10 is not between 0 and 9, the levels of gzip\n$/,
      ],
    ] as const)
      assert.match(await failure(["build", ...args, bare]), words);
    const local = [
      "build",
      "-o",
      "type=local,dest=files,compression=zstd",
      "--sbom=generater=h.io/scan",
      bare,
    ];
    const { stderr } = await shop.ok(local);
    assert.match(stderr, /^WARNING: --output: type=local has no attribute compression=zstd, ignored$/m);
    assert.match(stderr, /the built-in scanner has no attribute "generater", ignored;.*generator=IMAGE$/m);
    assert.doesNotMatch((await shop.ok(["build", "--sbom=true", bare])).stderr, /has no attribute/);
    const locked = await shop.ok(["build", "--lock=new.lock", bare]);
    assert.match(locked.stderr, /^new\.lock: written; the build refers to nothing that can be locked$/m);
  });

  it("of a command for another is told where that is", async () => {
    for (const [args, hint] of [
      [["verify", "--key", "cosign.pub", "app"], "signatures are verified by 'tsbuild verify-signature'"],
      [["build", "--compression=zstd", "app"], "use -o type=registry,name=NAME,compression=… "],
      [["build", "--sbom-scanner-image=x", "app"], "use --sbom=true or --sbom=generator=IMAGE "],
      [["build", "--tls-verify=false", "app"], "name registries without TLS, "],
      [["push", "--compression-format", "zstd", "app"], "layers have the compression that 'tsbuild build "],
      [["image", "copy", "--dest-compress-format", "zstd", "a", "b"], "blobs are copied as they are; "],
      [["verify", "--fix", "new.patch", "app"], "if it belongs to the flag, write --fix=new.patch"],
      [
        ["verify", "localhost/nosuch"],
        "there is no directory localhost/nosuch here, so it was taken for an image; ",
      ],
    ] as const)
      assert.ok((await failure(args)).includes(`\nhint: ${hint}`), args.join(" "));
  });

  it("of ports says what can be done instead", async () => {
    for (const flag of ["-p80:80", "--publish=80", "-P", "--publish-all"]) {
      const { code, stderr } = await shop.run(["run", flag, "app"]);
      assert.equal(code, 125);
      assert.match(stderr, /--publish(?:-all)? is not supported: ports .*\nhint: with --network=host /);
    }
  });

  it("of a command that is not in the image, or cannot be executed, ends as with docker run", async () => {
    const context = shop.context("run-codes", {
      Dockerfile: "FROM base\nRUN echo text > /text && chmod 644 /text\n",
    });
    await shop.ok(["build", "-t", "codes", context]);
    assert.equal((await shop.run(["run", "--rm", "codes", "no-such-command"])).code, 127);
    assert.equal((await shop.run(["run", "--rm", "codes", "/text"])).code, 126);
    assert.equal((await shop.run(["run", "--rm", "codes", "sh", "-c", "exit 3"])).code, 3);
  });
});

const account = ordinaryUser();

describe(`a mount on the wrong kind of thing as ${account.name}`, () => {
  let shop: Workshop;
  before(async () => {
    shop = await openWorkshop(account);
  });
  after(() => shop[Symbol.dispose]());

  const directory = (path: string) =>
    new RegExp(`${path} is a directory in the image, but a file must be mounted`);
  const file = (path: string) =>
    new RegExp(`${path} is a file in the image, but a directory must be mounted`);
  for (const [what, lines, words] of [
    ["/etc/hosts", "COPY dir /etc/hosts/\nRUN true", directory("/etc/hosts")],
    ["/etc/resolv.conf", "COPY dir /etc/resolv.conf/\nRUN true", directory("/etc/resolv.conf")],
    ["a secret", "COPY dir /s/\nRUN --mount=type=secret,id=x,target=/s true", directory("/s")],
    ["a bound file", "COPY dir /s/\nRUN --mount=source=file,target=/s true", directory("/s")],
    ["a bound directory", "COPY file /s\nRUN --mount=source=dir,target=/s true", file("/s")],
    ["a cache", "COPY file /s\nRUN --mount=type=cache,target=/s true", file("/s")],
    ["a tmpfs", "COPY file /s\nRUN --mount=type=tmpfs,target=/s true", file("/s")],
  ] as const) {
    it(`is said to be one: ${what}`, async () => {
      const context = shop.context("kinds", {
        Dockerfile: `FROM base\n${lines}\n`,
        file: "x",
        "dir/inside": "y",
      });
      const { code, stderr } = await shop.run(["build", "--secret", "id=x,src=kinds/file", context]);
      assert.equal(code, 1);
      assert.match(stderr, words);
      assert.doesNotMatch(stderr, /EINVAL|doctor/);
    });
  }

  it("is none when kinds agree, through links as well", async () => {
    const context = shop.context("agree", {
      Dockerfile: `FROM base
COPY file /s
COPY dir /d/
RUN ln -s /d /to-d && ln -s s /to-s
RUN --mount=type=secret,id=x,target=/to-s --mount=type=cache,target=/to-d test ! -e /d/inside && test "$(cat /s)" = x
`,
      file: "x",
      "dir/inside": "y",
    });
    await shop.ok(["build", "--secret", "id=x,src=agree/file", context]);
  });
});
