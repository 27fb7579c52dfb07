// Layers: layers/<id>/fs is a layer's directory in overlay form, its record has the rest.
//
// A layer is created in active/<owner>-<n>/{fs,work} and gets its name by renaming the outer directory. The outer one is ours and
// writable whatever the step did to the mode and owner of fs: rename(2) must write "..", so moving fs itself would fail
// for a root directory of mode 0555 or of a subordinate id.
//
// Power cuts: the files of a step are not flushed one by one. The outer directory contains an empty file
// "boot-<boot id>" and the record has the boot id and whether syncfs(2) has run since. A directory of an earlier boot that was
// never synced may be torn: it counts as missing. R2 of the threat model.
//
// The record is written shortly after the directory. An empty file "by-<owner>" identifies the creator: without a record, a layer of
// a dead process is unowned.
//
// Ids: with a single id on a machine, files have owner notes and a different owner on disk (layers/owner.ts). Such
// layers count as missing if there are several ids, and vice versa; both kinds are marked. Those created with one
// id can be packed, and so unpacked again, by users with several.

import { randomBytes } from "node:crypto";
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
} from "node:fs";
import { join } from "node:path";
import type { LayerId } from "../solver/graph/request.ts";
import { sureForms } from "./claims.ts";
import { errnoOf, onDisk } from "./disk-fault.ts";
import type { Owner } from "./owner.ts";
import { findMade, idOf, noteMade } from "./made-here.ts";
import { isDirectory } from "./set-aside.ts";
import type { RecordsFile } from "./records.ts";
import type { ActiveLayer, LayerRecord, LayerStore, Records } from "./contract.ts";

export interface LayerDirs extends LayerStore {
  /** Takes a layer's directory out of sight at once: into active/, from where the keeper removes it. null: none was there. */
  retire(id: LayerId): string | null;
  /** Puts a retired directory back, unless there is another by now. */
  restore(id: LayerId, retired: string): void;
  /** The same for any other directory of the store whose parent is ours. */
  discard(dir: string): string | null;
  readonly hasOneId: boolean;
  /** Ids of directories that have no record, and nobody who may still write one: left over from a power cut, a kill, a full disk. */
  orphans(): Promise<LayerId[]>;
  /** Takes directories out of sight whose records could not be written. For a process that ends. */
  giveBack(): void;
  /** Layers whose directories this process has made since the last call. */
  newlyMade(): readonly LayerId[];
  /** Puts back the record of a layer that the database has lost, as far as its directory is there and to be trusted. */
  recover(record: LayerRecord): void;
}

export interface LayerStoreOptions {
  readonly layers: string; // exists
  readonly active: string; // exists, on the same file system
  readonly records: Records & Pick<RecordsFile, "committed">;
  readonly owner: Pick<Owner, "id" | "boot" | "isAlive">;
  /** The ids of this process: null where there are several, else the name of the notes' key (note-key.ts). */
  readonly oneId: string | null;
  /** Name of the key that notes of this store are sealed with now. */
  readonly keyName: () => string;
  /** Names in `active` that belong to dead processes. */
  readonly left: readonly string[];
}

/** What is stored: the record, and what is known of its directory. */
type StoredLayer = LayerRecord & {
  readonly boot: string;
  readonly synced: boolean;
  /** See LayerStoreOptions; omitted: null, and records of versions that did not know. */
  readonly oneId?: string | null;
};
type Change = Partial<Omit<StoredLayer, "id">>;

export const LAYER_SPACE = "layer";
/** Ids of layers that were not synced when their record was written: builds ask for them, and a store may hold thousands. */
const UNSYNCED_SPACE = "unsynced";
const LAYER_ID = /^(d-[0-9a-f]{64}|r-[0-9a-f]{32})$/;
const isLayerId = (name: string): name is LayerId => LAYER_ID.test(name);
/** Name of an empty file next to a layer: with what follows, who made it. */
const MAKER = "by-";

