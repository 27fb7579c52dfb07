import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  lstatSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { PassThrough } from "node:stream";
import { join } from "node:path";
import { toStream } from "../../bin/local-session.ts";
import { runOutputs } from "../../exporters/exporter.ts";
import { goTime } from "../../exporters/go-json.ts";
import { type ImageLayer, makeImage } from "../../exporters/image.ts";
import { parseOutput } from "../../exporters/output-grammar.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import type { BuiltImage, ImageConfig } from "../../solver/graph/request.ts";
import { collect, openFixture, type Fixture } from "./fixture.ts";

const layer = (name: string, mediaType = "application/vnd.oci.image.layer.v1.tar+gzip"): ImageLayer => ({
  descriptor: {
    mediaType,
    digest: digestOf(`${name}.gz`),
    size: 10,
    annotations: { "org.x": "y", "containerd.io/uncompressed": "z" },
  },
  diffId: digestOf(name),
  createdAtMs: Date.UTC(2023, 0, 1, 0, 0, 0, 120),
  description: `made ${name}`,
});
const build = (config: Partial<ImageConfig>): BuiltImage => ({
  platform: { os: "linux", architecture: "amd64" },
  layers: [],
  config: { architecture: "amd64", os: "linux", config: {}, history: [], ...config },
});
const OPTIONS = { ociTypes: true, annotations: [], epochSeconds: null };
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();
const historyOf = (
  config: Partial<ImageConfig>,
  layers: readonly ImageLayer[],
  epochSeconds: number | null = null,
) =>
  (
    JSON.parse(
      text(makeImage(build(config), layers, { ...OPTIONS, epochSeconds }).config.bytes),
    ) as ImageConfig
  ).history;

