// BuildKit's cache config, version 0: layers as a forest, and records that map results to them. Read from untrusted sources with limits,
// written so that BuildKit can read it. Format: buildkit cache/remotecache/v1/doc.go.
//
// The digest of our records is the whole key of a result (BuildKit: the digest of the op alone); links to the records of
// its inputs are for inspection, and for BuildKit, which drops records whose links are incomplete.

import { createHash } from "node:crypto";
import { DIFF_ID_ANNOTATION, tableAnnotations, withTable } from "../table-annotations.ts";
import { type Digest, digestFromHex, hexOf, isDigest } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Descriptor, LayerId } from "../../solver/graph/request.ts";

export const CACHE_CONFIG_TYPE = "application/vnd.buildkit.cacheconfig.v0";
/** Field of an image config with the records of an inline cache: base64 of their JSON. */
export const INLINE_FIELD = "moby.buildkit.cache.v0";
/** Annotation of a layer's descriptor: when it was made. */
export const CREATED_ANNOTATION = "buildkit/createdat";

/** Far above what real caches have (a build of 1,000 steps: 600 kB). BuildKit itself reads 1 MiB at most. */
export const CACHE_CONFIG_MAX_BYTES: number = 32 << 20;
const RECORDS_MAX = 100_000;
const LAYERS_MAX = 20_000;
/** overlayfs stacks 500 layers at most. */
const CHAIN_MAX = 500;

/** Of what made a layer; here documents are longer seldom. */
const DESCRIPTION_MAX_CHARS = 64 << 10;

/** One layer as a cache holds it. */
export interface CachedLayer {
  readonly descriptor: Descriptor;
  readonly diffId: Digest;
  /** It came with a base image: known under its diffId, never rewritten. */
  readonly isBase: boolean;
  /** Bytes of the plain tar; null: not said. */
  readonly tarBytes: number | null;
  readonly createdAtMs: number;
  /** What made it, as the history of an image with an inline cache has it; left out: not said. */
  readonly description?: string;
}

/** A result in a cache: its layers, oldest first. */
export interface CachedResult {
  readonly layers: readonly CachedLayer[];
  readonly createdAtMs: number;
}

/** Results by the digest of their record. */
export type CacheTable = ReadonlyMap<Digest, CachedResult>;

/** A record to be written. `inputs`: for each input the indexes of records that stand for it. */
export interface CacheRecord {
  readonly digest: Digest;
  readonly result: CachedResult | null;
  readonly inputs: readonly (readonly number[])[];
}

export interface ParsedConfig {
  readonly table: CacheTable;
  /** What had to be ignored, in words; empty: nothing. */
  readonly ignored: readonly string[];
}

/** Digest of the record of one output of the result with this key (64 hex digits). */
export function recordDigest(key: string, output: number): Digest {
  if (output === 0) return digestFromHex(key);
  return digestFromHex(createHash("sha256").update(`${key}@${output}`).digest("hex"));
}

/**
 * Id in the store of a layer that came with a cache. It follows from the diffId, so that the same layer has the same name on every
 * machine that imported it, and content that is not what was promised never gets under it (it is checked when unpacked).
 */
export function cachedLayerId(layer: Pick<CachedLayer, "diffId" | "isBase">): LayerId {
  if (layer.isBase) return `d-${hexOf(layer.diffId)}` as LayerId;
  const hex = createHash("sha256").update(`tsbuild.cached-layer.v1\0${layer.diffId}`).digest("hex");
  return `r-${hex.slice(0, 32)}` as LayerId;
}

/** The config as bytes, and the descriptors of its layers, each once, in the order of the config. */
export function encodeCacheConfig(records: readonly CacheRecord[]): {
  readonly bytes: Uint8Array;
  readonly layers: readonly Descriptor[];
} {
  const places = new Map<string, number>();
  const layers: object[] = [];
  const descriptors = new Map<Digest, Descriptor>();
  const placeOf = (chain: readonly CachedLayer[]): number => {
    let parent = -1;
    for (const layer of chain) {
      const key = `${parent} ${layer.descriptor.digest}`;
      const known = places.get(key);
      if (known !== undefined) {
        parent = known;
        continue;
      }
      layers.push(encodeLayer(layer, parent));
      descriptors.set(layer.descriptor.digest, describedLayer(layer));
      parent = layers.length - 1;
      places.set(key, parent);
    }
    return parent;
  };
  const encoded = records.map((record) =>
    encodeRecord(record, (result) => [{ layer: placeOf(result.layers), createdAt: time(result) }]),
  );
  const bytes = Buffer.from(JSON.stringify({ layers, records: encoded }));
  return { bytes, layers: [...descriptors.values()] };
}

/**
 * Records for the config of an image with these layers: only results that are its first n layers. The value of INLINE_FIELD, or
 * null when there is none.
 */
