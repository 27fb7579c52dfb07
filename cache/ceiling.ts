// The ceiling of a store: what it may have on disk. Looked at after each build, for the price of one statfs(2) and one record:
// since the store was last added up, it cannot have grown by more than the file system has. Only when that says it might be
// too large it is added up again, and cache goes, least recently used first, down to LOW_WATER of the ceiling, so that the next
// builds need not add up again.

import { statfsSync } from "node:fs";
import { prune, type PruneOutcome, usage } from "./collect.ts";
import type { OpenStore } from "./store.ts";

/** As noted when the store was last added up. */
interface Sum {
  readonly bytes: number;
  /** Used on the file system, by everybody, at that time. */
  readonly fileSystemBytes: number;
  readonly atMs: number;
}

/** Space of the records. */
const SPACE = "usage";
const KEY = "sum";
const LOW_WATER = 0.9;
/** What is in use may be more than the ceiling: then it is looked at again after so much growth only. */
const FUTILE_SHARE = 0.05;
/** Others may have freed what the store has taken; so long that goes unseen. */
const SUM_MAX_AGE_MS = 24 * 3_600_000;

/** Share of the disk a store may have when nothing else is said, and the least it gets if the disk has twice that. */
const DEFAULT_SHARE = 0.1;
const DEFAULT_MIN_BYTES = 10 * 2 ** 30;

/** A tenth of the disk, but at least 10 GiB (or half of a smaller disk). Bytes. */
export function defaultCeiling(diskBytes: number): number {
  return Math.floor(Math.max(diskBytes * DEFAULT_SHARE, Math.min(DEFAULT_MIN_BYTES, diskBytes / 2)));
}

/** Size of the file system the store is on. */
export function diskBytes(dir: string): number {
  const { blocks, bsize } = statfsSync(dir);
  return blocks * bsize;
}

export interface CeilingOptions {
  readonly ceilingBytes: number;
  readonly signal: AbortSignal;
  readonly nowMs: number;
}

/** Removes cache when the store is over its ceiling; never what an image name, a running build or another lease holds.
 *  null: it is not. `directories` of the outcome are for the keeper. */
export async function keepBelow(store: OpenStore, options: CeilingOptions): Promise<PruneOutcome | null> {
  const { ceilingBytes, nowMs, signal } = options;
  const used = usedBytes(store.dir);
  if (!mayExceed(store.records.get<Sum>(SPACE, KEY), used, ceilingBytes, nowMs)) return null;
  const total = (await usage(store)).reduce((sum, entry) => sum + entry.sizeBytes, 0);
  if (total <= ceilingBytes) {
    store.records.put(SPACE, KEY, { bytes: total, fileSystemBytes: used, atMs: nowMs } satisfies Sum);
    return null;
  }
  const outcome = await prune(store, {
    all: false,
    keepBytes: Math.floor(ceilingBytes * LOW_WATER),
    olderThanMs: null,
    filters: [],
    signal,
  });
  const left = total - outcome.freedBytes;
  // The directories are still there: what their removal frees is growth that does not count.
  store.records.put(SPACE, KEY, {
    bytes: Math.min(left, ceilingBytes * (1 - FUTILE_SHARE)),
    fileSystemBytes: used - outcome.freedBytes,
    atMs: nowMs,
  } satisfies Sum);
  return outcome;
}

/** Can the store be larger than its ceiling? Pure. */
export function mayExceed(sum: Sum | null, usedNow: number, ceilingBytes: number, nowMs: number): boolean {
  if (usedNow <= ceilingBytes) return false;
  if (sum === null || Math.abs(nowMs - sum.atMs) > SUM_MAX_AGE_MS) return true;
  return sum.bytes + Math.max(0, usedNow - sum.fileSystemBytes) > ceilingBytes;
}

function usedBytes(dir: string): number {
  const { blocks, bfree, bsize } = statfsSync(dir);
  return (blocks - bfree) * bsize;
}
