// Disk usage of the store, and garbage collection.
//
// In use is everything reachable from an image name (manifests, configs, blobs, layers) and everything leased by a live process; it is
// never removed. The rest is cache: it is removed least recently used first, until `keepBytes` is met.
//
// Nothing is deleted while it can be found: prune() removes records and renames files first, then reads the leases again and
// restores what was leased in between (leases.ts has the other half of the argument).

import { readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Digest, hexOf } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { Descriptor, LayerId } from "../solver/graph/request.ts";
import { sureForms } from "./claims.ts";
import { errnoOf } from "./disk-fault.ts";
import { IMAGE_SPACE, isNameless } from "./image-record.ts";
import { LAYER_SPACE } from "./layer-store.ts";
import { forgetMade } from "./made-here.ts";
import { parseFilters } from "./prune-filter.ts";
import { isDirectory } from "./set-aside.ts";
import { STAT_SPACE } from "./stat-cache.ts";
import type { OpenStore } from "./store.ts";
import { type Measure, type Needed, needed, type Survey, survey } from "./survey.ts";
import type { UsageEntry } from "./usage-entry.ts";
import type { ImageRecord, LayerRecord, ResultRecord } from "./contract.ts";

export type { Measure } from "./survey.ts";

export interface PruneOptions {
  /** Also takes what can be recreated at little cost: unpacked layers of images whose blobs are here, digests of contexts, and
   *  what was set aside as damaged. */
  readonly all: boolean;
  /** Stops as soon as the store is not larger; null: takes all there is to take. */
  readonly keepBytes: number | null;
  /** Spares what was used within this time; null: spares nothing. */
  readonly olderThanMs: number | null;
  /** All must hold: "field=value", "field!=value", "field~=expression", "field". See prune-filter.ts. */
  readonly filters: readonly string[];
  /** Must hold, too; omitted: it does. */
  readonly matches?: (entry: UsageEntry) => boolean;
  /** Removes images without a name first, as docker's `image prune` does; omitted: they stay. */
  readonly dangling?: boolean;
  /** See survey(). */
  readonly measure?: Measure;
  readonly signal: AbortSignal;
  /** See WaitOptions: another prune or fsck is at work. */
  readonly onWait?: (holder: string) => void;
}

export interface PruneOutcome {
  readonly removedLayers: readonly LayerId[];
  readonly removedBlobs: readonly Digest[];
  /** IDs of images without a name that went. */
  readonly removedImages: readonly string[];
  /** Everything that went, as it was. */
  readonly removed: readonly UsageEntry[];
  readonly freedBytes: number;
  /** For the keeper's RemoveJob; out of sight already. */
  readonly directories: readonly string[];
}

/** Everything in the store, least recently used first. */
export async function usage(store: OpenStore, measure: Measure | null = null): Promise<UsageEntry[]> {
  return inOrder((await survey(store, measure)).entries);
}

/** Removes cache nobody uses. Throws USAGE for a filter it does not know. */
export async function prune(store: OpenStore, options: PruneOptions): Promise<PruneOutcome> {
  const parsed = await parseFilters(options.filters);
  const also = options.matches ?? (() => true);
  const matches = (entry: UsageEntry): boolean => parsed(entry) && also(entry);
  return await store.exclusively(
    "prune",
    async () => {
      const removedImages = options.dangling === true ? dropNameless(store, options.olderThanMs) : [];
      if (removedImages.length > 0) await commitIfThereIsRoom(store);
      const before = await survey(store, options.measure);
      const chosen = choose(before, options, matches);
      const removed = await remove(store, before, chosen, options.signal);
      await sweep(store, options.all);
      return {
        removedLayers: removed.flatMap((entry) => (entry.kind === "layer" ? [entry.id as LayerId] : [])),
        removedBlobs: removed.flatMap((entry) => (entry.kind === "blob" ? [entry.id as Digest] : [])),
        removedImages,
        removed,
        freedBytes: removed.reduce((sum, entry) => sum + entry.sizeBytes, 0),
        directories: store.layers.discarded(),
      };
    },
    options,
  );
}

/** What they held is cache from now on. */
function dropNameless(store: OpenStore, olderThanMs: number | null): readonly string[] {
  const until = olderThanMs === null ? Number.POSITIVE_INFINITY : Date.now() - olderThanMs;
  const gone = [...store.records.entries<ImageRecord>(IMAGE_SPACE)]
    .filter(({ key, value }) => isNameless(key) && value.createdAtMs <= until)
    .map(({ key }) => key);
  for (const key of gone) store.records.remove(IMAGE_SPACE, key);
  return gone;
}

