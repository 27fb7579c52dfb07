// --call=outline and --call=targets: docs.docker.com/reference/cli/docker/buildx/build, "Call a frontend method".

import assert from "node:assert/strict";
import { outline, targets } from "../../frontend/frontend.ts";
import { CALL, hostOf, optionsOf } from "./dockerfile.ts";

const TEXT = `# REPO is where images are
ARG REPO=base
ARG UNUSED=1
ARG TAG=$REPO-1
FROM \${REPO}:1 AS one
# LEVEL of detail
ARG LEVEL=2
RUN --mount=type=secret,id=token,required --mount=type=ssh true
# two is the second
FROM one AS two
ARG TAG
ARG TARGETARCH
RUN true
FROM base:1 AS three
ARG OTHER
`;

describe("an outline", () => {
  it("is none of a file whose checks fail the build", async () => {
    await assert.rejects(outline(optionsOf("# check=error=true\nFROM base:1\nENV a b\n"), hostOf(), CALL), {
      code: "CHECKS_FAILED",
      message: "lint violation found for rules: LegacyKeyValueFormat",
    });
  });

  it("has what the target and the stages it needs make use of", async () => {
    const result = await outline(
      optionsOf(TEXT, { target: "two", buildArgs: new Map([["LEVEL", "9"]]) }),
      hostOf(),
      CALL,
    );
    assert.equal(result.name, "two");
    assert.equal(result.description, "is the second");
    assert.deepEqual(
      result.args.map(({ name, value, description, at }) => [name, value, description, at.start.line]),
      [
        ["REPO", "base", "is where images are", 2],
        ["TAG", "base-1", "", 4],
        ["LEVEL", "9", "of detail", 7],
      ],
    );
    assert.deepEqual(
      result.secrets.map(({ name, required }) => [name, required]),
      [["token", true]],
    );
    assert.deepEqual(
      result.ssh.map(({ name, required }) => [name, required]),
      [["default", false]],
    );
  });
});

describe("an argument that is declared again", () => {
  it("is made of all that its earlier values were made of", async () => {
    const text = "ARG A=a\nARG B=b\nARG X=$A\nARG Y=$X-y\nARG X=$Y-x\nFROM scratch\nARG X\n";
    const { args } = await outline(optionsOf(text), hostOf(), CALL);
    assert.deepEqual(
      args.map(({ name, value }) => [name, value]),
      [
        ["A", "a"],
        ["Y", "a-y"],
        ["X", "a-y-x"],
      ],
    );
  });
});

describe("targets", () => {
  it("are all stages, the last by default; no image is asked for", async () => {
    const list = await targets(
      optionsOf(`${TEXT}FROM --platform=$BUILDPLATFORM nowhere\n`),
      hostOf({}),
      CALL,
    );
    assert.deepEqual(
      list.map(({ name, description, base, platform, default: isDefault }) => [
        name,
        description,
        base,
        platform,
        isDefault,
      ]),
      [
        ["one", "", "${REPO}:1", "", false],
        ["two", "is the second", "one", "", false],
        ["three", "", "base:1", "", false],
        ["", "", "nowhere", "$BUILDPLATFORM", true],
      ],
    );
  });
});
