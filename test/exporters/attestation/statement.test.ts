// Statements and their manifests, against BuildKit's docs/attestations/attestation-storage.md.

import assert from "node:assert/strict";
import { reattested, statementText } from "../../../exporters/attestation/statement.ts";
import { memberText, reformatJson } from "../../../exporters/attestation/json-text.ts";
import { imagePurl } from "../../../exporters/attestation/purl.ts";
import { isAttestation, runOutputs } from "../../../exporters/exporter.ts";
import type { Attestation } from "../../../exporters/contract.ts";
import { parseOutput } from "../../../exporters/output-grammar.ts";
import { type Digest, digestOf } from "../../../solver/graph/digest.ts";
import type { Descriptor } from "../../../solver/graph/request.ts";
import { type Fixture, openFixture } from "../fixture.ts";

const DIGEST = digestOf("image");
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

describe("package URLs of images", () => {
  it("are those of BuildKit", () => {
    // moby/buildkit util/purl/image_test.go
    const arm = { os: "linux", architecture: "arm", variant: "v7" };
    const cases: [string, string, typeof arm | null][] = [
      ["alpine", "pkg:docker/alpine@latest", null],
      ["library/alpine:3.15", "pkg:docker/alpine@3.15", null],
      ["docker.io/library/alpine:latest", "pkg:docker/alpine@latest", null],
      [`docker.io/library/alpine:latest@${DIGEST}`, `pkg:docker/alpine@latest?digest=${DIGEST}`, null],
      [`docker.io/library/alpine@${DIGEST}`, `pkg:docker/alpine?digest=${DIGEST}`, null],
      ["user/test:v2", "pkg:docker/user/test@v2", null],
      ["ghcr.io/foo/bar", "pkg:docker/ghcr.io/foo/bar@latest", null],
      ["localhost:5000/app:1", "pkg:docker/localhost%3A5000/app@1", null],
      ["busybox", "pkg:docker/busybox@latest?platform=linux%2Farm%2Fv7", arm],
      [`busybox@${DIGEST}`, `pkg:docker/busybox?digest=${DIGEST}&platform=linux%2Farm%2Fv7`, arm],
    ];
    for (const [reference, purl, platform] of cases)
      assert.equal(imagePurl("docker", reference, platform), purl, reference);
    assert.throws(() => imagePurl("docker", "inv:al:id", null), { code: "REFERENCE_INVALID" });
  });
});

describe("JSON as text", () => {
  const value = { a: [1, { b: 'x, {"y"}: [z]' }, []], c: {}, d: null, e: "\\" };

  it("is indented and made compact like Go does, whatever strings hold", () => {
    const compact = JSON.stringify(value);
    const indented = JSON.stringify(value, null, 2);
    assert.equal(reformatJson(compact, 2), indented);
    assert.equal(reformatJson(indented), compact);
    assert.equal(
      reformatJson(` {"big" : 12345678901234567890 , "f":1.0e5}`),
      '{"big":12345678901234567890,"f":1.0e5}',
    );
  });

  it("has its members by name at the top alone", () => {
    const object = `{"x":{"predicate":1},"s":"\\"predicate\\":2","predicate": {"n":12345678901234567890} ,"z":[1]}`;
    assert.equal(memberText(object, "predicate"), '{"n":12345678901234567890}');
    assert.equal(memberText(object, "z"), "[1]");
    assert.equal(memberText(object, "n"), null);
    // What is checked and what is written down must be the same of two.
    const twice = `{"predicate":{"a":1},"\\u0070redicate":2}`;
    assert.deepEqual(JSON.parse(twice), { predicate: Number(memberText(twice, "predicate")) });
  });
});

describe("statements", () => {
  it("keep what was said of an image when it gets another digest", async () => {
    const subject = [{ name: "_", digest: { sha256: DIGEST.slice(7) } }];
    const predicate = '{"n":12345678901234567890,"html":"\\u003cb\\u003e"}';
    const statement = Buffer.from(statementText("https://slsa.dev/provenance/v1", subject, predicate));
    const again = reattested(statement, DIGEST);
    assert.equal(await again.predicate({ layers: null, createdSeconds: null }), predicate);
    assert.equal(again.subjects, undefined);
    // Of something else within it
    const part = [{ name: "bin/a", digest: { sha256: "00" } }];
    assert.deepEqual(reattested(Buffer.from(statementText("t", part, "{}")), DIGEST).subjects, part);
  });

  it("that are broken or none are refused in one sentence", () => {
    for (const broken of [
      "",
      "{",
      "[]",
      "7",
      "null",
      '{"predicateType":"t","subject":[]}',
      '{"predicate":{}}',
    ])
      assert.throws(() => reattested(Buffer.from(broken), DIGEST), { code: "IMAGE_INVALID" }, broken);
  });
});

