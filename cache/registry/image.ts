// Base images: from a registry or an OCI layout into the content store, only what a build needs.

import { createHash } from "node:crypto";
import { type Digest, digestFromHex, digestOf } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { formatPlatform, type Platform } from "../../solver/graph/op.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import type { RemoteBlobs } from "../../solver/graph/session.ts";
import {
  CONFIG_MAX_BYTES,
  isIndexType,
  type Index,
  MANIFEST_MAX_BYTES,
  type Manifest,
  parseConfig,
  parseDocument,
  platformOfConfig,
} from "./documents.ts";
import { openLayout } from "./layout.ts";
import { platformRank } from "./platform-match.ts";
import {
  formatReference,
  formatRepository,
  parseReference,
  type Reference,
  withDefaultTag,
} from "./reference.ts";
import type { Registry, SignalOptions, TransferOptions } from "./contract.ts";
import { isFrom, noteOrigin } from "../origins.ts";
import type { ContentStore, Lease, RemoteBlob, Store } from "../contract.ts";

export interface LoadedImage {
  /** Of the manifest or index the reference stands for: what pins it. */
  readonly digest: Digest;
  readonly manifestDescriptor: Descriptor; // of the chosen platform
  readonly manifest: Manifest;
  /** As received; its digest is manifest.config.digest. */
  readonly configBytes: Uint8Array;
  /** Where the layers can be fetched from, oldest first. */
  readonly layers: readonly RemoteBlob[];
}

export interface LoadOptions extends SignalOptions {
  /** Holds what is stored. Without one the caller's store must not be collected meanwhile. */
  readonly lease?: Lease;
}

const LAYOUT_PREFIX = "oci-layout:";
const INDEX_DEPTH_MAX = 4;

/**
 * The manifest of an index that fits a platform best, in containerd's order; of equals the first. null: none fits.
 * An entry without a platform never fits here; `loadImage` looks into its config.
 */
export function selectManifest(index: Index, platform: Platform): Descriptor | null {
  let best: { readonly descriptor: Descriptor; readonly rank: number } | null = null;
  for (const descriptor of index.manifests) {
    if (descriptor.platform === undefined) continue;
    const rank = platformRank(platform, descriptor.platform);
    if (rank !== null && (best === null || rank < best.rank)) best = { descriptor, rank };
  }
  return best?.descriptor ?? null;
}

/**
 * Resolves a reference and stores the manifest and config for a platform. A tag costs one HEAD request when the
 * content is here, a digest nothing once this repository has been seen to have it. Throws REGISTRY_*, IMAGE_INVALID, PLATFORM_UNSUPPORTED.
 */
export async function loadImage(
  registry: Registry,
  store: Pick<Store, "content" | "records">,
  reference: Reference,
  platform: Platform,
  { signal, lease }: LoadOptions,
): Promise<LoadedImage> {
  const named = withDefaultTag(reference);
  const from = formatRepository(named);
  const name = formatReference(named);
  const source: Source = {
    name,
    from,
    async fetch(descriptor, maxBytes) {
      if (maxBytes === MANIFEST_MAX_BYTES) {
        return (await registry.manifest({ ...named, tag: null, digest: descriptor.digest }, { signal }))
          .bytes;
      }
      return await collect(registry.blob(named, descriptor, { signal }));
    },
  };
  // A digest whose content is here needs no network, if it is this repository's; its type is in the document.
  const here =
    named.digest !== null && store.content.has(named.digest) && isFrom(store.records, from, named.digest);
  const top: Pick<Descriptor, "digest"> & { readonly mediaType: string | null } = here
    ? { digest: named.digest as Digest, mediaType: null }
    : await registry.resolve(named, { signal });
  const image = await load(source, store.content, top, platform, lease ?? null);
  for (const digest of [image.digest, image.manifestDescriptor.digest])
    noteOrigin(store.records, from, digest);
  return image;
}

/**
 * As `loadImage`, from an OCI layout: a directory or an uncompressed tar. `name` is a tag (org.opencontainers.image.ref.name
 * or a full image name), a digest, or null for the only image in it, else "latest". Throws IMAGE_UNKNOWN, IMAGE_INVALID,
 * PLATFORM_UNSUPPORTED, CONTEXT_MISSING when the path is not there.
 */
