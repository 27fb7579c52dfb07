// Digests of whole selections of a context, by what lstat(2) says of all that is in them: where nothing has changed no digest of a file is
// looked up and none is computed. A build with 20,000 unchanged files takes 0.77 of the time, three quarters of the rest being lstat(2), readdir(3) and
// the start.
//
// One record per context directory and question (selectors and ignore rules), with the fingerprint of the last selection that was asked
// for. What the stat cache does not believe of one file (stat-cache.ts: clock granularity, power cuts) is not believed of any here: a
// selection with a young file is not remembered, and no fingerprint is valid after the machine was started again.
//
// Format 1: "TSSM", u32 version, fingerprint (32 bytes), digest (32 bytes). Little-endian.

import { createHash } from "node:crypto";
import { type Digest, digestFromHex, hexOf } from "../solver/graph/digest.ts";
import type { Records } from "./contract.ts";
import { bootId } from "./owner.ts";
import { isTooYoung } from "./stat-cache.ts";
import type { SelectionVisitor } from "./tree-select.ts";

export const SEEN_SPACE = "seen";
const MAGIC = "TSSM";
const VERSION = 1;
const FINGERPRINT_AT = 8;
const DIGEST_AT = 40;
const RECORD_BYTES = 72;
/** Of fewer entries each digest is found as fast. */
const WORTH_ENTRIES = 1000;

/** What was seen of a selection. */
export interface Fingerprint extends SelectionVisitor {
  /** Of all files that were seen, in bytes. */
  readonly size: number;
  readonly entries: number;
  /** One of them may change once more without another ctime. */
  readonly hasYoung: boolean;
  /** Hexadecimal; nothing more is to be seen then. */
  hex(): string;
}

export interface SelectionMemory {
  /** There is something to find. */
  readonly hasOne: boolean;
  start(): Fingerprint;
  /** The digest of a selection with this fingerprint. */
  find(seen: Fingerprint): Digest | null;
  /** Remembers it, if it is of many entries and all were old enough. */
  put(seen: Fingerprint, digest: Digest): void;
}

/** Opens the memory for a directory (absolute path) and a question about it: everything besides its files that the digest depends on. Call it
 *  before any file is read; `isOurs` as in openStatCache. */
export function openSelectionMemory(
  records: Records,
  root: string,
  question: string,
  { isOurs = false }: { readonly isOurs?: boolean } = {},
): SelectionMemory {
  const openedMs = Date.now();
  const key = createHash("sha256").update(`${root}\0${question}`).digest("hex");
  const stored = decode(records.get<Uint8Array>(SEEN_SPACE, key));
  return {
    hasOne: stored !== null,
    start: () => openFingerprint(openedMs),
    find: (seen) => (stored !== null && stored.fingerprint === seen.hex() ? stored.digest : null),
    put(seen, digest) {
      if (seen.entries < WORTH_ENTRIES || (seen.hasYoung && !isOurs)) return;
      const head = Buffer.alloc(FINGERPRINT_AT);
      head.write(MAGIC, "latin1");
      head.writeUInt32LE(VERSION, 4);
      records.put(SEEN_SPACE, key, Buffer.concat([head, Buffer.from(seen.hex() + hexOf(digest), "hex")]));
    },
  };
}

function decode(value: Uint8Array | null): { readonly fingerprint: string; readonly digest: Digest } | null {
  if (!(value instanceof Uint8Array) || value.length !== RECORD_BYTES) return null;
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  if (bytes.toString("latin1", 0, 4) !== MAGIC || bytes.readUInt32LE(4) !== VERSION) return null;
  return {
    fingerprint: bytes.toString("hex", FINGERPRINT_AT, DIGEST_AT),
    digest: digestFromHex(bytes.toString("hex", DIGEST_AT)),
  };
}

/** Words of an entry: its names, modes, owners and links are seen by them, and its content as far as the stat cache goes by it. */
const WORDS = 6;
/** One update for many: a call costs as much as hashing 1000 bytes. */
const ENTRIES_AN_UPDATE = 512;

function openFingerprint(openedMs: number): Fingerprint {
  const sha = createHash("sha256").update(`tsbuild.seen.v2\0${bootId()}\0`);
  const words = new BigInt64Array(ENTRIES_AN_UPDATE * WORDS);
  const bytes = Buffer.from(words.buffer);
  let names = "";
  let pending = 0;
  let entries = 0;
  let size = 0;
  let isYoung = false;
  let hex: string | null = null;
  // Each name ends with NUL, and there are as many of them as words say: what was hashed can be told apart.
  const flush = (): void => {
    if (names !== "") sha.update(`${pending}\0${names}`, "latin1");
    sha.update(bytes.subarray(0, pending * WORDS * 8));
    names = "";
    pending = 0;
  };
  return {
    get size() {
      return size;
    },
    get entries() {
      return entries;
    },
    get hasYoung() {
      return isYoung;
    },
    // What one selector picks is told apart from what the next one does: files whose directory was renamed look as they did.
    selector() {
      flush();
      sha.update("selector\0", "latin1");
    },
    match({ name }) {
      flush();
      sha.update(`match\0${name}\0`, "latin1");
    },
    entry({ relative, stat, isWay }) {
      names += `${relative}\0${stat.type}${isWay ? "?" : ""}\0`;
      const at = pending * WORDS;
      words[at] = BigInt(stat.mode) | (BigInt(stat.nlink) << 16n);
      words[at + 1] = BigInt(stat.size);
      words[at + 2] = stat.ino;
      words[at + 3] = BigInt(stat.dev);
      words[at + 4] = stat.mtimeNs;
      words[at + 5] = stat.ctimeNs;
      // A device needs no more: mknod(2) is the only call that gives an inode its numbers.
      entries++;
      if (stat.type === "file") size += stat.size;
      isYoung ||= isTooYoung(stat, openedMs);
      if (++pending === ENTRIES_AN_UPDATE) flush();
    },
    hex() {
      if (hex === null) {
        flush();
        hex = sha.digest("hex");
      }
      return hex;
    },
  };
}
