// Manifests of build caches: an image manifest whose config is the cache config (BuildKit: image-manifest=true), or an index that
// lists config and layers. Contents of cache mounts are additional layers with our own media types, which
// BuildKit ignores.

import { BuildError } from "../../solver/graph/error.ts";
import type { Descriptor, HistoryEntry } from "../../solver/graph/request.ts";
import {
  CONFIG_MAX_BYTES,
  isIndexType,
  MEDIA_TYPES,
  parseConfig,
  parseDocument,
} from "../registry/documents.ts";
import {
  CACHE_CONFIG_MAX_BYTES,
  CACHE_CONFIG_TYPE,
  type CachedResult,
  INLINE_FIELD,
  parseCacheConfig,
  parseInlineRecords,
} from "./config.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import type { CachePlace } from "./place.ts";
import type { SignalOptions } from "../registry/contract.ts";

/** Index of one cache mount (mount-index.ts); the annotation has the mount's id. */
export const MOUNT_INDEX_TYPE = "application/vnd.tsbuild.cachemount.index.v1+json";
export const MOUNT_PACK_TYPE = "application/vnd.tsbuild.cachemount.pack.v1+gzip";
export const MOUNT_ID_ANNOTATION = "dev.tsbuild.cachemount.id";

export interface ManifestForm {
  /** BuildKit's image-manifest; false: an index. */
  readonly imageManifest: boolean;
  /** false: Docker's media types. */
  readonly ociTypes: boolean;
}

/** What a cache holds, as its manifest and config say. */
export interface ReadCache {
  readonly results: ReadonlyMap<Digest, CachedResult>;
  /** Indexes of cache mounts, by their id. */
  readonly mounts: ReadonlyMap<string, Descriptor>;
  /** Packs that the mounts' indexes may name. */
  readonly packs: ReadonlyMap<Digest, Descriptor>;
  /** What had to be ignored, in words. */
  readonly ignored: readonly string[];
}

/** Images in an index that are checked for inline caches. */
const IMAGES_MAX = 64;

/** The manifest of a cache. */
export function encodeCacheManifest(
  config: Descriptor,
  layers: readonly Descriptor[],
  form: ManifestForm,
): { readonly bytes: Uint8Array; readonly mediaType: string } {
  const typed = layers.map((layer) => ({ ...layer, mediaType: layerType(layer.mediaType, form.ociTypes) }));
  const mediaType = form.imageManifest
    ? MEDIA_TYPES.ociManifest // Docker's manifests have no other config; BuildKit refuses the combination, too
    : form.ociTypes
      ? MEDIA_TYPES.ociIndex
      : MEDIA_TYPES.dockerIndex;
  const document = form.imageManifest
    ? { schemaVersion: 2, mediaType, config, layers: typed }
    : { schemaVersion: 2, mediaType, manifests: [...typed, config] };
  return { bytes: Buffer.from(JSON.stringify(document)), mediaType };
}

/** Reads what is at a place: a cache, or an image (or an index of images) with inline caches. null: nothing is there. What is
 *  broken in parts is ignored and said. Throws what reading throws. */
export async function readCache(place: CachePlace, options: SignalOptions): Promise<ReadCache | null> {
  if (place.fallbacks === undefined || place.fallbacks.length === 0) return readOne(place, options);
  const [own, ...others] = await Promise.all([
    readOne(place, options),
    ...place.fallbacks.map((one) => readFallback(one, options)),
  ]);
  const found = [own ?? null, ...others].filter((one) => one !== null);
  if (found.length <= 1) return found[0] ?? null;
  const backwards = found.toReversed(); // of equal names the first place's is kept
  return {
    results: new Map(backwards.flatMap(({ results }) => [...results])),
    mounts: new Map(backwards.flatMap(({ mounts }) => [...mounts])),
    packs: new Map(backwards.flatMap(({ packs }) => [...packs])),
    ignored: found.flatMap(({ ignored }) => ignored),
  };
}

/** One that cannot be read takes nothing from the others. */
async function readFallback(place: CachePlace, options: SignalOptions): Promise<ReadCache | null> {
  try {
    return await readCache(place, options);
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    return { results: new Map(), mounts: new Map(), packs: new Map(), ignored: [error.message] };
  }
}