export async function loadLayout(
  path: string,
  name: string | null,
  store: Pick<Store, "content">,
  platform: Platform,
  { signal, lease }: LoadOptions,
): Promise<LoadedImage> {
  const layout = openLayout(path);
  const source: Source = {
    name: `oci-layout://${path}${name === null ? "" : name.startsWith("sha256:") ? `@${name}` : `:${name}`}`,
    from: `${LAYOUT_PREFIX}${path}`,
    fetch: (descriptor) => collect(layout.blob(descriptor, { signal })),
  };
  return await load(source, store.content, layout.find(name), platform, lease ?? null);
}

/** As `loadImage`, from blobs that somebody serves by digest. name: for messages; from: what their layers say of where they are. */
export async function loadBlobs(
  blobs: RemoteBlobs,
  { name, from, digest }: { readonly name: string; readonly from: string; readonly digest: Digest },
  store: Pick<Store, "content">,
  platform: Platform,
  { signal, lease }: LoadOptions,
): Promise<LoadedImage> {
  const source: Source = {
    name,
    from,
    async fetch(descriptor, maxBytes) {
      const size = await blobs.size(descriptor.digest, { signal });
      if (size === null)
        throw new BuildError("IMAGE_UNKNOWN", `${name}: the client has no ${descriptor.digest}`);
      if (size > maxBytes)
        throw new BuildError("IMAGE_INVALID", `${name}: a document of more than ${maxBytes} bytes`);
      return await collect(blobBytes(blobs, { ...descriptor, size }, { signal }));
    },
  };
  // Asked for even where the bytes are here: who does not have them is not told of them.
  if ((await blobs.size(digest, { signal })) === null)
    throw new BuildError("IMAGE_UNKNOWN", `${name}: the client has no ${digest}`);
  return await load(source, store.content, { digest, mediaType: null }, platform, lease ?? null);
}

/** Bytes of a blob that somebody serves, verified when the last chunk is over. Throws DIGEST_MISMATCH. */
export async function* blobBytes(
  blobs: RemoteBlobs,
  { digest, size }: Pick<Descriptor, "digest" | "size">,
  { signal, onBytes }: TransferOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const hash = createHash("sha256");
  let current = 0;
  for await (const chunk of blobs.read(digest, { signal })) {
    current += chunk.length;
    if (current > size) break;
    hash.update(chunk);
    onBytes?.(current, size);
    yield chunk;
  }
  if (current !== size || digestFromHex(hash.digest("hex")) !== digest)
    throw new BuildError("DIGEST_MISMATCH", `what the client sent for ${digest} does not match its digest`);
}

interface Source {
  readonly name: string; // for messages
  readonly from: string;
  fetch(descriptor: Pick<Descriptor, "digest" | "size" | "mediaType">, maxBytes: number): Promise<Uint8Array>;
}

