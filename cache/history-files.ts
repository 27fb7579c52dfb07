// Build history of a daemon (bin/daemon/history.ts): history/<sha256 of the build's name>, one file per build with its record and all blobs that
// the record names. Nothing else refers to a file or is referred to by it, so that one rename(2) adds a build as a whole, one unlink(2) removes it
// as a whole, and no blob of images or steps can be asked for by way of the history.
//
// Format 1; numbers are little-endian:
//
//   "tsbhist1"                  a file with another number is of another version: left alone
//   32 bytes, 4 bytes           sha256 and length of the head
//   head                        length of the record (4 bytes), the record, then for each blob its sha256 (32 bytes) and size (8 bytes)
//   blobs                       in the order of the head
//
// A file is flushed just after it got its name: clients wait for the name, and 5 to 20 ms of flush are a tenth of a small build. A power cut loses
// the builds of the last moment, or leaves torn files of them: what does not fit together (length, sums) is set aside when it is read.

import { createHash } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readdirSync, readSync, rmSync } from "node:fs";
import { open, rename } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { type Digest, digestFromHex, digestOf, hexOf } from "../solver/graph/digest.ts";
import { errnoOf, onDisk } from "./disk-fault.ts";
import { makeDirectories } from "./outside.ts";
import { isDirectory, lookAt, setAside } from "./set-aside.ts";
import type { WaitOptions } from "./contract.ts";

/** A blob, verified and open: disposing it closes it. */
export interface HistoryBlob extends Disposable {
  readonly digest: Digest;
  readonly size: number;
  readonly addedAtMs: number;
  /** At most so many bytes from there; fewer at the end of the blob. */
  read(at: number, length: number): Uint8Array;
}

/** What is kept of one build; the meaning of the record is up to who keeps it. */
export interface KeptBuild {
  readonly record: Uint8Array;
  /** Of the file. */
  readonly sizeBytes: number;
}

export interface HistoryFiles {
  /** Keeps a build under its name, instead of one of that name. Survives a SIGKILL from then on, and a power cut a moment later. Throws
   *  STORE_FULL. */
  put(name: string, record: Uint8Array, blobs: readonly Uint8Array[]): Promise<void>;
  get(name: string): Uint8Array | null;
  /** All of them, in no order. */
  list(): AsyncGenerator<KeptBuild, void, undefined>;
  /** Another record with the same blobs; null where there is no build of that name. */
  change(
    name: string,
    change: (record: Uint8Array) => Uint8Array,
    options: WaitOptions,
  ): Promise<Uint8Array | null>;
  /** Removes a build with its blobs. False: there is none. */
  remove(name: string, options: WaitOptions): Promise<boolean>;
  /** A blob of any build. null: there is none. The caller disposes it. */
  blob(digest: Digest): Promise<HistoryBlob | null>;
  blobs(): { readonly digest: Digest; readonly size: number; readonly addedAtMs: number }[];
  /** On disk, of all. */
  totalBytes(): number;
  /** Resolves when all that was put is on disk. */
  settled(): Promise<void>;
  /** For fsck: what is damaged, in words. Repaired: set aside. */
  check(options: { readonly repair: boolean; readonly signal: AbortSignal }): Promise<readonly Damaged[]>;
}

interface Damaged {
  readonly id: string;
  readonly what: string;
}

export interface HistoryFilesOptions {
  readonly dir: string; // made when there is something to keep
  readonly quarantine: string;
  /** For files that are being written; removed when their process has ended. */
  readonly tempDir: () => string;
  readonly exclusively: <T>(key: string, work: () => Promise<T>, options: WaitOptions) => Promise<T>;
}

const MAGIC = "tsbhist1";
const ANY_MAGIC = /^tsbhist\d$/;
const SUM_AT = MAGIC.length;
const LENGTH_AT = SUM_AT + 32;
const HEAD_AT = LENGTH_AT + 4;
const BLOB_ENTRY_BYTES = 40;
/** Of the head of one build: record, and digests of its blobs. */
const HEAD_MAX_BYTES = 4 << 20;
const CHUNK_BYTES = 1 << 20;
const NAME = /^[0-9a-f]{64}$/;
/** Files read in one turn of the event loop: some milliseconds. */
const FILES_PER_TURN = 64;

interface Place {
  readonly digest: Digest;
  readonly size: number;
  readonly at: number;
}

interface OpenFile extends Disposable {
  readonly descriptor: number;
  readonly record: Uint8Array;
  readonly places: readonly Place[];
  readonly sizeBytes: number;
  readonly addedAtMs: number;
}

/** What opening a file finds. other: of another version. */
type Opened = OpenFile | { readonly damage: string } | "missing" | "other";

