// A build cache in an object store (S3, GitHub Actions): blobs by digest, and one JSON document under a name. That is
// the cache config (config.ts) in BuildKit's format for object stores: each layer is annotated with what a manifest would say about its
// blob. BuildKit cache/remotecache/v1/types, LayerAnnotations.
//
// Readers and writers of caches use it like any other location: the manifest they read is derived from the annotations,
// and the manifest they write becomes annotations.

import { DIFF_ID_ANNOTATION } from "../table-annotations.ts";
import { type Digest, digestOf, isDigest } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import { MEDIA_TYPES, parseDocument } from "../registry/documents.ts";
import { CACHE_CONFIG_MAX_BYTES, CACHE_CONFIG_TYPE, CREATED_ANNOTATION } from "./config.ts";
import { encodeCacheManifest } from "./manifest.ts";
import type { CachePlace } from "./place.ts";
import type { SignalOptions, TransferOptions } from "../registry/contract.ts";

/** Where objects are kept. Errors are those of a registry. */
export interface ObjectStore {
  /** For messages: s3://bucket/prefix, GitHub Actions cache. */
  readonly name: string;
  /** What RemoteBlob.from says of its blobs. */
  readonly from: string;
  /** So many blobs are sent in parallel. */
  readonly uploadsAtOnce: number;
  /** The document; null: there is none. */
  document(maxBytes: number, options: SignalOptions): Promise<Uint8Array | null>;
  putDocument(bytes: Uint8Array, options: SignalOptions): Promise<void>;
  /** Bytes of a blob, verified when the last chunk is over. */
  blob(descriptor: Descriptor, options: TransferOptions): AsyncIterable<Uint8Array>;
  /** Makes a blob be there; true: its bytes were sent. */
  putBlob(
    descriptor: Descriptor,
    open: () => AsyncIterable<Uint8Array>,
    options: SignalOptions,
  ): Promise<boolean>;
}

/** A cache in a store. `fallbacks`: see CachePlace. */
export function objectPlace(store: ObjectStore, fallbacks: readonly CachePlace[] = []): CachePlace {
  // Configs that were read or are to be written; they are no objects of their own.
  const configs = new Map<Digest, Uint8Array>();
  const keep = (bytes: Uint8Array): Descriptor => {
    const digest = digestOf(bytes);
    configs.set(digest, bytes);
    return { mediaType: CACHE_CONFIG_TYPE, digest, size: bytes.length };
  };
  const { name, from, uploadsAtOnce } = store;

  return {
    name,
    from,
    uploadsAtOnce,
    fallbacks,
    async manifest(options) {
      const config = await store.document(CACHE_CONFIG_MAX_BYTES, options);
      if (config === null) return null;
      const form = { imageManifest: true, ociTypes: true };
      const { bytes, mediaType } = encodeCacheManifest(keep(config), annotatedIn(config, name), form);
      return { bytes, descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length } };
    },
    async child(descriptor) {
      throw new BuildError("IMAGE_INVALID", `${name}: ${descriptor.digest} is not part of a build cache`);
    },
    async blob(descriptor, maxBytes, { signal }) {
      const config = configs.get(descriptor.digest);
      if (config !== undefined) return config;
      if (descriptor.size > maxBytes) {
        throw new BuildError(
          "LIMIT_EXCEEDED",
          `${name}: ${descriptor.digest} has ${descriptor.size} bytes, more than ${maxBytes}`,
        );
      }
      const chunks: Uint8Array[] = [];
      for await (const chunk of store.blob(descriptor, { signal })) chunks.push(chunk);
      return Buffer.concat(chunks);
    },
    async putBlob(descriptor, open, { signal }) {
      if (descriptor.mediaType !== CACHE_CONFIG_TYPE) return store.putBlob(descriptor, open, { signal });
      const chunks: Uint8Array[] = [];
      for await (const chunk of open()) chunks.push(chunk);
      keep(Buffer.concat(chunks));
      return true;
    },
    async putManifest(bytes, mediaType, options) {
      const document = parseDocument(bytes, mediaType, name);
      const all = document.kind === "index" ? document.manifests : [document.config, ...document.layers];
      const config = configs.get(all.find((one) => one.mediaType === CACHE_CONFIG_TYPE)?.digest as Digest);
      if (config === undefined) throw new Error("the config of a cache is written before its manifest");
      await store.putDocument(annotated(config, all), options);
      return { mediaType, digest: digestOf(bytes), size: bytes.length };
    },
  };
}

