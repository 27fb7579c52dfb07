// The two files of the database, and reserving space for lmdb before it needs it.
//
// lmdb must not meet a full disk. If writing pages fails, lmdb-js 3.5 prints a message of up to 140 bytes into 100 (mdb.c,
// mdb_page_flush), and the process dies sooner or later: "malloc(): invalid size". Writing to a page of the mapped lock file that has no
// block raises SIGBUS. So both files are created in full, with zeros, and before each commit the database file is extended
// by as much as the transaction can need: file systems that write in place (ext4, xfs, tmpfs) then need no more space. Those
// that copy on write (btrfs) need space each time; there a commit is refused while little is free.
//
// In addition the file has space for removing everything from the database: a store on a full disk can be pruned without new
// space.

import {
  chmodSync,
  closeSync,
  fchmodSync,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  type Stats,
  statfsSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import type { RootDatabase } from "lmdb";
import { syncDirectory } from "./content.ts";
import { diskFault, errnoOf } from "./disk-fault.ts";
import { lookAt } from "./set-aside.ts";

/** lmdb-js's getStats(), as far as it is used here. Counts are of pages, but for treeDepth and pageSize (bytes). */
export interface TreeStats {
  readonly pageSize: number;
  readonly treeDepth: number;
  readonly treeBranchPageCount: number;
  readonly treeLeafPageCount: number;
}
export interface DatabaseStats extends TreeStats {
  /** Of the last commit. */
  readonly lastPageNumber: number;
  /** The tree of free pages. */
  readonly free: TreeStats;
}

/** lmdb-js TransactionFlags.SYNCHRONOUS_COMMIT: one plain transaction, on disk on return. An empty one writes nothing. */
export const SYNCHRONOUS: number = 2;
/** Processes that may have the database open at once. */
export const READERS: number = 1022;
/** What mdb.c makes of READERS is 65,616: 64 for each, and a head. A longer file is taken as it is (mdb_env_setup_locks). */
const LOCK_BYTES = 17 * 4096;
/** mdb.c, MDB_page_header and MDB_meta; the same on x64 and arm64. */
const META = { magic: 24, version: 28, mapBytes: 40, pageBytes: 48, flags: 52, freeRoot: 88, mainRoot: 136 };
const LAST_PAGE = 144;
const MAGIC = 0xbeefc0de;
const DATA_VERSION = 2;
/** Address space, not disk; lmdb grows it when needed. */
export const MAP_BYTES: number = 2 ** 28;
const P_META = 8;
const NOSUBDIR_INTEGERKEY = 0x4008;

/** lmdb takes the size of the machine's own pages, which are larger on some arm64; it reads a file of any. */
const PAGE_BYTES = 4096;
/** The file grows by at least so much. */
const STEP_BYTES = 2 ** 18;
/** Of the room for tidying up, at most. */
const RESERVE_MAX_BYTES = 2 ** 21;
const ZEROS_BYTES = 2 ** 18;
/** Free space of a file system that copies on write below which nothing is committed, and that where only things are removed. */
const COPYING_FREE_BYTES = 2 ** 25;
const COPYING_TIDYING_BYTES = 2 ** 21;
/** statfs(2), f_type: btrfs, bcachefs, zfs, nilfs, f2fs. */
const COPYING: ReadonlySet<number> = new Set([0x9123683e, 0xca451a4e, 0x2fc12fc1, 0x3434, 0xf2f52010]);

/** An empty database, byte for byte as lmdb makes it: two meta pages. */
export function emptyDatabase(pageBytes: number): Buffer {
  const bytes = Buffer.alloc(2 * pageBytes);
  for (const page of [0, 1]) {
    const at = bytes.subarray(page * pageBytes);
    at.writeUInt32LE(page, 0);
    at.writeUInt16LE(P_META, 18);
    at.writeUInt32LE(MAGIC, META.magic);
    at.writeUInt32LE(DATA_VERSION, META.version);
    at.writeUInt32LE(MAP_BYTES, META.mapBytes);
    at.writeUInt32LE(pageBytes, META.pageBytes);
    at.writeUInt16LE(NOSUBDIR_INTEGERKEY, META.flags);
    at.fill(0xff, META.freeRoot, META.freeRoot + 8);
    at.fill(0xff, META.mainRoot, META.mainRoot + 8);
    at.writeUInt32LE(1, LAST_PAGE);
  }
  return bytes;
}

/** Makes both files where they are not, 0600 and in full: lmdb would make them for everybody to read, as far as the umask lets it
 *  (threat model S5), and with holes. For who has the turn (records.ts). */
export function makeFiles(path: string): void {
  try {
    const stat = lookAt(path);
    // Of no length: versions before made it so, and were killed.
    if (stat === null || stat.size === 0) {
      const empty = emptyDatabase(PAGE_BYTES);
      makeWhole(path, empty, empty.length + STEP_BYTES, { isSynced: true });
    } else if ((stat.mode & 0o777) !== 0o600) chmodSync(path, 0o600);
    const lock = lookAt(`${path}-lock`);
    if (lock === null || lock.size === 0)
      makeWhole(`${path}-lock`, Buffer.alloc(0), LOCK_BYTES, { isSynced: false });
    else if ((lock.mode & 0o777) !== 0o600) chmodSync(`${path}-lock`, 0o600);
  } catch (error) {
    throw diskFault(error, "opening its database", dirname(path));
  }
}

/** `head`, then zeros up to `length`; there as a whole or not at all. */
function makeWhole(path: string, head: Buffer, length: number, { isSynced }: { isSynced: boolean }): void {
  const draft = `${path}-new`;
  rmSync(draft, { recursive: true, force: true });
  const descriptor = openSync(draft, "wx", 0o600);
  try {
    fchmodSync(descriptor, 0o600); // open(2) takes the umask off
    writeAt(descriptor, head, 0);
    extend(descriptor, head.length, length);
    if (isSynced) fdatasyncSync(descriptor);
    renameSync(draft, path);
    if (isSynced) syncDirectory(dirname(path));
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  } finally {
    closeSync(descriptor);
  }
}

/** Has the file lmdb's two meta pages, or is there none? Page header 24 bytes, then magic, version 2, and 48 bytes
 *  into the page the page size (mdb.c, MDB_meta). */
export function looksWhole(path: string): boolean {
  let descriptor: number;
  try {
    descriptor = openSync(path, "r");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return true;
    throw diskFault(error, "opening its database", dirname(path));
  }
  try {
    const head = Buffer.alloc(64);
    const count = readSync(descriptor, head, 0, 64, 0);
    if (count === 0) return true; // made a moment ago, and nothing came into it
    if (count < 64 || !isMeta(head)) return false;
    const second = Buffer.alloc(64);
    return readSync(descriptor, second, 0, 64, head.readUInt32LE(META.pageBytes)) === 64 && isMeta(second);
  } finally {
    closeSync(descriptor);
  }
}

function isMeta(bytes: Buffer): boolean {
  return bytes.readUInt32LE(META.magic) === MAGIC && bytes.readUInt32LE(META.version) === DATA_VERSION;
}

/** A database file that was cut short ends the process with SIGBUS where a page is missing. Filled up with zeros it gives
 *  MDB_CORRUPTED instead. In files that versions before have made, freed pages at the end were not written. True: it was short. */
export function lengthen(db: RootDatabase<Buffer, Buffer>, path: string): boolean {
  const stats = db.getStats() as DatabaseStats;
  const needed = (stats.lastPageNumber + 1) * stats.pageSize;
  if (statSync(path).size >= needed) return false;
  db.transactionSync(() => {
    const descriptor = openSync(path, "r+");
    try {
      extend(descriptor, fstatSync(descriptor).size, needed); // its length now: only now nobody writes
    } finally {
      closeSync(descriptor);
    }
  }, SYNCHRONOUS);
  return true;
}

/** Pages that a transaction writes at most. `values`: bytes of key and value of what it stores; null: it takes the record out. */
export function pagesFor(stats: DatabaseStats, values: readonly (number | null)[]): number {
  const { pageSize: pageBytes, treeDepth, free } = stats;
  const puts = values.filter((size) => size !== null);
  // A page that changes is written elsewhere: those from the root to the record, and a neighbour of each where two are joined.
  const tree = stats.treeBranchPageCount + stats.treeLeafPageCount;
  const copied = Math.min(tree, values.length * 2 * Math.max(treeDepth, 1));
  // A leaf that is full is split, and so may be the pages above: keys are half a page at most, so of n splits n/2 go on.
  const split = 2 * puts.length + treeDepth + 2;
  // More than half a page lies in pages of its own.
  const long = puts.reduce(
    (sum, size) => sum + (size * 2 < pageBytes ? 0 : Math.ceil((size + 24) / pageBytes)),
    0,
  );
  // The list of free pages: what was freed now, and the rest of the lists that were taken from, 8 bytes a page, written a few times over.
  const numbers = stats.lastPageNumber + copied + split + long;
  const lists = 4 * Math.ceil((numbers * 8) / (pageBytes - 64)) + 8;
  const freeTree = free.treeBranchPageCount + free.treeLeafPageCount + 2 * free.treeDepth + 2;
  return copied + split + long + lists + freeTree;
}

/** Makes the file long enough for so many new pages. `tidying`: the transaction is for giving space back, and may use what is kept
 *  for that. Throws what the file system says: ENOSPC, EDQUOT, EFBIG. For who has the turn. */
export function makeRoom(path: string, stats: DatabaseStats, pages: number, tidying: boolean): void {
  const pageBytes = stats.pageSize;
  const used = (stats.lastPageNumber + 1) * pageBytes;
  // All records out: each page of the tree once more, and the list of those that became free.
  const all = pagesFor(
    stats,
    Array.from({ length: stats.treeLeafPageCount + 1 }, () => null),
  );
  const reserve = tidying ? 0 : Math.min(RESERVE_MAX_BYTES, all * pageBytes);
  const least = used + pages * pageBytes + reserve;
  const descriptor = openSync(path, "r+");
  try {
    const stat = fstatSync(descriptor);
    if (stat.size < least) {
      fillHoles(descriptor, stat, pageBytes);
      grow(descriptor, stat.size, least);
    }
    // Also what is there may be refused: a file system that became read-only, RLIMIT_FSIZE (EFBIG).
    const end = fstatSync(descriptor).size - 1;
    writeAt(descriptor, Buffer.alloc(1), end);
  } finally {
    closeSync(descriptor);
  }
  refuseWhereCopied(path, pages * pageBytes, tidying);
}

/** By a step more than the least, if that is to be had: the next commits ask for nothing. */
function grow(descriptor: number, from: number, least: number): void {
  const length = Math.ceil((least + STEP_BYTES) / STEP_BYTES) * STEP_BYTES;
  try {
    extend(descriptor, from, length);
  } catch (error) {
    if (fstatSync(descriptor).size >= least) return;
    ftruncateSync(descriptor, from);
    throw error;
  }
}

function refuseWhereCopied(path: string, bytes: number, tidying: boolean): void {
  const { type, bavail, bsize } = statfsSync(path);
  if (!COPYING.has(type)) return;
  const least = 2 * bytes + (tidying ? COPYING_TIDYING_BYTES : COPYING_FREE_BYTES);
  if (bavail * bsize < least)
    throw Object.assign(new Error(`ENOSPC: less than ${least} bytes free`), { code: "ENOSPC" });
}

/** Pages that lmdb freed before it had written them have no blocks, in files of versions before. They are of zeros, and are written. */
function fillHoles(descriptor: number, { size, blocks }: Stats, pageBytes: number): void {
  const METADATA_BYTES = 2 ** 16; // blocks for the file's own tables count too: inode(7), ext4
  if (blocks * 512 >= size + METADATA_BYTES) return;
  const page = Buffer.alloc(pageBytes);
  const zeros = Buffer.alloc(pageBytes);
  for (let at = 0; at + pageBytes <= size; at += pageBytes) {
    readSync(descriptor, page, 0, pageBytes, at);
    if (page.equals(zeros)) writeAt(descriptor, zeros, at);
  }
}

/** Zeros from `from` up to `length`, with blocks of the disk for them. */
function extend(descriptor: number, from: number, length: number): void {
  if (from >= length) return;
  const zeros = Buffer.alloc(Math.min(ZEROS_BYTES, length - from));
  for (let at = from; at < length; ) {
    const count = Math.min(zeros.length, length - at);
    writeAt(descriptor, zeros.subarray(0, count), at);
    at += count;
  }
}

/** write(2) of all: one that was cut short says why when the rest is written. */
function writeAt(descriptor: number, bytes: Uint8Array, position: number): void {
  for (let at = 0; at < bytes.length; )
    at += writeSync(descriptor, bytes, at, bytes.length - at, position + at);
}

/** Reads a record inside a transaction. */
export type ReadRecord = <T>(space: string, key: string) => T | null;
