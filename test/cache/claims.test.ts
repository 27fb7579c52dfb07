// Stored claims about layers: bounded, and never instead of verified facts.

import assert from "node:assert/strict";
import { asRefuted, asVerified, isSure, openClaims, sureForms, withRemote } from "../../cache/claims.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import type { LayerId } from "../../solver/graph/request.ts";
import type { LayerRecord, RemoteBlob } from "../../cache/contract.ts";

const gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
const blob = (name: string, mediaType = gzip) => ({ mediaType, digest: digestOf(name), size: name.length });
const remote = (name: string, from = "registry.test/repo"): RemoteBlob => ({ descriptor: blob(name), from });
const id = `d-${"0".repeat(64)}` as LayerId;
const record = (fields: Partial<LayerRecord>): LayerRecord => ({
  ...{ id, diffId: digestOf("tar"), unpacked: false, sizeBytes: 0, createdAtMs: 0, description: "" },
  ...{ blobs: {}, diffIds: {}, remotes: [] },
  ...fields,
});

describe("claims of images", () => {
  it("are one for several images that say the same, with all places", () => {
    const claims = openClaims();
    claims.add([id], [{ descriptor: blob("a"), from: "one" }]);
    claims.add(
      [id],
      [
        {
          descriptor: { ...blob("a"), mediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip" },
          from: "two",
        },
      ],
    );
    assert.deepEqual(claims.of(id), [{ descriptor: blob("a"), from: ["one", "two"] }]);
  });

  it("contradict each other by digest, size and compression, and come in the same order whoever was first", () => {
    const all = [blob("a"), blob("b"), { ...blob("a"), size: 9 }, blob("a", gzip.replace("gzip", "zstd"))];
    const orders = [all, all.toReversed()].map((order) => {
      const claims = openClaims();
      for (const descriptor of order) claims.add([id], [{ descriptor }]);
      return claims.of(id);
    });
    assert.equal(orders[0]?.length, 4);
    assert.deepEqual(orders[0], orders[1]);
  });

  it("keep where a blob has its table of contents, unless they contradict each other about that", () => {
    const annotations = { "containerd.io/snapshot/stargz/toc.digest": digestOf("toc") };
    const claims = openClaims();
    claims.add([id], [{ descriptor: { ...blob("a"), annotations: { ...annotations, other: "x" } } }]);
    assert.deepEqual(claims.of(id)[0]?.descriptor, { ...blob("a"), annotations });
    claims.add([id], [{ descriptor: { ...blob("a"), annotations } }]);
    assert.deepEqual(claims.of(id)[0]?.descriptor, { ...blob("a"), annotations });
    claims.add([id], [{ descriptor: blob("a") }]);
    assert.deepEqual(claims.of(id)[0]?.descriptor, blob("a"));
  });

  it("leave a bounded number of places in the record, and those of a true blob to the end", () => {
    let now = record({ remotes: [remote("true")], verified: [blob("true")] });
    for (let n = 0; n < 100; n++) {
      now = { ...now, remotes: withRemote(now, remote(`false ${n}`)) ?? assert.fail() };
      now = { ...now, remotes: withRemote(now, remote("true", `mirror ${n}`)) ?? assert.fail() };
    }
    assert.ok(now.remotes.length <= 24);
    assert.equal(now.remotes.filter(({ descriptor }) => descriptor.digest === digestOf("true")).length, 4);
    assert.equal(withRemote(now, remote("true", "mirror 99")), null);
  });

  it("are sure only when the blob was packed or unpacked here, with its times as they are", () => {
    const one = record({
      remotes: [remote("said")],
      blobs: { gzip: blob("packed"), "gzip+epoch=0": blob("clamped") },
    });
    assert.deepEqual(sureForms(one), [blob("packed")]);
    const two = { ...one, ...asVerified(one, blob("said")) };
    assert.ok(isSure(two, digestOf("said")));
    const three = { ...two, ...asRefuted(two, digestOf("said")) };
    assert.deepEqual([three.remotes, isSure(three, digestOf("said"))], [[], false]);
  });
});
