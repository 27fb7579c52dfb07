// The door of the cache: the only keeper of state on disk. Contracts first; openStore() below. Longer than other files because
// it holds the words that all rooms share.

import {
  chmodSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import type { Digest } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { Descriptor, LayerId } from "../solver/graph/request.ts";
import { type MountFiles, openCacheMounts } from "./cache-mounts.ts";
import { type ContentFiles, openContent } from "./content.ts";
import { errnoOf, onDisk } from "./disk-fault.ts";
import { type LayerDirs, openLayerStore } from "./layer-store.ts";
import { openLeases, type Pinned } from "./leases.ts";
import { openLocks } from "./locks.ts";
import { type Owner, openOwner, sweepOwners } from "./owner.ts";
import { openRecords } from "./records.ts";

/** Blobs by digest. Invisible before commit, immutable after. */
export interface ContentStore {
  has(digest: Digest): boolean;
  /** Size in bytes, or null when the blob is not here. */
  size(digest: Digest): number | null;
  /** Whole blob, checked against its digest; throws STORE_CORRUPT (and sets the blob aside), LIMIT_EXCEEDED over maxBytes. */
  read(digest: Digest, maxBytes: number): Uint8Array;
  /** Bytes of a blob in chunks; verifies while reading and throws STORE_CORRUPT at the end of a damaged one. */
  stream(digest: Digest, options: { readonly signal: AbortSignal }): AsyncIterable<Uint8Array>;
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
  readonly remotes: readonly RemoteBlob[];
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
}

/** Directories for RUN --mount=type=cache. */
export interface CacheMounts {
  /** Holds the directory of an id under the sharing rule (locked waits, private takes a free copy). */
  acquire(
    id: string,
    sharing: "shared" | "private" | "locked",
    options: { readonly signal: AbortSignal; readonly seedKey: string },
  ): Promise<CacheMountHold>;
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
  lease(): Lease;
  /** Runs `work` once per key at a time over all processes of this store; the others wait for the lock. Records written in
   *  `work` are visible to whoever comes next. Not reentrant. Rejects with signal.reason when aborted while waiting. */
  exclusively<T>(key: string, work: () => Promise<T>, options: { readonly signal: AbortSignal }): Promise<T>;
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

/** Version of the layout described in README.md. A store of a newer one is not touched. */
const VERSION = 1;
const DIRECTORIES = [
  "blobs",
  "blobs/sha256",
  "ingest",
  "layers",
  "active",
  "db",
  "mounts",
  "locks",
  "owners",
  "tmp",
  "tmp/quarantine",
];

/** Opens the store in `dir`, making it when there is none, and clears up after dead processes. Throws STORE_UNUSABLE (newer version,
 *  somebody else's directory, read-only), STORE_FULL. Any number of processes may have it open. */
export async function openStore(dir: string): Promise<OpenStore> {
  const root = resolve(dir);
  onDisk("opening it", () => {
    claim(root);
    for (const name of DIRECTORIES) mkdirSync(join(root, name), { recursive: true, mode: 0o700 });
  });
  const at = (name: string) => join(root, name);
  // First what may fail: an owner is known to others until it closes.
  const records = openRecords(at("db"), {
    quarantine: at("tmp/quarantine"),
    beforeCommit: () => content.syncNames(),
  });
  const owner = onDisk("opening it", () => openOwner(at("owners")));
  const left = await sweepFiles(root, owner);

  const content = openContent({
    blobs: at("blobs/sha256"),
    ingest: at("ingest"),
    quarantine: at("tmp/quarantine"),
    owner: owner.id,
  });
  const locks = openLocks({
    dir: at("locks"),
    owner,
    alone: records.alone,
    visible: records.nextCommit,
  });
  const leases = openLeases(at("owners"), owner, () => (records.hasPending() ? records.nextCommit() : null));
  const layers = openLayerStore({ layers: at("layers"), active: at("active"), records, owner, left });
  const cacheMounts = openCacheMounts({
    dir: at("mounts"),
    owner,
    exclusively: locks.briefly,
    discard: layers.discard,
  });
  await locks.sweep();
  await cacheMounts.sweep();

  const temporary = join(root, "tmp", owner.id);
  let closed = false;
  return {
    dir: root,
    content,
    layers,
    records,
    cacheMounts,
    lease: leases.lease,
    pinned: leases.pinned,
    exclusively: locks.exclusively,
    tempDir() {
      onDisk("making a temporary directory", () => mkdirSync(temporary, { recursive: true, mode: 0o700 }));
      return temporary;
    },
    async [Symbol.asyncDispose]() {
      if (closed) return;
      closed = true;
      try {
        await records[Symbol.asyncDispose](); // the last commit, for which locks may wait
      } finally {
        await locks[Symbol.asyncDispose]();
        rmSync(temporary, { recursive: true, force: true });
        leases.close();
        owner.close();
      }
    },
  };
}

/** Makes sure that the directory is a store of this version, ours, and closed to others. */
function claim(root: string): void {
  mkdirSync(root, { recursive: true, mode: 0o700 });
  const stat = statSync(root);
  const uid = process.getuid?.() ?? 0;
  if (uid !== 0 && stat.uid !== uid) {
    throw new BuildError("STORE_UNUSABLE", `${root} belongs to another user (uid ${stat.uid})`, {
      hint: "give every user a store of their own",
    });
  }
  if ((stat.mode & 0o077) !== 0) chmodSync(root, 0o700);
  const version = readVersion(root) ?? begin(root);
  if (version === VERSION) return;
  throw new BuildError(
    "STORE_UNUSABLE",
    `the store ${root} has layout version ${version}, this tsbuild knows ${VERSION}`,
    {
      hint: version > VERSION ? "use a newer tsbuild, or another store directory" : null,
    },
  );
}

function readVersion(root: string): number | null {
  let text: string;
  try {
    text = readFileSync(join(root, "version"), "latin1");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return null;
    throw error;
  }
  const version = /^\d{1,9}\n?$/.test(text) ? Number.parseInt(text, 10) : 0;
  if (version > 0) return version;
  throw new BuildError("STORE_UNUSABLE", `the version file of the store ${root} is damaged`, {
    hint: `remove ${root} and build again, or restore the file \`version\` in it`,
  });
}

/** Writes the version file into an empty directory; several processes may do so at once. */
function begin(root: string): number {
  const stranger = readdirSync(root).find((name) => !name.startsWith("version"));
  if (stranger !== undefined) {
    // Another process may have been faster by all of this.
    const version = readVersion(root);
    if (version !== null) return version;
    throw new BuildError("STORE_UNUSABLE", `${root} is not empty and not a store`, {
      hint: "give an empty or a new directory",
    });
  }
  const draft = join(root, `version.${process.pid}`);
  writeFileSync(draft, `${VERSION}\n`, { mode: 0o600, flush: true });
  try {
    // link(2), not rename(2): who comes second leaves the first one's file alone.
    linkSync(draft, join(root, "version"));
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error;
  } finally {
    rmSync(draft, { force: true });
  }
  return readVersion(root) ?? VERSION;
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
    for (const name of await leftIn(dir)) rmSync(join(root, dir, name), { recursive: true, force: true });
  }
  await sweepOwners(join(root, "owners"), owner);
  return await leftIn("active");
}
