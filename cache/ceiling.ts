// The ceiling of a store: what it may have on disk. Looked at after each build in which something ran. While the whole file system
// has less in use than the ceiling, that is one statfs(2). Else the store is added up: sizes of layers are in their records, so
// only new ones are walked (5 ms for 1,000 layers). Over the ceiling cache goes, least recently used first, down to LOW_WATER
// of it, so that not every build has to remove something.

import { statfsSync } from "node:fs";
import { type Measure, prune, type PruneOutcome, usage } from "./collect.ts";
import type { OpenStore } from "./store.ts";

const LOW_WATER = 0.9;
/** Share of the disk a store may have when nothing else is said, and the least it gets if the disk has twice that. */
const DEFAULT_SHARE = 0.1;
const DEFAULT_MIN_BYTES = 10 * 2 ** 30;

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
  if (diskBytes(store.dir).used <= ceilingBytes) return null;
  const total = (await usage(store, measure)).reduce((sum, entry) => sum + entry.sizeBytes, 0);
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
