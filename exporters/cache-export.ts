// Exports build caches: the key chain of a build and the layers in it become records, layers packed as blobs, and a
// manifest over all that (cache/remote-cache/config.ts has the format). Existing blobs are not sent.

import type { ChainStep } from "../cache/remote-cache/chain.ts";
import {
  CACHE_CONFIG_TYPE,
  type CachedLayer,
  cachedLayerId,
  type CachedResult,
  type CacheRecord,
  encodeCacheConfig,
  encodeInlineRecords,
  recordDigest,
} from "../cache/remote-cache/config.ts";
import {
  encodeCacheManifest,
  type ManifestForm,
  MOUNT_INDEX_TYPE,
  MOUNT_PACK_TYPE,
} from "../cache/remote-cache/manifest.ts";
import type { CachePlace } from "../cache/remote-cache/place.ts";
import { MEDIA_TYPES, parseDocument } from "../cache/registry/documents.ts";
import { pullLayer } from "../cache/registry/image.ts";
import { type Digest, digestFromHex, digestOf } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import { isBaseLayer, type Descriptor, type LayerId } from "../solver/graph/request.ts";
import { Scope } from "../solver/graph/scope.ts";
import type { LayerCompression } from "./output-grammar.ts";
import { counted, during, lineOf, moment, type Shown } from "./shown.ts";
import { withWholeBlobs } from "./whole.ts";
import type { ExportDeps, LayerVariant } from "./contract.ts";
import type { RemoteBlob } from "../cache/contract.ts";

/** What of a build is exported. max: all results. min: those the final images are made of. */
export type CacheMode = "min" | "max";

export interface CacheForm extends ManifestForm {
  readonly mode: CacheMode;
  readonly compression: LayerCompression;
  readonly compressionLevel: number | null;
  readonly forceCompression: boolean;
}

export interface BuiltChain {
  readonly steps: readonly ChainStep[];
  /** Layers of the final images. */
  readonly finals: readonly (readonly LayerId[])[];
  /** Other digests under which imported caches had a result with these diffIds: they are carried on. */
  readonly knownAs: (diffIds: readonly Digest[]) => readonly Digest[];
}

/** A file that goes along with the cache: content of a cache mount. */
export interface ExtraBlob {
  readonly descriptor: Descriptor;
  /** null: the place has it already. */
  readonly open: (() => AsyncIterable<Uint8Array>) | null;
}

/** What goes into a cache. */
export interface CacheContent {
  readonly chain: BuiltChain;
  readonly extra: readonly ExtraBlob[];
}

/** Where a cache goes, and in which form. */
export interface CacheTarget {
  readonly place: CachePlace;
  readonly form: CacheForm;
}

export interface CacheExportOutcome {
  readonly records: number;
  readonly layers: number;
  /** Bytes that had to be sent, without config and manifest. */
  readonly sentBytes: number;
  readonly manifest: Descriptor;
}

export interface CacheExportOptions extends Shown {
  readonly signal: AbortSignal;
}

const UPLOADS_AT_ONCE = 6;

/** Exports a build to a place; damaged blobs of layers are made again. Throws REGISTRY_*, OUTPUT_FAILED, and what packing throws; then the place's name still stands for
 *  what it stood for. */
export async function exportCache(
  content: CacheContent,
  target: CacheTarget,
  deps: CacheDeps,
  options: CacheExportOptions,
): Promise<CacheExportOutcome> {
  const wanted = wantedStacks(content.chain, target.form.mode);
  return withWholeBlobs([...allLayers(wanted)], deps.store, options, () =>
    exportStacks(wanted, content, target, deps, options),
  );
}

