// Signatures that somebody put beside an image: good ones, and all others.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import type { Document } from "../../../exporters/image.ts";
import { documentOf } from "../../../exporters/referrers.ts";
import { DSSE_TYPE, envelopeOf } from "../../../exporters/signature/dsse.ts";
import { signBytes } from "../../../exporters/signature/keys.ts";
import { addUnderTag, artifactOf, SIGNATURE } from "../../../exporters/signature/manifest.ts";
import { PAYLOAD_TYPE, payloadOf } from "../../../exporters/signature/payload.ts";
import type { SignaturePlace } from "../../../exporters/signature/place.ts";
import { signImage, SIGNATURES, SIGNED_STATEMENTS } from "../../../exporters/signature/sign.ts";
import { verifiedSignatures, verifiedStatements } from "../../../exporters/signature/verify.ts";
import { type Digest, digestOf } from "../../../solver/graph/digest.ts";
import { BuildError } from "../../../solver/graph/error.ts";
import type { Descriptor } from "../../../solver/graph/request.ts";

const NAME = "registry.example/app";
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const IN_TOTO = "application/vnd.in-toto+json";

/** A place in memory. */
function openPlace(): SignaturePlace & {
  readonly blobs: Map<string, Uint8Array>;
  readonly tags: Map<string, Document>;
} {
  const blobs = new Map<string, Uint8Array>();
  const tags = new Map<string, Document>();
  return {
    ...{ shown: NAME, blobs, tags },
    manifest: async (name) => tags.get(name) ?? null,
    async blob({ digest, size }: Descriptor, maxBytes) {
      if (size > maxBytes) throw new BuildError("LIMIT_EXCEEDED", `${digest} is too large`);
      const bytes = blobs.get(digest);
      if (bytes === undefined) throw new BuildError("REGISTRY_NOT_FOUND", `${digest}: not found`);
      return bytes;
    },
    referrers: async () => [],
    async update(tag, change) {
      const next = change(tags.get(tag)?.bytes ?? null);
      if (next === null) return;
      for (const { bytes, descriptor } of next.blobs) blobs.set(descriptor.digest, bytes);
      tags.set(tag, next.manifest);
    },
    putReferrer: () => Promise.reject(new Error("none")),
  };
}

