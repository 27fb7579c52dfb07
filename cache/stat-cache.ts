// Stat cache: digests of a context's files by path and stat, so that unchanged files are not read again.
//
// One value for each context directory, read whole at open and replaced whole by flush(): nothing is written by a build
// that does not end well. An entry is believed only while size, mtime, ctime, inode, device and mode are all the same.
//
// Two ways to be wrong are closed by leaving entries out:
// - Clock grain. A file changed twice within one tick has one ctime. The cache is opened before any file is looked at, so a file
//   whose ctime lies more than GRAIN_MS before that moment gets another ctime with its next change; only such are kept.
// - Power cuts. The kernel may have written a file's inode but not its bytes. In another boot only entries are believed whose
//   ctime was BOOT_MS older than the flush: written back long before (dirty_expire_centisecs is 30 s).
//
// Format 1: "TSST", u32 version, boot id (12 bytes ASCII), f64 time of the flush (ms), u32 count, count entries of ENTRY_BYTES,
// then the paths in the same order, each ended by a zero byte. All little-endian.

import { createHash } from "node:crypto";
import { type Digest, digestFromHex, hexOf } from "../solver/graph/digest.ts";
import { bootId } from "./owner.ts";
import type { Records } from "./store.ts";

/** What identifies an unchanged file; nanoseconds as given by lstat with bigint. */
export interface FileStat {
  readonly size: bigint | number;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly ino: bigint | number;
  readonly dev: bigint | number;
  readonly mode: bigint | number;
}

export interface StatCache {
  /** Digest put for this path when its stat was exactly this one. */
  get(path: Uint8Array | string, stat: FileStat): Digest | null;
  /** `stat` was taken before the bytes were read, and after the cache was opened. Too young files are not kept. */
  put(path: Uint8Array | string, stat: FileStat, digest: Digest): void;
  /** Stores the entries. Call when everything went well. */
  flush(): void;
}

export const STAT_SPACE = "stat";
const MAGIC = Buffer.from("TSST");
const VERSION = 1;
const HEAD_BYTES = 32;
const GRAIN_MS = 2000;
const BOOT_MS = 3_600_000;
/** An entry nobody asked for in so many flushes belongs to a file that is gone. */
const AGE_MAX = 16;

// Offsets within an entry.
const SIZE = 0;
const MTIME = 8;
const CTIME = 16;
const INO = 24;
const DEV = 32;
const MODE = 40;
const AGE = 44;
const DIGEST = 48;
const ENTRY_BYTES = 80;

/** Where an entry lies: in the loaded value or in one of its own. */
interface Place {
  readonly bytes: Buffer;
  readonly at: number;
}

/** Opens the cache of one context directory (absolute path). */
export function openStatCache(records: Records, root: string): StatCache {
  const openedMs = Date.now();
  const key = createHash("sha256").update(root).digest("hex");
  const loaded = load(records.get<Uint8Array>(STAT_SPACE, key));
  const added = new Map<string, Place>();
  const used = new Set<string>();
  let changed = false;

  function find(name: string): Place | null {
    const own = added.get(name);
    if (own !== undefined) return own;
    const index = loaded.index.get(name);
    return index === undefined ? null : { bytes: loaded.entries, at: index * ENTRY_BYTES };
  }

  function get(path: Uint8Array | string, stat: FileStat): Digest | null {
    const name = nameOf(path);
    const place = find(name);
    if (place === null || !isSame(place, stat) || !loaded.isTrusted(place)) return null;
    used.add(name);
    return digestFromHex(place.bytes.toString("hex", place.at + DIGEST, place.at + ENTRY_BYTES));
  }

  function put(path: Uint8Array | string, stat: FileStat, digest: Digest): void {
    const name = nameOf(path);
    if (isTooYoung(stat, openedMs)) {
      // An older entry for the path cannot match any more.
      return;
    }
    added.set(name, { bytes: encodeEntry(stat, digest), at: 0 });
    used.add(name);
    changed = true;
  }

  function flush(): void {
    if (!changed) return;
    changed = false;
    const kept: [string, Place, number][] = [];
    for (const name of loaded.index.keys()) {
      if (added.has(name)) continue;
      const place = find(name) as Place;
      const age = used.has(name) ? 0 : place.bytes.readUInt32LE(place.at + AGE) + 1;
      if (age <= AGE_MAX && loaded.isTrusted(place)) kept.push([name, place, age]);
    }
    for (const [name, place] of added) kept.push([name, place, 0]);
    records.put(STAT_SPACE, key, save(kept));
  }

  return { get, put, flush };
}

