import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runOutputs } from "../../exporters/exporter.ts";
import { parseOutput } from "../../exporters/output-grammar.ts";
import { loadImage, loadLayout, pullLayer } from "../../cache/registry/image.ts";
import { parseReference } from "../../cache/registry/reference.ts";
import { startRegistry, type RunningRegistry } from "../support/registry.ts";
import { openFixture, type Fixture } from "./fixture.ts";

const AMD64 = { os: "linux", architecture: "amd64" };
const skopeo = (...args: string[]) =>
  execFileSync("skopeo", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

describe("an image leaves the house", () => {
  let fixture: Fixture;
  let registry: RunningRegistry;
  before(async () => {
    registry = await startRegistry();
  });
  after(() => registry[Symbol.asyncDispose]());
  beforeEach(async () => {
    fixture = await openFixture();
  });
  afterEach(() => fixture[Symbol.asyncDispose]());

  it("as an OCI tar that skopeo reads and umoci unpacks", async () => {
    const image = fixture.image([
      await fixture.addLayer("a.txt", "one\n"),
      await fixture.addLayer("b.txt", "two\n"),
    ]);
    const dest = join(fixture.dir, "image.tar");
    const [outcome] = await runOutputs(
      [image],
      [parseOutput(`type=oci,dest=${dest},name=app:1`)],
      fixture.deps,
      fixture.context(),
    );
    const inspected = JSON.parse(skopeo("inspect", `oci-archive:${dest}:1`)) as {
      Digest: string;
      Layers: string[];
    };
    assert.equal(inspected.Digest, outcome?.descriptor?.digest);
    assert.equal(inspected.Layers.length, 2);

    const layout = join(fixture.dir, "layout");
    skopeo("copy", "--quiet", `oci-archive:${dest}:1`, `oci:${layout}:1`);
    execFileSync("umoci", ["unpack", "--rootless", "--image", `${layout}:1`, join(fixture.dir, "bundle")], {
      stdio: "ignore",
    });
    assert.equal(readFileSync(join(fixture.dir, "bundle/rootfs/b.txt"), "utf8"), "two\n");
  });

  it("as the same bytes each time, with members in order and nothing of this machine", async () => {
    const image = fixture.image([await fixture.addLayer("a.txt", "one\n")]);
    const files = ["x.tar", "y.tar"].map((name) => join(fixture.dir, name));
    const outputs = files.map((dest) => parseOutput(`type=oci,dest=${dest}`));
    await runOutputs([image], outputs, fixture.deps, fixture.context());
    await using other = await openFixture();
    const again = join(fixture.dir, "z.tar");
    const same = other.image([await other.addLayer("a.txt", "one\n")]);
    await runOutputs(
      [same],
      [parseOutput(`type=oci,dest=${again}`)],
      other.deps,
      other.context({ nowMs: () => 1 }),
    );
    const [x, y] = files.map((file) => readFileSync(file)) as [Buffer, Buffer];
    assert.ok(x.equals(y) && x.equals(readFileSync(again)));
    const names = execFileSync("tar", ["tf", again], { encoding: "utf8" }).trim().split("\n");
    assert.deepEqual(names, names.toSorted());
    const listing = execFileSync("tar", ["tvf", again, "--full-time"], {
      encoding: "utf8",
      env: { ...process.env, TZ: "UTC" },
    });
    assert.match(listing, /-r--r--r-- 0\/0 +\d+ 1970-01-01 00:00:00 index\.json/);
    assert.deepEqual(readdirSync(fixture.dir).toSorted(), ["x.tar", "y.tar", "z.tar"]);
  });

  it("as a directory with tar=false, to which a second image is added", async () => {
    const first = fixture.image([await fixture.addLayer("a.txt", "one\n")]);
    const second = fixture.image([await fixture.addLayer("b.txt", "two\n")]);
    const dest = join(fixture.dir, "layout");
    for (const [name, image] of [
      ["x:1", first],
      ["x:2", second],
      ["x:1", second],
    ] as const) {
      await runOutputs(
        [image],
        [parseOutput(`type=oci,tar=false,dest=${dest},name=${name}`)],
        fixture.deps,
        fixture.context(),
      );
    }
    const index = JSON.parse(readFileSync(join(dest, "index.json"), "utf8")) as {
      manifests: { annotations: Record<string, string> }[];
    };
    assert.deepEqual(
      index.manifests.map(({ annotations }) => annotations["io.containerd.image.name"]),
      ["docker.io/library/x:2", "docker.io/library/x:1"],
    );
    const one = await loadLayout(dest, "1", fixture.store, AMD64, fixture.context());
    const two = await loadLayout(dest, "2", fixture.store, AMD64, fixture.context());
    assert.equal(one.digest, two.digest);
  });

  it("as a docker tar with short names, or null without a name", async () => {
    const image = fixture.image([await fixture.addLayer("a.txt", "one\n")]);
    const dest = join(fixture.dir, "docker.tar");
    const manifestOf = async (attributes: string) => {
      await runOutputs(
        [image],
        [parseOutput(`type=docker,dest=${dest}${attributes}`)],
        fixture.deps,
        fixture.context(),
      );
      return JSON.parse(execFileSync("tar", ["xOf", dest, "manifest.json"], { encoding: "utf8" })) as {
        RepoTags: unknown;
        Layers: string[];
      }[];
    };
    assert.equal((await manifestOf(""))[0]?.RepoTags, null);
    const [named] = await manifestOf(',"name=app,ghcr.io/o/app:2"');
    assert.deepEqual(named?.RepoTags, ["app:latest", "ghcr.io/o/app:2"]);
    assert.equal(named?.Layers.length, 1);
    assert.match(skopeo("inspect", `docker-archive:${dest}:app:latest`), /"amd64"/);
  });

  it("to a registry under all its names, and back by a pull", async () => {
    const image = fixture.image([
      await fixture.addLayer("a.txt", "one\n"),
      await fixture.addLayer("b.txt", "two\n"),
    ]);
    const names = [
      `${registry.host}/team/app:1`,
      `${registry.host}/team/app:2`,
      `${registry.host}/other/app`,
    ];
    const [outcome] = await runOutputs(
      [image],
      [parseOutput(`type=registry,"name=${names.join(",")}"`)],
      fixture.deps,
      fixture.context(),
    );
    for (const name of [...names.slice(0, 2), `${names[2]}:latest`]) {
      const inspected = JSON.parse(skopeo("inspect", "--tls-verify=false", `docker://${name}`)) as {
        Digest: string;
      };
      assert.equal(inspected.Digest, outcome?.descriptor?.digest);
    }
    await using fresh = await openFixture();
    const loaded = await loadImage(
      fresh.registry,
      fresh.store,
      parseReference(names[0] ?? ""),
      AMD64,
      fresh.context(),
    );
    assert.equal(loaded.digest, outcome?.descriptor?.digest);
    for (const remote of loaded.layers) await pullLayer(remote, fresh.store, fresh.registry, fresh.context());
    assert.ok(loaded.layers.every(({ descriptor }) => fresh.store.content.has(descriptor.digest)));
  });

  it("as an index for several platforms, whose manifests can be chosen", async () => {
    const layer = await fixture.addLayer("a.txt", "one\n");
    const images = ["amd64", "arm64"].map((architecture) => fixture.image([layer], { architecture }));
    const name = `${registry.host}/multi/app:1`;
    const output = parseOutput(`type=registry,name=${name},annotation-index.org.x=y`);
    const [outcome] = await runOutputs(
      images,
      [output],
      fixture.deps,
      fixture.context({ multiPlatform: true }),
    );
    assert.match(outcome?.descriptor?.mediaType ?? "", /image\.index/);
    const raw = JSON.parse(skopeo("inspect", "--raw", "--tls-verify=false", `docker://${name}`)) as {
      manifests: { platform: { architecture: string } }[];
      annotations: unknown;
    };
    assert.deepEqual(
      raw.manifests.map(({ platform }) => platform.architecture),
      ["amd64", "arm64"],
    );
    assert.deepEqual(raw.annotations, { "org.x": "y" });
    const arm = { os: "linux", architecture: "arm64", variant: "v8" };
    const loaded = await loadImage(
      fixture.registry,
      fixture.store,
      parseReference(name),
      arm,
      fixture.context(),
    );
    assert.equal(
      (JSON.parse(Buffer.from(loaded.configBytes).toString()) as { architecture: string }).architecture,
      "arm64",
    );
  });

  it("into the local store by name, without packing a blob", async () => {
    const layer = await fixture.addLayer("a.txt", "one\n");
    const output = parseOutput("type=image,name=app:1,name-canonical=true");
    const [outcome] = await runOutputs([fixture.image([layer])], [output], fixture.deps, fixture.context());
    const record = fixture.store.records.get<{ target: { digest: string }; layers: unknown }>(
      "image",
      "docker.io/library/app:1",
    );
    assert.equal(record?.target.digest, outcome?.descriptor?.digest);
    assert.deepEqual(record?.layers, { "linux/amd64": [layer] });
    assert.ok(fixture.store.records.get("image", `docker.io/library/app:1@${outcome?.descriptor?.digest}`));
    const manifest = JSON.parse(
      Buffer.from(fixture.store.content.read(outcome?.descriptor?.digest as never, 1e6)).toString(),
    ) as { layers: { digest: never }[] };
    assert.equal(fixture.store.content.has(manifest.layers[0]?.digest as never), false);
  });

  it("pushes by digest alone when asked to", async () => {
    const image = fixture.image([await fixture.addLayer("a.txt", "digest only\n")]);
    const output = parseOutput(`type=image,push=true,push-by-digest=true,name=${registry.host}/bydigest/app`);
    const [outcome] = await runOutputs([image], [output], fixture.deps, fixture.context());
    const reference = parseReference(`${registry.host}/bydigest/app@${outcome?.descriptor?.digest}`);
    assert.equal(
      (await fixture.registry.resolve(reference, fixture.context())).digest,
      outcome?.descriptor?.digest,
    );
    await assert.rejects(
      fixture.registry.resolve(parseReference(`${registry.host}/bydigest/app:latest`), fixture.context()),
      { code: "REGISTRY_NOT_FOUND" },
    );
  });

  it("fetches layers that are only in a registry before it writes a tar, and mounts them for a push", async () => {
    const image = fixture.image([await fixture.addLayer("base.txt", "base of another repository\n")]);
    const from = `${registry.host}/bases/one`;
    await runOutputs([image], [parseOutput(`type=registry,name=${from}:1`)], fixture.deps, fixture.context());
    await using fresh = await openFixture();
    const loaded = await loadImage(
      fresh.registry,
      fresh.store,
      parseReference(`${from}:1`),
      AMD64,
      fresh.context(),
    );
    const [remote] = loaded.layers;
    assert.ok(remote);
    const diffId = (
      JSON.parse(Buffer.from(loaded.configBytes).toString()) as { rootfs: { diff_ids: [never] } }
    ).rootfs.diff_ids[0];
    const layers = {
      ...fresh.layers,
      blob: async () => ({ descriptor: remote.descriptor, diffId, remote }),
    };
    const base = fresh.image([`d-${String(diffId).slice(7)}` as never]);
    const push = parseOutput(`type=registry,name=${registry.host}/derived/app:1`);
    await runOutputs([base], [push], { ...fresh.deps, layers }, fresh.context());
    assert.equal(fresh.store.content.has(remote.descriptor.digest), false, "the push mounted the layer");
    assert.match(
      skopeo("inspect", "--tls-verify=false", `docker://${registry.host}/derived/app:1`),
      new RegExp(remote.descriptor.digest),
    );
    const dest = join(fresh.dir, "image.tar");
    await runOutputs(
      [base],
      [parseOutput(`type=oci,dest=${dest}`)],
      { ...fresh.deps, layers },
      fresh.context(),
    );
    assert.match(skopeo("inspect", `oci-archive:${dest}`), new RegExp(remote.descriptor.digest));
  });

  it("leaves an older file as it was when the export fails, and no other file", async () => {
    const dest = join(fixture.dir, "image.tar");
    writeFileSync(dest, "older");
    const layer = await fixture.addLayer("a.txt", "one\n");
    const layers = {
      ...fixture.layers,
      blob: async (...args: Parameters<typeof fixture.layers.blob>) => {
        const made = await fixture.layers.blob(...args);
        return { ...made, descriptor: { ...made.descriptor, digest: made.diffId } }; // a blob that is not in the store
      },
    };
    await assert.rejects(
      runOutputs(
        [fixture.image([layer])],
        [parseOutput(`type=oci,dest=${dest}`)],
        { ...fixture.deps, layers },
        fixture.context(),
      ),
      { code: "STORE_CORRUPT" },
    );
    assert.equal(readFileSync(dest, "utf8"), "older");
    assert.deepEqual(readdirSync(fixture.dir), ["image.tar"]);
  });
});