interface AnyConfig {
  readonly layers?: unknown;
  readonly tsbuild?: unknown;
}

/** The config with all that `descriptors` say: of layers in their annotations, of what is no layer in a field of ours, which
 *  Go's decoder passes over. */
function annotated(config: Uint8Array, descriptors: readonly Descriptor[]): Uint8Array {
  const json = parse(config) as AnyConfig;
  const layers = list(json.layers) as { readonly blob: Digest }[];
  const blobs = new Set(layers.map(({ blob }) => blob));
  const byDigest = new Map(descriptors.map((one) => [one.digest, one]));
  const others = descriptors.filter(
    ({ digest, mediaType }) => mediaType !== CACHE_CONFIG_TYPE && !blobs.has(digest),
  );
  const { tsbuild: _, ...rest } = json;
  return Buffer.from(
    JSON.stringify({
      ...rest,
      layers: layers.map((layer) => ({ ...layer, annotations: annotationsOf(byDigest.get(layer.blob)) })),
      ...(others.length === 0 ? {} : { tsbuild: { others } }),
    }),
  );
}

function annotationsOf(descriptor: Descriptor | undefined): object {
  if (descriptor === undefined) throw new Error("a layer of a cache config is not in its manifest");
  const { mediaType, size, annotations = {} } = descriptor;
  const createdAt = annotations[CREATED_ANNOTATION];
  return {
    mediaType,
    diffID: annotations[DIFF_ID_ANNOTATION],
    size,
    ...(createdAt === undefined ? {} : { createdAt }),
  };
}

/** Descriptors of what a config says it has. What is broken is omitted: the records that need it are then ignored and said. */
function annotatedIn(config: Uint8Array, name: string): readonly Descriptor[] {
  const json = parse(config);
  if (!isObject(json))
    throw new BuildError("IMAGE_INVALID", `${name} is not a build cache: it is not a JSON object`);
  const found = new Map<Digest, Descriptor>();
  const add = (value: unknown): void => {
    const descriptor = readDescriptor(value);
    if (descriptor !== null) found.set(descriptor.digest, descriptor);
  };
  for (const layer of list(json["layers"])) {
    if (!isObject(layer) || !isObject(layer["annotations"])) continue;
    const { mediaType, size, diffID, createdAt } = layer["annotations"];
    add({
      mediaType: mediaType || MEDIA_TYPES.ociLayer,
      digest: layer["blob"],
      size,
      annotations: {
        ...(typeof diffID === "string" ? { [DIFF_ID_ANNOTATION]: diffID } : {}),
        ...(typeof createdAt === "string" ? { [CREATED_ANNOTATION]: createdAt } : {}),
      },
    });
  }
  const own = json["tsbuild"];
  for (const other of list(isObject(own) ? own["others"] : null)) add(other);
  return [...found.values()];
}

function readDescriptor(value: unknown): Descriptor | null {
  if (!isObject(value)) return null;
  const { mediaType, digest, size, annotations = {} } = value;
  const isSize = typeof size === "number" && Number.isSafeInteger(size) && size >= 0;
  if (typeof mediaType !== "string" || typeof digest !== "string" || !isDigest(digest) || !isSize)
    return null;
  const texts = isObject(annotations) ? Object.entries(annotations) : [];
  return {
    mediaType,
    digest,
    size,
    annotations: Object.fromEntries(
      texts.filter((entry): entry is [string, string] => typeof entry[1] === "string"),
    ),
  };
}

/** null for what is no JSON. */
function parse(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as unknown;
  } catch {
    return null; // whoever asked says what it was
  }
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
