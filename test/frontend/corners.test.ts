// BuildKit's behaviour that the reference does not specify, from its source (frontend/dockerfile of moby/buildkit).

import assert from "node:assert/strict";
import { parseGitRef } from "../../frontend/git-ref.ts";
import { check } from "../../frontend/frontend.ts";
import { build, CALL, failure, hostOf, image, opsOf, optionsOf } from "./dockerfile.ts";
import { quote } from "../../solver/graph/go-quote.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Findings of a build as "rule line". */
async function findings(
  dockerfile: string,
  more: Parameters<typeof build>[1] = {},
): Promise<readonly string[]> {
  return (await build(dockerfile, more)).warnings.map(({ rule, at }) => `${rule} ${at.start.line}`);
}

describe("a stage that is not needed", () => {
  it("is wrong all the same when its image can be none", async () => {
    for (const line of ["FROM INVALID AS u", "FROM scratch AS u\nCOPY --from=BAD:::x a /"]) {
      const error = await failure(`${line}\nFROM scratch\nCOPY a /\n`);
      assert.equal(error.code, "REFERENCE_INVALID");
      assert.match(error.message, /failed to parse stage name "(INVALID|BAD:::x)": invalid reference format/);
    }
  });

  it("is wrong all the same when a flag of RUN is", async () => {
    const flags = ["--network=bogus", "--security=bogus", '--mount=type=bind,\\"x', "--device=a,b,c"];
    for (const flag of flags) {
      const error = await failure(`FROM scratch AS u\nRUN ${flag} x\nFROM scratch\nCOPY a /\n`);
      assert.match(error.message, /^dockerfile parse error on line 2: /, flag);
    }
    await build("FROM scratch AS u\nRUN --mount=type=nope x\nFROM scratch\nCOPY a /\n");
  });

  it("is looked at by --call=check, unless a target is given", async () => {
    const text = "FROM scratch AS one\nWORKDIR rel\nARG MY_TOKEN=x\nFROM scratch AS two\nCOPY a /\n";
    const rules = async (target: string | null): Promise<readonly string[]> =>
      (await check(optionsOf(text, { target }), hostOf(), CALL)).warnings.map(({ rule }) => rule);
    assert.deepEqual(await rules(null), ["WorkdirRelativePath", "SecretsUsedInArgOrEnv"]);
    assert.deepEqual(await rules("two"), []);
    assert.deepEqual(await findings(text), []);
  });
});

describe("corners of instructions", () => {
  it("TARGETSTAGE is the last stage's name without a target", async () => {
    const { config } = await image(
      "FROM scratch AS a\nARG TARGETSTAGE\nLABEL t=$TARGETSTAGE\nFROM a AS last\n",
    );
    assert.deepEqual(config.config.Labels, { t: "last" });
    const nameless = await image("FROM scratch\nARG TARGETSTAGE\nLABEL t=$TARGETSTAGE\n");
    assert.deepEqual(nameless.config.config.Labels, { t: "default" });
  });

  it("a platform of nothing is not said, one that becomes nothing is an error", async () => {
    await build("FROM --platform= scratch\nCOPY a /\n");
    assert.match((await failure("ARG X\nFROM --platform=$X scratch\n")).message, /empty platform value/);
  });

  it("a destination that becomes nothing is the working directory", async () => {
    const { definition } = await image("FROM scratch\nWORKDIR /w\nARG E\nCOPY --link a $E\n");
    const actions = opsOf(definition, "file").flatMap((op) => op.actions);
    assert.deepEqual(
      actions.flatMap((action) => (action.kind === "copy" ? [action.dest] : [])),
      ["/w/"],
    );
  });

  it("--parents asks for no path that has a wildcard on either side of the pivot", async () => {
    const required = async (source: string): Promise<unknown> => {
      const { definition } = await image(`FROM scratch\nCOPY --parents ${source} /o/\n`);
      return opsOf(definition, "file").flatMap((op) =>
        op.actions.flatMap((action) => (action.kind === "copy" ? action.requiredPaths : [])),
      );
    };
    assert.deepEqual(await required("a/./b"), ["b"]);
    assert.deepEqual(await required("dir*/./sub/f"), []);
    assert.deepEqual(await required("a/./b*"), []);
    assert.deepEqual(await required("a\\\\*/./b"), ["b"]);
  });

  it("an interpreter line behind the tabs of <<- runs the document by itself", async () => {
    const { history } = await image("FROM scratch\nRUN <<-EOF\n\t#!/bin/sh\n\techo x\nEOF\n");
    assert.deepEqual(history, ["+ RUN /bin/sh -c /dev/pipes/EOF # buildkit"]);
  });

  it("what does not print is escaped in history", async () => {
    assert.equal(quote("a\u00a0\u200b\ue000\u3000\u00ad"), '"a\\u00a0\\u200b\\ue000\\u3000\\u00ad"');
    assert.equal(quote("é 漢 😀 \t\u007f"), '"é 漢 😀 \\t\\x7f"');
    assert.equal(quote("\u{e0001}"), '"\\U000e0001"');
  });
});