export function encodeInlineRecords(
  records: readonly CacheRecord[],
  diffIds: readonly Digest[],
): string | null {
  const fits = ({ layers }: CachedResult): boolean =>
    layers.length > 0 &&
    layers.length <= diffIds.length &&
    layers.every(({ diffId }, index) => diffId === diffIds[index]);
  const wanted = records.map((record) =>
    record.result !== null && fits(record.result) ? record : { ...record, result: null },
  );
  if (wanted.every(({ result }) => result === null)) return null;
  const encoded = wanted.map((record) =>
    encodeRecord(record, (result) => [
      {
        layer: result.layers.length - 1,
        createdAt: time(result),
        tsbuild: {
          baseLayers: result.layers.filter(({ isBase }) => isBase).length,
          tarBytes: result.layers.map(({ tarBytes }) => tarBytes),
          createdAt: result.layers.map(({ createdAtMs }) => new Date(createdAtMs).toISOString()),
        },
      },
    ]),
  );
  return Buffer.from(JSON.stringify(encoded)).toString("base64");
}

function encodeRecord(record: CacheRecord, layersOf: (result: CachedResult) => object[]): object {
  return {
    ...(record.result === null ? {} : { layers: layersOf(record.result) }),
    digest: record.digest,
    ...(record.inputs.length === 0
      ? {}
      : { inputs: record.inputs.map((links) => links.map((link) => ({ link }))) }),
  };
}

// Go leaves out a parent of 0 ("omitempty"), so no parent is -1 and none said is 0. "tsbuild" is a field of ours; Go's decoder
// passes over it.
function encodeLayer(layer: CachedLayer, parent: number): object {
  return {
    blob: layer.descriptor.digest,
    ...(parent === 0 ? {} : { parent }),
    ...(layer.isBase || layer.tarBytes !== null
      ? {
          tsbuild: {
            ...(layer.isBase ? { base: true } : {}),
            ...(layer.tarBytes === null ? {} : { tarBytes: layer.tarBytes }),
          },
        }
      : {}),
  };
}

function describedLayer({ descriptor, diffId, createdAtMs }: CachedLayer): Descriptor {
  const { mediaType, digest, size } = descriptor;
  const annotations = {
    ...tableAnnotations(descriptor),
    [CREATED_ANNOTATION]: new Date(createdAtMs).toISOString(),
    [DIFF_ID_ANNOTATION]: diffId,
  };
  return { mediaType, digest, size, annotations };
}

function time({ createdAtMs }: CachedResult): string {
  return new Date(createdAtMs).toISOString();
}

/** Reads a config whose layers are among `descriptors`. What is broken in it is left out and said. Throws IMAGE_INVALID when
 *  it is no cache config at all. `name` is for messages. */
export function parseCacheConfig(
  bytes: Uint8Array,
  descriptors: readonly Descriptor[],
  name: string,
): ParsedConfig {
  const json = parseJson(bytes, name);
  if (!isObject(json)) throw invalid(name, "it is not an object");
  return parseTable(
    listIn(json["records"], RECORDS_MAX, name),
    listIn(json["layers"], LAYERS_MAX, name),
    { descriptors },
    name,
  );
}

/** Reads the records of an inline cache; layer n of them is the n-th of the image, upon all before it. `made`: what made each layer; none
 *  where the image does not say. */
export function parseInlineRecords(
  text: string,
  layers: readonly Descriptor[],
  { diffIds, made }: { readonly diffIds: readonly string[]; readonly made: readonly string[] },
  name: string,
): ParsedConfig {
  const json = parseJson(Buffer.from(text, "base64"), name);
  const forest = layers.map(({ digest }, index) => ({ blob: digest, parent: index - 1 }));
  const described = layers.map((layer, index) => ({
    ...layer,
    annotations: { ...layer.annotations, [DIFF_ID_ANNOTATION]: diffIds[index] ?? "" },
  }));
  return parseTable(listIn(json, RECORDS_MAX, name), forest, { descriptors: described, made }, name);
}

function parseTable(
  records: readonly unknown[],
  layers: readonly unknown[],
  {
    descriptors,
    made = [],
  }: { readonly descriptors: readonly Descriptor[]; readonly made?: readonly string[] },
  name: string,
): ParsedConfig {
  const byDigest = new Map(descriptors.map((descriptor) => [descriptor.digest, descriptor]));
  const forest = layers.map((layer, index) => parseLayer(layer, byDigest, made[index] ?? ""));
  const chains = new Map<number, readonly CachedLayer[] | null>();
  const chainTo = (index: number): readonly CachedLayer[] | null => {
    const known = chains.get(index);
    if (known !== undefined) return known;
    const chain: CachedLayer[] = [];
    for (let at = index; at !== -1; ) {
      const node = forest[at];
      if (node === undefined || node === null || chain.length >= CHAIN_MAX) {
        chains.set(index, null);
        return null;
      }
      chain.push(node.layer);
      at = node.parent;
    }
    const result = chain.reverse();
    chains.set(index, result);
    return result;
  };

  const table = new Map<Digest, CachedResult>();
  let broken = 0;
  for (const record of records) {
    if (!isObject(record) || typeof record["digest"] !== "string" || !isDigest(record["digest"])) {
      broken += 1;
      continue;
    }
    const results = resultsOf(record, chainTo, forest);
    broken += results.broken;
    const [best] = results.all;
    if (best !== undefined && !table.has(record["digest"])) table.set(record["digest"], best);
  }
  return {
    table,
    ignored: broken === 0 ? [] : [`${name}: ${broken} of ${records.length} records are broken and ignored`],
  };
}