export function openLayerStore(options: LayerStoreOptions): LayerDirs {
  const { records, owner } = options;
  const gone = new Set<string>(options.left.map((name) => join(options.active, name)));
  /** Layers taken out of layers/: they may be put back, until who took them says that they go. */
  const retired = new Set<string>();
  /** Layers of this process whose directories it made. */
  const made = new Set<LayerId>();
  let newlyMade: LayerId[] = [];
  let serial = 0;

  const outer = (id: LayerId) => {
    if (!LAYER_ID.test(id)) throw new Error(`not a layer id: ${JSON.stringify(id)}`);
    return join(options.layers, id);
  };
  const directory = (id: LayerId) => join(outer(id), "fs");
  /** Beside a directory that was whole in this boot, made with the ids of this process. */
  const mark = (place: string, oneId: string | null = options.oneId) =>
    join(place, `boot-${owner.boot}${oneId === null ? "" : `-${oneId}`}`);
  const freshName = () => join(options.active, `${owner.id}-${serial++}`);

  function isOther({ oneId = null, unpacked }: StoredLayer): boolean {
    return unpacked && oneId !== options.oneId;
  }

  /** As it is to be trusted in this boot and with these ids. */
  function believed(stored: StoredLayer | null): LayerRecord | null {
    if (stored === null) return null;
    if (!isOther(stored)) return whole(stored);
    if (isPackable(stored)) return hidden(stored);
    return withoutDirectory(stored);
  }

  /** Made with one id, whole, and its notes can be read with the ids there are now. */
  function isPackable(stored: StoredLayer): boolean {
    return options.oneId === null && whole(stored)?.unpacked === true && stored.oneId === options.keyName();
  }

  /** As it is to be trusted in this boot, whatever the ids. */
  function whole(stored: StoredLayer): LayerRecord | null {
    const { boot, synced, oneId: _, ...record } = stored;
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
        oneId: isNew || old === null ? options.oneId : (old.oneId ?? null),
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
    const isNewlyKnown = change.diffId !== undefined || change.diffIds !== undefined;
    if (stored !== null && isNewlyKnown) noteMade(records, stored);
    return believed(stored) as LayerRecord;
  }

  function get(id: LayerId): LayerRecord | null {
    const stored = records.get<StoredLayer>(LAYER_SPACE, id);
    // One stat(2), 3 µs: a directory somebody has removed by hand is made again instead of missed by a mount.
    if (stored?.unpacked !== true || isDirectory(directory(id))) return believed(stored);
    return withoutDirectory(stored);
  }

  /** What is left of a layer whose directory is not there or not to be trusted: what blobs or registries still have can
   *  be unpacked again; a step's layer without them never was. */
  function withoutDirectory(record: StoredLayer): LayerRecord | null {
    const isElsewhere = sureForms(record).length > 0 || record.remotes.length > 0;
    return isElsewhere || findMade(records, get, record.id) !== null ? hidden(record) : null;
  }

  function hidden(stored: StoredLayer | LayerRecord): LayerRecord {
    const { boot: _boot, synced: _synced, oneId: _oneId, ...record } = stored as StoredLayer;
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
    onDisk("starting a layer", options.active, () => {
      try {
        mkdirSync(place, { mode: 0o700 });
        for (const dir of [upper, work]) mkdirWithMode(dir, 0o755);
      } catch (error) {
        remove(place);
        throw error;
      }
    });
    const id = `r-${randomBytes(16).toString("hex")}` as LayerId;
    let ended = false;

    function commit(change: Change, as: LayerId = id): LayerRecord {
      if (ended) throw new Error("commit of a layer that has ended");
      const target = outer(as);
      const isOurs = onDisk("finishing a layer", options.active, () => {
        removeWork(work);
        // Before the rename: a directory in layers/ always says in which boot it was whole.
        for (const name of [mark(place), join(place, MAKER + owner.id)])
          closeSync(openSync(name, "wx", 0o600));
        if (moveInto(place, target)) return true;
        if (isWhole(as)) return false;
        discard(target); // a power cut's remains
        return moveInto(place, target); // false: another process did the same and was first
      });
      ended = true;
      if (isOurs) {
        made.add(as);
        newlyMade.push(as);
      }
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

  /** Is the directory that is there to be trusted? Records come a moment after directories, so the mark counts, too. */
  function isWhole(id: LayerId): boolean {
    if (!isDirectory(directory(id))) return false;
    return existsSync(mark(outer(id))) || get(id)?.unpacked === true;
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
      retired.add(dir);
      return dir;
    }
    const place = freshName();
    try {
      renameSync(dir, place);
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return null;
      throw error;
    }
    retired.add(place);
    return place;
  }

  function restore(id: LayerId, place: string): void {
    retired.delete(place);
    if (!moveInto(place, outer(id))) gone.add(place);
  }

  async function orphans(): Promise<LayerId[]> {
    const found: LayerId[] = [];
    for (const name of readdirSync(options.layers)) {
      if (!isLayerId(name) || records.get(LAYER_SPACE, name) !== null) continue;
      const marks = readdirSync(outer(name));
      const maker = marks.find((one) => one.startsWith(MAKER))?.slice(MAKER.length) ?? null;
      const isOfThisBoot = marks.some((one) => one.startsWith(`boot-${owner.boot}`));
      if (isOfThisBoot && (maker === null || (await owner.isAlive(maker)))) continue;
      // Asked again: its maker may have written it, and then ended.
      if (records.get(LAYER_SPACE, name) === null) found.push(name);
    }
    return found;
  }

  function leftovers(): string[] {
    for (const dir of gone) if (!existsSync(dir)) gone.delete(dir);
    return [...gone];
  }

  function giveBack(): void {
    for (const id of made) if (records.committed(LAYER_SPACE, id) === null) discard(outer(id));
  }

  function recover(record: LayerRecord): void {
    const { id } = record;
    if (!LAYER_ID.test(id) || records.get(LAYER_SPACE, id) !== null) return;
    const synced = existsSync(join(outer(id), SYNCED_FILE));
    const { oneId = null } = record as StoredLayer;
    const isSure = isDirectory(directory(id)) && (synced || existsSync(mark(outer(id), oneId)));
    const kept = { ...record, boot: owner.boot, synced };
    noteMade(records, record);
    if (isSure && record.unpacked) records.put(LAYER_SPACE, id, kept);
    else {
      const rest = withoutDirectory(kept);
      if (rest === null) return;
      records.put(LAYER_SPACE, id, { ...rest, boot: owner.boot, synced: false });
    }
    if (isSure && !synced) records.put(UNSYNCED_SPACE, id, 1);
  }

  function all(): StoredLayer[] {
    return [...records.entries<StoredLayer>(LAYER_SPACE)].map((entry) => entry.value);
  }

  return {
    get,
    update: (id, change) => store(id, change),
    directory,
    prepare,
    idOf,
    made: (id) => findMade(records, get, id),
    // Layers of other ids take space as well, and are to be found by prune.
    list: () => all().flatMap((stored) => whole(stored) ?? []),
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
          // Unpacked again in the meantime by somebody of another boot cannot be: there is one boot at a time.
          return old === null || old.boot !== owner.boot ? old : { ...old, synced: true };
        });
        records.remove(UNSYNCED_SPACE, id);
        markSyncedFile(outer(id));
      }
    },
    discarded() {
      for (const dir of retired) if (!existsSync(dir)) retired.delete(dir);
      return [...leftovers(), ...retired];
    },
    leftovers,
    retire: (id) => discard(outer(id)),
    restore,
    discard,
    orphans,
    giveBack,
    newlyMade() {
      const ids = newlyMade;
      newlyMade = [];
      return ids;
    },
    recover,
    hasOneId: options.oneId !== null,
    isOfOtherIds(id) {
      const stored = records.get<StoredLayer>(LAYER_SPACE, id);
      return stored !== null && isOther(stored);
    },
  };
}

/** Beside a layer's directory once its files are known to be on disk: for recover(), when no record says so any more. */
const SYNCED_FILE = "synced";

function markSyncedFile(outer: string): void {
  try {
    closeSync(openSync(join(outer, SYNCED_FILE), "wx", 0o600));
  } catch {
    // There already; or the layer is gone, or the disk is full: then it is made again one day, which is never wrong.
  }
}

/** mkdir(2) takes the umask off; the mode of a layer's root is part of the image. */
function mkdirWithMode(dir: string, mode: number): void {
  mkdirSync(dir, { mode });
  chmodSync(dir, mode);
}

/** overlayfs leaves empty directories in its work directory (mode 000). Not empty or not ours: it stays, next to the layer. */
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

/** rename(2) onto a directory that is not empty, or onto what is no directory, fails: false. */
function moveInto(from: string, to: string): boolean {
  try {
    renameSync(from, to);
    return true;
  } catch (error) {
    if (["ENOTEMPTY", "EEXIST", "ENOTDIR"].includes(errnoOf(error) ?? "")) return false;
    throw error;
  }
}

function withoutUndefined<T extends object>(change: T): T {
  return Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined)) as T;
}