/** What shall go. */
function choose(
  { entries, repackable, cheap }: Survey,
  options: PruneOptions,
  matches: (entry: UsageEntry) => boolean,
): UsageEntry[] {
  const now = Date.now();
  let total = entries.reduce((sum, entry) => sum + entry.sizeBytes, 0);
  const chosen: UsageEntry[] = [];
  for (const entry of inOrder(entries)) {
    if (options.keepBytes !== null && total <= options.keepBytes) break;
    const isCheap = cheap.has(entry.id) && options.olderThanMs === null; // how old they are nobody knows
    const extra = options.all && (repackable.has(entry.id) || isCheap);
    if (!entry.reclaimable && !extra) continue;
    if (!options.all && entry.kind === "record" && entry.id.startsWith(`${STAT_SPACE}:`)) continue;
    if (options.olderThanMs !== null && entry.lastUsedMs > now - options.olderThanMs) continue;
    if (!matches(entry)) continue;
    chosen.push(entry);
    total -= entry.sizeBytes;
  }
  return chosen;
}

/** Least recently used first. Of equal age: records before blobs before layers, the order in which they can be made again;
 *  larger ones first; then by id, so that the order is always the same. */
function inOrder(entries: readonly UsageEntry[]): UsageEntry[] {
  const rank = { record: 0, source: 0, blob: 1, layer: 2, "cache-mount": 3 };
  return [...entries].sort(
    (a, b) =>
      a.lastUsedMs - b.lastUsedMs ||
      rank[a.kind] - rank[b.kind] ||
      b.sizeBytes - a.sizeBytes ||
      (a.id < b.id ? -1 : 1),
  );
}

async function remove(
  store: OpenStore,
  before: Survey,
  chosen: readonly UsageEntry[],
  signal: AbortSignal,
): Promise<UsageEntry[]> {
  const layers = new Set(chosen.flatMap((entry) => (entry.kind === "layer" ? [entry.id as LayerId] : [])));
  const blobs = new Set(chosen.flatMap((entry) => (entry.kind === "blob" ? [entry.id as Digest] : [])));

  // 1. Unfindable: records first, all at once, and visible to everybody.
  const lost = dropRecords(store, before, layers, blobs);
  for (const entry of chosen) {
    if (entry.kind !== "record") continue;
    const [space, key] = split(entry.id);
    if (key !== null) store.records.remove(space, key);
    else for (const one of [...store.records.entries(space)]) store.records.remove(space, one.key);
  }
  await commitIfThereIsRoom(store);

  // 2. Files away, except what has been leased (or named) meanwhile. What an image names counts for its blobs only: its
  // directories may be what was asked for.
  const early = await needed(store);
  const retired = new Map<LayerId, string>();
  const isHeld = (now: Needed, id: LayerId): boolean =>
    before.repackable.has(id) ? now.leasedLayers.has(id) : now.layers.has(id);
  for (const id of layers) {
    if (isHeld(early, id)) continue;
    const place = store.layers.retire(id);
    if (place !== null) retired.set(id, place);
  }
  const moved = new Map<Digest, string>();
  for (const digest of blobs) {
    if (early.blobs.has(digest)) continue;
    const place = join(store.tempDir(), `pruned-${hexOf(digest)}`);
    if (moveAway(store.content.path(digest), place)) moved.set(digest, place);
  }

  // 3. Leased between the two looks: back again.
  const late = await needed(store);
  for (const [id, place] of retired) {
    if (!isHeld(late, id)) continue;
    store.layers.restore(id, place);
    retired.delete(id);
  }
  for (const [digest, place] of moved) {
    if (!late.blobs.has(digest)) continue;
    renameSync(place, store.content.path(digest));
    moved.delete(digest);
  }
  restoreRecords(store, lost, (id) => isHeld(late, id) || isHeld(early, id));
  for (const place of moved.values()) rmSync(place, { force: true });

  const mounts = new Set<string>();
  for (const [id, path] of before.mountPaths) {
    const kind = chosen.find((entry) => entry.id === id)?.kind;
    if (kind === undefined) continue;
    const slots = kind === "source" ? store.syncedFiles : store.cacheMounts;
    if ((await slots.remove(path, { signal })) !== null) mounts.add(id);
  }
  await commitIfThereIsRoom(store);

  return chosen.filter((entry) => {
    switch (entry.kind) {
      case "layer":
        return !isHeld(late, entry.id as LayerId) && !isHeld(early, entry.id as LayerId);
      case "blob":
        return moved.has(entry.id as Digest);
      case "cache-mount":
      case "source":
        return mounts.has(entry.id);
      case "record":
        return true;
    }
  });
}

