// The contract of the store: blobs, layers, records, cache mounts, leases and locks, as its users see them. Types only.

import type { Descriptor, LayerId } from "../solver/graph/request.ts";
import type { Digest } from "../solver/graph/digest.ts";

/** A layer of this store that holds what a layer by diffId is. */
export interface MadeHere {
  readonly id: LayerId;
  /** Times in the tar are clamped to this (seconds): then its directory is not the layer, a packing of it is. null: it is. */
  readonly epochSeconds: number | null;
  /** Blobs that surely hold the layer, by form, as in LayerRecord.blobs. */
  readonly blobs: Readonly<Record<string, Descriptor>>;
  readonly record: LayerRecord;
}

/** Blobs by digest. Invisible before commit, immutable after. */
export interface ContentStore {
  has(digest: Digest): boolean;
  /** Size in bytes, or null if the blob does not exist. */
  size(digest: Digest): number | null;
  /** The whole blob, verified against its digest; throws STORE_CORRUPT (and sets the blob aside), LIMIT_EXCEEDED over maxBytes. */
  read(digest: Digest, maxBytes: number): Uint8Array;
  /** Bytes of a blob in chunks; verifies while reading and throws STORE_CORRUPT at the end of a damaged one. */
  stream(digest: Digest, options: { readonly signal: AbortSignal }): AsyncIterable<Uint8Array>;
  /** Reads and verifies the whole blob. false: it does not exist, or does not match its digest and was set aside. */
  isWhole(digest: Digest, options: { readonly signal: AbortSignal }): Promise<boolean>;
  /** Absolute path, for the keeper (same machine, same user) and sendfile-like copies. The file is read-only. */
  path(digest: Digest): string;
  /** Writes bytes already in memory. Idempotent. */
  put(data: Uint8Array): Digest;
  /** A private file that any process on this machine may write; commit does not hash it if the writer computed `digest`
   *  (`trusted`), otherwise it verifies. Disposed without commit: deleted. */
  ingest(): Ingest;
}

export interface Ingest extends AsyncDisposable {
  readonly path: string;
  write(chunk: Uint8Array): void;
  /** Makes the blob visible: verifies size and digest if given, fsync, rename, fsync of the directory. Returns them. */
  commit(expected: { readonly digest?: Digest; readonly size?: number; readonly trusted?: boolean }): {
    digest: Digest;
    size: number;
  };
}

/** Where a missing blob can be fetched from. */
export interface RemoteBlob {
  readonly descriptor: Descriptor;
  /** Registry reference (host/repo), `oci-layout:/abs/path`, or an object store's location (`s3:…`, `azblob:…`, `gha:…`). */
  readonly from: string;
}

/** Everything known about one layer. */
export interface LayerRecord {
  readonly id: LayerId;
  /** Digest of the uncompressed tar with unchanged times; null until packed once (steps). */
  readonly diffId: Digest | null;
  /** The directory exists and is complete (upper directory in overlay form, userxattr whiteouts). */
  readonly unpacked: boolean;
  /** Bytes on disk of the directory, 0 if unknown. */
  readonly sizeBytes: number;
  readonly createdAtMs: number;
  /** Compressed or uncompressed blobs that contain this layer, by variant ("gzip", "zstd:chunked", "uncompressed", "gzip+epoch=0"…). Those
   *  of "estargz…" hold more than its tar, and have their diffId in an annotation. */
  readonly blobs: Readonly<Record<string, Descriptor>>;
  /** DiffIds of variants whose tar differs ("epoch=0" → digest). */
  readonly diffIds: Readonly<Record<string, Digest>>;
  /** Size of the uncompressed tar, by the same names ("" for unchanged times). */
  readonly tarBytes?: Readonly<Record<string, number>>;
  /** Where blobs can be fetched that are claimed, unverified, to contain this layer (claims.ts). */
  readonly remotes: readonly RemoteBlob[];
  /** External blobs that were unpacked here to this diffId; size and media type are verified. Omitted: none. */
  readonly verified?: readonly Descriptor[];
  /** Of the directory at its creation, and the same without times (layers/listing.ts); omitted: not measured. */
  readonly listing?: Digest;
  readonly shape?: Digest;
  /** Description for du: what created it. */
  readonly description: string;
}

export interface LayerStore {
  /** null: unknown. A directory that a power cut may have damaged counts as not unpacked. */
  get(id: LayerId): LayerRecord | null;
  /** Merges fields into the record (creating it), one transaction. */
  update(id: LayerId, change: Partial<Omit<LayerRecord, "id">>): LayerRecord;
  /** Absolute path of the layer's directory (whether it exists or not). */
  directory(id: LayerId): string;
  /** A private directory pair on the same file system for an overlay: upper is the future layer. */
  prepare(): ActiveLayer;
  /** Does its directory exist, but with other ids than this process has, so that it counts as missing? A blob of such a layer
   *  can be created by packing the directory (PackJob.oneId). */
  isOfOtherIds(id: LayerId): boolean;
  /** Layer id of a base layer. */
  idOf(diffId: Digest): LayerId;
  /** A local layer that is the same as this layer of an image, which then need not be fetched. Must be leased like the original.
   *  null: none known. */
  made(id: LayerId): MadeHere | null;
  list(): LayerRecord[];
  /** Layers whose files may not be on disk yet: callers of syncfs(2) on the store read this before and pass the
   *  same ids to markSynced() after. Layers never marked are dropped after a reboot. */
  unsynced(): LayerId[];
  markSynced(ids: readonly LayerId[]): void;
  /** Unused directories that this process could not or should not delete (files of subordinate ids, leftovers of dead
   *  processes): for the keeper's RemoveJob, at any time. Already deleted ones are not listed. */
  discarded(): readonly string[];
  /** Those of them that nobody puts back: what steps that failed and dead processes have left. */
  leftovers(): readonly string[];
}

