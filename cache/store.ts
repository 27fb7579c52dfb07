// The door of the cache: the only keeper of state on disk. Contracts first; openStore() below. Longer than other files because
// it holds the words that all rooms share.

import { randomBytes } from "node:crypto";
import { readdirSync, renameSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Digest } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { Descriptor, LayerId } from "../solver/graph/request.ts";
import { type MountFiles, openCacheMounts } from "./cache-mounts.ts";
import { claim, placeOf } from "./claim.ts";
import { type ContentFiles, openContent } from "./content.ts";
import { onDisk } from "./disk-fault.ts";
import { makeDirectories } from "./outside.ts";
import { openImageNames } from "./image-names.ts";
import { type LayerDirs, openLayerStore } from "./layer-store.ts";
import { openLeases, type Pinned } from "./leases.ts";
import { openLocks } from "./locks.ts";
import { type Owner, openOwner, sweepOwners } from "./owner.ts";
import type { MadeHere } from "./made-here.ts";
import { nameOfKey, noteKey } from "./note-key.ts";
import { openRecords } from "./records.ts";
import { isFull, keepSpare, useSpare } from "./spare.ts";

/** Blobs by digest. Invisible before commit, immutable after. */
export interface ContentStore {
  has(digest: Digest): boolean;
  /** Size in bytes, or null when the blob is not here. */
  size(digest: Digest): number | null;
  /** Whole blob, checked against its digest; throws STORE_CORRUPT (and sets the blob aside), LIMIT_EXCEEDED over maxBytes. */
  read(digest: Digest, maxBytes: number): Uint8Array;
  /** Bytes of a blob in chunks; verifies while reading and throws STORE_CORRUPT at the end of a damaged one. */
  stream(digest: Digest, options: { readonly signal: AbortSignal }): AsyncIterable<Uint8Array>;
  /** Reads the blob to its end: are its bytes those of its digest? false: they are not, and it has been set aside, or it is not here. */
  isWhole(digest: Digest, options: { readonly signal: AbortSignal }): Promise<boolean>;
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
  commit(expected: { readonly digest?: Digest; readonly size?: number; readonly trusted?: boolean }): {
    digest: Digest;
    size: number;
  };
}

/** Where a blob that is not here can be fetched from. */
export interface RemoteBlob {
  readonly descriptor: Descriptor;
  /** Registry reference (host/repo), `oci-layout:/abs/path`, or an object store's own words (`s3:…`, `gha:…`). */
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
  /** Where blobs can be had that somebody said to hold this layer: hearsay (claims.ts). */
  readonly remotes: readonly RemoteBlob[];
  /** Blobs of others that were unpacked here to this diffId; size and media type are what their bytes are. Left out: none. */
  readonly verified?: readonly Descriptor[];
  /** Of the directory as it was made, and the same without times (layers/listing.ts); left out: not measured. */
  readonly listing?: Digest;
  readonly shape?: Digest;
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
  /** Is its directory there, but made with other ids than this process has, so that it does not count? A blob of such a layer
   *  may be had by packing the directory (PackJob.oneId). */
  isOfOtherIds(id: LayerId): boolean;
  /** Layer id of a base layer. */
  idOf(diffId: Digest): LayerId;
  /** What was made here and is the same as this layer of an image: it need not be fetched. To be held as what it stands in for.
   *  null: nothing is known. */
  made(id: LayerId): MadeHere | null;
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
  readonly id: LayerId; // fresh "r-…"
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
  batch(
    changes: readonly { readonly space: string; readonly key: string; readonly value: unknown | null }[],
  ): void;
  remove(space: string, key: string): void;
  /** Replaces a value by a function of it; the function runs again at commit, on what other processes left there. */
  merge<T>(space: string, key: string, change: (old: T | null) => T | null): T | null;
  /** Resolves when all writes so far are visible to other processes (and outlive a SIGKILL). */
  commit(): Promise<void>;
  /** Resolves when all writes so far are on disk (and outlive a power cut). */
  flush(): Promise<void>;
  entries<T>(space: string): Iterable<{ readonly key: string; readonly value: T }>;
}