describe("attestation manifests", () => {
  let fixture: Fixture;
  beforeEach(async () => {
    fixture = await openFixture();
  });
  afterEach(() => fixture[Symbol.asyncDispose]());

  const attestation = (more: Partial<Attestation> = {}): Attestation => ({
    ...{ predicateType: "https://slsa.dev/provenance/v1", filename: "provenance.json", inlineOnly: false },
    predicate: async ({ layers }) => JSON.stringify({ layers: layers?.length ?? null }),
    ...more,
  });
  const read = (digest: string): Record<string, unknown> =>
    JSON.parse(text(fixture.store.content.read(digest as Digest, 1 << 20))) as Record<string, unknown>;
  async function exported(
    output: string,
    attestations: readonly (readonly Attestation[])[],
    archs = ["amd64"],
  ) {
    const layer = await fixture.addLayer("a", "x");
    const images = archs.map((architecture) => fixture.image([layer], { architecture }));
    const context = fixture.context({ attestations });
    const [outcome] = await runOutputs(images, [parseOutput(output)], fixture.deps, context);
    return outcome?.descriptor as Descriptor;
  }

  it("are artifacts behind the images of the index, and about one each", async () => {
    const top = await exported(
      "type=image,name=h.io/app:1",
      [[attestation()], [attestation()]],
      ["amd64", "arm64"],
    );
    const { manifests } = read(top.digest) as unknown as { manifests: Descriptor[] };
    assert.deepEqual(
      manifests.map(({ platform }) => platform),
      [
        { architecture: "amd64", os: "linux" },
        { architecture: "arm64", os: "linux" },
        { architecture: "unknown", os: "unknown" },
        { architecture: "unknown", os: "unknown" },
      ],
    );
    for (const [index, attached] of manifests.slice(2).entries()) {
      const image = manifests[index] as Descriptor;
      assert.deepEqual(attached.annotations, {
        "vnd.docker.reference.digest": image.digest,
        "vnd.docker.reference.type": "attestation-manifest",
      });
      assert.ok(isAttestation(attached));
      const manifest = read(attached.digest);
      assert.deepEqual(Object.keys(manifest), [
        ...["schemaVersion", "mediaType", "artifactType", "config", "layers", "subject"],
      ]);
      assert.equal(manifest["artifactType"], "application/vnd.docker.attestation.manifest.v1+json");
      assert.deepEqual(manifest["config"], {
        mediaType: "application/vnd.oci.empty.v1+json",
        digest: "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        size: 2,
        data: "e30=",
      });
      const { mediaType, digest, size } = image;
      assert.deepEqual(manifest["subject"], { mediaType, digest, size });
      const [layer] = manifest["layers"] as [Descriptor];
      assert.equal(layer.mediaType, "application/vnd.in-toto+json");
      assert.deepEqual(layer.annotations, { "in-toto.io/predicate-type": "https://slsa.dev/provenance/v1" });
      const architecture = image.platform?.architecture;
      assert.deepEqual(read(layer.digest), {
        _type: "https://in-toto.io/Statement/v1",
        predicateType: "https://slsa.dev/provenance/v1",
        subject: [
          {
            name: `pkg:docker/h.io/app@1?platform=linux%2F${architecture}`,
            digest: { sha256: image.digest.slice(7) },
          },
        ],
        predicate: { layers: 1 },
      });
    }
  });

  it("look like images with oci-artifact=false", async () => {
    const top = await exported("type=image,name=h.io/app:1,oci-artifact=false", [[attestation()]]);
    const { manifests } = read(top.digest) as unknown as { manifests: Descriptor[] };
    const manifest = read((manifests[1] as Descriptor).digest) as {
      config: Descriptor;
      layers: Descriptor[];
    };
    assert.deepEqual(Object.keys(manifest), ["schemaVersion", "mediaType", "config", "layers"]);
    assert.equal(manifest.config.mediaType, "application/vnd.oci.image.config.v1+json");
    assert.deepEqual(read(manifest.config.digest), {
      ...{ architecture: "unknown", os: "unknown", config: {} },
      rootfs: { type: "layers", diff_ids: manifest.layers.map(({ digest }) => digest) },
    });
  });

  it("have the subject _ for an image without a name", async () => {
    const top = await exported("type=image", [[attestation()]]);
    const { manifests } = read(top.digest) as unknown as { manifests: Descriptor[] };
    const { layers } = read((manifests[1] as Descriptor).digest) as { layers: Descriptor[] };
    assert.deepEqual(read((layers[0] as Descriptor).digest)["subject"], [
      { name: "_", digest: { sha256: manifests[0]?.digest.slice(7) } },
    ]);
  });

  it("are left out for what is inline only where the exporter does not attach it to an image alone", async () => {
    const inline = [[attestation({ inlineOnly: true })]];
    const isIndex = ({ mediaType }: Descriptor): boolean => mediaType.includes("index");
    assert.ok(isIndex(await exported("type=image", inline)));
    assert.ok(!isIndex(await exported("type=image,attestation-inline=false", inline)));
    assert.ok(!isIndex(await exported(`type=oci,dest=${fixture.dir}/a.tar`, inline)));
    assert.ok(isIndex(await exported(`type=oci,dest=${fixture.dir}/b.tar,attestation-inline=true`, inline)));
    assert.ok(isIndex(await exported(`type=oci,dest=${fixture.dir}/c.tar`, [[attestation()]])));
  });

  it("cannot have Docker's types", async () => {
    await assert.rejects(exported("type=image,oci-mediatypes=false", [[attestation()]]), {
      code: "OUTPUT_INVALID",
      message: 'cannot export attestations with "oci-mediatypes=false"',
    });
  });
});
