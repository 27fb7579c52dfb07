// Instructions that create no files, triggers, and what applies to all: Dockerfile reference, "Dockerfile instructions".

import assert from "node:assert/strict";
import { check } from "../../frontend/frontend.ts";
import { formatDuration } from "../../frontend/history-text.ts";
import { parsePorts } from "../../frontend/ports.ts";
import { isSignal } from "../../frontend/stop-signals.ts";
import {
  AMD64,
  ARM64,
  baseImage,
  build,
  CALL,
  failure,
  hostOf,
  image,
  opsOf,
  optionsOf,
} from "./dockerfile.ts";

describe("ENV and ARG", () => {
  it("ENV sees the values of before the instruction", async () => {
    const { config } = await image("FROM base:1\nENV a=1\nENV a=2 b=$a\nENV c=$a PATH=/x:$PATH\n");
    assert.deepEqual(config.config.Env, ["PATH=/x:/usr/bin:/bin", "a=2", "b=1", "c=2"]);
  });

  it("ARG: a build argument wins over the default, and is not expanded", async () => {
    const { history } = await image("FROM base:1\nARG A=${NONE:-x}\nARG B\nARG C=$A\nRUN r\n", {
      buildArgs: new Map([
        ["B", "$A"],
        ["UNUSED", "1"],
      ]),
    });
    assert.deepEqual(history, [
      "- ARG A=x",
      "- ARG B=$A",
      "- ARG C=x",
      "+ RUN |3 A=x B=$A C=x /bin/sh -c r # buildkit",
    ]);
  });

  it("proxies are for RUN but in no history", async () => {
    const { definition, history } = await image("FROM base:1\nRUN r\n", {
      buildArgs: new Map([["HTTP_PROXY", "p"]]),
    });
    assert.equal(opsOf(definition, "exec")[0]?.proxyEnv?.httpProxy, "p");
    assert.deepEqual(history, ["+ RUN /bin/sh -c r # buildkit"]);
  });

  it("what cannot be expanded is an error with its place", async () => {
    const error = await failure("FROM base:1\nENV a=1 \\\n  b=${PATH?}${x?missing}\n");
    assert.match(error.message, /x: missing/);
    assert.deepEqual([error.at?.start.line, error.code], [2, "DOCKERFILE_SYNTAX"]);
  });
});

describe("WORKDIR and USER", () => {
  it("WORKDIR is joined, and made for the user of that moment", async () => {
    const { definition, config, history } = await image(
      "FROM base:1\nUSER app:staff\nWORKDIR a\nWORKDIR ../b\nWORKDIR /\n",
    );
    assert.equal(config.config.WorkingDir, "/");
    assert.deepEqual(history, ["- USER app:staff", "+ WORKDIR /a", "+ WORKDIR /b", "- WORKDIR /"]);
    const [first] = opsOf(definition, "file");
    assert.deepEqual(first?.actions[0], {
      kind: "mkdir",
      path: "/a",
      mode: 0o755,
      makeParents: true,
      owner: {
        user: { kind: "name", name: "app", input: 0 },
        group: { kind: "name", name: "staff", input: 0 },
      },
      timestampNs: null,
      base: 0,
      output: 0,
    });
  });

  it("WORKDIR that expands to nothing stays where it is: at the root, if nothing was set", async () => {
    for (const [text, workdir] of [
      ['FROM base:1\nWORKDIR ""\n', "/"],
      ["FROM base:1\nWORKDIR $NOPE\n", "/"],
      ["FROM base:1\nWORKDIR /a\nWORKDIR $NOPE\n", "/a"],
    ] as const) {
      const { config, history } = await image(text);
      assert.equal(config.config.WorkingDir, workdir);
      assert.equal(history.at(-1), `${workdir === "/" ? "-" : "+"} WORKDIR ${workdir}`);
    }
  });

  it("WORKDIR gets the time of SOURCE_DATE_EPOCH", async () => {
    const { definition } = await image("FROM base:1\nWORKDIR /a\n", { sourceDateEpoch: 5 });
    const [action] = opsOf(definition, "file")[0]?.actions ?? [];
    assert.ok(action?.kind === "mkdir" && action.timestampNs === 5_000_000_000n);
  });
});