describe("image documents", () => {
  it("have the bytes Go would write", () => {
    const { config, manifest } = makeImage(
      build({
        created: "2024-01-01T00:00:00Z",
        author: "",
        config: {
          Cmd: ["sh", "-c", "a && b > c"],
          Env: ["A=1"],
          Labels: { b: "2", a: "1" },
          Entrypoint: null,
          ExposedPorts: {},
          Healthcheck: { Retries: 3, Test: ["NONE"], Interval: 0 },
          Shell: ["/bin/sh"],
          WorkingDir: "/",
        },
        history: [{ comment: "c", created_by: "x", created: "2024-01-01T00:00:00Z", empty_layer: false }],
      }),
      [layer("one")],
      OPTIONS,
    );
    assert.equal(
      text(config.bytes),
      `{"architecture":"amd64","config":{"Env":["A=1"],"Cmd":["sh","-c","a \\u0026\\u0026 b \\u003e c"],"WorkingDir":"/","Labels":{"a":"1","b":"2"},` +
        `"Healthcheck":{"Test":["NONE"],"Retries":3},"Shell":["/bin/sh"]},"created":"2024-01-01T00:00:00Z",` +
        `"history":[{"created":"2024-01-01T00:00:00Z","created_by":"x","comment":"c"}],"os":"linux","rootfs":{"type":"layers","diff_ids":["${digestOf("one")}"]}}`,
    );
    assert.ok(
      text(manifest.bytes).startsWith(
        '{\n  "schemaVersion": 2,\n  "mediaType": "application/vnd.oci.image.manifest.v1+json",\n  "config": {\n    "mediaType"',
      ),
    );
    assert.deepEqual(
      (JSON.parse(text(manifest.bytes)) as { layers: { annotations: unknown }[] }).layers[0]?.annotations,
      { "org.x": "y" },
    );
    assert.equal(manifest.descriptor.digest, digestOf(manifest.bytes));
  });

  it("have Docker's types and no annotations of layers when asked to", () => {
    const layers = [
      layer("a"),
      layer("b", "application/vnd.oci.image.layer.v1.tar+zstd"),
      layer("c", "application/vnd.oci.image.layer.v1.tar"),
    ];
    const made = makeImage(build({}), layers, { ...OPTIONS, ociTypes: false });
    assert.deepEqual(
      made.layers.map(({ descriptor }) => [descriptor.mediaType, descriptor.annotations]),
      ["tar.gzip", "tar.zstd", "tar"].map((end) => [
        `application/vnd.docker.image.rootfs.diff.${end}`,
        undefined,
      ]),
    );
    const back = makeImage(build({}), made.layers, OPTIONS);
    assert.deepEqual(
      back.layers.map(({ descriptor }) => descriptor.mediaType),
      layers.map(({ descriptor }) => descriptor.mediaType),
    );
    assert.match(made.manifest.descriptor.mediaType, /docker\.distribution\.manifest\.v2/);
  });

  it("tell a history with one entry for each layer", () => {
    assert.deepEqual(historyOf({ history: [] }, [layer("a")]), [
      { created: "2023-01-01T00:00:00.12Z", created_by: "made a", comment: "buildkit.exporter.image.v0" },
    ]);
    const surplus = historyOf({ history: [{ created_by: "1" }, { created_by: "2" }] }, [layer("a")]);
    assert.deepEqual(
      surplus.map(({ empty_layer }) => empty_layer ?? false),
      [false, true],
    );
  });

  it("give entries without a time that of the next layer", () => {
    const history = historyOf(
      {
        history: [
          { created: "2020-01-01T00:00:00Z", empty_layer: true },
          { empty_layer: true },
          {},
          { empty_layer: true },
        ],
      },
      [layer("a")],
    );
    assert.deepEqual(
      history.map(({ created }) => created?.slice(0, 4)),
      ["2020", "2023", "2023", "2023"],
    );
  });

  it("hold no time after SOURCE_DATE_EPOCH, also before 1970", () => {
    const config: Partial<ImageConfig> = {
      created: "2024-01-01T00:00:00Z",
      history: [{ created: "2010-01-01T00:00:00Z" }, { created: "2024-01-01T00:00:00Z" }],
    };
    const epoch = Date.UTC(2015, 0, 1) / 1000;
    assert.deepEqual(
      historyOf(config, [layer("a"), layer("b")], epoch).map(({ created }) => created),
      ["2010-01-01T00:00:00Z", "2015-01-01T00:00:00Z"],
    );
    const { created } = makeImage(build(config), [layer("a"), layer("b")], {
      ...OPTIONS,
      epochSeconds: -86400,
    });
    assert.equal(created, "1969-12-31T00:00:00Z");
    assert.equal(goTime(1_600_000_000_100), "2020-09-13T12:26:40.1Z");
  });
});

