// fsck: does everything in the store match its name, and does every record refer to something that exists? A repair sets aside or drops
// what does not, so that the next build rebuilds or fetches it. May run in parallel with builds; prune waits for it.
//
// Blobs are hashed. A layer's directory is packed as a tar and compared: a step's layer with the diffId of its first packing, an
// image's layer with the diffId of its unpacked blob. If neither is known yet, the digest is recorded for the next time. A step's layer
// that was never packed has a listing from its creation: names, modes, owners, sizes and times are compared with that. A blob that
// is only claimed to contain a layer (claims.ts) is unpacked: true claims are recorded, false ones removed.

import { closeSync, constants, openSync } from "node:fs";
import { type Digest, isDigest } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { Descriptor, LayerId } from "../solver/graph/request.ts";
import { errnoOf } from "./disk-fault.ts";
import { IMAGE_SPACE } from "./image-record.ts";
import { asRefuted, asVerified, isSure, sureForms } from "./claims.ts";
import type { Listing } from "./layers/listing.ts";
import { LAYER_SPACE } from "./layer-store.ts";
import { digestOfFile } from "./outside.ts";
import { isDirectory } from "./set-aside.ts";
import type { OpenStore } from "./store.ts";
import type { ImageRecord, LayerRecord, ResultRecord } from "./contract.ts";

/** Something that is not as it should be. */
export interface Problem {
  /** leftover: of a process that was killed; takes space and harms nothing. */
  readonly kind: "store" | "blob" | "layer" | "result" | "image" | "history" | "leftover";
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
  /** Digest of the tar in a blob, and how the blob is compressed; throws when there is none in it. */
  readonly plain: (blob: string) => Promise<Found>;
  /** Digest of the directory as a tar; throws when it cannot be read. */
  readonly diffIdOf: (dir: string) => Promise<Digest>;
  /** What is in the directory; throws when it cannot be listed. */
  readonly list: (dir: string) => Promise<Listing>;
  /** Unpacks a blob into an empty directory; throws when it is not the diffId's. */
  readonly unpack: (blob: string, mediaType: string, diffId: Digest, dir: string) => Promise<void>;
  readonly remove: (dirs: readonly string[]) => Promise<void>;
}

/** What was found in a blob. */
interface Found {
  readonly diffId: Digest;
  readonly compression: string;
}

export interface CheckOptions {
  readonly repair: boolean;
  readonly tools: LayerTools;
  readonly signal: AbortSignal;
  /** See WaitOptions: a prune or another fsck is at work. */
  readonly onWait?: (holder: string) => void;
}

/** Name in LayerRecord.diffIds of the digest our own packing of an image's layer gives. With one id it is another where links
 *  have owners, which cannot be noted. */
const treeName = (store: OpenStore): string => (store.layers.hasOneId ? "tree-one-id" : "tree");
/** Layers compared in parallel: as many as the keeper has threads for. */
const WIDTH = 2;

/** Checks the whole store. */
export async function checkStore(store: OpenStore, options: CheckOptions): Promise<CheckOutcome> {
  return await store.exclusively("prune", () => check(store, options), options);
}