describe("CMD, ENTRYPOINT and SHELL", () => {
  it("ENTRYPOINT drops the CMD of the base, not that of its stage", async () => {
    const dropped = await image('FROM base:1\nENTRYPOINT ["/e"]\n');
    assert.equal(dropped.config.config.Cmd, undefined);
    const kept = await image('FROM base:1\nCMD ["c"]\nENTRYPOINT ["/e"]\n');
    assert.deepEqual(kept.config.config.Cmd, ["c"]);
  });

  it("shell form runs in the shell, which SHELL may change", async () => {
    const { config, history } = await image('FROM base:1\nSHELL ["/bin/zsh", "-c"]\nCMD echo "hi"\nRUN x\n');
    assert.deepEqual(config.config.Cmd, ["/bin/zsh", "-c", 'echo "hi"']);
    assert.deepEqual(history, [
      "- SHELL [/bin/zsh -c]",
      '- CMD ["/bin/zsh" "-c" "echo \\"hi\\""]',
      "+ RUN /bin/zsh -c x # buildkit",
    ]);
  });
});

describe("EXPOSE, STOPSIGNAL and HEALTHCHECK", () => {
  it("EXPOSE takes ranges and drops mappings", () => {
    assert.deepEqual(parsePorts("8000-8002/UDP"), {
      ports: ["8000/udp", "8001/udp", "8002/udp"],
      isMapping: false,
      hasCapitals: true,
    });
    assert.deepEqual(parsePorts("127.0.0.1:9000:90").ports, ["90/tcp"]);
    assert.deepEqual(parsePorts("+80-+81").ports, ["80/tcp", "81/tcp"]);
    assert.deepEqual(parsePorts("[::1]:9000:90").ports, ["90/tcp"]);
    for (const [text, words] of [
      ["70000", /invalid containerPort: 70000/],
      ["90-80", /invalid containerPort: 90-80/],
      ["80/foo", /invalid proto: foo/],
      ["/tcp", /no port specified/],
      ["x:80", /invalid hostPort: x/],
      ["1.2.3:80:80", /invalid IP address/],
    ] as const) {
      assert.throws(() => parsePorts(text), words);
    }
  });

  it("STOPSIGNAL is a name or a number", () => {
    assert.deepEqual(["SIGTERM", "usr1", "9", "RTMIN+3"].map(isSignal), [true, true, true, true]);
    assert.deepEqual(["0", "SIGFOO", "", "TERM KILL"].map(isSignal), [false, false, false, false]);
  });

  it("HEALTHCHECK is written to the history with its times", async () => {
    const { history, config } = await image(
      "FROM base:1\nHEALTHCHECK --interval=90s --retries=3 CMD curl x\n",
    );
    assert.deepEqual(history, [
      "- HEALTHCHECK {Test:[CMD-SHELL curl x] Interval:1m30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:3}",
    ]);
    assert.deepEqual(config.config.Healthcheck, {
      Test: ["CMD-SHELL", "curl x"],
      Interval: 90e9,
      Retries: 3,
    });
    assert.deepEqual([0, 1, 1500, 1_500_000, 3_600e9, 3723.5e9, 100e9].map(formatDuration), [
      "0s",
      "1ns",
      "1.5µs",
      "1.5ms",
      "1h0m0s",
      "1h2m3.5s",
      "1m40s",
    ]);
  });
});

describe("ONBUILD", () => {
  it("triggers of the base image run first and are not passed on", async () => {
    const host = hostOf({
      "docker.io/library/base:1": baseImage({ OnBuild: ["ARG A=1", "COPY . /src", "ENV B=$A"] }),
    });
    const { config, steps, history } = await image("FROM base:1\nENV C=$B\nONBUILD RUN x\n", {}, host);
    assert.deepEqual(config.config.OnBuild, ["RUN x"]);
    assert.deepEqual(history, ["- ARG A=1", "+ COPY . /src # buildkit", "- ENV B=1", "- ENV C=1"]);
    assert.deepEqual(steps.at(-1), "[2/4] ONBUILD COPY . /src");
  });

  it("triggers may need stages and images that nothing else needs", async () => {
    const host = hostOf({
      "docker.io/library/base:1": baseImage({
        OnBuild: ["COPY --from=maker /a /a", "COPY --from=other:1 /b /b"],
      }),
      "docker.io/library/plain:1": baseImage(),
      "docker.io/library/other:1": baseImage({ OnBuild: ["RUN never"] }),
    });
    const { steps } = await image("FROM plain:1 AS maker\nRUN make\nFROM base:1\n", {}, host);
    assert.ok(steps.includes("[maker 2/2] RUN make"));
    assert.ok(steps.includes("FROM docker.io/library/other:1@…"));
    assert.ok(!steps.join().includes("never"));
  });

  it("a faulty trigger is an error at FROM", async () => {
    const host = hostOf({ "docker.io/library/base:1": baseImage({ OnBuild: ["NONSENSE x"] }) });
    const error = await failure("FROM base:1\n", {}, host);
    assert.match(error.message, /NONSENSE/);
    assert.equal(error.at?.start.line, 1);
  });
});

