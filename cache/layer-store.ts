// Layers: layers/<id>/fs is a layer's directory in overlay form, its record says the rest.
//
// A layer is made in active/<owner>-<n>/{fs,work} and gets its name by renaming the outer directory. The outer one is ours and
// writable whatever the step did to the mode and owner of fs: rename(2) must write "..", so moving fs itself would fail
// for a root directory of mode 0555 or of a subordinate id.
//
// Power cuts: the files of a step are not flushed one by one. The outer directory holds an empty file
// "boot-<boot id>" and the record has the boot id and whether syncfs(2) has run since. A directory of an earlier boot that was
// never synced may be torn: it counts as absent. R2 of the threat model.

import { randomBytes } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type Digest, hexOf } from "../solver/graph/digest.ts";
import type { LayerId } from "../solver/graph/request.ts";
import { errnoOf, onDisk } from "./disk-fault.ts";
import type { ActiveLayer, LayerRecord, LayerStore, Records } from "./store.ts";

export interface LayerDirs extends LayerStore {
  /** Takes a layer's directory out of sight at once: into active/, from where the keeper removes it. null: none was there. */
  retire(id: LayerId): string | null;
  /** Puts a retired directory back, unless there is another by now. */
  restore(id: LayerId, retired: string): void;
  /** The same for any other directory of the store whose parent is ours. */
  discard(dir: string): string | null;
  /** Ids of directories that have no record and were not made in this boot: left over from a power cut. */
  orphans(): LayerId[];
}

export interface LayerStoreOptions {
  readonly layers: string; // exists
  readonly active: string; // exists, on the same file system
  readonly records: Records;
  readonly owner: { readonly id: string; readonly boot: string };
  /** Names in `active` that belong to dead processes. */
  readonly left: readonly string[];
}

/** What is stored: the record, and what is known of its directory. */
type StoredLayer = LayerRecord & { readonly boot: string; readonly synced: boolean };
type Change = Partial<Omit<StoredLayer, "id">>;

export const LAYER_SPACE = "layer";
/** Ids of layers that were not synced when their record was written: builds ask for them, and a store may hold thousands. */
const UNSYNCED_SPACE = "unsynced";
const LAYER_ID = /^(d-[0-9a-f]{64}|r-[0-9a-f]{32})$/;

