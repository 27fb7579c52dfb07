// Blobs by digest, one read-only file each: blobs/sha256/<hex>.
//
// A blob gets its name by rename(2) after its bytes are verified and flushed, so a file under its digest is complete, even after a
// power cut. The directory entry is flushed later, once for many: before the first record that may refer to the blob (syncNames(),
// called by the records' commit), which keeps "references after objects" and saves small builds one flush per blob.

import { createHash, type Hash } from "node:crypto";
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  type Stats,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { type Digest, digestFromHex, digestOf, hexOf } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import { errnoOf, onDisk } from "./disk-fault.ts";
import { kindOf, lookAt, setAside as putAway } from "./set-aside.ts";
import type { ContentStore, Ingest } from "./contract.ts";

export interface ContentFiles extends ContentStore {
  /** All blobs; lastUsedMs is when the blob came in. */
  list(): { readonly digest: Digest; readonly size: number; readonly addedAtMs: number }[];
  /** Names of blobs that are no files: never opened, and no blobs for anybody else. `what`: "a FIFO". */
  strangers(): { readonly digest: Digest; readonly what: string }[];
  /** Puts a blob found damaged out of the way. */
  setAside(digest: Digest): void;
  /** Flushes the names of blobs committed since the last call. */
  syncNames(): void;
  /** Bytes of the blobs this process has brought in since the last call. */
  newBytes(): number;
}

export interface ContentOptions {
  /** Directory of the blobs, exists. */
  readonly blobs: string;
  /** Directory for unfinished blobs on the same file system, exists. */
  readonly ingest: string;
  readonly quarantine: string;
  /** Prefix of unfinished files: whose they are. */
  readonly owner: string;
}

/** 1 MiB: sha256 runs at 1.5 GB/s, so a chunk keeps the event loop for less than a millisecond. */
const CHUNK_BYTES = 2 ** 20;

export function openContent(options: ContentOptions): ContentFiles {
  let unsynced = false;
  let broughtBytes = 0;
  let serial = 0;
  const path = (digest: Digest) => join(options.blobs, hexOf(digest));

  /** Only a regular file is a blob: a directory, a FIFO or a link in its place is no more than damage, and is put out of the way
   *  before anybody opens it (threat model P9, R3). */
  function size(digest: Digest): number | null {
    const stat = lookAt(path(digest));
    if (stat === null) return null;
    if (stat.isFile()) return stat.size;
    setAside(digest);
    return null;
  }

  function read(digest: Digest, maxBytes: number): Uint8Array {
    const known = size(digest);
    if (known !== null && known > maxBytes) {
      throw new BuildError(
        "LIMIT_EXCEEDED",
        `${digest} has ${known} bytes, more than the ${maxBytes} allowed here`,
      );
    }
    const data = readPresent(digest, readRegular);
    if (digestOf(data) !== digest) throw damaged(digest);
    return data;
  }

  function readPresent<T>(digest: Digest, work: (file: string) => T): T {
    try {
      return work(path(digest));
    } catch (error) {
      if (errnoOf(error) === "ENOENT") {
        throw new BuildError("STORE_CORRUPT", `${digest} is not in the store (${path(digest)})`, {
          cause: error,
        });
      }
      if (NO_FILE.has(errnoOf(error) ?? "")) throw damaged(digest, error);
      // A bad block of the disk (read(2)). Bytes that cannot be read are as lost as wrong ones.
      if (errnoOf(error) === "EIO") throw damaged(digest, error);
      throw error;
    }
  }

  /** Out of the way, so that the next has() is false and the blob is fetched or made again. */
  function setAside(digest: Digest): void {
    putAway(path(digest), options.quarantine, `blob-${hexOf(digest)}`);
  }

  function damaged(digest: Digest, cause?: unknown): BuildError {
    setAside(digest);
    return new BuildError(
      "STORE_CORRUPT",
      `the blob ${path(digest)} is damaged on disk and was moved to ${options.quarantine}`,
      { cause, hint: "run the build again: the blob will be fetched or rebuilt" },
    );
  }

  async function* stream(
    digest: Digest,
    { signal }: { readonly signal: AbortSignal },
  ): AsyncGenerator<Uint8Array> {
    size(digest); // what is no file is out of the way, and then it is missing
    const descriptor = readPresent(digest, openRegular);
    try {
      const hash = createHash("sha256");
      for (;;) {
        signal.throwIfAborted();
        // A new buffer each time: the consumer may keep the last one.
        const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
        const count = readPresent(digest, () => readSync(descriptor, buffer, 0, CHUNK_BYTES, null));
        if (count === 0) break;
        const chunk = buffer.subarray(0, count);
        hash.update(chunk);
        yield chunk;
      }
      if (digestFromHex(hash.digest("hex")) !== digest) throw damaged(digest);
    } finally {
      closeSync(descriptor);
    }
  }

  async function isWhole(digest: Digest, { signal }: { readonly signal: AbortSignal }): Promise<boolean> {
    try {
      for await (const _ of stream(digest, { signal })) await turn(); // a signal is heard between two chunks
      return true;
    } catch (error) {
      if (error instanceof BuildError && error.code === "STORE_CORRUPT") return false;
      throw error;
    }
  }

  function ingest(): OpenIngest {
    const file = join(options.ingest, `${options.owner}-${serial++}`);
    return onDisk("starting a blob", options.ingest, () =>
      openIngest(file, (digest) => {
        // What is no file is out of the way.
        if (size(digest) === null) broughtBytes += lookAt(file)?.size ?? 0;
        // Over a blob that is there already: the same bytes, or a heal. Who has the old file open keeps it.
        renameSync(file, path(digest));
        unsynced = true;
      }),
    );
  }

  function put(data: Uint8Array): Digest {
    const digest = digestOf(data);
    if (holds(digest, data)) return digest;
    const writing = ingest();
    try {
      writing.write(data);
      writing.commit({ digest, size: data.length, trusted: true });
    } finally {
      writing.abandon();
    }
    return digest;
  }

  /** Compared by bytes, which costs less than writing them and finds damage. */
  function holds(digest: Digest, data: Uint8Array): boolean {
    if (size(digest) !== data.length) return false;
    try {
      return readRegular(path(digest)).equals(data);
    } catch {
      // Unreadable or just removed: rewritten, and that reports what is wrong with the disk.
      return false;
    }
  }

  function syncNames(): void {
    if (!unsynced) return;
    unsynced = false;
    onDisk("flushing blobs", options.blobs, () => syncDirectory(options.blobs));
  }

  function names(): { readonly digest: Digest; readonly stat: Stats }[] {
    return readdirSync(options.blobs).flatMap((name) => {
      const stat = /^[0-9a-f]{64}$/.test(name) ? lookAt(join(options.blobs, name)) : null;
      return stat === null ? [] : [{ digest: digestFromHex(name), stat }];
    });
  }

  function list(): { readonly digest: Digest; readonly size: number; readonly addedAtMs: number }[] {
    return names().flatMap(({ digest, stat }) =>
      stat.isFile() ? [{ digest, size: stat.size, addedAtMs: stat.mtimeMs }] : [],
    );
  }

  function strangers(): { readonly digest: Digest; readonly what: string }[] {
    return names().flatMap(({ digest, stat }) => (stat.isFile() ? [] : [{ digest, what: kindOf(stat) }]));
  }

  return {
    ...{ has: (digest) => size(digest) !== null, size, read, stream, isWhole, path, put, ingest },
    ...{ list, strangers, setAside, syncNames },
    newBytes() {
      const bytes = broughtBytes;
      broughtBytes = 0;
      return bytes;
    },
  };
}