export function openHistoryFiles(options: HistoryFilesOptions): HistoryFiles {
  const { dir, quarantine, exclusively } = options;
  /** Blobs of files that were read before, by file; a file under a name never changes, another one has another inode or time. */
  const known = new Map<string, { readonly key: string; readonly places: readonly Place[] }>();
  const flushes = new Set<Promise<void>>();
  let serial = 0;

  const names = (): string[] => (isDirectory(dir) ? readdirSync(dir).filter((name) => NAME.test(name)) : []);
  const pathOf = (file: string): string => join(dir, file);

  /** An open file, or null where there is none of this version; a damaged one is set aside. */
  function openFile(file: string): OpenFile | null {
    const opened = onDisk("reading the build history", dir, () => openHistoryFile(pathOf(file)));
    if (opened === "missing" || opened === "other") return null;
    if (!("damage" in opened)) return opened;
    putAside(file);
    return null;
  }

  function putAside(file: string): void {
    known.delete(file);
    setAside(pathOf(file), quarantine, `history-${file}`);
  }

  async function write(file: string, head: Buffer, blobs: Iterable<Uint8Array>): Promise<void> {
    const draft = join(options.tempDir(), `history-${serial++}`);
    try {
      const handle = await open(draft, "wx", 0o600);
      try {
        await handle.writev([preambleOf(head), head]);
        for (const blob of blobs) await handle.writeFile(blob);
        makeDirectories(dir, 0o700);
        await rename(draft, pathOf(file));
      } finally {
        // What cannot be flushed is torn after a power cut, and found out.
        const flush = handle
          .sync()
          .catch(() => {})
          .then(() => handle.close())
          .catch(() => {});
        flushes.add(flush);
        void flush.then(() => flushes.delete(flush));
      }
    } catch (error) {
      rmSync(draft, { force: true });
      onDisk("storing the history of a build", dir, () => {
        throw error;
      });
    }
  }

  function placesIn(file: string): readonly Place[] {
    const stat = lookAt(pathOf(file));
    if (stat === null) {
      known.delete(file);
      return [];
    }
    const key = `${stat.ino} ${stat.mtimeMs} ${stat.size}`;
    const before = known.get(file);
    if (before?.key === key) return before.places;
    using opened = openFile(file);
    const places = opened?.places ?? [];
    if (opened !== null) known.set(file, { key, places });
    return places;
  }

  async function openBlob(file: string, digest: Digest): Promise<HistoryBlob | null> {
    const opened = openFile(file);
    const place = opened?.places.find((one) => one.digest === digest);
    if (opened === null || place === undefined) {
      opened?.[Symbol.dispose]();
      return null;
    }
    const { descriptor, addedAtMs } = opened;
    let isGood = false;
    try {
      isGood = (await sumOf(descriptor, place)) === digest;
    } finally {
      if (!isGood) opened[Symbol.dispose]();
    }
    if (!isGood) {
      putAside(file);
      return null;
    }
    return {
      ...{ digest, size: place.size, addedAtMs },
      read(at, length) {
        const buffer = Buffer.alloc(Math.max(0, Math.min(length, place.size - at)));
        return buffer.subarray(0, readSync(descriptor, buffer, 0, buffer.length, place.at + at));
      },
      [Symbol.dispose]: () => opened[Symbol.dispose](),
    };
  }

  return {
    put: (name, record, blobs) => write(fileOf(name), headOf(record, blobs.map(entryOf)), blobs),
    get(name) {
      using opened = openFile(fileOf(name));
      return opened?.record ?? null;
    },
    async *list() {
      for (const [at, file] of names().entries()) {
        if (at % FILES_PER_TURN === FILES_PER_TURN - 1) await turn();
        using opened = openFile(file);
        if (opened !== null) yield { record: opened.record, sizeBytes: opened.sizeBytes };
      }
    },
    change: (name, change, wait) =>
      exclusively(
        "history",
        async () => {
          const file = fileOf(name);
          using opened = openFile(file);
          if (opened === null) return null;
          const record = change(opened.record);
          await write(file, headOf(record, opened.places), chunksOf(opened));
          return record;
        },
        wait,
      ),
    remove: (name, wait) =>
      exclusively(
        "history",
        async () => {
          const file = fileOf(name);
          known.delete(file);
          if (lookAt(pathOf(file)) === null) return false;
          rmSync(pathOf(file), { recursive: true, force: true });
          return true;
        },
        wait,
      ),
    async blob(digest) {
      for (const [at, file] of names().entries()) {
        if (at % FILES_PER_TURN === FILES_PER_TURN - 1) await turn();
        if (!placesIn(file).some((one) => one.digest === digest)) continue;
        const blob = await openBlob(file, digest);
        if (blob !== null) return blob;
      }
      return null;
    },
    blobs() {
      const found = new Map<Digest, { digest: Digest; size: number; addedAtMs: number }>();
      for (const file of names()) {
        const addedAtMs = lookAt(pathOf(file))?.mtimeMs ?? 0;
        for (const { digest, size } of placesIn(file)) found.set(digest, { digest, size, addedAtMs });
      }
      return [...found.values()];
    },
    totalBytes: () => names().reduce((sum, file) => sum + (lookAt(pathOf(file))?.size ?? 0), 0),
    async settled() {
      await Promise.all(flushes);
    },
    async check({ repair, signal }) {
      const damaged: Damaged[] = [];
      for (const file of names()) {
        signal.throwIfAborted();
        const what = await damageOf(pathOf(file), signal);
        if (what === null) continue;
        damaged.push({ id: file, what });
        if (repair) putAside(file);
      }
      return damaged;
    },
  };
}

