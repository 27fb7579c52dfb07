// The storage limit of a store. Checked after each build in which something ran. While the whole file system uses less than the limit,
// the check is one statfs(2). It is also only that as long as the store cannot have reached the limit since its size was last
// measured: counting the layers and blobs that builds have added, whose sizes are known, and even assuming that all growth of the
// file system is the store's. The file system alone is not enough: others may free what the store uses. Otherwise the size is
// measured again, which takes 0.1 s for 1,000 layers; in any case after RECKONED_FOR_MS, because cache mounts grow unnoticed. Above the
// limit cache is removed, least recently used first, down to LOW_WATER of it, so that not every build has to remove something.

import { statfsSync } from "node:fs";
import { type Measure, prune, type PruneOutcome, usage } from "./collect.ts";
import type { OpenStore } from "./store.ts";

const LOW_WATER = 0.9;
/** Share of the disk a store may have when nothing else is said, and the least it gets if the disk has twice that. */
const DEFAULT_SHARE = 0.1;
const DEFAULT_MIN_BYTES = 10 * 2 ** 30;

/** As of the last time the store was added up. */
interface Reckoning {
  readonly atMs: number;
  readonly totalBytes: number;
  /** In use of the whole file system. */
  readonly usedBytes: number;
  /** Layers and blobs that builds have brought in since. Omitted: none, and of versions that did not count them. */
  readonly broughtBytes?: number;
}
const RECKONING = { space: "ceiling", key: "last" } as const;
const RECKONED_FOR_MS = 3_600_000;

/** A tenth of the disk, but at least 10 GiB (or half of a smaller disk). Bytes. */
export function defaultCeiling(disk: number): number {
  return Math.floor(Math.max(disk * DEFAULT_SHARE, Math.min(DEFAULT_MIN_BYTES, disk / 2)));
}

/** Size of the file system the store is on, and what is in use of it by everybody. Bytes. */
export function diskBytes(dir: string): { readonly total: number; readonly used: number } {
  const { blocks, bfree, bsize } = statfsSync(dir);
  return { total: blocks * bsize, used: (blocks - bfree) * bsize };
}

export interface CeilingOptions {
  readonly ceilingBytes: number;
  /** See PruneOptions. */
  readonly measure?: Measure;
  readonly signal: AbortSignal;
}

/** Removes cache when the store is over its ceiling; never what an image name, a running build or another lease holds.
 *  null: it is not over it. `directories` of the outcome are for the keeper. */
export async function keepBelow(store: OpenStore, options: CeilingOptions): Promise<PruneOutcome | null> {
  const { ceilingBytes, signal, measure } = options;
  const { records } = store;
  const usedBytes = diskBytes(store.dir).used;
  const brought = broughtNow(store);
  // Builds in parallel add to one number; a sum that has theirs already is too large, and leads to a new one.
  const last = records.merge<Reckoning>(RECKONING.space, RECKONING.key, (old) =>
    old === null ? null : { ...old, broughtBytes: (old.broughtBytes ?? 0) + brought },
  );
  if (usedBytes <= ceilingBytes) return null;
  if (last !== null && Math.abs(Date.now() - last.atMs) < RECKONED_FOR_MS) {
    const grownBytes = Math.max(usedBytes - last.usedBytes, last.broughtBytes ?? 0);
    if (last.totalBytes + grownBytes <= ceilingBytes) return null;
  }
  const total = (await usage(store, measure)).reduce((sum, entry) => sum + entry.sizeBytes, 0);
  const reckoning: Reckoning = { atMs: Date.now(), totalBytes: total, usedBytes };
  records.put(RECKONING.space, RECKONING.key, reckoning);
  if (total <= ceilingBytes) return null;
  return await prune(store, {
    all: false,
    keepBytes: Math.floor(ceilingBytes * LOW_WATER),
    olderThanMs: null,
    filters: [],
    ...(measure === undefined ? {} : { measure }),
    signal,
  });
}

/** What this process has brought into the store since it was asked last. Layers are measured when they are made. */
function broughtNow({ layers, content }: OpenStore): number {
  return layers.newlyMade().reduce((sum, id) => sum + (layers.get(id)?.sizeBytes ?? 0), content.newBytes());
}