/** On a disk so full that not even records can go, files go first: what is looked for then counts as not there. What is left pending is
 *  committed when the store is closed, and the files are gone. */
async function commitIfThereIsRoom(store: OpenStore): Promise<void> {
  try {
    await store.records.commit();
  } catch (error) {
    if (!(error instanceof BuildError && error.code === "STORE_FULL")) throw error;
  }
}

/** Rewrites the records of layers that lose directory or blobs; those nobody could make again go, and with them the results that
 *  lead to them. Returns the layer records as they were. */
function dropRecords(
  store: OpenStore,
  before: Survey,
  layers: ReadonlySet<LayerId>,
  blobs: ReadonlySet<Digest>,
): Map<LayerId, LayerRecord> {
  const changed = new Map<LayerId, LayerRecord>();
  const dead = new Set<LayerId>();
  const isKept = ({ digest }: Descriptor): boolean => before.blobs.has(digest) && !blobs.has(digest);
  // What was made here stands in for layers of images: as long as it is there, they can be had.
  const standIns = new Map<LayerId, boolean>();
  for (const id of before.layers.keys()) {
    const made = store.layers.made(id);
    if (made === null) continue;
    const isThere = made.record.unpacked && !layers.has(made.id);
    standIns.set(id, isThere || Object.values(made.blobs).some(isKept));
  }
  for (const record of before.layers.values()) {
    const left = Object.entries(record.blobs).filter(([, blob]) => !blobs.has(blob.digest));
    const unpacked = record.unpacked && !layers.has(record.id);
    const isSame = unpacked === record.unpacked && left.length === Object.keys(record.blobs).length;
    if (isSame && standIns.get(record.id) !== false) continue;
    const forms = sureForms({ ...record, blobs: Object.fromEntries(left) });
    const isObtainable =
      unpacked || record.remotes.length > 0 || forms.some(isKept) || standIns.get(record.id) === true;
    if (isSame && isObtainable) continue;
    changed.set(record.id, record);
    if (!isObtainable) dead.add(record.id);
    if (!isObtainable) forgetMade(store.records, record);
    store.records.merge<LayerRecord>(LAYER_SPACE, record.id, (old) =>
      old === null || !isObtainable
        ? null
        : { ...old, unpacked, sizeBytes: unpacked ? old.sizeBytes : 0, blobs: Object.fromEntries(left) },
    );
  }
  for (const { key, value } of store.records.entries<ResultRecord>("result")) {
    if (value.outputs.some((output) => output?.some((id) => dead.has(id))))
      store.records.remove("result", key);
  }
  for (const { key, value } of store.records.entries<readonly (readonly LayerId[])[]>("output")) {
    const left = value.map((ids) => ids.filter((id) => !dead.has(id)));
    if (left.every((ids) => ids.length === 0)) store.records.remove("output", key);
    else if (left.some((ids, index) => ids.length !== value[index]?.length))
      store.records.put("output", key, left);
  }
  return changed;
}

function restoreRecords(
  store: OpenStore,
  lost: ReadonlyMap<LayerId, LayerRecord>,
  isPinned: (id: LayerId) => boolean,
): void {
  for (const [id, record] of lost) {
    if (!isPinned(id)) continue;
    const { id: _, ...fields } = record;
    store.layers.update(id, { ...fields, unpacked: isDirectory(store.layers.directory(id)) });
  }
}

/** What no entry stands for. */
async function sweep(store: OpenStore, all: boolean): Promise<void> {
  for (const id of await store.layers.orphans()) store.layers.retire(id);
  if (!all) return;
  const quarantine = join(store.dir, "tmp", "quarantine");
  for (const name of readdirSync(quarantine))
    rmSync(join(quarantine, name), { recursive: true, force: true });
}

function moveAway(from: string, to: string): boolean {
  try {
    renameSync(from, to);
    return true;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return false;
    throw error;
  }
}

/** "result:<key>", or a space as a whole: null. */
function split(id: string): [space: string, key: string | null] {
  const colon = id.indexOf(":");
  return colon < 0 ? [id, null] : [id.slice(0, colon), id.slice(colon + 1)];
}