async function readOne(place: CachePlace, options: SignalOptions): Promise<ReadCache | null> {
  const top = await place.manifest(options);
  if (top === null) return null;
  const document = parseDocument(top.bytes, top.descriptor.mediaType || null, place.name);
  const all = document.kind === "index" ? document.manifests : [document.config, ...document.layers];
  const config = all.find(({ mediaType }) => mediaType === CACHE_CONFIG_TYPE);
  if (config !== undefined) {
    const bytes = await place.blob(config, CACHE_CONFIG_MAX_BYTES, options);
    const { table, ignored } = parseCacheConfig(bytes, all, place.name);
    return { results: table, ignored, ...mountsIn(all) };
  }
  const images = document.kind === "index" ? document.manifests.slice(0, IMAGES_MAX) : [top.descriptor];
  const found = await Promise.all(
    images
      .filter(({ mediaType }) => !isIndexType(mediaType))
      .map((image) => readInline(place, image, document.kind === "index" ? null : top.bytes, options)),
  );
  const caches = found.flat();
  return {
    results: new Map(caches.flatMap(({ table }) => [...table])),
    mounts: new Map(),
    packs: new Map(),
    ignored:
      caches.length === 0
        ? [`${place.name} is not a build cache, and the image has no inline cache`]
        : caches.flatMap(({ ignored }) => ignored),
  };
}

async function readInline(
  place: CachePlace,
  image: Descriptor,
  known: Uint8Array | null,
  options: SignalOptions,
): Promise<ReturnType<typeof parseInlineRecords>[]> {
  const document = parseDocument(
    known ?? (await place.child(image, options)),
    image.mediaType || null,
    place.name,
  );
  if (document.kind !== "manifest" || document.layers.length === 0) return [];
  const { mediaType } = document.config;
  if (mediaType !== MEDIA_TYPES.ociConfig && mediaType !== MEDIA_TYPES.dockerConfig) return [];
  const config = parseConfig(await place.blob(document.config, CONFIG_MAX_BYTES, options), null, place.name);
  const records = (config as unknown as Record<string, unknown>)[INLINE_FIELD];
  if (records === undefined || records === null) return []; // an attestation, an image without a cache
  const { diff_ids: diffIds } = config.rootfs;
  if (typeof records !== "string" || diffIds.length !== document.layers.length) {
    throw new BuildError(
      "IMAGE_INVALID",
      `${place.name} is not a build cache: its inline cache does not match its layers`,
    );
  }
  const made = madeBy(config.history, diffIds.length);
  return [parseInlineRecords(records, document.layers, { diffIds, made }, place.name)];
}

/** What made each layer of an image; none where its history does not fit its layers. */
function madeBy(history: readonly HistoryEntry[], layerCount: number): readonly string[] {
  const entries = history.filter(({ empty_layer: isEmpty }) => isEmpty !== true);
  if (entries.length !== layerCount) return [];
  return entries.map(({ created_by: text }) => (typeof text === "string" ? text : ""));
}

function mountsIn(all: readonly Descriptor[]): Pick<ReadCache, "mounts" | "packs"> {
  const mounts = new Map<string, Descriptor>();
  const packs = new Map<Digest, Descriptor>();
  for (const descriptor of all) {
    const id = descriptor.annotations?.[MOUNT_ID_ANNOTATION];
    if (descriptor.mediaType === MOUNT_INDEX_TYPE && id !== undefined) mounts.set(id, descriptor);
    if (descriptor.mediaType === MOUNT_PACK_TYPE) packs.set(descriptor.digest, descriptor);
  }
  return { mounts, packs };
}

function layerType(mediaType: string, ociTypes: boolean): string {
  if (!/^application\/vnd\.(?:oci\.image\.layer\.|docker\.image\.rootfs\.)/.test(mediaType)) return mediaType;
  const suffix = /[.+](gzip|zstd)$/.exec(mediaType)?.[1] ?? null;
  if (ociTypes) return `${MEDIA_TYPES.ociLayer}${suffix === null ? "" : `+${suffix}`}`;
  return `${MEDIA_TYPES.dockerLayer}${suffix === null ? "" : `.${suffix}`}`;
}
