// Stat cache: digests of a context's files by path and stat, so that unchanged files are not read again.
//
// One value per context directory, read completely at open and replaced completely by flush(): a build that fails writes
// nothing. An entry is valid only while size, mtime, ctime, inode, device and mode are all the same.
//
// Two possible errors are avoided by omitting entries:
// - Clock granularity. A file changed twice within one tick has one ctime. The cache is opened before any file is read, so a file
//   whose ctime is more than GRAIN_MS before that moment gets another ctime with its next change; only such files are stored.
// - Power cuts. The kernel may have written a file's inode but not its bytes. In another boot only entries are valid whose
//   ctime was BOOT_MS older than the flush: written back long before (dirty_expire_centisecs is 30 s).
//
// Format 1: "TSST", u32 version, boot id (12 bytes ASCII), f64 time of the flush (ms), u32 count, count entries of ENTRY_BYTES,
// then the paths in the same order, each ended by a zero byte. All little-endian.

import { createHash } from "node:crypto";
import { type Digest, digestFromHex, hexOf } from "../solver/graph/digest.ts";
import { bootId } from "./owner.ts";
import type { Records } from "./contract.ts";

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

// An entry: six 64-bit words, then the 32 bytes of the digest. Read through a BigInt64Array, 10 times as fast as
// Buffer.readBigInt64LE(). (All platforms Node runs on here are little-endian.)
const CTIME = 0;
const MTIME = 1;
const SIZE = 2;
const INO = 3;
const DEV = 4;
/** Mode in the low 32 bits, flushes since last asked for in the high ones. */
const MODE_AND_AGE = 5;
const ENTRY_WORDS = 10;
const ENTRY_BYTES = 80;
const DIGEST_AT = 48;

interface Added {
  readonly stat: FileStat;
  readonly digest: Digest;
}

/** Opens the cache of one context directory (absolute path). isOurs: nobody but this store writes there, whose files get another inode or a
 *  later time with each content: young files are kept too. */
export function openStatCache(
  records: Records,
  root: string,
  { isOurs = false }: { readonly isOurs?: boolean } = {},
): StatCache {
  const openedMs = Date.now();
  const key = createHash("sha256").update(root).digest("hex");
  // Who knows the digest of a whole selection asks for no file.
  let loadedOnce: Loaded | null = null;
  const all = (): Loaded => (loadedOnce ??= load(records.get<Uint8Array>(STAT_SPACE, key)));
  const added = new Map<string, Added>();
  const used = new Set<number>();

  function get(path: Uint8Array | string, stat: FileStat): Digest | null {
    const name = nameOf(path);
    const own = added.get(name);
    if (own !== undefined) return isSameStat(own.stat, stat) ? own.digest : null;
    const loaded = all();
    const index = loaded.index.get(name);
    if (index === undefined || !isSame(loaded.words, index * ENTRY_WORDS, stat) || !loaded.isTrusted(index)) {
      return null;
    }
    used.add(index);
    const at = index * ENTRY_BYTES + DIGEST_AT;
    return digestFromHex(loaded.bytes.toString("hex", at, at + 32));
  }

  function put(path: Uint8Array | string, stat: FileStat, digest: Digest): void {
    // An older entry for the path cannot match any more, so nothing is to be removed.
    if (isOurs || !isTooYoung(stat, openedMs)) added.set(nameOf(path), { stat, digest });
  }

  function flush(): void {
    if (added.size === 0) return;
    const loaded = all();
    const kept: [string, number][] = [];
    for (const [name, index] of loaded.index) {
      if (added.has(name) || !loaded.isTrusted(index)) continue;
      if (used.has(index) || ageOf(loaded.words, index) < AGE_MAX) kept.push([name, index]);
    }
    records.put(STAT_SPACE, key, save(loaded, kept, used, added));
  }

  return { get, put, flush };
}

/** latin1: every byte string is one text and comes back the same; file names need not be UTF-8. */
function nameOf(path: Uint8Array | string): string {
  if (typeof path === "string") return Buffer.from(path).toString("latin1");
  return Buffer.from(path.buffer, path.byteOffset, path.byteLength).toString("latin1");
}

/** Can the file change once more without another ctime? openedMs: a moment before anything of it was read. */
export function isTooYoung(stat: Pick<FileStat, "ctimeNs" | "mtimeNs">, openedMs: number): boolean {
  const limit = BigInt(openedMs - GRAIN_MS) * 1_000_000n;
  if (stat.ctimeNs >= limit) return true;
  // mtime may be set to any time; only one near the present can be a change under way.
  return stat.mtimeNs >= limit && stat.mtimeNs <= BigInt(Date.now() + GRAIN_MS) * 1_000_000n;
}

