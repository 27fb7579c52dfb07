// Loads image archives into the content store: OCI layouts (a tar or a directory; docker save since 25 writes one, too) and the older
// format of docker save, which podman, skopeo and kaniko write. They are untrusted: documents are bounded and
// checked, blobs are hashed, and no name of the archive reaches the file system.
// image-spec image-layout.md; docker-image-spec v1.2, "Combined Image JSON + Filesystem Changeset Format"

import { createHash } from "node:crypto";
import { closeSync, readSync } from "node:fs";
import { digestFromHex, type Digest, digestOf, isDigest } from "../../solver/graph/digest.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import type { Platform } from "../../solver/graph/op.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import { detectCompression } from "../layers/decompress.ts";
import { openGiven } from "../outside.ts";
import {
  CONFIG_MAX_BYTES,
  MANIFEST_MAX_BYTES,
  MEDIA_TYPES,
  parseConfig,
  parseDocument,
  platformOfConfig,
} from "./documents.ts";
import { IMAGE_NAME, type Layout, openLayout, REF_NAME } from "./layout.ts";
import { formatReference, parseNewName } from "./reference.ts";
import { type Extent, type Members, readExactly, tarMembers } from "./tar-members.ts";
import type { Lease, Store } from "../contract.ts";

/** One image of the archive; all its documents and layers are in the content store, held by the lease. */
export interface ArchivedImage {
  /** Normalized; may be empty. */
  readonly names: readonly string[];
  readonly target: Descriptor; // manifest or index
  readonly platforms: readonly ArchivedPlatform[];
}

export interface ArchivedPlatform {
  readonly platform: Platform;
  readonly diffIds: readonly Digest[];
  readonly layers: readonly Descriptor[];
}

interface TakeOptions {
  readonly signal: AbortSignal;
  readonly lease: Lease;
  /** A layer is being read: bytes so far. */
  readonly onBytes: (layer: Digest, current: number, total: number) => void;
}

const IMAGES_MAX = 1000;
const INDEX_DEPTH_MAX = 4;
const CHUNK_BYTES = 1 << 20;

/** Takes all images of an uncompressed tar, or of a directory that is a layout. Throws IMAGE_INVALID, DIGEST_MISMATCH,
 *  CONTEXT_MISSING when nothing is there. */
export async function takeArchive(
  path: string,
  store: Pick<Store, "content">,
  options: TakeOptions,
): Promise<readonly ArchivedImage[]> {
  const older = openOlder(path);
  if (older === null) return await takeLayout(openLayout(path), path, store, options);
  try {
    return await takeOlder(older, path, store, options);
  } finally {
    closeSync(older.fd);
  }
}

/** Is it the tar of docker save before version 25, which is no OCI layout? */
export function isOlderArchive(path: string): boolean {
  const older = openOlder(path);
  if (older !== null) closeSync(older.fd);
  return older !== null;
}