async function check(store: OpenStore, options: CheckOptions): Promise<CheckOutcome> {
  const problems: Problem[] = [];
  const found = (kind: Problem["kind"], id: string, what: string): void => {
    problems.push({ kind, id, what, repaired: options.repair });
  };

  for (const what of store.mended) problems.push({ kind: "store", id: store.dir, what, repaired: true });
  for (const { digest, what } of store.content.strangers()) {
    found("blob", digest, `damaged: it is ${what}, not a file`);
    if (options.repair) store.content.setAside(digest);
  }
  let blobBytes = 0;
  const blobs = store.content.list();
  const bad = new Set<Digest>();
  for (const { digest, size } of blobs) {
    options.signal.throwIfAborted();
    blobBytes += size;
    if (await isBlobWhole(store.content.path(digest), digest, options.signal)) continue;
    bad.add(digest);
    found("blob", digest, "damaged: content does not match its digest");
    if (options.repair) store.content.setAside(digest);
  }

  const refuted = new Map<Digest, Set<Digest>>();
  for (const { value } of [...store.records.entries<LayerRecord>(LAYER_SPACE)]) {
    for (const blob of await falseBlobs(store, value, bad, options)) {
      if (value.diffId !== null) {
        refuted.set(value.diffId, (refuted.get(value.diffId) ?? new Set<Digest>()).add(blob));
      }
      found(
        "layer",
        value.id,
        `an image claims that the blob ${blob} contains it, but that blob contains something else`,
      );
      if (options.repair) store.layers.update(value.id, asRefuted(store.layers.get(value.id) ?? value, blob));
    }
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
  for (const id of await store.layers.orphans()) {
    found("leftover", id, "layer without a record");
    if (options.repair) store.layers.retire(id);
  }

  const results = [...store.records.entries<ResultRecord>("result")];
  const isHere = (id: LayerId): boolean =>
    store.layers.isOfOtherIds(id) || isObtainable(store, store.layers.get(id), bad);
  const isThere = (id: LayerId): boolean => {
    if (isHere(id)) return true;
    const made = store.layers.get(id) === null ? null : store.layers.made(id);
    return made !== null && isHere(made.id);
  };
  for (const { key, value } of results) {
    const lost = value.outputs.flatMap((output) => output ?? []).find((id) => !isThere(id));
    if (lost === undefined) continue;
    found("result", key, `the cached step ${JSON.stringify(value.name)} needs a missing layer: ${lost}`);
    if (options.repair) store.records.remove("result", key);
  }
  if (options.repair) {
    for (const { key, value } of store.records.entries<LayerId>("materialized"))
      if (!isThere(value)) store.records.remove("materialized", key);
  }
  const images = [...store.records.entries<ImageRecord>(IMAGE_SPACE)];
  for (const { key, value } of images) {
    const lack = lackOf(
      store,
      value,
      bad,
      isThere,
      (diffId, blob) => refuted.get(diffId)?.has(blob) === true,
    );
    if (lack === null) continue;
    found("image", key, lack);
    if (options.repair) store.records.remove(IMAGE_SPACE, key);
  }
  for (const { id, what } of await store.history.check(options)) found("history", id, `damaged: ${what}`);
  const left = store.layers.discarded();
  for (const dir of left) found("leftover", dir, "unfinished work of a process that has ended");
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

async function isBlobWhole(path: string, digest: Digest, signal: AbortSignal): Promise<boolean> {
  let descriptor: number;
  try {
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return true; // removed by whoever may: nothing that could be wrong
    throw error;
  }
  try {
    return (await digestOfFile(descriptor, signal)) === digest;
  } finally {
    closeSync(descriptor);
  }
}

type Verdict = "same" | "unknown" | { readonly what: string };

const NOT_KNOWN_SYNCED = "made before the last reboot, and may not have been written to disk completely";

async function checkLayer(
  store: OpenStore,
  stored: LayerRecord,
  bad: ReadonlySet<Digest>,
  tools: LayerTools,
): Promise<Verdict> {
  if (!stored.unpacked || store.layers.isOfOtherIds(stored.id)) return "unknown";
  const dir = store.layers.directory(stored.id);
  if (!isDirectory(dir)) {
    const raw = store.records.get<{ readonly synced?: boolean }>(LAYER_SPACE, stored.id);
    if (raw === null) return "unknown"; // removed meanwhile
    // A record may be on disk before the directory is: a power cut leaves it alone.
    const why = raw.synced === true ? "" : `: ${NOT_KNOWN_SYNCED}`;
    return { what: `its directory is missing${why}` };
  }
  const record = store.layers.get(stored.id);
  if (record === null || !record.unpacked) return { what: NOT_KNOWN_SYNCED };
  const isStep = stored.id.startsWith("r-");
  let now: Digest;
  try {
    const listed = isStep ? await tools.list(dir) : null;
    if (listed !== null && record.listing === undefined) {
      const { sizeBytes, listing, shape } = listed;
      store.layers.update(record.id, { sizeBytes, listing, shape });
    } else if (listed !== null && record.listing !== listed.listing) {
      const aspect = record.shape === listed.shape ? "times" : "names, modes, owners or sizes";
      return { what: `damaged: ${aspect} of its files have changed` };
    }
    now = await tools.diffIdOf(dir);
  } catch (error) {
    if (isOfUs(error)) throw error;
    // What a step made can be whole and yet too deep for a tar: its listing was compared.
    if (isStep && error instanceof BuildError && error.code === "LIMIT_EXCEEDED")
      return record.listing === undefined ? "unknown" : "same";
    return { what: `cannot be read: ${(error as Error).message}` };
  }
  const known = isStep
    ? record.diffId
    : (record.diffIds[treeName(store)] ?? (await unpackedAnew(store, record, bad, tools)));
  if (known === null) {
    if (isStep) store.layers.update(record.id, { diffId: now });
    return record.listing === undefined ? "unknown" : "same";
  }
  if (known !== now)
    return { what: `damaged: the content of its files has changed (${now}, expected ${known})` };
  if (!isStep && record.diffIds[treeName(store)] === undefined)
    store.layers.update(record.id, { diffIds: { ...record.diffIds, [treeName(store)]: now } });
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
  return sureForms(record).find(({ digest }) => store.content.has(digest) && !bad.has(digest)) ?? null;
}

const LAYER_TYPES: Readonly<Record<string, string>> = {
  none: "application/vnd.oci.image.layer.v1.tar",
  gzip: "application/vnd.oci.image.layer.v1.tar+gzip",
  zstd: "application/vnd.oci.image.layer.v1.tar+zstd",
};

/** Blobs in the store that are said to hold the layer and do not. Those that do are noted. */
async function falseBlobs(
  store: OpenStore,
  record: LayerRecord,
  bad: ReadonlySet<Digest>,
  { tools, signal }: CheckOptions,
): Promise<readonly Digest[]> {
  const { diffId } = record;
  if (diffId === null) return [];
  const wrong: Digest[] = [];
  for (const digest of new Set(record.remotes.map(({ descriptor }) => descriptor.digest))) {
    signal.throwIfAborted();
    const size = store.content.size(digest);
    if (size === null || bad.has(digest) || isSure(record, digest)) continue;
    let blob: Found | null = null;
    try {
      blob = await tools.plain(store.content.path(digest));
    } catch (error) {
      if (isOfUs(error)) throw error;
    }
    const mediaType = LAYER_TYPES[blob?.compression ?? ""];
    if (blob?.diffId !== diffId) wrong.push(digest);
    else if (mediaType !== undefined) {
      const now = store.layers.get(record.id);
      if (now !== null) store.layers.update(record.id, asVerified(now, { mediaType, digest, size }));
    }
  }
  return wrong;
}

function isObtainable(store: OpenStore, record: LayerRecord | null, bad: ReadonlySet<Digest>): boolean {
  if (record === null) return false;
  if (record.remotes.length > 0 || heldBlob(store, record, bad) !== null) return true;
  return record.unpacked && isDirectory(store.layers.directory(record.id));
}

/** Out of sight; what blobs or registries have of it can be unpacked again. */
function dropLayer(store: OpenStore, record: LayerRecord, bad: ReadonlySet<Digest>): void {
  store.layers.retire(record.id);
  const rest = isObtainable(store, { ...record, unpacked: false }, bad);
  store.records.merge<LayerRecord>(LAYER_SPACE, record.id, (old) => {
    if (old === null || !rest) return null;
    const { listing: _listing, shape: _shape, ...kept } = old;
    const { [treeName(store)]: _tree, ...diffIds } = old.diffIds;
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
  isFalse: (diffId: Digest, blob: Digest) => boolean,
): string | null {
  const has = (digest: unknown): digest is Digest =>
    typeof digest === "string" && store.content.has(digest as Digest) && !bad.has(digest as Digest);
  const ids = Object.values(image.layers).flat();
  const read = (digest: Digest): Document | null => {
    try {
      const text = Buffer.from(store.content.read(digest, DOCUMENT_MAX_BYTES)).toString();
      return JSON.parse(text) as Document;
    } catch {
      return null; // damage was found and told above
    }
  };
  const root = has(image.target.digest) ? read(image.target.digest) : null;
  const manifests = root?.manifests?.map(({ digest }) => digest).filter(has) ?? [image.target.digest];
  // What was loaded has its layers from the blobs its own manifest names; for other images that is an unverified claim (claims.ts).
  const ofItsOwn = new Set<LayerId>();
  // A damaged one is not read: that would set it aside.
  for (const manifest of manifests.filter(has).map(read)) {
    const diffIds = has(manifest?.config?.digest) ? diffIdsIn(read(manifest.config.digest)) : [];
    manifest?.layers?.forEach(({ digest }, at) => {
      const diffId = diffIds[at];
      if (has(digest) && typeof diffId === "string" && isDigest(diffId))
        ofItsOwn.add(store.layers.idOf(diffId));
    });
  }
  const lost = ids.find((id) => !isThere(id) && !ofItsOwn.has(id));
  if (lost !== undefined) return `its layer ${lost} is missing: build or pull the image again`;
  if (root === null && !has(image.target.digest))
    return "its manifest is missing: build or pull the image again";
  for (const digest of manifests) {
    const manifest = read(digest);
    if (manifest === null) return "its manifest cannot be read: build or pull the image again";
    if (manifest.manifests === undefined && !has(manifest.config?.digest))
      return "its config is missing: build or pull the image again";
    const diffIds =
      typeof manifest.config?.digest === "string" ? diffIdsIn(read(manifest.config.digest as Digest)) : [];
    if (manifest.layers?.some(({ digest }, at) => isFalse(diffIds[at] as Digest, digest as Digest)) === true)
      return "a blob in its manifest does not match the layer in its config: build or pull the image again";
    if (ids.length === 0 && manifest.layers?.some((layer) => !has(layer.digest)) === true)
      return "a layer of it is missing: build or pull the image again";
  }
  return null;
}

function diffIdsIn(config: Document | null): readonly unknown[] {
  const ids = config?.rootfs?.diff_ids;
  return Array.isArray(ids) ? ids : [];
}

interface Document {
  readonly rootfs?: { readonly diff_ids?: unknown };
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
