// Images in a registry for tests of something else: made here, without a build and its processes (0.3 s of CPU each).

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { gunzipSync } from "node:zlib";
import { type BlobDescriptor, layerOf } from "./false-image.ts";

const OCI = "application/vnd.oci.image";
const sha256 = (bytes: Uint8Array): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

/** Puts an index of one image with these files for each platform under `name` (HOST/REPOSITORY:TAG, plain http). Returns the digest of the index. */
export async function pushImage(
  name: string,
  files: Readonly<Record<string, string>>,
  platforms: readonly string[],
): Promise<string> {
  const [, host = "", repository = "", tag = ""] = /^([^/]+)\/(.+):([^:]+)$/.exec(name) ?? [];
  const base = `http://${host}/v2/${repository}`;
  const put = async (url: string, bytes: Uint8Array, type: string): Promise<void> => {
    const answer = await fetch(url, { method: "PUT", headers: { "content-type": type }, body: bytes });
    assert.equal(answer.status, 201, await answer.text());
  };
  const blob = async (mediaType: string, bytes: Uint8Array): Promise<BlobDescriptor> => {
    const digest = sha256(bytes);
    const begun = await fetch(`${base}/blobs/uploads/`, { method: "POST" });
    const to = new URL(begun.headers.get("location") ?? "", base);
    to.searchParams.set("digest", digest);
    await put(to.href, bytes, "application/octet-stream");
    return { mediaType, digest, size: bytes.length };
  };
  const manifest = async (
    mediaType: string,
    document: object,
    as: string | null,
  ): Promise<BlobDescriptor> => {
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, ...document }));
    const digest = sha256(bytes);
    await put(`${base}/manifests/${as ?? digest}`, bytes, mediaType);
    return { mediaType, digest, size: bytes.length };
  };

  const bytes = await layerOf(files);
  const layer = await blob(`${OCI}.layer.v1.tar+gzip`, bytes);
  const manifests = [];
  for (const text of platforms) {
    const [os = "", architecture = ""] = text.split("/");
    const rootfs = { type: "layers", diff_ids: [sha256(gunzipSync(bytes))] };
    const config = await blob(
      `${OCI}.config.v1+json`,
      Buffer.from(
        JSON.stringify({ os, architecture, config: {}, rootfs, history: [{ created_by: "COPY" }] }),
      ),
    );
    const image = await manifest(`${OCI}.manifest.v1+json`, { config, layers: [layer] }, null);
    manifests.push({ ...image, platform: { os, architecture } });
  }
  return (await manifest(`${OCI}.index.v1+json`, { manifests }, tag)).digest;
}