async function takeLayout(
  layout: Layout,
  path: string,
  store: Pick<Store, "content">,
  options: TakeOptions,
): Promise<readonly ArchivedImage[]> {
  const { content } = store;

  async function document(descriptor: Descriptor, maxBytes: number): Promise<Uint8Array> {
    if (descriptor.size > maxBytes) throw invalid(path, `${descriptor.digest} is too large for a document`);
    const chunks: Uint8Array[] = [];
    for await (const chunk of layout.blob(descriptor, { signal: options.signal })) chunks.push(chunk);
    const bytes = Buffer.concat(chunks);
    options.lease.addBlobs([descriptor.digest]);
    content.put(bytes);
    return bytes;
  }

  async function layer(descriptor: Descriptor): Promise<void> {
    const { digest, size } = descriptor;
    options.lease.addBlobs([digest]);
    if (content.has(digest)) return;
    await using ingest = content.ingest();
    const { signal } = options;
    const onBytes = (current: number): void => options.onBytes(digest, current, size);
    for await (const chunk of layout.blob(descriptor, { signal, onBytes })) ingest.write(chunk);
    ingest.commit({ digest, size, trusted: true }); // the reading side has hashed it
  }

  /** What is said of an image, whatever it is: statements are read by who pushes them. */
  async function attestation(descriptor: Descriptor): Promise<void> {
    const parsed = parseDocument(await document(descriptor, MANIFEST_MAX_BYTES), descriptor.mediaType, path);
    if (parsed.kind !== "manifest") return;
    await document(parsed.config, CONFIG_MAX_BYTES);
    for (const one of parsed.layers) await layer(one);
  }

  /** Platforms below a descriptor. Those of an index that are not in the archive are omitted: docker save writes one of many. */
  async function platformsOf(descriptor: Descriptor, depth: number): Promise<readonly ArchivedPlatform[]> {
    const parsed = parseDocument(await document(descriptor, MANIFEST_MAX_BYTES), descriptor.mediaType, path);
    if (parsed.kind === "manifest") {
      const config = parseConfig(
        await document(parsed.config, CONFIG_MAX_BYTES),
        parsed.layers.length,
        `${path}: ${descriptor.digest}`,
      );
      for (const one of parsed.layers) await layer(one);
      const diffIds = config.rootfs.diff_ids.filter(isDigest);
      return [{ platform: descriptor.platform ?? platformOfConfig(config), diffIds, layers: parsed.layers }];
    }
    if (depth >= INDEX_DEPTH_MAX) throw invalid(path, `indexes are nested deeper than ${INDEX_DEPTH_MAX}`);
    const found: ArchivedPlatform[] = [];
    for (const child of parsed.manifests) {
      try {
        if (child.annotations?.["vnd.docker.reference.type"] !== undefined) {
          await attestation(child);
          continue;
        }
        found.push(...(await platformsOf(child, depth + 1)));
      } catch (error) {
        if (!(error instanceof BuildError && error.code === "IMAGE_UNKNOWN")) throw error;
      }
    }
    if (found.length === 0) throw invalid(path, `it has no platform of ${descriptor.digest}`);
    return found;
  }

  const named = new Map<Digest, { readonly target: Descriptor; readonly names: string[] }>();
  for (const entry of layout.index.manifests.slice(0, IMAGES_MAX)) {
    const { annotations, ...target } = entry;
    const one = named.get(entry.digest) ?? { target, names: [] as string[] };
    named.set(entry.digest, one);
    const name = annotations?.[IMAGE_NAME] ?? fullName(annotations?.[REF_NAME]);
    if (name !== undefined) one.names.push(normalized(name, path));
  }
  const images: ArchivedImage[] = [];
  for (const { target, names } of named.values()) {
    images.push({ names, target: withSize(target), platforms: await platformsOf(target, 0) });
  }
  return images;
}

/** org.opencontainers.image.ref.name is a tag in most archives, and a whole name in those of podman and skopeo. */
function fullName(text: string | undefined): string | undefined {
  return text !== undefined && /[:/]/.test(text) ? text : undefined;
}

function withSize({ mediaType, digest, size }: Descriptor): Descriptor {
  return { mediaType, digest, size };
}

interface Older {
  readonly fd: number;
  readonly members: Members;
  readonly manifest: Extent;
}

/** null: the path is no tar with a manifest.json but without an index.json. */
function openOlder(path: string): Older | null {
  let fd: number;
  try {
    fd = openGiven(path);
  } catch {
    return null; // openLayout() says why
  }
  try {
    const members = tarMembers(fd);
    const manifest = members.find("manifest.json");
    if (manifest !== null && members.find("index.json") === null) return { fd, members, manifest };
  } catch (error) {
    // No tar, a directory: openLayout() says what it is.
    if (!(error instanceof BuildError) && (error as NodeJS.ErrnoException).code !== "EISDIR") throw error;
  }
  closeSync(fd);
  return null;
}

