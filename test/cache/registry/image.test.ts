import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseDocument } from "../../../cache/registry/documents.ts";
import { loadImage, loadLayout, pullLayer, selectManifest } from "../../../cache/registry/image.ts";
import { platformRank } from "../../../cache/registry/platform-match.ts";
import { parseReference } from "../../../cache/registry/reference.ts";
import { runOutputs } from "../../../exporters/exporter.ts";
import { parseOutput } from "../../../exporters/output-grammar.ts";
import { digestOf, hexOf } from "../../../solver/graph/digest.ts";
import type { Platform } from "../../../solver/graph/op.ts";
import { type Fixture, openFixture } from "../../exporters/fixture.ts";
import { startRegistry } from "../../support/registry.ts";

const AMD64 = { os: "linux", architecture: "amd64" };
const platform = (text: string): Platform => {
  const [os = "", architecture = "", variant] = text.split("/");
  return { os, architecture, ...(variant === undefined ? {} : { variant }) };
};

describe("the manifest for a platform", () => {
  const select = (offered: readonly string[], wanted: string): string | null => {
    const manifests = offered.map((text) => ({
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      digest: digestOf(text),
      size: 1,
      platform: platform(text),
    }));
    const found = selectManifest(
      { kind: "index", mediaType: "", manifests, annotations: {} },
      platform(wanted),
    );
    return offered.find((text) => digestOf(text) === found?.digest) ?? null;
  };
  const cases: readonly (readonly [string, readonly string[], string | null])[] = [
    ["linux/amd64", ["linux/arm64", "linux/amd64"], "linux/amd64"],
    ["linux/arm64", ["linux/arm64/v8"], "linux/arm64/v8"],
    ["linux/arm64/v8", ["linux/arm/v7", "linux/arm64"], "linux/arm64"],
    ["linux/arm", ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"], "linux/arm/v7"],
    ["linux/arm/v6", ["linux/arm/v7", "linux/arm/v5"], "linux/arm/v5"],
    ["linux/arm/v5", ["linux/arm/v7"], null],
    ["linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], "linux/amd64/v2"],
    ["linux/amd64", ["linux/amd64/v2"], null],
    ["linux/amd64", ["linux/386"], "linux/386"],
    ["linux/arm64", ["linux/arm/v7"], "linux/arm/v7"],
    ["linux/s390x", ["linux/amd64", "unknown/unknown"], null],
    ["windows/amd64", ["linux/amd64"], null],
  ];
  it("is that of the version of Windows, or of one whose containers run there", () => {
    const rank = (wanted: string, offered: string): number | null => {
      const [one, other] = [wanted, offered].map((osVersion) => ({
        ...{ os: "windows", architecture: "amd64" },
        ...(osVersion === "" ? {} : { osVersion }),
      })) as [Platform, Platform];
      return platformRank(one, other);
    };
    assert.equal(rank("10.0.17763.1", "10.0.17763.1"), 0);
    assert.equal(rank("", "10.0.17763.1"), 0);
    assert.equal(rank("10.0.17763.2", "10.0.17763.1"), 0.5);
    assert.equal(rank("10.0.20348", "10.0.17763.1"), null);
    assert.equal(rank("10.0.22621", "10.0.20348.1"), 0.5);
    assert.equal(rank("10.0.26100", "10.0.20348"), null);
    assert.equal(rank("1.2.3", "1.1.0"), null);
  });
  for (const [wanted, offered, expected] of cases) {
    it(`${wanted} of ${offered.join(", ")} is ${expected}`, () =>
      assert.equal(select(offered, wanted), expected));
  }
});

describe("documents from outside", () => {
  const refuse = (text: string, message: RegExp) =>
    assert.throws(() => parseDocument(Buffer.from(text), null, "x"), { code: "IMAGE_INVALID", message });
  it("are refused when they are no manifests", () => {
    refuse("nonsense", /not JSON/);
    refuse("[]", /not a JSON object/);
    refuse('{"schemaVersion":1,"fsLayers":[]}', /schema 1/);
    refuse('{"schemaVersion":2,"manifests":[{}]}', /no media type/);
    refuse(
      '{"schemaVersion":2,"config":{"mediaType":"m","digest":"sha256:x","size":1},"layers":[]}',
      /no sha256 digest/,
    );
    refuse(
      `{"schemaVersion":2,"config":{"mediaType":"m","digest":"${digestOf("")}","size":-1},"layers":[]}`,
      /no size/,
    );
    refuse(
      `${'{"schemaVersion":2,"a":'.repeat(1)}${"[".repeat(1000)}${"]".repeat(1000)}}`,
      /nested too deeply/,
    );
  });
});

describe("images to build on", () => {
  let fixture: Fixture;
  beforeEach(async () => {
    fixture = await openFixture();
  });
  afterEach(() => fixture[Symbol.asyncDispose]());
  const build = async (output: string, architectures = ["amd64"]) => {
    const layer = await fixture.addLayer("a.txt", "one\n");
    const images = architectures.map((architecture) => fixture.image([layer], { architecture }));
    const context = fixture.context({ multiPlatform: architectures.length > 1 });
    return (await runOutputs(images, [parseOutput(output)], fixture.deps, context))[0]?.descriptor?.digest;
  };

  it("are read from a layout in a tar as from one in a directory, also one that tar made", async () => {
    const tar = join(fixture.dir, "a.tar");
    const dir = join(fixture.dir, "layout");
    await build(`type=oci,dest=${tar},name=app:1`);
    await build(`type=oci,dest=${dir},tar=false,name=app:1`);
    const repacked = join(fixture.dir, "b.tar");
    execFileSync("tar", ["--format=pax", "-cf", repacked, "-C", dir, "."]);
    const digests = [];
    for (const path of [tar, dir, repacked]) {
      await using fresh = await openFixture();
      const loaded = await loadLayout(path, "1", fresh.store, AMD64, fresh.context());
      for (const remote of loaded.layers)
        await pullLayer(remote, fresh.store, fresh.registry, fresh.context());
      assert.ok(loaded.layers.every(({ descriptor }) => fresh.store.content.has(descriptor.digest)));
      digests.push(loaded.digest);
      assert.equal(
        (await loadLayout(path, loaded.digest, fresh.store, AMD64, fresh.context())).digest,
        loaded.digest,
      );
      assert.equal((await loadLayout(path, null, fresh.store, AMD64, fresh.context())).digest, loaded.digest);
    }
    assert.equal(new Set(digests).size, 1);
  });

  it("are missed with the names that are there", async () => {
    const dir = join(fixture.dir, "layout");
    await build(`type=oci,dest=${dir},tar=false,name=app:1`);
    await assert.rejects(loadLayout(dir, "2", fixture.store, AMD64, fixture.context()), {
      code: "IMAGE_UNKNOWN",
      hint: /it has 1/,
    });
    await assert.rejects(loadLayout(join(dir, "no"), "2", fixture.store, AMD64, fixture.context()), {
      code: "CONTEXT_MISSING",
    });
    await assert.rejects(loadLayout(fixture.dir, "2", fixture.store, AMD64, fixture.context()), {
      code: "IMAGE_INVALID",
    });
  });

  it("are refused when a blob of a layout is not what its name says", async () => {
    const dir = join(fixture.dir, "layout");
    const digest = await build(`type=oci,dest=${dir},tar=false,name=app:1`);
    assert.ok(digest);
    await using fresh = await openFixture();
    const file = join(dir, "blobs/sha256", hexOf(digest));
    const other = Buffer.alloc(fixture.store.content.size(digest) ?? 0, 0x20);
    rmSync(file);
    writeFileSync(file, other);
    await assert.rejects(loadLayout(dir, "1", fresh.store, AMD64, fresh.context()), {
      code: "DIGEST_MISMATCH",
    });
    assert.equal(fresh.store.content.has(digest), false);
  });

  it("need no network when their digest is known, and say which platforms there are", async () => {
    const server = await startRegistry();
    const name = `${server.host}/multi/app:1`;
    const digest = await build(`type=registry,name=${name}`, ["amd64", "arm64"]);
    await using fresh = await openFixture();
    const load = (text: string, wanted: Platform) =>
      loadImage(fresh.registry, fresh.store, parseReference(text), wanted, fresh.context());
    const first = await load(name, AMD64);
    await assert.rejects(load(name, platform("linux/s390x")), {
      code: "PLATFORM_UNSUPPORTED",
      hint: /linux\/amd64, linux\/arm64/,
    });
    await server[Symbol.asyncDispose]();
    const again = await load(`${name}@${digest}`, AMD64);
    assert.deepEqual(again.manifest, first.manifest);
    assert.equal((await load(name, AMD64)).digest, digest); // as this client has resolved it
    await using other = await openFixture();
    const asked = loadImage(other.registry, fresh.store, parseReference(name), AMD64, fresh.context());
    await assert.rejects(asked, { code: "REGISTRY_UNREACHABLE" });
  });

  it("are not given under the name of a repository that does not have them", async () => {
    await using server = await startRegistry();
    const digest = await build(`type=registry,name=${server.host}/team/secret:1`);
    await using fresh = await openFixture();
    const load = (name: string) =>
      loadImage(
        fresh.registry,
        fresh.store,
        parseReference(`${server.host}/${name}@${digest}`),
        AMD64,
        fresh.context(),
      );
    assert.equal((await load("team/secret")).digest, digest);
    await assert.rejects(load("other/name"), { code: "REGISTRY_NOT_FOUND" });
    await build(`type=registry,name=${server.host}/other/name:1`);
    assert.equal((await load("other/name")).digest, digest);
  });
});
