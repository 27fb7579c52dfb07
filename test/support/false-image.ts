// Images whose manifest and config contradict each other, as OCI layouts, and the check that an image does not.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { gunzipSync, gzipSync } from "node:zlib";
import { pack } from "tar-stream";

export interface BlobDescriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}
interface ImageDocuments {
  readonly manifest: { readonly config: BlobDescriptor; readonly layers: readonly BlobDescriptor[] };
  readonly config: { readonly rootfs: { readonly diff_ids: readonly string[] } } & Record<string, unknown>;
}

const MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json";
const sha256 = (data: Uint8Array): string => `sha256:${createHash("sha256").update(data).digest("hex")}`;
const pathIn = (layout: string, digest: string): string =>
  join(layout, "blobs", "sha256", digest.slice("sha256:".length));

/** A layer as gzip with one file. */
export async function layerOf(files: Readonly<Record<string, string>>): Promise<Buffer> {
  const tar = pack();
  const bytes = buffer(tar);
  for (const [name, text] of Object.entries(files)) tar.entry({ name, mtime: new Date(0) }, text);
  tar.finalize();
  return gzipSync(await bytes);
}

/** The only image of a layout. */
export function readImage(layout: string): ImageDocuments {
  const json = (digest: string): unknown => JSON.parse(readFileSync(pathIn(layout, digest), "utf8"));
  const index = JSON.parse(readFileSync(join(layout, "index.json"), "utf8")) as {
    manifests: BlobDescriptor[];
  };
  assert.equal(new Set(index.manifests.map(({ digest }) => digest)).size, 1);
  const manifest = json(index.manifests[0]?.digest ?? "") as ImageDocuments["manifest"];
  return { manifest, config: json(manifest.config.digest) as ImageDocuments["config"] };
}

/** Blob of a layout. */
export function readBlob(layout: string, { digest }: Pick<BlobDescriptor, "digest">): Buffer {
  return readFileSync(pathIn(layout, digest));
}

/** Writes a layout whose image has the config of the one in `honest` (so also its diffIds) and these layers instead. */
export function writeFalseImage(
  dir: string,
  honest: string,
  layers: readonly { readonly bytes: Buffer; readonly mediaType?: string; readonly size?: number }[],
  change: (config: Record<string, unknown>) => Record<string, unknown> = (config) => config,
): void {
  mkdirSync(join(dir, "blobs", "sha256"), { recursive: true });
  const put = (mediaType: string, bytes: Buffer): BlobDescriptor => {
    const digest = sha256(bytes);
    writeFileSync(pathIn(dir, digest), bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const config = put(
    "application/vnd.oci.image.config.v1+json",
    Buffer.from(JSON.stringify(change({ ...readImage(honest).config, author: "evil" }))),
  );
  const listed = layers.map(({ bytes, mediaType = "application/vnd.oci.image.layer.v1.tar+gzip", size }) => ({
    ...put(mediaType, bytes),
    ...(size === undefined ? {} : { size }),
  }));
  const manifest = put(
    MANIFEST_TYPE,
    Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST_TYPE, config, layers: listed })),
  );
  const tagged = { ...manifest, annotations: { "org.opencontainers.image.ref.name": "latest" } };
  writeFileSync(join(dir, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [tagged] }));
  writeFileSync(join(dir, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
}

/** Every layer of the only image of a layout has the size, digest and diffId that are said of it, and the compression of its type. */
export function assertHonest(layout: string): void {
  const { manifest, config } = readImage(layout);
  assert.equal(manifest.layers.length, config.rootfs.diff_ids.length);
  manifest.layers.forEach((layer, index) => {
    const bytes = readBlob(layout, layer);
    assert.equal(sha256(bytes), layer.digest);
    assert.equal(bytes.length, layer.size);
    const isGzip = bytes.readUInt16BE(0) === 0x1f8b;
    assert.equal(isGzip, layer.mediaType.endsWith("gzip"), layer.mediaType);
    assert.equal(
      sha256(isGzip ? gunzipSync(bytes) : bytes),
      config.rootfs.diff_ids[index],
      `layer ${index} is not what the config says`,
    );
  });
}

/** Files below blobs/ of a store, by digest. */
export function blobsIn(root: string): readonly string[] {
  return readdirSync(join(root, "blobs", "sha256"));
}