async function exportStacks(
  wanted: Wanted,
  { chain, extra }: CacheContent,
  { place, form }: CacheTarget,
  deps: CacheDeps,
  options: CacheExportOptions,
): Promise<CacheExportOutcome> {
  await using scope = new Scope(options.signal);
  const { signal } = scope;
  const lease = scope.use(deps.store.lease());
  const remotes = new Map<Digest, RemoteBlob>();
  const layers = await during(options, "preparing build cache for export", () =>
    packedLayers(wanted, form, deps, signal, remotes),
  );
  lease.addBlobs([...layers.values()].map(({ descriptor }) => descriptor.digest));
  const records = recordsOf(chain, wanted, layers);
  const config = encodeCacheConfig(records);
  const configDescriptor = {
    mediaType: CACHE_CONFIG_TYPE,
    digest: digestOf(config.bytes),
    size: config.bytes.length,
  };

  let sentBytes = 0;
  const waiting: ExtraBlob[] = [
    ...config.layers.map((descriptor) => ({
      descriptor,
      open: () => bytesOf(descriptor, remotes, deps, signal),
    })),
    ...extra.filter(({ open }) => open !== null),
  ];
  const work = async (workSignal: AbortSignal): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const { descriptor, open } = next;
      if (open === null) continue;
      const remote = remotes.get(descriptor.digest);
      if (remote?.from === place.from) continue; // it came from there
      const mountFrom = remote === undefined ? [] : [remote.from];
      const blob = { descriptor, open };
      if (await write(blob, place, { signal: workSignal, mountFrom }, options)) sentBytes += descriptor.size;
    }
  };
  await scope.all(
    Array.from({ length: Math.min(place.uploadsAtOnce ?? UPLOADS_AT_ONCE, waiting.length) }, () => work),
  );
  await place.putBlob(configDescriptor, () => once(config.bytes), { signal, mountFrom: [] });
  moment(options, `writing config ${configDescriptor.digest}`);
  const manifest = encodeCacheManifest(
    configDescriptor,
    [...config.layers, ...extra.map(({ descriptor }) => descriptor)],
    form,
  );
  const written = await place.putManifest(manifest.bytes, manifest.mediaType, { signal });
  const { digest } = written;
  const kind = form.imageManifest ? "cache image manifest" : "cache manifest";
  moment(options, `writing ${kind} ${digest}`);
  return {
    records: records.length,
    layers: config.layers.length,
    sentBytes,
    manifest: written,
  };
}

/** Sends one blob; false: it was there. */
async function write(
  { descriptor, open }: { readonly descriptor: Descriptor; readonly open: () => AsyncIterable<Uint8Array> },
  place: CachePlace,
  how: Parameters<CachePlace["putBlob"]>[2],
  shown: Shown,
): Promise<boolean> {
  const { digest, size } = descriptor;
  const line = lineOf(shown, `writing layer ${digest}`);
  const report = (current: number): void => line.report(current, size);
  report(0);
  const isSent = await place.putBlob(descriptor, () => counted(open(), report), how);
  line.end(size, size);
  return isSent;
}

/**
 * Puts contents of cache mounts into a cache and leaves its results as they are; makes one without results where nothing is.
 * Throws OUTPUT_INVALID when something else than a cache is there, and what the place throws.
 */
export async function exportMounts(
  extra: readonly ExtraBlob[],
  place: CachePlace,
  form: ManifestForm,
  options: CacheExportOptions,
): Promise<Pick<CacheExportOutcome, "sentBytes">> {
  const { signal } = options;
  const top = await place.manifest({ signal });
  const document =
    top === null ? null : parseDocument(top.bytes, top.descriptor.mediaType || null, place.name);
  const all =
    document === null
      ? []
      : document.kind === "index"
        ? document.manifests
        : [document.config, ...document.layers];
  let config = all.find(({ mediaType }) => mediaType === CACHE_CONFIG_TYPE);
  if (document !== null && config === undefined) {
    throw new BuildError(
      "OUTPUT_INVALID",
      `${place.name} exists and is not a build cache: it would be overwritten`,
      {
        hint: "use another reference or directory",
      },
    );
  }
  if (config === undefined) {
    const { bytes } = encodeCacheConfig([]);
    config = { mediaType: CACHE_CONFIG_TYPE, digest: digestOf(bytes), size: bytes.length };
    await place.putBlob(config, () => once(bytes), { signal, mountFrom: [] });
  }
  const layers = all.filter(
    ({ mediaType }) => ![CACHE_CONFIG_TYPE, MOUNT_INDEX_TYPE, MOUNT_PACK_TYPE].includes(mediaType),
  );
  let sentBytes = 0;
  for (const { descriptor, open } of extra) {
    if (open === null) continue;
    if (await write({ descriptor, open }, place, { signal, mountFrom: [] }, options))
      sentBytes += descriptor.size;
  }
  const same =
    document === null
      ? form
      : { imageManifest: document.kind === "manifest", ociTypes: !/docker/.test(document.mediaType) };
  const manifest = encodeCacheManifest(
    config,
    [...layers, ...extra.map(({ descriptor }) => descriptor)],
    same,
  );
  await place.putManifest(manifest.bytes, manifest.mediaType, { signal });
  return { sentBytes };
}