describe("corners of checks", () => {
  const ignoring = (text: string): Parameters<typeof build>[1] => ({
    dockerignore: { name: ".dockerignore", data: bytes(text) },
  });

  it("ignored files: not with exceptions, and a path with a slash in front is another one", async () => {
    const copies = "FROM scratch\nCOPY b /x/\nCOPY /a.txt /x/\n";
    assert.deepEqual(await findings(copies, ignoring("b\na.txt\n")), ["CopyIgnoredFile 2"]);
    assert.deepEqual(await findings(copies, ignoring("*\n")), ["CopyIgnoredFile 2", "CopyIgnoredFile 3"]);
    assert.deepEqual(await findings(copies, ignoring("*\n!a.txt\n")), []);
  });

  it("the context itself is ignored only by what ignores all that is in it", async () => {
    const all = "FROM scratch\nCOPY . /x/\nCOPY / /y/\n";
    for (const text of [".*\n", "b\n", "*.go\n"])
      assert.deepEqual(await findings(all, ignoring(text)), [], text);
    for (const text of ["*\n", "**\n", "**/*\n"])
      assert.deepEqual(await findings(all, ignoring(text)), ["CopyIgnoredFile 2", "CopyIgnoredFile 3"], text);
  });

  it("of several check comments above an instruction the first counts", async () => {
    const both = "# check=skip=LegacyKeyValueFormat\n# check=skip=UndefinedVar\n";
    assert.deepEqual(await findings(`FROM scratch\n${both}ENV a $nope\n`), ["UndefinedVar 4"]);
  });

  it("a comment switches an experimental rule on, and none off", async () => {
    const rule = "InvalidDefinitionDescription";
    const text = (comment: string): string => `FROM scratch\n# ${comment}\n# wrong\nARG a=1\nCOPY a /\n`;
    assert.deepEqual(await findings(text(`check=experimental=${rule}`)), [`${rule} 4`]);
    assert.deepEqual(await findings(`# check=experimental=all\n${text(`check=skip=${rule}`)}`), [
      `${rule} 5`,
    ]);
  });

  it("comments do not count for rules of the whole file", async () => {
    const text = "FROM scratch\n# check=skip=all\nrun x\nRUN y\nRUN z\n";
    assert.deepEqual(await findings(text), ["ConsistentInstructionCasing 3"]);
  });

  it("of two CMD the comment above the second decides, though the first is shown", async () => {
    const comment = "# check=skip=MultipleInstructionsDisallowed\n";
    assert.deepEqual(await findings(`FROM scratch\nCMD ["a"]\n${comment}CMD ["b"]\n`), []);
    assert.deepEqual(await findings(`FROM scratch\n${comment}CMD ["a"]\nCMD ["b"]\n`), [
      "MultipleInstructionsDisallowed 3",
    ]);
  });

  it("the target's platform is redundant however it is written", async () => {
    assert.deepEqual(await findings("FROM --platform=${TARGETPLATFORM:-linux/amd64} scratch\nCOPY a /\n"), [
      "RedundantTargetPlatform 1",
    ]);
  });
});

describe("corners of git addresses", () => {
  const ref = (query: string): string | undefined => parseGitRef(`https://e.com/a.git${query}`)?.ref;

  it("a query gives the ref in several ways", () => {
    assert.equal(ref("?checksum=abc"), "");
    assert.equal(ref("?commit=abc&branch=x"), "refs/heads/x");
    assert.equal(ref("?tag=refs/tags/v1"), "refs/tags/v1");
    assert.equal(ref("?ref=v1#v1"), "v1");
  });

  it("that contradicts itself is an error", () => {
    const cases: readonly (readonly [string, RegExp])[] = [
      ["?ref=", /query "ref" has no value/],
      ["?ref=a&ref=b", /query "ref" has multiple values/],
      ["?ref=a#b", /ref conflicts: "b" vs "a"/],
      ["?subdir=a#main:b", /subdir conflicts: "b" vs "a"/],
      ["?tag=a&branch=b", /branch conflicts with tag/],
    ];
    for (const [query, message] of cases) assert.throws(() => ref(query), message);
  });

  it("and a flag that contradicts it too", async () => {
    const line = "ADD --keep-git-dir=true https://e.com/a.git?keep-git-dir=false /";
    assert.match((await failure(`FROM scratch\n${line}\n`)).message, /inconsistent keep-git-dir/);
  });
});
