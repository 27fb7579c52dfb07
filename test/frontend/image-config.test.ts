// Image configs: image-spec config.md. History as BuildKit writes it.

import assert from "node:assert/strict";
import { formatTime, readBaseImage } from "../../frontend/image-config.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { baseImage, hostOf, image } from "./dockerfile.ts";

const read = (config: object): ReturnType<typeof readBaseImage> =>
  readBaseImage(Buffer.from(JSON.stringify(config)), "base:1");

describe("an image config", () => {
  it("continues that of the base image, with its history", async () => {
    const host = hostOf({
      "docker.io/library/base:1": {
        ...baseImage({ Labels: { old: "1" }, Volumes: { "/v": {} } }),
        author: "me",
        docker_version: "1",
      },
    });
    const { config } = await image(
      "FROM base:1\nLABEL new=2\nRUN x\n",
      { labels: new Map([["old", "cli"]]) },
      host,
    );
    assert.deepEqual(config, {
      author: "me",
      architecture: "amd64",
      os: "linux",
      config: {
        Env: ["PATH=/usr/bin:/bin"],
        Cmd: ["/bin/sh"],
        Volumes: { "/v": {} },
        Labels: { new: "2", old: "cli" },
      },
      history: [
        { created: "2020-01-01T00:00:00Z", created_by: "base" },
        {
          created_by: "LABEL new=2",
          comment: "buildkit.dockerfile.v0",
          empty_layer: true,
        },
        {
          created_by: "RUN /bin/sh -c x # buildkit",
          comment: "buildkit.dockerfile.v0",
        },
      ],
    });
  });

  it("has times only with SOURCE_DATE_EPOCH: the others are those of the layers", async () => {
    const { config } = await image("FROM base:1\nRUN x\n", { sourceDateEpoch: 1_600_000_000 });
    assert.equal(config.created, "2020-09-13T12:26:40Z");
    assert.deepEqual(
      config.history.map(({ created }) => created),
      ["2020-01-01T00:00:00Z", "2020-09-13T12:26:40Z"],
    );
  });

  it("has the keys of its maps in order, so that equal builds are equal bytes", async () => {
    const one = await image("FROM base:1\nLABEL b=1 a=2\nEXPOSE 9 80\nVOLUME /b /a\n");
    const two = await image("FROM base:1\nLABEL a=2 b=1\nEXPOSE 80 9\nVOLUME /a /b\n");
    assert.equal(JSON.stringify(one.config.config), JSON.stringify(two.config.config));
    assert.deepEqual(Object.keys(one.config.config.ExposedPorts ?? {}), ["80/tcp", "9/tcp"]);
  });

  it("always has a PATH", async () => {
    const host = hostOf({ "docker.io/library/base:1": baseImage({ Env: ["A=1"] }) });
    const { config } = await image("FROM base:1\n", {}, host);
    assert.deepEqual(config.config.Env, [
      "A=1",
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]);
  });

  it("without layers is nothing to start from, but for its config", async () => {
    const host = hostOf({
      "docker.io/library/base:1": { os: "linux", architecture: "amd64", config: { Labels: { a: "b" } } },
    });
    const { config, definition } = await image("FROM base:1\n", {}, host);
    assert.equal(definition.root, null);
    assert.deepEqual(config.config.Labels, { a: "b" });
  });
});

describe("a base image's config", () => {
  it("is refused where it is not what the spec says", () => {
    for (const config of [
      { config: { Env: "PATH" } },
      { config: { Labels: { a: 1 } } },
      { config: { Volumes: [] } },
      { config: [] },
      { history: {} },
      { os: 5 },
      { config: { Healthcheck: { Interval: "1s" } } },
    ]) {
      assert.throws(() => read(config), { code: "IMAGE_INVALID" }, JSON.stringify(config));
    }
    assert.throws(() => readBaseImage(Buffer.from("{"), "base:1"), BuildError);
  });

  it("may have null for what is not there", () => {
    const { image: config } = read({
      os: "linux",
      config: { Env: null, Cmd: null, Labels: null, Volumes: null },
      history: null,
    });
    assert.deepEqual(config.history, []);
    assert.equal(config.config.Cmd, undefined);
  });

  it("cannot reach what is not its own: odd keys are mere keys", () => {
    const { image: config } = readBaseImage(
      Buffer.from(
        '{"os":"linux","architecture":"amd64","config":{"Labels":{"__proto__":"x","constructor":"y"}}}',
      ),
      "base:1",
    );
    assert.deepEqual(Object.keys(config.config.Labels ?? {}), ["__proto__", "constructor"]);
    assert.equal(({} as Record<string, unknown>)["x"], undefined);
  });
});

describe("times", () => {
  it("are printed as Go does, without a fraction that is zero", () => {
    assert.equal(formatTime(0), "1970-01-01T00:00:00Z");
    assert.equal(formatTime(1_600_000_000_120), "2020-09-13T12:26:40.12Z");
    assert.equal(formatTime(-86_400_000), "1969-12-31T00:00:00Z");
  });
});