export type CacheDeps = Pick<ExportDeps, "store" | "layers" | "registry">;

/** The inline cache of one image: value of the field of its config, or null when nothing of the build is in the image. */
export async function inlineCache(
  chain: BuiltChain,
  final: readonly LayerId[],
  deps: Pick<ExportDeps, "store" | "layers">,
  options: { readonly signal: AbortSignal },
): Promise<string | null> {
  const wanted = wantedStacks({ ...chain, finals: [final] }, "min");
  const layers = new Map<LayerId, CachedLayer>();
  for (const id of final) {
    const isBase = isBaseLayer(id); // then its id says it all, and nothing has to be fetched
    const known = isBase
      ? { diffId: digestFromHex(id.slice(2)), tarBytes: null }
      : await deps.layers.diffId(id, null, options);
    const descriptor = { mediaType: MEDIA_TYPES.ociLayer, digest: known.diffId, size: 0 };
    const createdAtMs = isBase ? 0 : (deps.store.layers.get(id)?.createdAtMs ?? 0);
    layers.set(id, { ...known, descriptor, isBase, createdAtMs });
  }
  return encodeInlineRecords(
    recordsOf(chain, wanted, layers),
    final.map((id) => (layers.get(id) as CachedLayer).diffId),
  );
}

/** Stacks to be exported: for each step by the index of the output. */
type Wanted = readonly ReadonlyMap<number, readonly LayerId[]>[];

function wantedStacks({ steps, finals }: BuiltChain, mode: CacheMode): Wanted {
  const isPart = (stack: readonly LayerId[]): boolean => finals.some((final) => liesIn(final, stack));
  return steps.map((step) => {
    const wanted = new Map<number, readonly LayerId[]>();
    step.outputs.forEach((stack, output) => {
      if (!step.isRecorded || stack === null || stack.length === 0) return;
      if (mode === "max" || isPart(stack)) wanted.set(output, stack);
    });
    return wanted;
  });
}

function allLayers(wanted: Wanted): ReadonlySet<LayerId> {
  return new Set(wanted.flatMap((stacks) => [...stacks.values()].flat()));
}

/** Mostly at its bottom; what COPY --link made is a layer on nothing that was put somewhere into it. */
function liesIn(final: readonly LayerId[], stack: readonly LayerId[]): boolean {
  const start = final.indexOf(stack[0] as LayerId);
  return start >= 0 && stack.every((id, index) => final[start + index] === id);
}

/** The form in which a layer goes into a cache. */
export function layerVariant(id: LayerId, form: CacheForm): LayerVariant {
  return {
    compression: form.compression,
    level: form.compressionLevel,
    force: form.forceCompression,
    epochSeconds: null,
    pinned: isBaseLayer(id),
  };
}

async function packedLayers(
  wanted: Wanted,
  form: CacheForm,
  { layers, store }: CacheDeps,
  signal: AbortSignal,
  remotes: Map<Digest, RemoteBlob>,
): Promise<ReadonlyMap<LayerId, CachedLayer>> {
  const packed = new Map<LayerId, CachedLayer>();
  const pack = async (id: LayerId): Promise<void> => {
    const { descriptor, diffId, remote } = await layers.blob(id, layerVariant(id, form), { signal });
    if (remote !== null) remotes.set(descriptor.digest, remote);
    const record = store.layers.get(id);
    packed.set(id, {
      descriptor,
      diffId,
      isBase: isBaseLayer(id),
      tarBytes: record?.tarBytes?.[""] ?? null,
      createdAtMs: record?.createdAtMs ?? 0,
    });
  };
  // The source shares its threads between all who ask.
  await Promise.all([...allLayers(wanted)].map(pack));
  return packed;
}