async function load(
  source: Source,
  content: ContentStore,
  top: Pick<Descriptor, "digest"> & { readonly mediaType: string | null; readonly size?: number },
  platform: Platform,
  lease: Lease | null,
): Promise<LoadedImage> {
  async function get(
    descriptor: Pick<Descriptor, "digest"> & { size?: number; mediaType?: string | null },
    maxBytes: number,
  ): Promise<Uint8Array> {
    if ((descriptor.size ?? 0) > maxBytes) {
      throw new BuildError("IMAGE_INVALID", `${source.name}: a document of more than ${maxBytes} bytes`);
    }
    lease?.addBlobs([descriptor.digest]);
    if (content.has(descriptor.digest)) {
      try {
        return content.read(descriptor.digest, maxBytes);
      } catch (error) {
        // A damaged blob was set aside by the store: it is fetched again (threat model R3).
        if (!(error instanceof BuildError && error.code === "STORE_CORRUPT")) throw error;
      }
    }
    const bytes = await source.fetch(
      { size: maxBytes, ...descriptor, mediaType: descriptor.mediaType ?? "" },
      maxBytes,
    );
    if (digestOf(bytes) !== descriptor.digest) {
      throw new BuildError(
        "DIGEST_MISMATCH",
        `${source.name}: the content of ${descriptor.digest} does not match its digest`,
      );
    }
    content.put(bytes);
    return bytes;
  }

  let descriptor: Pick<Descriptor, "digest" | "platform"> & {
    readonly mediaType: string | null;
    readonly size?: number;
  } = top;
  for (let depth = 0; depth < INDEX_DEPTH_MAX; depth++) {
    const bytes = await get(descriptor, MANIFEST_MAX_BYTES);
    const document = parseDocument(bytes, descriptor.mediaType, source.name);
    if (document.kind === "manifest") {
      const configBytes = await get(document.config, CONFIG_MAX_BYTES);
      parseConfig(configBytes, document.layers.length, source.name);
      return {
        digest: top.digest,
        manifestDescriptor: {
          mediaType: document.mediaType,
          digest: descriptor.digest,
          size: bytes.length,
          ...(descriptor.platform === undefined ? {} : { platform: descriptor.platform }),
        },
        manifest: document,
        configBytes,
        layers: document.layers.map((layer) => ({ descriptor: layer, from: source.from })),
      };
    }
    descriptor = selectManifest(document, platform) ?? (await searchUnlabelled(document));
  }
  throw new BuildError("IMAGE_INVALID", `${source.name}: indexes nested deeper than ${INDEX_DEPTH_MAX}`);

  /** Entries without a platform say it in their config. */
  async function searchUnlabelled(index: Index): Promise<Descriptor> {
    for (const entry of index.manifests) {
      if (entry.platform !== undefined) continue;
      if (isIndexType(entry.mediaType)) return entry;
      const document = parseDocument(await get(entry, MANIFEST_MAX_BYTES), entry.mediaType, source.name);
      if (document.kind !== "manifest") continue;
      const config = parseConfig(await get(document.config, CONFIG_MAX_BYTES), null, source.name);
      if (platformRank(platform, platformOfConfig(config)) !== null) return entry;
    }
    const offered = index.manifests.flatMap(({ platform: one }) =>
      one === undefined || one.os === "unknown" ? [] : [formatPlatform(one)],
    );
    throw new BuildError(
      "PLATFORM_UNSUPPORTED",
      `${source.name}: no match for platform in manifest: ${formatPlatform(platform)} not found`,
      {
        hint: offered.length === 0 ? null : `the image is available for ${[...new Set(offered)].join(", ")}`,
      },
    );
  }
}

/**
 * Fetches a blob into the content store and returns when it is there, verified. Several at once, also of other processes, cost
 * one transfer. Throws as `Registry.blob` or `Layout.blob`.
 */
export async function pullLayer(
  remote: RemoteBlob,
  store: Pick<Store, "content" | "exclusively">,
  registry: Registry,
  options: TransferOptions,
): Promise<void> {
  await pullBlob(remote.descriptor, store, () => remoteBytes(remote, registry, options), options);
}

/** The same for bytes that `open` gives, verified. */
export async function pullBlob(
  { digest, size }: Pick<Descriptor, "digest" | "size">,
  store: Pick<Store, "content" | "exclusively">,
  open: () => AsyncIterable<Uint8Array>,
  options: TransferOptions,
): Promise<void> {
  if (store.content.has(digest)) return;
  await store.exclusively(
    `pull:${digest}`,
    async () => {
      if (store.content.has(digest)) return;
      await using ingest = store.content.ingest();
      options.onFile?.(ingest.path);
      for await (const chunk of open()) ingest.write(chunk);
      // The reading side has hashed what it gave.
      ingest.commit({ digest, size, trusted: true });
    },
    {
      signal: options.signal,
      sparesWork: true,
      ...(options.onWait === undefined ? {} : { onWait: options.onWait }),
    },
  );
}

/** Bytes of a blob from where it is, verified when the last chunk is over. */
export function remoteBytes(
  remote: RemoteBlob,
  registry: Registry,
  options: TransferOptions,
): AsyncIterable<Uint8Array> {
  if (remote.from.startsWith(LAYOUT_PREFIX)) {
    return openLayout(remote.from.slice(LAYOUT_PREFIX.length)).blob(remote.descriptor, options);
  }
  return (
    registry.elsewhere?.(remote.from, remote.descriptor, options) ??
    registry.blob(parseReference(remote.from), remote.descriptor, options)
  );
}

async function collect(data: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of data) chunks.push(chunk);
  return Buffer.concat(chunks);
}