/** What a step's key led to. One entry for each output. */
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
  /** Layers held for each manifest in it (platform text → ids), so that run needs no unpack. */
  readonly layers: Readonly<Record<string, readonly LayerId[]>>;
  /** Repositories (docker.io/library/app) whose registry has `target`: it was pushed there or came from there. Left out: none. */
  readonly confirmed?: readonly string[];
}

/** Waiting for what another process holds. */
export interface WaitOptions {
  readonly signal: AbortSignal;
  /** Called when it takes longer than a moment, and whenever there is something new to say: "process 17 (node), which is stopped". */
  readonly onWait?: (holder: string) => void;
  /** The lock only spares work that is done twice: while its holder is stopped (SIGSTOP, a freezer), `work` runs without it
   *  after a while. */
  readonly sparesWork?: boolean;
}

/** Directories for RUN --mount=type=cache. */
export interface CacheMounts {
  /** Holds the directory of an id under the sharing rule (locked waits, private takes a free copy). */
  acquire(
    id: string,
    sharing: "shared" | "private" | "locked",
    options: WaitOptions & { readonly seedKey: string },
  ): Promise<CacheMountHold>;
  /** Shares the filled directory of an id that begins empty, so that no step has it alone meanwhile. null: there is none, or steps
   *  have it alone (locked, private); nothing is made and nothing waited for. */
  read(id: string, options: { readonly signal: AbortSignal }): Promise<CacheMountHold | null>;
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
  readonly dir: string; // absolute, 0700
  readonly content: ContentStore;
  readonly layers: LayerStore;
  readonly records: Records;
  readonly cacheMounts: CacheMounts;
  /** Copies of directories of clients elsewhere: synced-files.ts. */
  readonly syncedFiles: CacheMounts;
  lease(): Lease;
  /** Runs `work` once per key at a time over all processes of this store; the others wait for the lock. Records written in
   *  `work` are visible to whoever comes next. Not reentrant. Rejects with signal.reason when aborted while waiting. */
  exclusively<T>(key: string, work: () => Promise<T>, options: WaitOptions): Promise<T>;
  /** A directory for temporary files, on the store's file system; emptied of dead processes' leavings when a store opens. */
  tempDir(): string;
  /** Has its file system not a block or an inode left, so that what was written last may be cut short? */
  isFull(): boolean;
}

/** A store as opened by this process: what Store offers, and what collect.ts needs besides. */
export interface OpenStore extends Store {
  readonly content: ContentFiles;
  readonly layers: LayerDirs;
  readonly cacheMounts: MountFiles;
  readonly syncedFiles: MountFiles;
  /** What live processes hold by leases. */
  pinned(): Promise<Pinned>;
  /** Commits what is pending, at the end of all work. On a disk too full for that (STORE_FULL) directories whose records could not be
   *  written are taken out of sight: who can deletes them (layers.discarded()) before it closes the store. */
  settle(): Promise<void>;
  /** What was not as it must be when it was opened and has been mended, in words. */
  readonly mended: readonly string[];
}

/** Opens the store in `dir`, making it when there is none, and clears up after dead processes. Throws STORE_UNUSABLE (newer version,
 *  somebody else's directory, read-only), STORE_FULL. Any number of processes may have it open. */