export interface ActiveLayer extends AsyncDisposable {
  readonly id: LayerId; // fresh "r-…"
  readonly upper: string;
  readonly work: string;
  /** Renames upper to its final name `as` (default: id) and writes the record. If `as` already exists, this one is dropped. */
  commit(change: Partial<Omit<LayerRecord, "id">>, as?: LayerId): LayerRecord;
}

/** Small values by key, lmdb on disk; reads are synchronous. Spaces separate kinds. Values are JSON, or a Uint8Array
 *  as a whole. Writes are visible to this process at once and to others when committed: a few ms later, or with commit(). */
export interface Records {
  get<T>(space: string, key: string): T | null;
  put(space: string, key: string, value: unknown): void;
  /** Several writes at once, atomic for other processes. */
  batch(
    changes: readonly { readonly space: string; readonly key: string; readonly value: unknown | null }[],
  ): void;
  remove(space: string, key: string): void;
  /** Replaces a value by a function of it; the function runs again at commit, on the value other processes committed. */
  merge<T>(space: string, key: string, change: (old: T | null) => T | null): T | null;
  /** Resolves when all writes so far are visible to other processes (and survive a SIGKILL). */
  commit(): Promise<void>;
  /** Resolves when all writes so far are on disk (and survive a power cut). */
  flush(): Promise<void>;
  entries<T>(space: string): Iterable<{ readonly key: string; readonly value: T }>;
}

/** The result for a step's key. One entry per output. */
export interface ResultRecord {
  readonly outputs: readonly (readonly LayerId[] | null)[];
  readonly createdAtMs: number;
  readonly durationMs: number;
  readonly lastUsedMs: number;
  readonly name: string;
  readonly ingredients: Readonly<Record<string, string>>; // for --explain
}

/** A name in the local image store. */
export interface ImageRecord {
  readonly name: string; // docker.io/library/app:latest
  readonly target: Descriptor; // manifest or index in the content store
  readonly createdAtMs: number;
  /** Layers kept for each manifest in it (platform → ids), so that run needs no unpacking. */
  readonly layers: Readonly<Record<string, readonly LayerId[]>>;
  /** Repositories (docker.io/library/app) whose registry has `target`: it was pushed there or pulled from there. Omitted: none. */
  readonly confirmed?: readonly string[];
}

/** Waiting for a lock of another process. */
export interface WaitOptions {
  readonly signal: AbortSignal;
  /** Called if it takes longer than a moment, and whenever the text changes: "process 17 (node), which is stopped". */
  readonly onWait?: (holder: string) => void;
  /** The lock only avoids duplicate work: while its holder is stopped (SIGSTOP, a freezer), `work` runs without it
   *  after a while. */
  readonly sparesWork?: boolean;
}

/** Directories for RUN --mount=type=cache. */
export interface CacheMounts {
  /** Acquires the directory of an id with the given sharing mode (locked waits, private uses a free copy). */
  acquire(
    id: string,
    sharing: "shared" | "private" | "locked",
    options: WaitOptions & { readonly seedKey: string },
  ): Promise<CacheMountHold>;
  /** Acquires the filled, initially empty directory of an id as shared, so that no step has it exclusively meanwhile. null: there is none,
   *  or steps use it exclusively (locked, private); creates nothing and does not wait. */
  read(id: string, options: { readonly signal: AbortSignal }): Promise<CacheMountHold | null>;
  /** Takes the directories of an id that no step uses out of sight, so that the next step gets an empty one. `seeded`: those that began with
   *  files, whichever these were; else those that began empty. Returns new paths, for the keeper to delete. */
  forget(
    id: string,
    options: { readonly seeded: boolean; readonly signal: AbortSignal },
  ): Promise<readonly string[]>;
  list(): {
    readonly id: string;
    readonly path: string;
    readonly lastUsedMs: number;
    readonly inUse: boolean;
  }[];
}

export interface CacheMountHold extends AsyncDisposable {
  readonly path: string;
  readonly fresh: boolean; // just made: owner, mode and seed content are still to be set
  /** A new directory has been filled: others may share it now. Disposing has the same effect. */
  seeded(): void;
}

/** Protects ids and digests (and what they need) from collection until disposed; ends with the process. Existing data
 *  may be collected until add…() returns: first add, then check whether it still exists. */
export interface Lease extends AsyncDisposable {
  addLayers(ids: readonly LayerId[]): void;
  addBlobs(digests: readonly Digest[]): void;
}

export interface Store extends AsyncDisposable {
  readonly dir: string; // absolute, 0700
  readonly content: ContentStore;
  readonly layers: LayerStore;
  readonly records: Records;
  readonly cacheMounts: CacheMounts;
  /** Copies of directories of clients elsewhere: synced-files.ts. */
  readonly syncedFiles: CacheMounts;
  lease(): Lease;
  /** Runs `work` for one caller per key at a time across all processes of this store; others wait for the lock. Records written in
   *  `work` are visible to the next one. Not reentrant. Rejects with signal.reason when aborted while waiting. */
  exclusively<T>(key: string, work: () => Promise<T>, options: WaitOptions): Promise<T>;
  /** A directory for temporary files, on the store's file system; leftovers of dead processes are removed when a store opens. */
  tempDir(): string;
  /** Is its file system out of blocks or inodes, so that the last writes may be truncated? */
  isFull(): boolean;
}