function isSame(words: BigInt64Array, at: number, stat: FileStat): boolean {
  return (
    words[at + CTIME] === stat.ctimeNs &&
    words[at + MTIME] === stat.mtimeNs &&
    words[at + SIZE] === BigInt(stat.size) &&
    words[at + INO] === asWord(stat.ino) &&
    words[at + DEV] === asWord(stat.dev) &&
    Number((words[at + MODE_AND_AGE] as bigint) & 0xffffffffn) === Number(stat.mode)
  );
}

function isSameStat(a: FileStat, b: FileStat): boolean {
  const words = new BigInt64Array(ENTRY_WORDS);
  writeStat(words, 0, a);
  return isSame(words, 0, b);
}

function writeStat(words: BigInt64Array, at: number, stat: FileStat): void {
  words[at + CTIME] = stat.ctimeNs;
  words[at + MTIME] = stat.mtimeNs;
  words[at + SIZE] = BigInt(stat.size);
  words[at + INO] = BigInt(stat.ino);
  words[at + DEV] = BigInt(stat.dev);
  words[at + MODE_AND_AGE] = BigInt(stat.mode);
}

/** Inode and device numbers are unsigned; in an array of signed words the upper half is negative. */
function asWord(value: bigint | number): bigint {
  return BigInt.asIntN(64, BigInt(value));
}

function ageOf(words: BigInt64Array, index: number): number {
  return Number((words[index * ENTRY_WORDS + MODE_AND_AGE] as bigint) >> 32n);
}

interface Loaded {
  /** The entries, twice: as bytes and as words. */
  readonly bytes: Buffer;
  readonly words: BigInt64Array;
  readonly index: ReadonlyMap<string, number>;
  isTrusted(index: number): boolean;
}

function load(value: Uint8Array | null): Loaded {
  const none: Loaded = {
    bytes: Buffer.alloc(0),
    words: new BigInt64Array(),
    index: new Map(),
    isTrusted: () => true,
  };
  if (!(value instanceof Uint8Array) || value.length < HEAD_BYTES) return none;
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  if (!bytes.subarray(0, 4).equals(MAGIC) || bytes.readUInt32LE(4) !== VERSION) return none;
  const count = bytes.readUInt32LE(28);
  const end = HEAD_BYTES + count * ENTRY_BYTES;
  if (end > bytes.length) return none;
  // A copy of its own lies at a multiple of eight, as words must.
  const words = new BigInt64Array(count * ENTRY_WORDS);
  const entries = Buffer.from(words.buffer);
  bytes.copy(entries, 0, HEAD_BYTES, end);
  // One split instead of a loop over bytes: 20,000 paths in 2 ms.
  const names = bytes.toString("latin1", end).split("\0");
  if (names.length !== count + 1) return none;
  const index = new Map<string, number>();
  for (let i = 0; i < count; i++) index.set(names[i] as string, i);

  const sameBoot = bytes.toString("latin1", 8, 20) === bootId();
  const limit = BigInt(Math.floor(bytes.readDoubleLE(20)) - BOOT_MS) * 1_000_000n;
  const isTrusted = (at: number) => sameBoot || (words[at * ENTRY_WORDS + CTIME] as bigint) < limit;
  return { bytes: entries, words, index, isTrusted };
}

/** When a stored value was flushed, 0 when it is none of ours. */
export function savedAtMs(value: Uint8Array): number {
  if (!(value instanceof Uint8Array) || value.length < HEAD_BYTES) return 0;
  return new DataView(value.buffer, value.byteOffset).getFloat64(20, true);
}

function save(
  loaded: Loaded,
  kept: readonly (readonly [string, number])[],
  used: ReadonlySet<number>,
  added: ReadonlyMap<string, Added>,
): Buffer {
  const count = kept.length + added.size;
  const head = Buffer.alloc(HEAD_BYTES);
  MAGIC.copy(head);
  head.writeUInt32LE(VERSION, 4);
  head.write(bootId(), 8, "latin1");
  head.writeDoubleLE(Date.now(), 20);
  head.writeUInt32LE(count, 28);

  const words = new BigInt64Array(count * ENTRY_WORDS);
  const entries = Buffer.from(words.buffer);
  const names: string[] = [];
  for (const [name, index] of kept) {
    const at = names.length * ENTRY_WORDS;
    words.set(loaded.words.subarray(index * ENTRY_WORDS, (index + 1) * ENTRY_WORDS), at);
    const mode = (words[at + MODE_AND_AGE] as bigint) & 0xffffffffn;
    const age = used.has(index) ? 0 : ageOf(loaded.words, index) + 1;
    words[at + MODE_AND_AGE] = mode | (BigInt(age) << 32n);
    names.push(name);
  }
  for (const [name, { stat, digest }] of added) {
    writeStat(words, names.length * ENTRY_WORDS, stat);
    entries.write(hexOf(digest), names.length * ENTRY_BYTES + DIGEST_AT, "hex");
    names.push(name);
  }
  return Buffer.concat([head, entries, Buffer.from(names.map((name) => `${name}\0`).join(""), "latin1")]);
}