describe("signatures beside an image", () => {
  const { privateKey: key, publicKey } = generateKeyPairSync("ed25519");
  const { publicKey: otherKey } = generateKeyPairSync("ed25519");
  const image = digestOf("image");
  const checks = { keys: [publicKey], annotations: {}, identity: () => null };

  const signed = (payload: Uint8Array, more: Partial<Descriptor> = {}): Document => {
    const { bytes, descriptor } = documentOf(PAYLOAD_TYPE, payload);
    const annotations = { [SIGNATURE]: signBytes(key, payload).toString("base64") };
    return { bytes, descriptor: { ...descriptor, annotations, ...more } };
  };
  const rejected = async (layer: Document, words: RegExp): Promise<void> => {
    const place = openPlace();
    await addUnderTag(place, image, SIGNATURES, [layer]);
    const found = await verifiedSignatures(place, image, checks);
    assert.deepEqual(found.verified, []);
    assert.equal(found.rejected.length, 1);
    assert.match(found.rejected[0] ?? "", words);
  };

  it("are believed when the key, the digest, the name and the annotations fit", async () => {
    const place = openPlace();
    await addUnderTag(place, image, SIGNATURES, [signed(payloadOf(NAME, image, { env: "prod" }))]);
    const names: string[] = [];
    const identity = (name: string): null => (names.push(name), null);
    const wanted = { keys: [otherKey, publicKey], annotations: { env: "prod" }, identity };
    assert.equal((await verifiedSignatures(place, image, wanted)).verified.length, 1);
    assert.deepEqual(names, [NAME]);
    for (const [change, words] of [
      [{ keys: [otherKey] }, /it is not signed by the key/],
      [{ annotations: { env: "test" } }, /its annotation "env" is "prod", not "test"/],
      [{ annotations: { toString: "x" } }, /its annotation "toString" is missing/],
      [{ identity: () => "the name is wrong" }, /layer 1: the name is wrong/],
    ] as const) {
      const found = await verifiedSignatures(place, image, { ...wanted, ...change });
      assert.deepEqual(found.verified, []);
      assert.match(found.rejected[0] ?? "", words);
    }
  });

  it("that are broken, of something else or too large are none, and hide no others", async () => {
    const good = signed(payloadOf(NAME, image, {}));
    await rejected(signed(payloadOf(NAME, digestOf("other"), {})), /the signature of another image, sha256:/);
    await rejected(signed(Buffer.from("nothing")), /what is signed is not JSON/);
    await rejected(signed(Buffer.from("null")), /is of type none/);
    await rejected(signed(Buffer.from('{"critical":{"type":"other"}}')), /is of type "other"/);
    await rejected(
      signed(
        Buffer.from(
          '{"critical":{"type":"cosign container image signature","image":{"docker-manifest-digest":1}}}',
        ),
      ),
      /names no image/,
    );
    await rejected(signed(payloadOf(NAME, image, {}), { annotations: {} }), /it has no signature/);
    await rejected(
      signed(payloadOf(NAME, image, {}), { annotations: { [SIGNATURE]: "é!" } }),
      /not signed by the key/,
    );
    await rejected(signed(payloadOf(NAME, image, {}), { size: 1 << 30 }), /too large/);

    const place = openPlace();
    const lost = signed(payloadOf(NAME, image, { lost: "1" }));
    await addUnderTag(place, image, SIGNATURES, [signed(Buffer.from("x")), lost, good]);
    place.blobs.delete(lost.descriptor.digest);
    const found = await verifiedSignatures(place, image, checks);
    assert.equal(found.verified.length, 1);
    assert.equal(found.rejected.length, 2);
  });

  it("that are too many, or in no manifest, end in an error that names the tag", async () => {
    const place = openPlace();
    const tag = `sha256-${image.slice(7)}.sig`;
    const layer = signed(payloadOf(NAME, image, {})).descriptor;
    const config = { mediaType: "application/vnd.oci.image.config.v1+json", digest: digestOf("c"), size: 1 };
    const put = (document: object): void =>
      void place.tags.set(
        tag,
        documentOf(MANIFEST, Buffer.from(JSON.stringify({ schemaVersion: 2, ...document }))),
      );
    put({ config, layers: Array.from({ length: 257 }, () => layer) });
    await assert.rejects(verifiedSignatures(place, image, checks), {
      code: "LIMIT_EXCEEDED",
      message: `${NAME}:${tag}: more than 256 signatures of one image`,
    });
    put({ manifests: [] });
    const broken = [`${NAME}:${tag}: it is an index, not a list of signatures`];
    const none = { verified: [], rejected: broken, broken };
    assert.deepEqual(await verifiedSignatures(place, image, checks), none);
    await assert.rejects(addUnderTag(place, image, SIGNATURES, [signed(Buffer.from("x"))]), {
      code: "IMAGE_INVALID",
      message: broken[0],
    });
    put({});
    assert.equal((await verifiedSignatures(place, image, checks)).broken.length, 1);
  });

  it("under a broken tag hide none of those that refer to the image", async () => {
    const place = openPlace();
    const subject = { mediaType: MANIFEST, digest: image, size: 1 };
    const { manifest, blobs } = artifactOf(subject, SIGNATURES, [signed(payloadOf(NAME, image, {}))]);
    for (const { bytes, descriptor } of blobs) place.blobs.set(descriptor.digest, bytes);
    place.tags.set(manifest.descriptor.digest, manifest);
    place.tags.set(`sha256-${image.slice(7)}.sig`, documentOf(MANIFEST, Buffer.from("{")));
    const both = { ...place, referrers: async () => [manifest.descriptor] };
    const { verified, broken } = await verifiedSignatures(both, image, checks);
    assert.deepEqual([verified.length, broken.length], [1, 1]);
    assert.match(broken[0] ?? "", /\.sig: /);
  });

  it("keep what others have written beside them, fields that are unknown here included", async () => {
    const place = openPlace();
    const manifest = documentOf(
      MANIFEST,
      Buffer.from(
        JSON.stringify({
          schemaVersion: 2,
          config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: digestOf("c"), size: 1 },
          layers: [
            { ...signed(payloadOf("x", image, {})).descriptor, urls: ["https://x.example"], more: { a: 1 } },
          ],
          annotations: { kept: "yes" },
        }),
      ),
    );
    place.tags.set(`sha256-${image.slice(7)}.sig`, manifest);
    await addUnderTag(place, image, SIGNATURES, [signed(payloadOf(NAME, image, {}))]);
    const [after = assert.fail()] = place.tags.values();
    const json = JSON.parse(Buffer.from(after.bytes).toString()) as { layers: object[]; annotations: object };
    assert.equal(json.layers.length, 2);
    assert.deepEqual((json.layers[0] as { more: object; urls: string[] }).more, { a: 1 });
    assert.deepEqual(json.annotations, { kept: "yes" });
  });

  it("of statements count for their image and type alone", async () => {
    const statement = (subject: Digest, predicateType = "https://example.com/t"): Buffer =>
      Buffer.from(
        JSON.stringify({
          predicateType,
          subject: [{ name: "x", digest: { sha256: subject.slice(7) } }],
          predicate: {},
        }),
      );
    const layers = [
      envelopeOf(key, IN_TOTO, statement(image)),
      envelopeOf(key, IN_TOTO, statement(digestOf("other"))),
      envelopeOf(key, "text/plain", statement(image)),
      envelopeOf(key, IN_TOTO, Buffer.from("[]")),
      Buffer.from('{"payloadType":"a","payload":"b","signatures":[null,{"sig":1}]}'),
      Buffer.from("nothing"),
      Buffer.from(
        JSON.stringify({
          payloadType: IN_TOTO,
          payload: "",
          signatures: Array.from({ length: 65 }, () => ({ sig: "" })),
        }),
      ),
    ];
    const place = openPlace();
    await addUnderTag(
      place,
      image,
      SIGNED_STATEMENTS,
      layers.map((bytes) => documentOf(DSSE_TYPE, bytes)),
    );
    const found = await verifiedStatements(place, image, [publicKey], null);
    assert.equal(found.verified.length, 1);
    const words = [
      /another image/,
      /what is signed is text\/plain/,
      /no in-toto statement/,
      /not signed by the key/,
      /it is not JSON/,
      /more than 64 signatures/,
    ];
    assert.equal(found.rejected.length, words.length);
    words.forEach((one, index) => assert.match(found.rejected[index] ?? "", one));
    const typed = await verifiedStatements(place, image, [publicKey], "https://example.com/other");
    assert.match(typed.rejected[0] ?? "", /the statement is of type https:\/\/example.com\/t/);
  });

  it("are made of what the name stands for, and for nothing that is not there", async () => {
    const how = {
      key,
      annotations: {},
      identity: null,
      recursive: false,
      attestations: false,
      referrers: false,
    };
    await assert.rejects(signImage(openPlace(), "1", NAME, how), {
      code: "IMAGE_UNKNOWN",
      message: `${NAME}: there is no image 1`,
    });
  });
});