interface Tree {
  readonly layer: CachedLayer;
  readonly parent: number;
}

function parseLayer(value: unknown, descriptors: ReadonlyMap<Digest, Descriptor>, made: string): Tree | null {
  if (!isObject(value)) return null;
  const { blob, parent = 0, annotations, tsbuild } = value;
  const descriptor = descriptors.get(blob as Digest);
  if (descriptor === undefined || typeof parent !== "number" || !Number.isSafeInteger(parent) || parent < -1)
    return null;
  const said = isObject(annotations) ? annotations["diffID"] : undefined;
  const diffId = descriptor.annotations?.[DIFF_ID_ANNOTATION] ?? said;
  if (typeof diffId !== "string" || !isDigest(diffId)) return null;
  const own = isObject(tsbuild) ? tsbuild : {};
  return {
    parent,
    layer: {
      descriptor: withTable(descriptor),
      diffId,
      isBase: own["base"] === true,
      tarBytes: byteCount(own["tarBytes"]),
      createdAtMs: timeOf(descriptor.annotations?.[CREATED_ANNOTATION]),
      ...(made === "" || made.length > DESCRIPTION_MAX_CHARS ? {} : { description: made }),
    },
  };
}

/** A result without layers would stand for an empty root, and one that ends in a base layer for a step that did nothing:
 *  neither is written by anybody. */
function resultsOf(
  record: Readonly<Record<string, unknown>>,
  chainTo: (index: number) => readonly CachedLayer[] | null,
  forest: readonly (Tree | null)[],
): { readonly all: readonly CachedResult[]; readonly broken: number } {
  const all: CachedResult[] = [];
  let broken = 0;
  const add = (layers: readonly (CachedLayer | null)[] | null, createdAt: unknown): void => {
    const isWhole =
      layers !== null && layers.length > 0 && layers.length <= CHAIN_MAX && !layers.includes(null);
    if (isWhole && layers.at(-1)?.isBase === false)
      all.push({ layers: layers as CachedLayer[], createdAtMs: timeOf(createdAt) });
    else broken += 1;
  };
  const { layers, chains } = record;
  for (const result of Array.isArray(layers) ? layers : []) {
    if (isObject(result) && Number.isSafeInteger(result["layer"])) {
      add(completed(chainTo(result["layer"] as number), result["tsbuild"]), result["createdAt"]);
    } else broken += 1;
  }
  for (const result of Array.isArray(chains) ? chains : []) {
    if (!isObject(result) || !Array.isArray(result["layers"])) broken += 1;
    else
      add(
        result["layers"].map((index: unknown) => forest[index as number]?.layer ?? null),
        result["createdAt"],
      );
  }
  return { all, broken };
}

/** The layers of an image do not say which are of its base, how long their tars are, nor when they were made, which is what a new image of
 *  them says; the results of an inline cache of ours do. */
function completed(chain: readonly CachedLayer[] | null, own: unknown): readonly CachedLayer[] | null {
  if (chain === null || !isObject(own)) return chain;
  const count = Number(own["baseLayers"] ?? 0);
  const lengths: readonly unknown[] = Array.isArray(own["tarBytes"]) ? own["tarBytes"] : [];
  const times: readonly unknown[] = Array.isArray(own["createdAt"]) ? own["createdAt"] : [];
  return chain.map((layer, index) => ({
    ...layer,
    isBase: layer.isBase || index < count,
    tarBytes: byteCount(lengths[index]) ?? layer.tarBytes,
    createdAtMs: timeOf(times[index]) || layer.createdAtMs,
  }));
}

function byteCount(value: unknown): number | null {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : null;
}

function timeOf(text: unknown): number {
  const ms = typeof text === "string" ? Date.parse(text) : Number.NaN;
  return Number.isNaN(ms) ? 0 : ms;
}

function parseJson(bytes: Uint8Array, name: string): unknown {
  if (bytes.length > CACHE_CONFIG_MAX_BYTES)
    throw invalid(name, `it has more than ${CACHE_CONFIG_MAX_BYTES} bytes`);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as unknown;
  } catch (cause) {
    throw invalid(name, "it is not JSON", cause);
  }
}

function listIn(value: unknown, max: number, name: string): readonly unknown[] {
  if (value === undefined || value === null) return []; // Go leaves out what is empty
  if (!Array.isArray(value)) throw invalid(name, "a list in it is not an array");
  if (value.length > max) throw invalid(name, `it has more than ${max} entries`);
  return value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function invalid(name: string, problem: string, cause?: unknown): BuildError {
  return new BuildError("IMAGE_INVALID", `${name} is not a build cache: ${problem}`, { cause });
}