export function openLayerStore(options: LayerStoreOptions): LayerDirs {
  const { records, owner } = options;
  const gone = new Set<string>(options.left.map((name) => join(options.active, name)));
  let serial = 0;

  const outer = (id: LayerId) => {
    if (!LAYER_ID.test(id)) throw new Error(`not a layer id: ${JSON.stringify(id)}`);
    return join(options.layers, id);
  };
  const directory = (id: LayerId) => join(outer(id), "fs");
  const freshName = () => join(options.active, `${owner.id}-${serial++}`);

  /** As it is to be believed in this boot. */
  function believed(stored: StoredLayer | null): LayerRecord | null {
    if (stored === null) return null;
    const { boot, synced, ...record } = stored;
    if (!record.unpacked) return unlisted(record);
    return synced || boot === owner.boot ? record : withoutDirectory(stored);
  }

  /** isOurs: the directory has just come into its place, whatever the record says of one before. */
  function store(id: LayerId, change: Change, isOurs = false): LayerRecord {
    const createdAtMs = change.createdAtMs ?? Date.now();
    const stored = records.merge<StoredLayer>(LAYER_SPACE, id, (old) => {
      const known = isOurs ? unlisted(believed(old)) : believed(old);
      const isNew = change.unpacked === true && known?.unpacked !== true;
      const record: StoredLayer = {
        id,
        diffId: null,
        unpacked: false,
        sizeBytes: 0,
        createdAtMs,
        blobs: {},
        diffIds: {},
        remotes: [],
        description: "",
        ...known,
        boot: isNew || old === null ? owner.boot : old.boot,
        synced: !isNew && old !== null && old.synced,
        ...withoutUndefined(change),
      };
      if (old === null) return record;
      // Two processes may each have added a variant: fields that are tables grow together.
      return {
        ...record,
        blobs: { ...old.blobs, ...record.blobs },
        diffIds: { ...old.diffIds, ...record.diffIds },
      };
    });
    if (stored?.unpacked === true && !stored.synced) records.put(UNSYNCED_SPACE, id, 1);
    return believed(stored) as LayerRecord;
  }

  function get(id: LayerId): LayerRecord | null {
    const stored = records.get<StoredLayer>(LAYER_SPACE, id);
    // One stat(2), 3 µs: a directory somebody has removed by hand is made again instead of missed by a mount.
    if (stored?.unpacked !== true || existsSync(directory(id))) return believed(stored);
    return withoutDirectory(stored);
  }

  /** What is left of a layer whose directory is not there or not to be believed: what blobs or registries still have can
   *  be unpacked again; a step's layer without them never was. */
  function withoutDirectory({ boot: _boot, synced: _synced, ...record }: StoredLayer): LayerRecord | null {
    if (Object.keys(record.blobs).length === 0 && record.remotes.length === 0) return null;
    return { ...unlisted(record), unpacked: false, sizeBytes: 0 };
  }

  /** What was known of a directory does not speak of the next one in its place. */
  function unlisted(record: LayerRecord): LayerRecord;
  function unlisted(record: LayerRecord | null): LayerRecord | null;
  function unlisted(record: LayerRecord | null): LayerRecord | null {
    if (record === null) return null;
    const { listing: _listing, shape: _shape, ...rest } = record;
    return rest;
  }

  function prepare(): ActiveLayer {
    const place = freshName();
    const upper = join(place, "fs");
    const work = join(place, "work");
    onDisk("starting a layer", () => {
      mkdirSync(place, { mode: 0o700 });
      for (const dir of [upper, work]) mkdirWithMode(dir, 0o755);
    });
    const id = `r-${randomBytes(16).toString("hex")}` as LayerId;
    let ended = false;

    function commit(change: Change, as: LayerId = id): LayerRecord {
      if (ended) throw new Error("commit of a layer that has ended");
      const target = outer(as);
      const isOurs = onDisk("finishing a layer", () => {
        removeWork(work);
        // Before the rename: a directory in layers/ always says in which boot it was whole.
        writeFileSync(bootMark(place, owner.boot), "");
        if (moveInto(place, target)) return true;
        if (isWhole(as)) return false;
        discard(target); // a power cut's remains
        return moveInto(place, target); // false: another process did the same and was first
      });
      ended = true;
      if (isOurs) return store(as, { ...change, unpacked: true, boot: owner.boot, synced: false }, true);
      remove(place);
      return store(as, { ...change, unpacked: true });
    }

    return {
      id,
      upper,
      work,
      commit,
      async [Symbol.asyncDispose]() {
        if (ended) return;
        ended = true;
        remove(place);
      },
    };
  }

  /** Is the directory that is there to be believed? Records come a moment after directories, so the mark counts, too. */
  function isWhole(id: LayerId): boolean {
    return (
      existsSync(bootMark(outer(id), owner.boot)) || (existsSync(directory(id)) && get(id)?.unpacked === true)
    );
  }

  /** Deletes as far as this process may; the rest is the keeper's. */
  function remove(place: string): void {
    try {
      rmSync(place, { recursive: true, force: true });
    } catch {
      // Files of subordinate ids (EACCES, EPERM), paths longer than PATH_MAX, directories still busy: whatever it is, the
      // keeper has the means, and nothing in active/ is ever taken for a layer.
      gone.add(place);
    }
  }

  function discard(dir: string): string | null {
    if (dir.startsWith(`${options.active}/`)) {
      gone.add(dir);
      return dir;
    }
    const place = freshName();
    try {
      renameSync(dir, place);
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return null;
      throw error;
    }
    gone.add(place);
    return place;
  }

  function restore(id: LayerId, retired: string): void {
    gone.delete(retired);
    if (!moveInto(retired, outer(id))) gone.add(retired);
  }

  function orphans(): LayerId[] {
    return readdirSync(options.layers).filter((name): name is LayerId => {
      if (!LAYER_ID.test(name)) return false;
      if (records.get(LAYER_SPACE, name) !== null) return false;
      return !existsSync(bootMark(join(options.layers, name), owner.boot));
    });
  }

  function all(): StoredLayer[] {
    return [...records.entries<StoredLayer>(LAYER_SPACE)].map((entry) => entry.value);
  }

  return {
    get,
    update: (id, change) => store(id, change),
    directory,
    prepare,
    idOf: (diffId: Digest) => `d-${hexOf(diffId)}` as LayerId,
    list: () => all().flatMap((stored) => believed(stored) ?? []),
    unsynced() {
      const found: LayerId[] = [];
      for (const { key } of records.entries(UNSYNCED_SPACE)) {
        const stored = records.get<StoredLayer>(LAYER_SPACE, key);
        if (stored?.unpacked === true && !stored.synced && stored.boot === owner.boot) found.push(stored.id);
        else records.remove(UNSYNCED_SPACE, key);
      }
      return found;
    },
    markSynced(ids) {
      for (const id of ids) {
        records.merge<StoredLayer>(LAYER_SPACE, id, (old) => {
          // Unpacked anew in the meantime by somebody of another boot cannot be: there is one boot at a time.
          return old === null || old.boot !== owner.boot ? old : { ...old, synced: true };
        });
        records.remove(UNSYNCED_SPACE, id);
      }
    },
    discarded() {
      for (const dir of gone) if (!existsSync(dir)) gone.delete(dir);
      return [...gone];
    },
    retire: (id) => discard(outer(id)),
    restore,
    discard,
    orphans,
  };
}

const bootMark = (outer: string, boot: string) => join(outer, `boot-${boot}`);

/** mkdir(2) takes the umask off; the mode of a layer's root is part of the image. */
function mkdirWithMode(dir: string, mode: number): void {
  mkdirSync(dir, { mode });
  chmodSync(dir, mode);
}

/** overlayfs leaves empty directories in its work directory (mode 000). Not empty or not ours: it stays, beside the layer. */
function removeWork(work: string): void {
  for (const dir of [join(work, "work"), join(work, "index"), work]) {
    try {
      rmdirSync(dir);
    } catch (error) {
      const errno = errnoOf(error);
      if (errno !== "ENOENT" && errno !== "ENOTEMPTY" && errno !== "EACCES" && errno !== "EPERM") throw error;
    }
  }
}

/** rename(2) onto a directory that is not empty fails: false. */
function moveInto(from: string, to: string): boolean {
  try {
    renameSync(from, to);
    return true;
  } catch (error) {
    if (errnoOf(error) === "ENOTEMPTY" || errnoOf(error) === "EEXIST") return false;
    throw error;
  }
}

function withoutUndefined<T extends object>(change: T): T {
  return Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined)) as T;
}
