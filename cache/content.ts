// Blobs by digest, one read-only file each: blobs/sha256/<hex>.
//
// A blob gets its name by rename(2) after its bytes are checked and flushed, so a file under its digest is whole, also after a
// power cut. The directory entry is flushed later, once for many: before the first record that may name the blob (syncNames(),
// called by the records' commit), which keeps "references after objects" and spares a small build one flush for each blob.

import { createHash, type Hash } from "node:crypto";
import {
  closeSync,
  fchmodSync,
  fstatSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { type Digest, digestFromHex, digestOf, hexOf } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import { errnoOf, onDisk } from "./disk-fault.ts";
import type { ContentStore, Ingest } from "./store.ts";

export interface ContentFiles extends ContentStore {
  /** All blobs; lastUsedMs is when the blob came in. */
  list(): { readonly digest: Digest; readonly size: number; readonly addedAtMs: number }[];
  /** Puts a blob found damaged out of the way. */
  setAside(digest: Digest): void;
  /** Flushes the names of blobs committed since the last call. */
  syncNames(): void;
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
  let serial = 0;
  const path = (digest: Digest) => join(options.blobs, hexOf(digest));

  function size(digest: Digest): number | null {
    const stat = statSync(path(digest), { throwIfNoEntry: false });
    return stat === undefined ? null : stat.size;
  }

  function read(digest: Digest, maxBytes: number): Uint8Array {
    const known = size(digest);
    if (known !== null && known > maxBytes) {
      throw new BuildError(
        "LIMIT_EXCEEDED",
        `${digest} has ${known} bytes, more than the ${maxBytes} allowed here`,
      );
    }
    const data = readPresent(digest, (file) => readFileSync(file));
    if (digestOf(data) !== digest) throw damaged(digest);
    return data;
  }

  function readPresent<T>(digest: Digest, work: (file: string) => T): T {
    try {
      return work(path(digest));
    } catch (error) {
      if (errnoOf(error) === "ENOENT") {
        throw new BuildError("STORE_CORRUPT", `${digest} is not in the store`, { cause: error });
      }
      // A bad block of the disk (read(2)). Bytes that cannot be read are as lost as wrong ones.
      if (errnoOf(error) === "EIO") throw damaged(digest, error);
      throw error;
    }
  }

  /** Out of the way, so that the next has() is false and the blob is fetched or made again. */
  function setAside(digest: Digest): void {
    try {
      renameSync(path(digest), join(options.quarantine, `blob-${hexOf(digest)}`));
    } catch (error) {
      // Another reader has found the damage first.
      if (errnoOf(error) !== "ENOENT") throw error;
    }
  }

  function damaged(digest: Digest, cause?: unknown): BuildError {
    setAside(digest);
    return new BuildError("STORE_CORRUPT", `${digest} is damaged on disk and has been set aside`, {
      cause,
      hint: "run the build again: the blob will be fetched or made anew",
    });
  }

  async function* stream(
    digest: Digest,
    { signal }: { readonly signal: AbortSignal },
  ): AsyncGenerator<Uint8Array> {
    const descriptor = readPresent(digest, (file) => openSync(file, "r"));
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

  function ingest(): OpenIngest {
    const file = join(options.ingest, `${options.owner}-${serial++}`);
    return onDisk("starting a blob", () =>
      openIngest(file, (digest) => {
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
      return readFileSync(path(digest)).equals(data);
    } catch {
      // Unreadable or just removed: written anew, and that reports what is wrong with the disk.
      return false;
    }
  }

  function syncNames(): void {
    if (!unsynced) return;
    unsynced = false;
    onDisk("flushing blobs", () => syncDirectory(options.blobs));
  }

  function list(): { readonly digest: Digest; readonly size: number; readonly addedAtMs: number }[] {
    return readdirSync(options.blobs).flatMap((name) => {
      if (!/^[0-9a-f]{64}$/.test(name)) return [];
      const stat = statSync(join(options.blobs, name), { throwIfNoEntry: false });
      return stat === undefined
        ? []
        : [{ digest: digestFromHex(name), size: stat.size, addedAtMs: stat.mtimeMs }];
    });
  }

  return {
    ...{ has: (digest) => size(digest) !== null, size, read, stream, path, put, ingest },
    ...{ list, setAside, syncNames },
  };
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
    onDisk("writing a blob", () => {
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
    onDisk("finishing a blob", () => {
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