/** Names are those of clients. */
function fileOf(name: string): string {
  return hexOf(digestOf(name));
}

function entryOf(blob: Uint8Array): { readonly digest: Digest; readonly size: number } {
  return { digest: digestOf(blob), size: blob.length };
}

function headOf(
  record: Uint8Array,
  blobs: readonly { readonly digest: Digest; readonly size: number }[],
): Buffer {
  const head = Buffer.alloc(4 + record.length + blobs.length * BLOB_ENTRY_BYTES);
  if (head.length > HEAD_MAX_BYTES) throw new Error(`a history record of ${head.length} bytes is too long`);
  head.writeUInt32LE(record.length, 0);
  head.set(record, 4);
  blobs.forEach(({ digest, size }, index) => {
    const at = 4 + record.length + index * BLOB_ENTRY_BYTES;
    head.set(Buffer.from(hexOf(digest), "hex"), at);
    head.writeBigUInt64LE(BigInt(size), at + 32);
  });
  return head;
}

function preambleOf(head: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(head.length);
  return Buffer.concat([Buffer.from(MAGIC), createHash("sha256").update(head).digest(), length]);
}

function openHistoryFile(path: string): Opened {
  let descriptor: number;
  try {
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return "missing";
    if (errnoOf(error) === "ELOOP" || errnoOf(error) === "ENXIO") return { damage: "it is not a file" };
    throw error;
  }
  let isOpen = false;
  try {
    const stat = fstatSync(descriptor);
    if (!stat.isFile()) return { damage: "it is not a file" };
    const preamble = readAt(descriptor, 0, HEAD_AT);
    const magic = preamble.toString("latin1", 0, SUM_AT);
    if (magic !== MAGIC && ANY_MAGIC.test(magic)) return "other";
    const headLength = preamble.length < HEAD_AT ? 0 : preamble.readUInt32LE(LENGTH_AT);
    if (magic !== MAGIC || headLength < 4 || headLength > HEAD_MAX_BYTES)
      return { damage: "it is not the history of a build" };
    const head = readAt(descriptor, HEAD_AT, headLength);
    const sum = preamble.subarray(SUM_AT, LENGTH_AT);
    if (!createHash("sha256").update(head).digest().equals(sum))
      return { damage: "its record does not match its checksum" };
    const recordEnd = 4 + head.readUInt32LE(0);
    const places: Place[] = [];
    let end = HEAD_AT + headLength;
    for (let at = recordEnd; at + BLOB_ENTRY_BYTES <= headLength; at += BLOB_ENTRY_BYTES) {
      const size = Number(head.readBigUInt64LE(at + 32));
      places.push({ digest: digestFromHex(head.toString("hex", at, at + 32)), size, at: end });
      end += size;
    }
    if (end !== stat.size) return { damage: "it is cut off" };
    isOpen = true;
    return {
      ...{ descriptor, places, sizeBytes: stat.size, addedAtMs: stat.mtimeMs },
      record: head.subarray(4, recordEnd),
      [Symbol.dispose]: () => {
        if (isOpen) closeSync(descriptor);
        isOpen = false;
      },
    };
  } finally {
    if (!isOpen) closeSync(descriptor);
  }
}

function readAt(descriptor: number, at: number, length: number): Buffer {
  const buffer = Buffer.alloc(length);
  return buffer.subarray(0, readSync(descriptor, buffer, 0, length, at));
}

async function sumOf(descriptor: number, { at, size }: Place, signal?: AbortSignal): Promise<Digest> {
  const hash = createHash("sha256");
  for (let done = 0; done < size; ) {
    const chunk = readAt(descriptor, at + done, Math.min(CHUNK_BYTES, size - done));
    if (chunk.length === 0) break;
    hash.update(chunk);
    done += chunk.length;
    if (done < size) await turn();
    signal?.throwIfAborted();
  }
  return digestFromHex(hash.digest("hex"));
}

/** The blobs of a file, as bytes. */
function* chunksOf({ descriptor, places, sizeBytes }: OpenFile): Generator<Uint8Array, void, undefined> {
  for (let at = places[0]?.at ?? sizeBytes; at < sizeBytes; at += CHUNK_BYTES)
    yield readAt(descriptor, at, Math.min(CHUNK_BYTES, sizeBytes - at));
}

async function damageOf(path: string, signal: AbortSignal): Promise<string | null> {
  const opened = openHistoryFile(path);
  if (opened === "missing" || opened === "other") return null;
  if ("damage" in opened) return opened.damage;
  using file = opened;
  for (const place of file.places)
    if ((await sumOf(file.descriptor, place, signal)) !== place.digest)
      return `the blob ${place.digest} in it does not match its digest`;
  return null;
}