/** latin1: every byte string is one text and comes back the same; file names need not be UTF-8. */
function nameOf(path: Uint8Array | string): string {
  if (typeof path === "string") return Buffer.from(path).toString("latin1");
  return Buffer.from(path.buffer, path.byteOffset, path.byteLength).toString("latin1");
}

function isTooYoung(stat: FileStat, openedMs: number): boolean {
  const limit = BigInt(openedMs - GRAIN_MS) * 1_000_000n;
  if (stat.ctimeNs >= limit) return true;
  // mtime may be set to any time; only one near the present can be a change under way.
  return stat.mtimeNs >= limit && stat.mtimeNs <= BigInt(Date.now() + GRAIN_MS) * 1_000_000n;
}

function isSame({ bytes, at }: Place, stat: FileStat): boolean {
  return (
    bytes.readBigInt64LE(at + CTIME) === stat.ctimeNs &&
    bytes.readBigInt64LE(at + MTIME) === stat.mtimeNs &&
    bytes.readBigUInt64LE(at + SIZE) === BigInt(stat.size) &&
    bytes.readBigUInt64LE(at + INO) === BigInt(stat.ino) &&
    bytes.readBigUInt64LE(at + DEV) === BigInt(stat.dev) &&
    bytes.readUInt32LE(at + MODE) === Number(stat.mode)
  );
}

function encodeEntry(stat: FileStat, digest: Digest): Buffer {
  const bytes = Buffer.alloc(ENTRY_BYTES);
  bytes.writeBigUInt64LE(BigInt(stat.size), SIZE);
  bytes.writeBigInt64LE(stat.mtimeNs, MTIME);
  bytes.writeBigInt64LE(stat.ctimeNs, CTIME);
  bytes.writeBigUInt64LE(BigInt(stat.ino), INO);
  bytes.writeBigUInt64LE(BigInt(stat.dev), DEV);
  bytes.writeUInt32LE(Number(stat.mode), MODE);
  bytes.write(hexOf(digest), DIGEST, "hex");
  return bytes;
}

interface Loaded {
  readonly entries: Buffer;
  readonly index: ReadonlyMap<string, number>;
  isTrusted(place: Place): boolean;
}

function load(value: Uint8Array | null): Loaded {
  const none: Loaded = { entries: Buffer.alloc(0), index: new Map(), isTrusted: () => true };
  if (!(value instanceof Uint8Array) || value.length < HEAD_BYTES) return none;
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  if (!bytes.subarray(0, 4).equals(MAGIC) || bytes.readUInt32LE(4) !== VERSION) return none;
  const count = bytes.readUInt32LE(28);
  const end = HEAD_BYTES + count * ENTRY_BYTES;
  if (end > bytes.length) return none;
  const entries = bytes.subarray(HEAD_BYTES, end);
  // One split instead of a loop over bytes: 20,000 paths in 2 ms.
  const names = bytes.toString("latin1", end).split("\0");
  if (names.length !== count + 1) return none;
  const index = new Map<string, number>();
  for (let i = 0; i < count; i++) index.set(names[i] as string, i);

  const sameBoot = bytes.toString("latin1", 8, 20) === bootId();
  const limit = BigInt(Math.floor(bytes.readDoubleLE(20)) - BOOT_MS) * 1_000_000n;
  const isTrusted = (place: Place) =>
    place.bytes !== entries || sameBoot || place.bytes.readBigInt64LE(place.at + CTIME) < limit;
  return { entries, index, isTrusted };
}

/** When a stored value was flushed, 0 when it is none of ours. */
export function savedAtMs(value: Uint8Array): number {
  if (!(value instanceof Uint8Array) || value.length < HEAD_BYTES) return 0;
  return new DataView(value.buffer, value.byteOffset).getFloat64(20, true);
}

function save(kept: readonly (readonly [string, Place, number])[]): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  MAGIC.copy(head);
  head.writeUInt32LE(VERSION, 4);
  head.write(bootId(), 8, "latin1");
  head.writeDoubleLE(Date.now(), 20);
  head.writeUInt32LE(kept.length, 28);
  const entries = Buffer.alloc(kept.length * ENTRY_BYTES);
  kept.forEach(([, place, age], i) => {
    place.bytes.copy(entries, i * ENTRY_BYTES, place.at, place.at + ENTRY_BYTES);
    entries.writeUInt32LE(age, i * ENTRY_BYTES + AGE);
  });
  const names = kept.map(([name]) => `${name}\0`).join("");
  return Buffer.concat([head, entries, Buffer.from(names, "latin1")]);
}