/** What opening or reading says of a name that is no regular file. */
const NO_FILE: ReadonlySet<string> = new Set(["EISDIR", "ELOOP", "ENXIO", "EINVAL"]);

/** Never waits for the other end of a FIFO, never follows a link. */
function openRegular(file: string): number {
  const descriptor = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  if (fstatSync(descriptor).isFile()) return descriptor;
  closeSync(descriptor);
  throw Object.assign(new Error(`${file} is not a regular file`), { code: "EINVAL" });
}

function readRegular(file: string): Buffer {
  const descriptor = openRegular(file);
  try {
    return readFileSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** fsync(2) of a directory: its names are on disk. */
export function syncDirectory(dir: string): void {
  const descriptor = openSync(dir, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

interface OpenIngest extends Ingest {
  /** What disposing does, at once. The descriptor is closed, too: an open one keeps the bytes on a full disk. */
  abandon(): void;
}

/** `publish` moves the checked and flushed file to its name. */
function openIngest(path: string, publish: (digest: Digest) => void): OpenIngest {
  const descriptor = openSync(path, "wx+", 0o600);
  let state: "open" | "committed" | "gone" = "open";
  let hash: Hash | null = null;
  let written = 0;

  function write(chunk: Uint8Array): void {
    if (state !== "open") throw new Error("write to an ingest that has ended");
    hash ??= createHash("sha256");
    hash.update(chunk);
    onDisk("writing a blob", path, () => {
      for (let at = 0; at < chunk.length; )
        at += writeSync(descriptor, chunk, at, chunk.length - at, written + at);
    });
    written += chunk.length;
  }

  /** What write() has hashed, unless others have put bytes into the file. */
  function digestNow(size: number): Digest {
    const digest =
      hash !== null && size === written ? digestFromHex(hash.digest("hex")) : hashFile(descriptor);
    hash = null;
    return digest;
  }

  function commit(expected: Parameters<Ingest["commit"]>[0]): { digest: Digest; size: number } {
    if (state !== "open") throw new Error("second commit of an ingest");
    const { size } = fstatSync(descriptor);
    const mustBe = expected.size ?? size;
    if (size !== mustBe) throw new BuildError("DIGEST_MISMATCH", `expected ${mustBe} bytes but got ${size}`);
    const digest =
      expected.trusted === true && expected.digest !== undefined ? expected.digest : digestNow(size);
    if (expected.digest !== undefined && expected.digest !== digest) {
      throw new BuildError("DIGEST_MISMATCH", `expected ${expected.digest} but the data is ${digest}`);
    }
    onDisk("finishing a blob", path, () => {
      fchmodSync(descriptor, 0o444);
      fsyncSync(descriptor);
      publish(digest);
    });
    state = "committed";
    closeSync(descriptor);
    return { digest, size };
  }

  function abandon(): void {
    if (state !== "open") return;
    state = "gone";
    closeSync(descriptor);
    rmSync(path, { force: true });
  }

  return {
    path,
    write,
    commit,
    abandon,
    async [Symbol.asyncDispose]() {
      abandon();
    },
  };
}

function hashFile(descriptor: number): Digest {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  for (let at = 0; ; ) {
    const count = readSync(descriptor, buffer, 0, CHUNK_BYTES, at);
    if (count === 0) return digestFromHex(hash.digest("hex"));
    hash.update(buffer.subarray(0, count));
    at += count;
  }
}
