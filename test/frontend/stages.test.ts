// Stages, FROM and ARG before it: Dockerfile reference, "FROM", "Multi-stage builds".

import assert from "node:assert/strict";
import { formatImageName, parseImageName } from "../../frontend/image-name.ts";
import { formatPlatform } from "../../solver/graph/op.ts";
import { parsePlatform } from "../../solver/graph/platform.ts";
import { AMD64, ARM64, baseImage, build, failure, hostOf, image, opsOf } from "./dockerfile.ts";

describe("stages", () => {
  it("are converted only where the target needs them, and only their images are asked for", async () => {
    const asked: string[] = [];
    const host = hostOf({ "docker.io/library/base:1": baseImage() }, asked);
    const { steps } = await image(
      "FROM missing AS one\nRUN x\nFROM base:1 AS two\nRUN two\nFROM two AS three\nRUN three\nFROM missing\n",
      { target: "three" },
      host,
    );
    assert.deepEqual(steps, [
      "[two 1/2] FROM docker.io/library/base:1@…",
      "[two 2/2] RUN two",
      "[three 1/1] RUN three",
    ]);
    assert.deepEqual(asked, ["[internal] load metadata for docker.io/library/base:1"]);
  });

  it("of one name: the last counts, whatever its case", async () => {
    const { history } = await image("FROM base:1 AS x\nLABEL a=1\nFROM base:1 AS X\nLABEL a=2\nFROM x\n");
    assert.deepEqual(history, ["- LABEL a=2"]);
  });

  it("get environment, build arguments, user and work directory from the stage below", async () => {
    const { definition, history } = await image(
      "FROM base:1 AS a\nARG ONE=1\nENV TWO=2\nUSER app\nWORKDIR /w\nFROM a\nRUN x\n",
    );
    const [run] = opsOf(definition, "exec");
    assert.deepEqual(run?.env, ["PATH=/usr/bin:/bin", "ONE=1", "TWO=2"]);
    assert.equal(run?.user, "app");
    assert.equal(run?.cwd, "/w");
    assert.equal(history.at(-1), "+ RUN |1 ONE=1 /bin/sh -c x # buildkit");
  });

  it("cannot need each other, nor themselves", async () => {
    const cycle = await failure("FROM base:1 AS a\nCOPY --from=b / /\nFROM base:1 AS b\nCOPY --from=a / /\n");
    assert.match(cycle.message, /circular dependency detected on stage: [ab]/);
    assert.notEqual(cycle.at, null);
    const own = await failure("FROM base:1\nCOPY --from=0 / /\n");
    assert.match(own.message, /circular dependency detected on stage: stage-0/);
  });

  it("are named in the error when a target or an image is misspelt", async () => {
    const target = await failure("FROM base:1 AS build\n", { target: "biuld" });
    assert.equal(target.code, "TARGET_UNKNOWN");
    assert.match(target.message, /target stage "biuld" could not be found/);
    assert.match(target.hint ?? "", /build/);
    const copy = await failure("FROM base:1 AS build\nFROM base:1\nCOPY --from=biuld /a /b\n");
    assert.equal(copy.code, "IMAGE_UNKNOWN");
    assert.match(copy.hint ?? "", /build/);
    assert.equal(copy.at?.start.line, 3);
    const index = await failure("FROM base:1\nCOPY --from=7 /a /b\n");
    assert.match(index.message, /invalid stage index 7/);
  });

  it("may be thousands in a chain", async () => {
    const lines = Array.from({ length: 3000 }, (_, index) => `FROM s${index} AS s${index + 1}`);
    const { config } = await image(`FROM base:1 AS s0\nLABEL deep=yes\n${lines.join("\n")}\n`);
    assert.deepEqual(config.config.Labels, { deep: "yes" });
  });
});

describe("ARG before FROM", () => {
  it("fills in FROM, and stages that repeat it", async () => {
    const text =
      "ARG NAME=none TAG=1\nARG FULL=$NAME:$TAG\nFROM $FULL\nARG NAME\nARG TAG=own\nLABEL n=$NAME t=$TAG f=$FULL\n";
    const { config } = await image(text, { buildArgs: new Map([["NAME", "base"]]) });
    assert.deepEqual(config.config.Labels, { n: "base", t: "own", f: "" });
  });

  it("that is empty leaves no image to start with", async () => {
    const error = await failure("ARG BASE_IMAGE\nFROM $BASE_IMAG\n");
    assert.match(error.message, /base name \(\$BASE_IMAG\) should not be blank/);
    assert.equal(error.at?.start.line, 2);
  });

  it("platform arguments are there, and may be overridden", async () => {
    const text =
      "FROM base:1\nARG TARGETPLATFORM TARGETARCH BUILDOS TARGETSTAGE\nLABEL t=$TARGETPLATFORM$TARGETARCH$BUILDOS$TARGETSTAGE\n";
    const { config } = await image(text, { buildArgs: new Map([["TARGETARCH", "mips"]]) });
    assert.deepEqual(config.config.Labels, { t: "linux/amd64mipslinuxdefault" });
  });
});

