// The door of the cache: all state on disk. Contracts first; openStore() below. Longer than other files because
// it defines types that all rooms share.

import { randomBytes } from "node:crypto";
import { readdirSync, renameSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { BuildError } from "../solver/graph/error.ts";
import { type MountFiles, openCacheMounts } from "./cache-mounts.ts";
import { claim, placeOf } from "./claim.ts";
import { type ContentFiles, openContent } from "./content.ts";
import { onDisk } from "./disk-fault.ts";
import { makeDirectories } from "./outside.ts";
import { type HistoryFiles, openHistoryFiles } from "./history-files.ts";
import { openImageNames } from "./image-names.ts";
import { type LayerDirs, openLayerStore } from "./layer-store.ts";
import { openLeases, type Pinned } from "./leases.ts";
import { openLocks } from "./locks.ts";
import { type Owner, openOwner, sweepOwners } from "./owner.ts";
import { nameOfKey, noteKey } from "./note-key.ts";
import { openRecords } from "./records.ts";
import { isFull, keepSpare, useSpare } from "./spare.ts";
import type { Store } from "./contract.ts";

/** A store opened by this process: Store, plus what collect.ts needs. */
export interface OpenStore extends Store {
  readonly content: ContentFiles;
  readonly layers: LayerDirs;
  readonly cacheMounts: MountFiles;
  readonly syncedFiles: MountFiles;
  /** Builds of daemons, kept for who asks later. */
  readonly history: HistoryFiles;
  /** Everything leased by live processes. */
  pinned(): Promise<Pinned>;
  /** Commits pending writes, at the end of all work. If the disk is too full for that (STORE_FULL), directories whose records could not be
   *  written are renamed away, to be deleted (layers.discarded()) before the store is closed. */
  settle(): Promise<void>;
  /** Messages about repairs made when the store was opened. */
  readonly mended: readonly string[];
}

/** Opens the store in `dir`, creating it if needed, and cleans up after dead processes. Throws STORE_UNUSABLE (newer version,
 *  directory of another user, read-only), STORE_FULL. Any number of processes may have it open. */
export async function openStore(
  dir: string,
  options: {
    /** Does this user's keeper have only one id? Layers made with one id cannot be used with several, and vice versa. */
    readonly hasOneId?: boolean;
    /** See ClaimOptions. */
    readonly repair?: boolean;
    /** Opened to free space: on a full disk the reserved space may be used (spare.ts). */
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
  // First everything that may fail: an owner is visible to others until it closes.
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
  const history = openHistoryFiles({
    ...{ dir: at("history"), quarantine, exclusively: locks.briefly },
    tempDir,
  });
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
  function tempDir(): string {
    onDisk("creating a temporary directory", root, () => makeDirectories(temporary, 0o700));
    return temporary;
  }
  let closed = false;
  return {
    dir: root,
    content,
    layers,
    records,
    cacheMounts,
    syncedFiles,
    history,
    lease: leases.lease,
    pinned: leases.pinned,
    isFull: () => isFull(root),
    settle,
    mended,
    exclusively: locks.exclusively,
    tempDir,
    async [Symbol.asyncDispose]() {
      if (closed) return;
      closed = true;
      try {
        await settle();
        await history.settled();
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

/** Deletes temporary files. Untrusted trees among them (a context from a tar, a checkout) may be deeper than the path
 *  limit, or contain files that this process cannot delete: those are moved to active/, from where the keeper removes them. */
function removeFiles(path: string, active: string, ownerId: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch {
    renameSync(path, join(active, `${ownerId}-tmp-${randomBytes(4).toString("hex")}`));
  }
}

/** Deletes leftovers of dead processes in ingest/, tmp/ and owners/; returns the names they left in active/, which may be large and
 *  have other owners: the keeper removes those. */
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