function recordsOf(
  { steps, knownAs }: BuiltChain,
  wanted: Wanted,
  layers: ReadonlyMap<LayerId, CachedLayer>,
): readonly CacheRecord[] {
  const records: CacheRecord[] = [];
  const places = new Map<Digest, number>();
  const add: AddRecord = (digest, result, inputs) => {
    const known = places.get(digest);
    if (known !== undefined) {
      const before = records[known] as CacheRecord;
      if (before.result === null && result !== null) records[known] = { ...before, result };
      return known;
    }
    places.set(digest, records.length);
    return records.push({ digest, result, inputs }) - 1;
  };
  const rename = (stack: readonly LayerId[]): readonly LayerId[] | null => {
    const found = stack.map((id) => {
      const layer = layers.get(id);
      if (layer !== undefined) return cachedLayerId(layer);
      return isBaseLayer(id) ? id : null;
    });
    return found.includes(null) ? null : (found as LayerId[]);
  };
  const resultOf = (stack: readonly LayerId[] | undefined, createdAtMs: number): CachedResult | null => {
    const chain = stack?.map((id) => layers.get(id)) ?? [undefined];
    return chain.includes(undefined) ? null : { layers: chain as CachedLayer[], createdAtMs };
  };
  neededOutputs(steps, wanted).forEach((outputs, index) => {
    const step = steps[index] as ChainStep;
    for (const output of outputs) {
      const result = resultOf(wanted[index]?.get(output), step.createdAtMs);
      add(recordDigest(step.key, output), result, linksOf(step, steps, add));
      if (result === null) continue;
      for (const key of step.otherKeys(rename)) add(recordDigest(key, output), result, []);
      for (const digest of knownAs(result.layers.map(({ diffId }) => diffId))) add(digest, result, []);
    }
  });
  return records;
}

type AddRecord = (digest: Digest, result: CachedResult | null, inputs: CacheRecord["inputs"]) => number;

/** What is wanted of each step, and (without results) what that is made of. */
function neededOutputs(steps: readonly ChainStep[], wanted: Wanted): readonly ReadonlySet<number>[] {
  const needed = steps.map((_, index) => new Set(wanted[index]?.keys() ?? []));
  for (let index = steps.length - 1; index >= 0; index--) {
    if (needed[index]?.size === 0) continue;
    for (const input of steps[index]?.inputs ?? []) {
      if (input !== null && "step" in input) needed[input.step]?.add(input.output);
    }
  }
  return needed;
}

/** Records of the inputs, which stand before; none when one of them has no name: BuildKit drops records with holes. */
function linksOf(step: ChainStep, steps: readonly ChainStep[], add: AddRecord): CacheRecord["inputs"] {
  if (step.inputs.includes(null)) return [];
  return step.inputs.map((input) => {
    if (input === null) return [];
    if ("content" in input) return [add(input.content, null, [])];
    const below = steps[input.step] as ChainStep;
    return [add(recordDigest(below.key, input.output), null, [])];
  });
}

/** Bytes of a packed layer; fetched first when only `remotes` says where it is. */
export async function* bytesOf(
  descriptor: Descriptor,
  remotes: ReadonlyMap<Digest, RemoteBlob>,
  { store, registry }: CacheDeps,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (!store.content.has(descriptor.digest)) {
    const remote = remotes.get(descriptor.digest);
    if (remote === undefined)
      throw new BuildError("STORE_CORRUPT", `the blob ${descriptor.digest} of a layer is missing`);
    await pullLayer(remote, store, await registry(), { signal });
  }
  yield* store.content.stream(descriptor.digest, { signal });
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
