// fsck: is everything in the store what its name says, and does every record lead somewhere? A repair sets aside or drops what
// is not, so that the next build makes or fetches it again. May run beside builds; prune waits for it.
//
// Blobs are hashed. A layer's directory is packed as a tar and compared: one of a step with the diffId of its first packing, one
// of an image with what its blob unpacks to. Where neither is known yet, the digest is noted for the next time. What a step made
// and nobody packed has a listing from when it was made: names, modes, owners, sizes and times are compared with that.

import { createHash } from "node:crypto";
import { closeSync, existsSync, openSync, readSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { type Digest, digestFromHex } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { Descriptor, LayerId } from "../solver/graph/request.ts";
import { errnoOf } from "./disk-fault.ts";
import type { Listing } from "./layers/listing.ts";
import { LAYER_SPACE } from "./layer-store.ts";
import type { ImageRecord, LayerRecord, OpenStore, ResultRecord } from "./store.ts";

/** Something that is not as it should be. */
export interface Problem {
  /** leftover: of a process that was killed; takes space and harms nothing. */
  readonly kind: "blob" | "layer" | "result" | "image" | "leftover";
  readonly id: string;
  readonly what: string;
  readonly repaired: boolean;
}

export interface CheckOutcome {
  readonly problems: readonly Problem[];
  readonly blobs: number;
  readonly blobBytes: number;
  readonly layers: number;
  /** Layers whose files were compared with something known. */
  readonly comparedLayers: number;
  readonly results: number;
  readonly images: number;
}

/** What only the keeper can do: layers hold files of other owners. */
export interface LayerTools {
  /** Digest of the directory as a tar; throws when it cannot be read. */
  readonly diffIdOf: (dir: string) => Promise<Digest>;
  /** What is in the directory; throws when it cannot be listed. */
  readonly list: (dir: string) => Promise<Listing>;
  /** Unpacks a blob into an empty directory; throws when it is not the diffId's. */
  readonly unpack: (blob: string, mediaType: string, diffId: Digest, dir: string) => Promise<void>;
  readonly remove: (dirs: readonly string[]) => Promise<void>;
}

export interface CheckOptions {
  readonly repair: boolean;
  readonly tools: LayerTools;
  readonly signal: AbortSignal;
}

/** Name in LayerRecord.diffIds of the digest our own packing of an image's layer gives. */
const TREE = "tree";
/** Layers compared side by side: as many as the keeper has threads for. */
const WIDTH = 2;

/** Checks the whole store. */
export async function checkStore(store: OpenStore, options: CheckOptions): Promise<CheckOutcome> {
  return await store.exclusively("prune", () => check(store, options), { signal: options.signal });
}

async function check(store: OpenStore, options: CheckOptions): Promise<CheckOutcome> {
  const problems: Problem[] = [];
  const found = (kind: Problem["kind"], id: string, what: string): void => {
    problems.push({ kind, id, what, repaired: options.repair });
  };

  let blobBytes = 0;
  const blobs = store.content.list();
  const bad = new Set<Digest>();
  for (const { digest, size } of blobs) {
    options.signal.throwIfAborted();
    blobBytes += size;
    if (await isBlobWhole(store.content.path(digest), digest)) continue;
    bad.add(digest);
    found("blob", digest, "damaged: its bytes are not what its digest says");
    if (options.repair) store.content.setAside(digest);
  }

  const records = [...store.records.entries<LayerRecord>(LAYER_SPACE)].map(({ value }) => value);
  let comparedLayers = 0;
  await eachOf(records, WIDTH, async (record) => {
    options.signal.throwIfAborted();
    const verdict = await checkLayer(store, record, bad, options.tools);
    if (verdict === "same") comparedLayers += 1;
    if (verdict === "same" || verdict === "unknown") return;
    found("layer", record.id, verdict.what);
    if (options.repair) dropLayer(store, record, bad);
  });
  for (const id of store.layers.orphans()) {
    found("leftover", id, "a layer without a record");
    if (options.repair) store.layers.retire(id);
  }

  const results = [...store.records.entries<ResultRecord>("result")];
  const isThere = (id: LayerId): boolean => isObtainable(store, store.layers.get(id), bad);
  for (const { key, value } of results) {
    const lost = value.outputs.flatMap((output) => output ?? []).find((id) => !isThere(id));
    if (lost === undefined) continue;
    found("result", key, `the step ${JSON.stringify(value.name)} needs a layer that is not there: ${lost}`);
    if (options.repair) store.records.remove("result", key);
  }
  if (options.repair) {
    for (const { key, value } of store.records.entries<LayerId>("materialized"))
      if (!isThere(value)) store.records.remove("materialized", key);
  }
  const images = [...store.records.entries<ImageRecord>("image")];
  for (const { key, value } of images) {
    const lack = lackOf(store, value, bad, isThere);
    if (lack === null) continue;
    found("image", key, lack);
    if (options.repair) store.records.remove("image", key);
  }
  const left = store.layers.discarded();
  for (const dir of left) found("leftover", dir, "unfinished work of a process that is gone");
  if (options.repair) {
    await store.records.commit();
    await options.tools.remove(store.layers.discarded());
  }
  return {
    problems,
    blobs: blobs.length,
    blobBytes,
    layers: records.filter(({ unpacked }) => unpacked).length,
    comparedLayers,
    results: results.length,
    images: images.length,
  };
}

async function isBlobWhole(path: string, digest: Digest): Promise<boolean> {
  let descriptor: number;
  try {
    descriptor = openSync(path, "r");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return true; // removed by whoever may: nothing that could be wrong
    throw error;
  }
  try {
    const hash = createHash("sha256");
    const buffer = Buffer.allocUnsafe(2 ** 20);
    for (;;) {
      const count = readSync(descriptor, buffer, 0, buffer.length, null);
      if (count === 0) return digestFromHex(hash.digest("hex")) === digest;
      hash.update(buffer.subarray(0, count));
      await turn(); // Ctrl-C is heard between two chunks
    }
  } catch (error) {
    if (errnoOf(error) === "EIO") return false;
    throw error;
  } finally {
    closeSync(descriptor);
  }
}

type Verdict = "same" | "unknown" | { readonly what: string };

async function checkLayer(
  store: OpenStore,
  stored: LayerRecord,
  bad: ReadonlySet<Digest>,
  tools: LayerTools,
): Promise<Verdict> {
  if (!stored.unpacked) return "unknown";
  const dir = store.layers.directory(stored.id);
  if (!existsSync(dir)) {
    if (store.records.get(LAYER_SPACE, stored.id) === null) return "unknown"; // removed meanwhile
    return { what: "its directory is not there" };
  }
  const record = store.layers.get(stored.id);
  if (record === null || !record.unpacked)
    return { what: "made before the machine was started anew, and not known to have reached the disk" };
  const isStep = stored.id.startsWith("r-");
  let now: Digest;
  try {
    const listed = isStep ? await tools.list(dir) : null;
    if (listed !== null && record.listing === undefined) {
      const { sizeBytes, listing, shape } = listed;
      store.layers.update(record.id, { sizeBytes, listing, shape });
    } else if (listed !== null && record.listing !== listed.listing) {
      const aspect = record.shape === listed.shape ? "times" : "names, modes, owners or sizes";
      return { what: `damaged: its files have not the ${aspect} they were made with` };
    }
    now = await tools.diffIdOf(dir);
  } catch (error) {
    if (isOfUs(error)) throw error;
    return { what: `cannot be read: ${(error as Error).message}` };
  }
  const known = isStep
    ? record.diffId
    : (record.diffIds[TREE] ?? (await unpackedAnew(store, record, bad, tools)));
  if (known === null) {
    if (isStep) store.layers.update(record.id, { diffId: now });
    return record.listing === undefined ? "unknown" : "same";
  }
  if (known !== now)
    return { what: `damaged: its files are not those it was made of (${now}, not ${known})` };
  if (!isStep && record.diffIds[TREE] === undefined)
    store.layers.update(record.id, { diffIds: { ...record.diffIds, [TREE]: now } });
  return "same";
}

/** Trouble of the keeper or the disk, which says nothing of a layer. */
function isOfUs(error: unknown): boolean {
  return (
    !(error instanceof Error) ||
    (error instanceof BuildError && (error.code === "SANDBOX_UNAVAILABLE" || error.code === "STORE_FULL"))
  );
}

/** What our own packing gives of the layer when its blob is unpacked again; null: no blob is here. */
async function unpackedAnew(
  store: OpenStore,
  record: LayerRecord,
  bad: ReadonlySet<Digest>,
  tools: LayerTools,
): Promise<Digest | null> {
  const blob = heldBlob(store, record, bad);
  if (blob === null || record.diffId === null) return null;
  await using active = store.layers.prepare();
  try {
    await tools.unpack(store.content.path(blob.digest), blob.mediaType, record.diffId, active.upper);
    return await tools.diffIdOf(active.upper);
  } catch (error) {
    if (isOfUs(error)) throw error;
    return null; // the blob is whole, but not of this layer: nothing to compare with
  }
}

function heldBlob(store: OpenStore, record: LayerRecord, bad: ReadonlySet<Digest>): Descriptor | null {
  const all = [...Object.values(record.blobs), ...record.remotes.map(({ descriptor }) => descriptor)];
  return all.find(({ digest }) => store.content.has(digest) && !bad.has(digest)) ?? null;
}

function isObtainable(store: OpenStore, record: LayerRecord | null, bad: ReadonlySet<Digest>): boolean {
  if (record === null) return false;
  if (record.remotes.length > 0 || heldBlob(store, record, bad) !== null) return true;
  return record.unpacked && existsSync(store.layers.directory(record.id));
}

/** Out of sight; what blobs or registries have of it can be unpacked again. */
function dropLayer(store: OpenStore, record: LayerRecord, bad: ReadonlySet<Digest>): void {
  store.layers.retire(record.id);
  const rest = isObtainable(store, { ...record, unpacked: false }, bad);
  store.records.merge<LayerRecord>(LAYER_SPACE, record.id, (old) => {
    if (old === null || !rest) return null;
    const { listing: _listing, shape: _shape, ...kept } = old;
    const { [TREE]: _tree, ...diffIds } = old.diffIds;
    return { ...kept, unpacked: false, sizeBytes: 0, diffIds };
  });
}

const DOCUMENT_MAX_BYTES = 4 * 2 ** 20;

/** What an image name leads to and is not there, in words; null: all is. */
function lackOf(
  store: OpenStore,
  image: ImageRecord,
  bad: ReadonlySet<Digest>,
  isThere: (id: LayerId) => boolean,
): string | null {
  const has = (digest: unknown): digest is Digest =>
    typeof digest === "string" && store.content.has(digest as Digest) && !bad.has(digest as Digest);
  const ids = Object.values(image.layers).flat();
  const lost = ids.find((id) => !isThere(id));
  if (lost !== undefined) return `its layer ${lost} is not there: build or pull it again`;
  const read = (digest: Digest): Document | null => {
    try {
      const text = Buffer.from(store.content.read(digest, DOCUMENT_MAX_BYTES)).toString();
      return JSON.parse(text) as Document;
    } catch {
      return null; // damage was found and told above
    }
  };
  if (!has(image.target.digest)) return "its manifest is not there: build or pull it again";
  const root = read(image.target.digest);
  const manifests = root?.manifests?.map(({ digest }) => digest).filter(has) ?? [image.target.digest];
  for (const digest of manifests) {
    const manifest = read(digest);
    if (manifest === null) return "its manifest cannot be read: build or pull it again";
    if (manifest.manifests === undefined && !has(manifest.config?.digest))
      return "its config is not there: build or pull it again";
    if (ids.length === 0 && manifest.layers?.some((layer) => !has(layer.digest)) === true)
      return "a layer of it is not there: build or pull it again";
  }
  return null;
}

interface Document {
  readonly config?: { readonly digest?: unknown };
  readonly layers?: readonly { readonly digest?: unknown }[];
  readonly manifests?: readonly { readonly digest?: unknown }[];
}

async function eachOf<T>(
  items: readonly T[],
  width: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const rest = items.values();
  const lane = async (): Promise<void> => {
    for (const item of rest) await work(item);
  };
  const lanes = await Promise.allSettled(Array.from({ length: width }, lane));
  for (const end of lanes) if (end.status === "rejected") throw end.reason;
}