describe("platforms", () => {
  it("are read with their aliases", () => {
    const shown = (text: string): string => formatPlatform(parsePlatform(text, AMD64));
    assert.deepEqual(
      ["linux/x86_64", "aarch64", "linux/arm64/v8", "arm", "linux/arm/6", "windows", "linux/386"].map(shown),
      [
        "linux/amd64",
        "linux/arm64",
        "linux/arm64",
        "linux/arm/v7",
        "linux/arm/v6",
        "windows/amd64",
        "linux/386",
      ],
    );
    assert.throws(() => parsePlatform("linux/arm64/v8/x", AMD64), /cannot parse platform specifier/);
    assert.throws(() => parsePlatform("mars", AMD64), /unknown/);
  });

  it("several give one image each, in the order asked", async () => {
    const host = hostOf({ "docker.io/library/base:1": [baseImage(), baseImage({}, ARM64)] });
    const { images, multiPlatform } = await build(
      "FROM base:1\nARG TARGETARCH\nLABEL a=$TARGETARCH\n",
      { platforms: [ARM64, AMD64] },
      host,
    );
    assert.equal(multiPlatform, true);
    assert.deepEqual(
      images.map(({ platform, config }) => [
        formatPlatform(platform),
        config.architecture,
        config.config.Labels,
      ]),
      [
        ["linux/arm64", "arm64", { a: "arm64" }],
        ["linux/amd64", "amd64", { a: "amd64" }],
      ],
    );
  });

  it("have the version of the base image's system, unless they say one", async () => {
    const WINDOWS = { os: "windows", architecture: "amd64" };
    const base = { ...(baseImage({}, WINDOWS) as Record<string, unknown>), "os.version": "10.0.1" };
    const versionFor = async (osVersion?: string): Promise<string | undefined> => {
      const platform = { ...WINDOWS, ...(osVersion === undefined ? {} : { osVersion }) };
      const host = hostOf({ "docker.io/library/base:1": base });
      const { images } = await build("FROM base:1\n", { platforms: [platform] }, host);
      return images[0]?.config["os.version"];
    };
    assert.deepEqual([await versionFor(), await versionFor("10.0.2")], ["10.0.1", "10.0.2"]);
  });

  it("of the base image are taken as they are when nobody asked for one, with a warning", async () => {
    const host = hostOf({ "docker.io/library/base:1": baseImage({}, { ...ARM64, variant: "v8" }) });
    const { images, warnings } = await build("FROM base:1\n", {}, host);
    assert.equal(images[0]?.config.architecture, "arm64");
    assert.equal(images[0]?.config.variant, undefined); // v8 is what arm64 means
    assert.deepEqual(
      warnings.map(({ rule }) => rule),
      ["InvalidBaseImagePlatform"],
    );
  });
});

describe("image names", () => {
  it("get their domain, library and tag", () => {
    const full = (name: string): string => formatImageName(parseImageName(name));
    const digest = `sha256:${"a".repeat(64)}`;
    assert.equal(full("alpine"), "docker.io/library/alpine:latest");
    assert.equal(full("index.docker.io/alpine"), "docker.io/library/alpine:latest");
    assert.equal(full("me/app:1"), "docker.io/me/app:1");
    assert.equal(full("localhost/app"), "localhost/app:latest");
    assert.equal(full("localhost:5000/a/b:1"), "localhost:5000/a/b:1");
    assert.equal(full(`app@${digest}`), `docker.io/library/app@${digest}`);
  });

  it("are refused when they cannot be", () => {
    assert.throws(() => parseImageName("localhost:5000/Base"), /must be lowercase/);
    for (const name of ["", "a:b:c", "a b", "-x", "a/", "a@sha256:12", "a".repeat(64)]) {
      assert.throws(() => parseImageName(name), { code: "REFERENCE_INVALID" }, name);
    }
  });
});

describe("named contexts", () => {
  const host = hostOf({
    "docker.io/library/base:1": baseImage(),
    "docker.io/library/other:2": baseImage({ Labels: { from: "other" } }),
  });

  it("replace base images by any form of their name", async () => {
    const namedContexts = new Map([["docker.io/library/missing:latest", "docker-image://other:2"]]);
    const { config, steps } = await image("FROM missing\n", { namedContexts }, host);
    assert.deepEqual(config.config.Labels, { from: "other" });
    assert.deepEqual(steps, ["[context missing] docker.io/library/other:2@…"]);
  });

  it("replace stages, which then need nothing themselves", async () => {
    const namedContexts = new Map([["dep", "docker-image://other:2"]]);
    const { steps, config } = await image(
      "FROM nowhere AS below\nFROM below AS dep\nCOPY --from=missing / /\nRUN false\nFROM dep\nRUN true\n",
      { namedContexts },
      host,
    );
    assert.deepEqual(steps, ["[context dep] docker.io/library/other:2@…", "[stage-2 1/1] RUN true"]);
    assert.deepEqual(config.config.Labels, { from: "other" });
  });

  it("are directories with ignore files of their own, repositories and files", async () => {
    const { definition } = await image(
      "FROM base:1\nCOPY --from=dir / /d\nCOPY --from=repo / /r\nCOPY --from=file / /f\n",
      {
        namedContexts: new Map([
          ["dir", "local:dir"],
          ["repo", "https://example.com/r.git#v1:sub"],
          ["file", "https://example.com/f.tar"],
        ]),
        namedIgnores: new Map([["dir", { name: ".dockerignore", data: Buffer.from("# no\n*.log\n") }]]),
      },
      host,
    );
    const sources = opsOf(definition, "source").slice(0, 3);
    assert.deepEqual(
      sources.map(({ identifier }) => identifier),
      ["local://dir", "git://example.com/r.git#v1:sub", "https://example.com/f.tar"],
    );
    assert.deepEqual(sources[0]?.attrs, { "local.excludepatterns": '["*.log"]' });
  });

  it("for one platform win on that platform", async () => {
    const namedContexts = new Map([
      ["base:1", "docker-image://missing"],
      ["base:1::linux/amd64", "docker-image://other:2"],
    ]);
    const { config } = await image("FROM base:1\n", { namedContexts }, host);
    assert.deepEqual(config.config.Labels, { from: "other" });
  });
});
