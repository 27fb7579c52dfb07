import type { Digest } from "../solver/graph/digest.ts";
import type { Descriptor, LayerId } from "../solver/graph/request.ts";
import { type MountFiles } from "./cache-mounts.ts";
import { type ContentFiles } from "./content.ts";
import { type LayerDirs } from "./layer-store.ts";
import { type Pinned } from "./leases.ts";
/** Blobs by digest. Invisible before commit, immutable after. */
export interface ContentStore {
    has(digest: Digest): boolean;
    /** Size in bytes, or null when the blob is not here. */
    size(digest: Digest): number | null;
    /** Whole blob, checked against its digest; throws STORE_CORRUPT (and sets the blob aside), LIMIT_EXCEEDED over maxBytes. */
    read(digest: Digest, maxBytes: number): Uint8Array;
    /** Bytes of a blob in chunks; verifies while reading and throws STORE_CORRUPT at the end of a damaged one. */
    stream(digest: Digest, options: {
        readonly signal: AbortSignal;
    }): AsyncIterable<Uint8Array>;
    /** Absolute path, for the keeper (same machine, same user) and sendfile-like copies. The file is read-only. */
    path(digest: Digest): string;
    /** Writes bytes already in memory. Idempotent. */
    put(data: Uint8Array): Digest;
    /** A private file to be filled by anybody on this machine; commit hashes nothing when `digest` comes from who wrote it
     *  with hashing (`trusted`), else verifies. Disposed without commit: gone. */
    ingest(): Ingest;
}
export interface Ingest extends AsyncDisposable {
    readonly path: string;
    write(chunk: Uint8Array): void;
    /** Makes the blob visible: size and digest checked when given, fsync, rename, fsync of the directory. Returns them. */
    commit(expected: {
        readonly digest?: Digest;
        readonly size?: number;
        readonly trusted?: boolean;
    }): {
        digest: Digest;
        size: number;
    };
}
/** Where a blob that is not here can be fetched from. */
export interface RemoteBlob {
    readonly descriptor: Descriptor;
    /** Registry reference (host/repo) or `oci-layout:/abs/path`. */
    readonly from: string;
}
/** All that is known of one layer. */
export interface LayerRecord {
    readonly id: LayerId;
    /** Digest of the uncompressed tar with times as they are; null until packed once (steps) . */
    readonly diffId: Digest | null;
    /** Directory present and whole (upper directory in overlay form, userxattr whiteouts). */
    readonly unpacked: boolean;
    /** Bytes on disk of the directory, 0 when unknown. */
    readonly sizeBytes: number;
    readonly createdAtMs: number;
    /** Compressed (or plain) blobs that hold this layer, by variant ("gzip", "zstd", "plain", "gzip+epoch=0"…). */
    readonly blobs: Readonly<Record<string, Descriptor>>;
    /** DiffIds of variants whose tar differs ("epoch=0" → digest). */
    readonly diffIds: Readonly<Record<string, Digest>>;
    /** Bytes of the plain tar, by the same names ("" for times as they are). */
    readonly tarBytes?: Readonly<Record<string, number>>;
    readonly remotes: readonly RemoteBlob[];
    /** Text for du: what made it. */
    readonly description: string;
}
export interface LayerStore {
    /** null: nothing known. A directory that a power cut may have torn counts as not unpacked. */
    get(id: LayerId): LayerRecord | null;
    /** Merges fields into the record (creating it), one transaction. */
    update(id: LayerId, change: Partial<Omit<LayerRecord, "id">>): LayerRecord;
    /** Absolute path of the layer's directory (whether it is there or not). */
    directory(id: LayerId): string;
    /** A private directory pair on the same file system for an overlay: upper is the future layer. */
    prepare(): ActiveLayer;
    /** Layer id of a base layer. */
    idOf(diffId: Digest): LayerId;
    list(): LayerRecord[];
    /** Layers whose files the disk may not have yet: whoever calls syncfs(2) on the store reads this before and gives the
     *  same ids to markSynced() after. Layers never marked are dropped when the machine has been started anew. */
    unsynced(): LayerId[];
    markSynced(ids: readonly LayerId[]): void;
    /** Directories nobody uses that this process could not or should not delete (files of subordinate ids, leavings of dead
     *  processes): for the keeper's RemoveJob, any time. Those already gone are not listed. */
    discarded(): readonly string[];
}
export interface ActiveLayer extends AsyncDisposable {
    readonly id: LayerId;
    readonly upper: string;
    readonly work: string;
    /** Renames upper to its place under `as` (default: id) and writes the record. When `as` is there already, this one is dropped. */
    commit(change: Partial<Omit<LayerRecord, "id">>, as?: LayerId): LayerRecord;
}
/** Small values by key, lmdb on disk; reads are synchronous. Namespaces keep kinds apart. Values are JSON, or a Uint8Array
 *  as a whole. Writes are seen by this process at once and by others when committed: a few ms later, or with commit(). */