async function takeOlder(
  { fd, members, manifest }: Older,
  path: string,
  { content }: Pick<Store, "content">,
  options: TakeOptions,
): Promise<readonly ArchivedImage[]> {
  const layers = new Map<number, Descriptor>(); // by offset: one layer may have several names

  function find(name: string): Extent {
    const extent = members.find(name);
    if (extent === null) throw invalid(path, `${JSON.stringify(printable(name, 200))} is not in it`);
    return extent;
  }

  function put(bytes: Uint8Array): Digest {
    options.lease.addBlobs([digestOf(bytes)]);
    return content.put(bytes);
  }

  async function layer(name: string): Promise<Descriptor> {
    const extent = find(name);
    const known = layers.get(extent.offset);
    if (known !== undefined) return known;
    const digest = await hashOf(fd, extent, options.signal);
    const descriptor = { mediaType: layerType(fd, extent, path), digest, size: extent.size };
    options.lease.addBlobs([digest]);
    if (!content.has(digest)) {
      await using ingest = content.ingest();
      for await (const chunk of chunksOf(fd, extent, options.signal)) {
        ingest.write(chunk.bytes);
        options.onBytes(digest, chunk.end, extent.size);
      }
      ingest.commit({ digest, size: extent.size }); // read a second time: hashed again
    }
    layers.set(extent.offset, descriptor);
    return descriptor;
  }

  const images: ArchivedImage[] = [];
  for (const entry of olderEntries(readSmall(fd, manifest, MANIFEST_MAX_BYTES, path), path)) {
    const configBytes = readSmall(fd, find(entry.config), CONFIG_MAX_BYTES, path);
    const config = parseConfig(configBytes, entry.layers.length, `${path}: ${printable(entry.config, 100)}`);
    const diffIds = config.rootfs.diff_ids.filter(isDigest);
    const descriptors: Descriptor[] = [];
    for (const [index, name] of entry.layers.entries()) {
      const descriptor = await layer(name);
      const isPlain = descriptor.mediaType === MEDIA_TYPES.ociLayer;
      if (isPlain && descriptor.digest !== diffIds[index])
        throw new BuildError(
          "DIGEST_MISMATCH",
          `${path}: the layer ${printable(name, 100)} does not match its config`,
        );
      descriptors.push(descriptor);
    }
    const made = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: MEDIA_TYPES.ociManifest,
        config: { mediaType: MEDIA_TYPES.ociConfig, digest: put(configBytes), size: configBytes.length },
        layers: descriptors,
      }),
    );
    const target = { mediaType: MEDIA_TYPES.ociManifest, digest: put(made), size: made.length };
    const platforms = [{ platform: platformOfConfig(config), diffIds, layers: descriptors }];
    images.push({ names: entry.names.map((name) => normalized(name, path)), target, platforms });
  }
  return images;
}

interface OlderEntry {
  readonly config: string;
  readonly names: readonly string[];
  readonly layers: readonly string[];
}

function olderEntries(bytes: Uint8Array, path: string): readonly OlderEntry[] {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch (cause) {
    throw invalid(path, "its manifest.json is not JSON", cause);
  }
  if (!Array.isArray(json) || json.length > IMAGES_MAX)
    throw invalid(path, "its manifest.json is not a list");
  return json.map((entry: unknown): OlderEntry => {
    const fields = (typeof entry === "object" && entry !== null ? entry : {}) as Record<string, unknown>;
    const { Config: config, RepoTags: names, Layers: layers } = fields;
    if (typeof config !== "string" || !isTexts(names ?? []) || !isTexts(layers ?? []))
      throw invalid(path, "its manifest.json was not written by docker save");
    return { config, names: (names ?? []) as readonly string[], layers: (layers ?? []) as readonly string[] };
  });
}

function isTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every((one) => typeof one === "string");
}

function readSmall(fd: number, extent: Extent, maxBytes: number, path: string): Buffer {
  if (extent.size > maxBytes) throw invalid(path, `a document in it has more than ${maxBytes} bytes`);
  return readExactly(fd, extent);
}

function layerType(fd: number, extent: Extent, path: string): string {
  const head = readExactly(fd, { offset: extent.offset, size: Math.min(8, extent.size) });
  const kind = detectCompression(head);
  if (kind === "none") return MEDIA_TYPES.ociLayer;
  if (kind === "gzip" || kind === "zstd") return `${MEDIA_TYPES.ociLayer}+${kind}`;
  throw invalid(path, `a layer is compressed with ${kind}, which is not allowed in images`);
}

async function hashOf(fd: number, extent: Extent, signal: AbortSignal): Promise<Digest> {
  const hash = createHash("sha256");
  for await (const { bytes } of chunksOf(fd, extent, signal)) hash.update(bytes);
  return digestFromHex(hash.digest("hex"));
}

/** Pieces of an extent, with turns for signals between them. */
async function* chunksOf(
  fd: number,
  { offset, size }: Extent,
  signal: AbortSignal,
): AsyncGenerator<{ readonly bytes: Buffer; readonly end: number }, void, undefined> {
  for (let at = 0; at < size; ) {
    signal.throwIfAborted();
    const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, size - at));
    const count = readSync(fd, buffer, 0, buffer.length, offset + at);
    if (count === 0) throw new BuildError("ARCHIVE_INVALID", "the archive became shorter while it was read");
    at += count;
    yield { bytes: buffer.subarray(0, count), end: at };
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function normalized(name: string, path: string): string {
  try {
    return formatReference(parseNewName(name));
  } catch (cause) {
    throw invalid(
      path,
      `it contains an image ${JSON.stringify(printable(name, 200))}, which is not a valid name`,
      cause,
    );
  }
}

function invalid(path: string, problem: string, cause?: unknown): BuildError {
  return new BuildError("IMAGE_INVALID", `cannot load ${path}: ${problem}`, { cause });
}
