// Signatures of one image that are made at the same moment: none is lost.

import assert from "node:assert/strict";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openRegistry } from "../../../cache/registry/client.ts";
import { parseReference } from "../../../cache/registry/reference.ts";
import { writeIntoLayout } from "../../../exporters/layout-directory.ts";
import { documentOf } from "../../../exporters/referrers.ts";
import { layoutPlace, registryPlace, type SignaturePlace } from "../../../exporters/signature/place.ts";
import { signImage } from "../../../exporters/signature/sign.ts";
import { verifiedSignatures } from "../../../exporters/signature/verify.ts";
import { startOci11Registry } from "../../support/oci11-registry.ts";

const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const CONFIG = documentOf("application/vnd.oci.image.config.v1+json", Buffer.from("{}"));
const IMAGE = documentOf(
  MANIFEST,
  Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, config: CONFIG.descriptor, layers: [] }),
  ),
);
const SIGNERS = 6;

describe("signatures of one image that are made at the same moment", () => {
  const { signal } = new AbortController();
  const keys = Array.from({ length: SIGNERS }, () => generateKeyPairSync("ed25519"));

  const signAll = async (placeOf: () => SignaturePlace): Promise<void> => {
    const sign = (key: KeyObject) =>
      signImage(placeOf(), IMAGE.descriptor.digest, "registry.example/app", {
        ...{ key, annotations: {}, identity: null },
        ...{ recursive: false, attestations: false, referrers: false },
      });
    await Promise.all(keys.map(({ privateKey }) => sign(privateKey)));
    for (const { publicKey } of keys) {
      const checks = { keys: [publicKey], annotations: {}, identity: () => null };
      const { verified, rejected } = await verifiedSignatures(placeOf(), IMAGE.descriptor.digest, checks);
      assert.equal(verified.length, 1);
      assert.equal(rejected.length, SIGNERS - 1);
    }
  };

  it("are all under the tag of a registry", async () => {
    await using server = await startOci11Registry();
    const repository = parseReference(`${server.host}/app`);
    const open = () => openRegistry({ credentials: async () => null });
    const first = open();
    await first.uploadBlob(
      repository,
      CONFIG.descriptor,
      async function* () {
        yield CONFIG.bytes;
      },
      { signal },
    );
    await first.putManifest(repository, "latest", IMAGE.bytes, MANIFEST, { signal });
    const clients = [first];
    await signAll(() => {
      const client = open();
      clients.push(client);
      return registryPlace(client, repository, { signal });
    });
    for (const client of clients) client.close();
  });

  it("are all in a layout", async () => {
    const path = mkdtempSync(join(tmpdir(), "layout-"));
    try {
      writeFileSync(join(path, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
      const entries = [IMAGE.descriptor];
      await writeIntoLayout(path, async () => ({ documents: [CONFIG, IMAGE], entries }), signal);
      await signAll(() => layoutPlace(path, { signal }));
    } finally {
      rmSync(path, { recursive: true });
    }
  });
});
