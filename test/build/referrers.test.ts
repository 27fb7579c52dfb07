// attestations=referrers: the image stays what it is without them, and they lie beside it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { needs } from "../support/needs.ts";
import { type Oci11Registry, startOci11Registry } from "../support/oci11-registry.ts";
import { type DebianRegistry, startRegistry } from "../support/registry.ts";
import { ordinaryUser } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly artifactType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}
interface Manifest {
  readonly mediaType: string;
  readonly artifactType?: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly subject?: Descriptor;
  readonly manifests?: readonly Descriptor[];
  readonly annotations?: Readonly<Record<string, string>>;
}

const IN_TOTO = "application/vnd.in-toto+json";
const PROVENANCE = "https://slsa.dev/provenance/v1";
const SPDX = "https://spdx.dev/Document";
const ACCEPT = ["application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"].join(
  ", ",
);

describe("attestations as referrers", function () {
  this.timeout(60_000);
  let shop: Workshop;
  let registry: DebianRegistry;
  let modern: Oci11Registry;
  let context: string;
  before(async () => {
    [registry, modern, shop] = await Promise.all([
      startRegistry(),
      startOci11Registry(),
      openWorkshop(ordinaryUser()),
    ]);
    context = shop.context("app", { Dockerfile: "FROM scratch\nCOPY file /file\n", file: "text\n" });
  });
  after(async () => {
    await registry[Symbol.asyncDispose]();
    await modern[Symbol.asyncDispose]();
    shop[Symbol.dispose]();
  });

  const get = async (host: string, path: string): Promise<Buffer | null> => {
    const answer = await fetch(`http://${host}/v2/${path}`, { headers: { accept: ACCEPT } });
    if (answer.status === 404) return null;
    assert.equal(answer.status, 200, path);
    return Buffer.from(await answer.arrayBuffer());
  };
  const digestOf = (bytes: Uint8Array): string =>
    `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
  const tagOf = (digest: string): string => digest.replace(":", "-");
  const push = ["-o", "type=registry,attestations=referrers"];
  const attest = ["--provenance=true", "--sbom=true"];

  /** Checks artifacts, of which there is one for each type of statement, and that each is about the image. */
  const check = async (host: string, repository: string, entries: readonly Descriptor[], image: Buffer) => {
    const subject = digestOf(image);
    const types: string[] = [];
    for (const { digest, size, artifactType, annotations } of entries) {
      assert.equal(artifactType, IN_TOTO);
      const bytes = (await get(host, `${repository}/manifests/${digest}`)) ?? assert.fail();
      assert.equal(digestOf(bytes), digest);
      assert.equal(bytes.length, size);
      const manifest = JSON.parse(bytes.toString()) as Manifest;
      assert.equal(manifest.artifactType, IN_TOTO);
      assert.equal(manifest.subject?.digest, subject);
      assert.equal(manifest.subject?.size, image.length);
      assert.deepEqual(manifest.annotations, annotations);
      const [layer = assert.fail()] = manifest.layers;
      assert.equal(layer.mediaType, IN_TOTO);
      const statement = JSON.parse(
        ((await get(host, `${repository}/blobs/${layer.digest}`)) ?? assert.fail()).toString(),
      ) as {
        readonly predicateType: string;
        readonly subject: readonly { readonly digest: { readonly sha256: string } }[];
      };
      assert.equal(statement.subject[0]?.digest.sha256, subject.slice(7));
      assert.equal(annotations?.["in-toto.io/predicate-type"], statement.predicateType);
      types.push(statement.predicateType);
    }
    return types.toSorted();
  };

  it("the image is a plain manifest, as without attestations, and the list is under a tag where the registry has no API", async () => {
    const plain = `${registry.host}/plain:1`;
    await shop.ok(["build", "--reproducible", "--push", "-t", plain, context]);
    await shop.ok(["build", "--reproducible", ...attest, ...push, "-t", `${registry.host}/a:1`, context]);
    const image = (await get(registry.host, "a/manifests/1")) ?? assert.fail();
    assert.deepEqual(image, await get(registry.host, "plain/manifests/1"));
    const list = (await get(registry.host, `a/manifests/${tagOf(digestOf(image))}`)) ?? assert.fail();
    const { mediaType, manifests = [] } = JSON.parse(list.toString()) as Manifest;
    assert.equal(mediaType, "application/vnd.oci.image.index.v1+json");
    assert.deepEqual(await check(registry.host, "a", manifests, image), [PROVENANCE, SPDX].toSorted());

    // The same again adds nothing; the same image with another statement adds that one.
    await shop.ok(["build", "--reproducible", ...attest, ...push, "-t", `${registry.host}/a:1`, context]);
    assert.deepEqual(await get(registry.host, `a/manifests/${tagOf(digestOf(image))}`), list);
    const other = ["--provenance=mode=min,builder-id=https://other.example"];
    await shop.ok(["build", "--reproducible", ...other, ...push, "-t", `${registry.host}/a:1`, context]);
    const more = JSON.parse(
      ((await get(registry.host, `a/manifests/${tagOf(digestOf(image))}`)) ?? assert.fail()).toString(),
    ) as Manifest;
    assert.deepEqual(more.manifests?.slice(0, 2), manifests);
    assert.equal(more.manifests?.length, 3);
  });

  it("a registry that lists them by itself gets no tag", async () => {
    await shop.ok(["build", ...attest, ...push, "-t", `${modern.host}/b:1`, context]);
    const image = (await get(modern.host, "b/manifests/1")) ?? assert.fail();
    const { manifests = [] } = JSON.parse(
      ((await get(modern.host, `b/referrers/${digestOf(image)}`)) ?? assert.fail()).toString(),
    ) as Manifest;
    assert.deepEqual(await check(modern.host, "b", manifests, image), [PROVENANCE, SPDX].toSorted());
    assert.equal(await get(modern.host, `b/manifests/${tagOf(digestOf(image))}`), null);
  });

  it("each image of an index has its own, and the index no attestation manifests", async () => {
    const name = `${registry.host}/c:1`;
    const platforms = ["--platform", "linux/amd64,linux/arm64"];
    await shop.ok(["build", ...platforms, "--provenance=true", ...push, "-t", name, context]);
    const index = JSON.parse(
      ((await get(registry.host, "c/manifests/1")) ?? assert.fail()).toString(),
    ) as Manifest;
    assert.equal(index.manifests?.length, 2);
    for (const { digest } of index.manifests ?? []) {
      const image = (await get(registry.host, `c/manifests/${digest}`)) ?? assert.fail();
      const list = (await get(registry.host, `c/manifests/${tagOf(digest)}`)) ?? assert.fail();
      const { manifests = [] } = JSON.parse(list.toString()) as Manifest;
      assert.deepEqual(await check(registry.host, "c", manifests, image), [PROVENANCE]);
    }
  });

  it("a layout has them as further entries, and is still read as one image by skopeo and a build", async () => {
    const dest = shop.at("layout");
    const out = `type=oci,tar=false,dest=${dest},attestations=referrers`;
    await shop.ok(["build", "--provenance=true", "-o", out, "-t", "app:1", context]);
    const { manifests = [] } = JSON.parse(readFileSync(`${dest}/index.json`, "utf8")) as Manifest;
    const [image, artifact, ...rest] = manifests;
    assert.deepEqual(rest, []);
    assert.equal(artifact?.artifactType, IN_TOTO);
    const blob = (digest = ""): Buffer => readFileSync(`${dest}/blobs/${digest.replace(":", "/")}`);
    const { subject, layers } = JSON.parse(blob(artifact?.digest).toString()) as Manifest;
    assert.equal(subject?.digest, image?.digest);
    assert.match(blob(layers[0]?.digest).toString(), /"predicateType":"https:\/\/slsa.dev\/provenance\/v1"/);
    execFileSync(needs("skopeo"), ["inspect", `oci:${dest}:1`]);
    const next = shop.context("next", { Dockerfile: "FROM base\n" });
    await shop.ok(["build", "--build-context", `base=oci-layout://${dest}`, "-o", "type=cacheonly", next]);
  });

  it("a tag that is an image is left alone, and says so", async () => {
    const name = `${registry.host}/d:1`;
    await shop.ok(["build", "--reproducible", "--push", "-t", name, context]);
    const image = (await get(registry.host, "d/manifests/1")) ?? assert.fail();
    const taken = `${registry.host}/d:${tagOf(digestOf(image))}`;
    await shop.ok(["build", "--reproducible", "--push", "-t", taken, context]);
    const { code, stderr } = await shop.run([
      "build",
      "--provenance=true",
      "--reproducible",
      ...push,
      "-t",
      name,
      context,
    ]);
    assert.equal(code, 1);
    assert.match(stderr, /sha256-[0-9a-f]{64}: it is not a list of referrers, but an image/);
    assert.deepEqual(await get(registry.host, `d/manifests/${tagOf(digestOf(image))}`), image);
  });

  it("is refused where there is no place for them", async () => {
    for (const [output, words] of [
      ["type=image,attestations=referrers", /not supported for type=image without push=true/],
      [`type=docker,dest=${shop.at("x.tar")},attestations=referrers`, /not supported for type=docker/],
      ["type=registry,attestations=elsewhere", /invalid value "elsewhere" for attestations/],
      ["type=registry,attestations=referrers,oci-artifact=false", /conflicts with "oci-artifact=false"/],
    ] as const) {
      const { code, stderr } = await shop.run([
        "build",
        "--provenance=true",
        "-o",
        output,
        "-t",
        "x:1",
        context,
      ]);
      assert.equal(code, 1);
      assert.match(stderr, words);
    }
  });
});