export async function openStore(
  dir: string,
  options: {
    /** Has the keeper of this user one id only? Its layers are of no use otherwise, nor the others to it. */
    readonly hasOneId?: boolean;
    /** See ClaimOptions. */
    readonly repair?: boolean;
    /** It is opened to give space back: on a full disk what is kept for that may be used (spare.ts). */
    readonly tidying?: boolean;
  } = {},
): Promise<OpenStore> {
  const root = onDisk("looking for it", resolve(dir), () => placeOf(resolve(dir)));
  const mended = onDisk("opening it", root, () => claim(root, { repair: options.repair === true }));
  const isTidying = options.tidying === true;
  onDisk("opening it", root, () => (isTidying ? useSpare(root) : keepSpare(root, { force: false })));
  const at = (name: string) => join(root, name);
  const quarantine = at("tmp/quarantine");
  const names = openImageNames({ dir: at("names"), quarantine });
  // First what may fail: an owner is known to others until it closes.
  const records = openRecords(at("db"), {
    quarantine,
    beforeCommit: () => content.syncNames(),
    inCommit: names.inCommit,
    tidying: isTidying,
    mended: (what) => mended.push(what),
  });
  const owner = onDisk("opening it", root, () => openOwner(at("owners")));
  const left = await sweepFiles(root, owner);

  const content = openContent({
    blobs: at("blobs/sha256"),
    ingest: at("ingest"),
    quarantine,
    owner: owner.id,
  });
  const locks = openLocks({
    dir: at("locks"),
    quarantine,
    owner,
    alone: records.alone,
    visible: records.nextCommit,
  });
  const leases = openLeases(at("owners"), owner, () => (records.hasPending() ? records.nextCommit() : null));
  const keyName = (): string => nameOfKey(noteKey(root));
  const oneId = options.hasOneId === true ? keyName() : null;
  const layers = openLayerStore({
    layers: at("layers"),
    active: at("active"),
    records,
    owner,
    left,
    oneId,
    keyName,
  });
  const slots = { quarantine, owner, exclusively: locks.briefly, discard: layers.discard };
  const cacheMounts = openCacheMounts({ dir: at("mounts"), ...slots });
  const syncedFiles = openCacheMounts({ dir: at("synced"), ...slots });
  await locks.sweep();
  await cacheMounts.sweep();
  await syncedFiles.sweep();
  const isTold = mended.some((what) => what.startsWith("db/"));
  mended.push(...(await names.reconcile(records, layers, owner.boot, isTold)));

  async function settle(): Promise<void> {
    try {
      await records.commit();
    } catch (error) {
      if (error instanceof BuildError && error.code === "STORE_FULL") {
        layers.giveBack();
        records.abandon();
      }
      throw error;
    }
  }

  const temporary = join(root, "tmp", owner.id);
  let closed = false;
  return {
    dir: root,
    content,
    layers,
    records,
    cacheMounts,
    syncedFiles,
    lease: leases.lease,
    pinned: leases.pinned,
    isFull: () => isFull(root),
    settle,
    mended,
    exclusively: locks.exclusively,
    tempDir() {
      onDisk("making a temporary directory", root, () => makeDirectories(temporary, 0o700));
      return temporary;
    },
    async [Symbol.asyncDispose]() {
      if (closed) return;
      closed = true;
      try {
        await settle();
      } finally {
        try {
          await records[Symbol.asyncDispose](); // the last commit, for which locks may wait
        } finally {
          await locks[Symbol.asyncDispose]();
          removeFiles(temporary, at("active"), owner.id);
          leases.close();
          owner.close();
          if (isTidying) keepSpare(root, { force: true });
        }
      }
    },
  };
}

/** Deletes temporary files. A tree of others among them (a context that came as a tar, a checkout) may be deeper than a path of ours can
 *  say, or hold what this process may not delete: that goes to active/, from where the keeper removes it. */
function removeFiles(path: string, active: string, ownerId: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch {
    renameSync(path, join(active, `${ownerId}-tmp-${randomBytes(4).toString("hex")}`));
  }
}

/** Deletes what dead processes left in ingest/, tmp/ and owners/; returns the names they left in active/, which may be large and
 *  of other ids: those are the keeper's. */
async function sweepFiles(root: string, owner: Owner): Promise<string[]> {
  const alive = new Map<string, boolean>();
  async function leftIn(dir: string): Promise<string[]> {
    const left: string[] = [];
    for (const name of readdirSync(join(root, dir))) {
      if (name === "quarantine") continue;
      const id = name.split("-", 1)[0] as string;
      if (!alive.has(id)) alive.set(id, await owner.isAlive(id));
      if (alive.get(id) === false) left.push(name);
    }
    return left;
  }
  for (const dir of ["ingest", "tmp"]) {
    for (const name of await leftIn(dir)) {
      removeFiles(join(root, dir, name), join(root, "active"), name.split("-", 1)[0] as string);
    }
  }
  await sweepOwners(join(root, "owners"), owner);
  return await leftIn("active");
}