describe("outputs", () => {
  let fixture: Fixture;
  beforeEach(async () => {
    fixture = await openFixture();
  });
  afterEach(() => fixture[Symbol.asyncDispose]());

  it("go to standard output for dest=-, which must not be a terminal", async () => {
    const image = fixture.image([await fixture.addLayer("a.txt", "one\n")]);
    const stdout = new PassThrough();
    const reading = collect(stdout);
    const file = join(fixture.dir, "same.tar");
    const outputs = [parseOutput("type=oci,dest=-"), parseOutput(`type=oci,dest=${file}`)];
    await runOutputs([image], outputs, { ...fixture.deps, client: toStream(stdout) }, fixture.context());
    stdout.end();
    assert.ok((await reading).equals(readFileSync(file)));
    await assert.rejects(runOutputs([image], outputs, fixture.deps, fixture.context()), {
      code: "OUTPUT_INVALID",
      message: /terminal/,
    });
  });

  it("honour the umask, follow a link, and go straight to a device", async () => {
    const image = fixture.image([await fixture.addLayer("a.txt", "one\n")]);
    const write = (dest: string) =>
      runOutputs([image], [parseOutput(`type=oci,dest=${dest}`)], fixture.deps, fixture.context());
    const [target, link] = ["target.tar", "link.tar"].map((name) => join(fixture.dir, name)) as [
      string,
      string,
    ];
    writeFileSync(target, "older");
    symlinkSync(target, link);
    const umask = process.umask(0o027);
    try {
      await write(link);
    } finally {
      process.umask(umask);
    }
    assert.ok(lstatSync(link).isSymbolicLink());
    assert.equal(statSync(target).mode & 0o777, 0o640);
    assert.ok(statSync(target).size > 1000);
    await write("/dev/null");
    assert.ok(statSync("/dev/null").isCharacterDevice());
    await assert.rejects(write(fixture.dir), { code: "OUTPUT_INVALID", message: /is a directory/ });
  });

  it("are refused before any work when they cannot be", async () => {
    const images = ["amd64", "arm64"].map((architecture) => fixture.image([], { architecture }));
    const refused = (list: readonly BuiltImage[], text: string, message: RegExp) =>
      assert.rejects(runOutputs(list, [parseOutput(text)], fixture.deps, fixture.context()), {
        code: "OUTPUT_INVALID",
        message,
      });
    await refused(images, `type=docker,dest=${fixture.dir}/x`, /manifest lists/);
    await refused(images.slice(0, 1), "type=image,push=true", /tag is needed/);
    await refused(
      images.slice(0, 1),
      `type=oci,dest=${fixture.dir}/x,annotation-index.a=b`,
      /index annotations not supported/,
    );
  });

  it("are piped into docker load, or podman when there is no docker", async () => {
    const image = fixture.image([await fixture.addLayer("a.txt", "one\n")]);
    const program = join(fixture.dir, "loader");
    writeFileSync(program, `#!/bin/sh\ncat > ${fixture.dir}/loaded.tar\necho "Loaded image: app"\n`);
    chmodSync(program, 0o755);
    const load = (loaders: readonly (readonly string[])[]) =>
      runOutputs(
        [image],
        [parseOutput("type=docker,name=app")],
        { ...fixture.deps, loaders },
        fixture.context(),
      );
    const [outcome] = await load([
      ["no-such-docker", "load"],
      [program, "load"],
    ]);
    assert.equal(outcome?.loaderMessage, "Loaded image: app");
    const file = join(fixture.dir, "docker.tar");
    await runOutputs(
      [image],
      [parseOutput(`type=docker,name=app,dest=${file}`)],
      fixture.deps,
      fixture.context(),
    );
    assert.ok(readFileSync(join(fixture.dir, "loaded.tar")).equals(readFileSync(file)));
    await assert.rejects(load([["no-such-docker", "load"]]), {
      code: "OUTPUT_FAILED",
      hint: /type=docker,dest/,
    });
    writeFileSync(program, "#!/bin/sh\necho no space >&2\nexit 3\n");
    await assert.rejects(load([[program]]), { code: "OUTPUT_FAILED", message: /no space/ });
  });

  it("of files go through the keeper, in a folder for each platform", async () => {
    const images = ["amd64", "arm64"].map((architecture) => fixture.image([], { architecture }));
    const jobs: unknown[] = [];
    const files: typeof fixture.deps.files = async (job) => {
      jobs.push(job.trees.map(({ folder }) => folder));
      if (job.form === "tar") writeFileSync(job.dest, "tar of files");
      return 12;
    };
    const dest = join(fixture.dir, "new/files.tar");
    const outputs = [
      parseOutput(`type=tar,dest=${dest}`),
      parseOutput(join(fixture.dir, "tree")),
      parseOutput(`type=local,dest=${fixture.dir}/flat,platform-split=false`),
    ];
    await runOutputs(images, outputs, { ...fixture.deps, files }, fixture.context());
    assert.deepEqual(
      jobs.toSorted(),
      [
        [null, null],
        ["linux_amd64", "linux_arm64"],
        ["linux_amd64", "linux_arm64"],
      ].toSorted(),
    );
    assert.equal(readFileSync(dest, "utf8"), "tar of files");
    const said = fixture.events.flatMap((event) => (event.kind === "bytes" && event.done ? [event] : []));
    assert.ok(said.some(({ label, current }) => label === "sending tarball" && current === 12));
    assert.ok(existsSync(join(fixture.dir, "tree")));
  });
});