export interface Records {
    get<T>(space: string, key: string): T | null;
    put(space: string, key: string, value: unknown): void;
    /** Several at once, atomically, visible to other processes together. */
    batch(changes: readonly {
        readonly space: string;
        readonly key: string;
        readonly value: unknown | null;
    }[]): void;
    remove(space: string, key: string): void;
    /** Replaces a value by a function of it; the function runs again at commit, on what other processes left there. */
    merge<T>(space: string, key: string, change: (old: T | null) => T | null): T | null;
    /** Resolves when all writes so far are visible to other processes (and outlive a SIGKILL). */
    commit(): Promise<void>;
    /** Resolves when all writes so far are on disk (and outlive a power cut). */
    flush(): Promise<void>;
    entries<T>(space: string): Iterable<{
        readonly key: string;
        readonly value: T;
    }>;
}
/** What a step's key led to. One entry for each output. */
export interface ResultRecord {
    readonly outputs: readonly (readonly LayerId[] | null)[];
    readonly createdAtMs: number;
    readonly durationMs: number;
    readonly lastUsedMs: number;
    readonly name: string;
    readonly ingredients: Readonly<Record<string, string>>;
}
/** A name in the local image store. */
export interface ImageRecord {
    readonly name: string;
    readonly target: Descriptor;
    readonly createdAtMs: number;
    /** Layers held for each manifest in it (platform text → ids), so that run needs no unpack. */
    readonly layers: Readonly<Record<string, readonly LayerId[]>>;
}
/** Directories for RUN --mount=type=cache. */
export interface CacheMounts {
    /** Holds the directory of an id under the sharing rule (locked waits, private takes a free copy). */
    acquire(id: string, sharing: "shared" | "private" | "locked", options: {
        readonly signal: AbortSignal;
        readonly seedKey: string;
    }): Promise<CacheMountHold>;
    list(): {
        readonly id: string;
        readonly path: string;
        readonly lastUsedMs: number;
        readonly inUse: boolean;
    }[];
}
export interface CacheMountHold extends AsyncDisposable {
    readonly path: string;
    readonly fresh: boolean;
    /** A fresh directory has been filled: others who share it may come in now. Disposing says the same. */
    seeded(): void;
}
/** Holds ids and digests (and what they need) against collection until disposed; dies with the process. What was there
 *  before may be collected up to the moment add…() returns: first add, then look whether it (still) is there. */
export interface Lease extends AsyncDisposable {
    addLayers(ids: readonly LayerId[]): void;
    addBlobs(digests: readonly Digest[]): void;
}
export interface Store extends AsyncDisposable {
    readonly dir: string;
    readonly content: ContentStore;
    readonly layers: LayerStore;
    readonly records: Records;
    readonly cacheMounts: CacheMounts;
    lease(): Lease;
    /** Runs `work` once per key at a time over all processes of this store; the others wait for the lock. Records written in
     *  `work` are visible to whoever comes next. Not reentrant. Rejects with signal.reason when aborted while waiting. */
    exclusively<T>(key: string, work: () => Promise<T>, options: {
        readonly signal: AbortSignal;
    }): Promise<T>;
    /** A directory for temporary files, on the store's file system; emptied of dead processes' leavings when a store opens. */
    tempDir(): string;
}
/** A store as opened by this process: what Store offers, and what collect.ts needs besides. */
export interface OpenStore extends Store {
    readonly content: ContentFiles;
    readonly layers: LayerDirs;
    readonly cacheMounts: MountFiles;
    /** What live processes hold by leases. */
    pinned(): Promise<Pinned>;
}
/** Opens the store in `dir`, making it when there is none, and clears up after dead processes. Throws STORE_UNUSABLE (newer version,
 *  somebody else's directory, read-only), STORE_FULL. Any number of processes may have it open. */
export declare function openStore(dir: string): Promise<OpenStore>;