describe("a conversion", () => {
  it("marks steps of --no-cache and --no-cache-filter", async () => {
    const text = "FROM base:1 AS one\nRUN a\nFROM one AS two\nRUN b\n";
    const marked = async (more: object): Promise<readonly string[]> => {
      const { definition } = await image(text, more);
      return [...definition.notes.values()].filter((note) => note.ignoreCache).map((note) => note.name);
    };
    assert.deepEqual(await marked({ noCache: true }), ["[one 2/2] RUN a", "[two 1/1] RUN b"]);
    assert.deepEqual(await marked({ noCacheFilter: ["TWO"] }), ["[two 1/1] RUN b"]);
    assert.deepEqual(await marked({}), []);
  });

  it("is the same for the same input: digests know no clock and no order of answers", async () => {
    const text = "FROM base:1 AS a\nRUN a\nFROM base:1\nCOPY --link --from=a / /\nCOPY <<X /x\nx\nX\n";
    const one = await image(text);
    const two = await image(text);
    assert.deepEqual(two.definition, one.definition);
  });

  it("fails when check=error=true finds something, and lists it otherwise", async () => {
    const text = "FROM base:1\nENV a b\nRUN echo\nCOPY $nope /x\nWORKDIR rel\n";
    const { warnings } = await build(text);
    assert.deepEqual(
      warnings.map(({ rule, at }) => `${rule} ${at.start.line}`),
      ["LegacyKeyValueFormat 2", "UndefinedVar 4", "WorkdirRelativePath 5"],
    );
    const error = await failure(`# check=error=true\n${text}`);
    assert.equal(error.code, "CHECKS_FAILED");
    assert.match(error.message, /LegacyKeyValueFormat, UndefinedVar, WorkdirRelativePath/);
  });

  it("as a check reports what a build would fail with", async () => {
    const result = await check(optionsOf("FROM base:1\nENV a b\nSTOPSIGNAL nope\n"), hostOf(), CALL);
    assert.match(result.error?.message ?? "", /invalid signal: nope/);
    assert.deepEqual(
      result.warnings.map(({ rule }) => rule),
      ["LegacyKeyValueFormat"],
    );
    const broken = await check(optionsOf("FROM base:1\nFOO\n"), hostOf(), CALL);
    assert.match(broken.error?.message ?? "", /unknown instruction: FOO/);
    // What is said of a file as a whole needs the whole of it.
    const half = await check(
      optionsOf("FROM base:1 AS scratch\nMAINTAINER me\nenv a=b\nCOPY a\n"),
      hostOf(),
      CALL,
    );
    assert.deepEqual(
      half.warnings.map(({ rule }) => rule),
      ["MaintainerDeprecated"],
    );
    const failing = await check(optionsOf("# check=error=true\nFROM base:1\nENV a b\n"), hostOf(), CALL);
    assert.match(failing.error?.message ?? "", /^lint violation found for rules: LegacyKeyValueFormat$/);
    assert.equal(failing.warnings.length, 1);
    const unknown = await check(optionsOf("# check=mute=all\nFROM base:1\nENV a b\n"), hostOf(), CALL);
    assert.match(unknown.error?.message ?? "", /^invalid check option "mute"$/);
    assert.deepEqual(unknown.warnings, []);
    // The command line is not the file's.
    for (const [name, value] of [
      ["BUILDKIT_DOCKERFILE_CHECK", "mute=all"],
      ["BUILDKIT_MULTI_PLATFORM", "maybe"],
    ] as const) {
      const options = optionsOf("FROM base:1\n", { buildArgs: new Map([[name, value]]) });
      await assert.rejects(check(options, hostOf(), CALL), { code: "USAGE" });
    }
  });

  it("checks the platform of a base, but not of one without layers, and no variables of EXPOSE", async () => {
    const layerless = { ...baseImage(), rootfs: { type: "layers", diff_ids: [] }, history: [] };
    const host = hostOf({ "docker.io/library/base:1": baseImage(), "docker.io/library/empty:1": layerless });
    const rules = async (text: string): Promise<readonly string[]> =>
      (await check(optionsOf(text), host, CALL)).warnings.map(({ rule }) => rule);
    const foreign = (name: string): string => `ARG P=linux/arm64\nFROM --platform=$P ${name}:1\n`;
    assert.deepEqual(await rules(foreign("base")), ["InvalidBaseImagePlatform"]);
    assert.deepEqual(await rules(foreign("empty")), []);
    assert.deepEqual(await rules("FROM base:1\nEXPOSE 80 $NONE\n"), []);
  });

  it("makes an index or not as BUILDKIT_MULTI_PLATFORM says", async () => {
    const options = (said: string, platforms = [AMD64]): object => ({
      buildArgs: new Map([["BUILDKIT_MULTI_PLATFORM", said]]),
      platforms,
    });
    const isIndex = async (said: string): Promise<boolean> =>
      (await build("FROM scratch\n", options(said))).multiPlatform;
    assert.deepEqual([await isIndex(""), await isIndex("1"), await isIndex("False")], [false, true, false]);
    const faulty = await failure("FROM scratch\n", options("maybe"));
    assert.match(faulty.message, /^invalid boolean value for multi-platform: maybe$/);
    const two = await failure("FROM scratch\n", options("0", [AMD64, ARM64]));
    assert.match(two.message, /returning multiple target platforms is not allowed/);
  });

  it("takes SOURCE_DATE_EPOCH from arguments, the Dockerfile or a source", async () => {
    const epoch = async (text: string, more: object = {}, host = hostOf()): Promise<number | null> =>
      (await build(text, more, host)).sourceDateEpoch;
    assert.equal(await epoch("FROM base:1\n"), null);
    assert.equal(await epoch("ARG SOURCE_DATE_EPOCH=7\nFROM base:1\n"), 7);
    assert.equal(await epoch("ARG SOURCE_DATE_EPOCH=7\nFROM base:1\n", { sourceDateEpoch: 8 }), 8);
    const timed = { ...hostOf(), sourceTime: async () => 9 };
    const context = {
      kind: "source",
      identifier: "git://x/y.git",
      attrs: { "git.fullurl": "https://x/y.git" },
    } as const;
    const buildArgs = new Map([["SOURCE_DATE_EPOCH", "context"]]);
    assert.equal(await epoch("FROM base:1\n", { context, buildArgs }, timed), 9);
    const stage = "FROM scratch AS src\nADD https://example.com/x.git /\nFROM base:1\n";
    assert.equal(await epoch(stage, { buildArgs: new Map([["SOURCE_DATE_EPOCH", "src"]]) }, timed), 9);
    const bad = await failure("FROM base:1 AS src\nFROM base:1\n", {
      buildArgs: new Map([["SOURCE_DATE_EPOCH", "src"]]),
    });
    assert.match(bad.message, /SOURCE_DATE_EPOCH stage must use FROM scratch/);
    const word = await failure("FROM base:1\n", { buildArgs: new Map([["SOURCE_DATE_EPOCH", "soon"]]) });
    assert.match(word.message, /invalid SOURCE_DATE_EPOCH: soon/);
    const named = new Map([["src", "https://example.com/a.tar"]]);
    const bySource = { buildArgs: new Map([["SOURCE_DATE_EPOCH", "src"]]), namedContexts: named };
    assert.equal(await epoch("FROM base:1\n", bySource, timed), 9);
  });

  it("takes the epoch from a stage of one ADD and arguments, and from no other", async () => {
    const buildArgs = new Map([
      ["SOURCE_DATE_EPOCH", "src"],
      ["HOST", "example.com"],
    ]);
    const asked: string[] = [];
    const host = {
      ...hostOf(),
      sourceTime: async (source: { readonly identifier: string }) => {
        asked.push(source.identifier);
        return 9;
      },
    };
    const stage = (lines: string): string => `ARG PATH_IN=x\nFROM scratch AS src\n${lines}\nFROM base:1\n`;
    const add = "ARG HOST=no\nARG FILE=${PATH_IN}.tar\nADD https://${HOST}/${FILE} /";
    assert.equal((await build(stage(add), { buildArgs }, host)).sourceDateEpoch, 9);
    assert.deepEqual(asked, ["https://example.com/x.tar"]);
    const cases: readonly (readonly [string, RegExp])[] = [
      ["ADD https://a/b /\nADD https://a/c /", /must contain exactly one remote ADD$/],
      ["ADD https://a/b https://a/c /", /must contain exactly one remote ADD source$/],
      ["ADD local /", /source must be a single HTTP\(S\) or Git ADD$/],
      ["ADD https://a/b /\nWORKDIR /x", /source-only requirements: unsupported WORKDIR instruction$/],
      ["", /must contain exactly one remote ADD$/],
    ];
    for (const [lines, message] of cases)
      assert.match((await failure(stage(lines), { buildArgs })).message, message, lines);
  });

  it("is without an epoch, and without the argument, for an empty one and for a source without a time", async () => {
    const text = "ARG SOURCE_DATE_EPOCH=7\nFROM base:1\nARG SOURCE_DATE_EPOCH\nENV A=$SOURCE_DATE_EPOCH\n";
    for (const value of ["", "context"]) {
      const found = await build(text, { buildArgs: new Map([["SOURCE_DATE_EPOCH", value]]) });
      assert.equal(found.sourceDateEpoch, null);
      const lines = found.images[0]?.config.history?.slice(-2).map((entry) => entry.created_by);
      assert.deepEqual(lines, ["ARG SOURCE_DATE_EPOCH", "ENV A="]);
    }
    const stage = "FROM scratch AS src\nADD https://a/b /\nFROM base:1\nARG SOURCE_DATE_EPOCH\n";
    const host = { ...hostOf(), sourceTime: async () => 9 };
    const timed = await build(stage, { buildArgs: new Map([["SOURCE_DATE_EPOCH", "src"]]) }, host);
    assert.equal(timed.images[0]?.config.history?.at(-1)?.created_by, "ARG SOURCE_DATE_EPOCH=9");
  });

  it("stops when it is cancelled", async () => {
    const aborted = AbortSignal.abort(new Error("stop"));
    await assert.rejects(check(optionsOf("FROM base:1\n"), hostOf(), { signal: aborted }), /stop/);
  });

  it("has the paths and the shell of Windows for that platform, and no PATH of its own", async () => {
    const platforms = [{ os: "windows", architecture: "amd64" }];
    const text = [
      "# escape=`",
      "FROM scratch",
      "WORKDIR /w",
      "WORKDIR sub\\dir",
      "COPY a\\b x\\",
      "COPY a c:/abs/",
      "COPY a /",
      "COPY <<f .",
      "f",
      "CMD dir",
      "",
    ].join("\n");
    const { config, definition } = await image(text, { platforms });
    assert.equal(config.config.WorkingDir, "\\w\\sub\\dir");
    assert.equal(config.config.Env, undefined);
    // The platform of the stage decides, whatever that of the base is.
    const host = hostOf({ "docker.io/library/base:1": baseImage({ Env: ["A=1"] }) });
    const onLinux = await image("FROM --platform=windows/amd64 base:1\n", {}, host);
    assert.deepEqual(onLinux.config.config.Env, ["A=1"]);
    assert.deepEqual(config.config.Cmd, ["cmd", "/S", "/C", "dir"]);
    assert.deepEqual(
      config.history?.slice(0, 2).map((entry) => entry.created_by),
      ["WORKDIR /w", "WORKDIR /w/sub/dir"],
    );
    const copies = [...definition.vertices.values()].flatMap(({ op }) =>
      op.kind === "file"
        ? op.actions.flatMap((one) => (one.kind === "copy" ? [[one.src, one.dest]] : []))
        : [],
    );
    assert.deepEqual(copies.sort(), [
      ["/a", "/"],
      ["/a", "/abs/"],
      ["/a/b", "/w/sub/dir/x/"],
      ["/f", "/w/sub/dir/"],
    ]);
    const scratch = await image("FROM scratch\nCOPY a .\n", { platforms });
    assert.equal(scratch.config.config.WorkingDir, "\\");
    const bad = (line: string): Promise<Error> => failure(`FROM scratch\n${line}\n`, { platforms });
    assert.match((await bad("WORKDIR d:/x")).message, /not on the system drive \(C:\)/);
    assert.match((await bad("COPY a //host/share/")).message, /UNC paths are not supported/);
    assert.match((await bad("WORKDIR c:")).message, /No relative path specified in "c:"/);
  });

  it("has the platform of the build for scratch", async () => {
    const { config } = await image("FROM scratch\nCOPY a /\n");
    assert.equal(config.architecture, AMD64.architecture);
    assert.equal(config.config.WorkingDir, "/");
  });
});
