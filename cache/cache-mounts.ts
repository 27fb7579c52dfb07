// Cache mounts: directories of RUN --mount=type=cache, kept between builds. Copies of clients' directories (synced-files.ts) are kept
// the same way, in synced/.
//
//   mounts/<sha256 of id and seed>/id                    the id as written, for du
//   mounts/<...>/slot-<n>/fs                             the directory; several if `private` or busy ones caused copies
//   mounts/<...>/fresh-<n>                               slot n is not filled yet
//   mounts/<...>/hold-<n>-<s|x>-<owner>-<serial>         slot n is in use, shared or exclusively
//
// chooseSlot() selects a slot under a lock of the mount. Sharing as in BuildKit: `shared` joins others or uses
// a free one, `private` uses a free one or creates one, `locked` waits until one is free.

import { createHash } from "node:crypto";
import {
  chmodSync,
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { BuildError } from "../solver/graph/error.ts";
import { errnoOf, onDisk } from "./disk-fault.ts";
import { changeIn, watchHolder } from "./locks.ts";
import { makeDirectories, openDirectory, readIn } from "./outside.ts";
import type { Owner } from "./owner.ts";
import { isDirectory, lookAt, setAside } from "./set-aside.ts";
import type { CacheMountHold, CacheMounts, WaitOptions } from "./contract.ts";

type Sharing = "shared" | "private" | "locked";

export interface Slot {
  readonly number: number;
  readonly holds: readonly ("s" | "x")[];
  /** Not filled yet by whoever holds it. */
  readonly fresh: boolean;
}

export interface MountFiles extends CacheMounts {
  /** Takes a directory of list() out of sight, unless somebody uses it: returns its new path for the keeper, or null. */
  remove(path: string, options: { readonly signal: AbortSignal }): Promise<string | null>;
  /** Drops the holds of dead owners. */
  sweep(): Promise<void>;
}

export interface CacheMountsOptions {
  readonly dir: string; // made when there is something to keep
  readonly quarantine: string;
  readonly owner: Owner;
  readonly exclusively: <T>(key: string, work: () => Promise<T>, options: WaitOptions) => Promise<T>;
  /** See LayerDirs.discard(). */
  readonly discard: (dir: string) => string | null;
}

const HOLD = /^hold-(\d+)-([sx])-([^-]+)-\d+$/;

export function openCacheMounts(options: CacheMountsOptions): MountFiles {
  const { owner } = options;
  let serial = 0;

  async function acquire(
    id: string,
    sharing: Sharing,
    { signal, seedKey, onWait }: WaitOptions & { readonly seedKey: string },
  ): Promise<CacheMountHold> {
    const name = nameOf(id, seedKey);
    const dir = join(options.dir, name);
    const wait = { signal, ...(onWait === undefined ? {} : { onWait }) };
    const watch = watchHolder(wait);
    for (;;) {
      const before = listing(dir);
      const hold = await options.exclusively(lockKey(name), () => tryAcquire(dir, id, sharing), wait);
      if (hold !== null) return hold;
      const [holder] = before.split("\n").flatMap((entry) => HOLD.exec(entry)?.[3] ?? []);
      if (holder !== undefined && holder !== owner.id) watch(holder);
      await changeIn(dir, () => listing(dir) !== before, signal);
    }
  }

  /** Under the mount's lock. null: nothing free, wait. */
  async function tryAcquire(dir: string, id: string, sharing: Sharing): Promise<CacheMountHold | null> {
    onDisk("creating a cache mount", dir, () => {
      if (!isDirectory(dir)) {
        makeDirectories(options.dir, 0o700);
        if (lookAt(dir) !== null) setAside(dir, options.quarantine);
        mkdirSync(dir, { mode: 0o700 });
      }
      if (idOf(dir) !== id) writeId(dir, id);
    });
    await dropDeadHolds(dir);
    for (const { number, whole } of readSlots(dir)) {
      if (whole) continue;
      // No directory: something else there is not to be mounted into a step.
      setAside(join(dir, `slot-${number}`), options.quarantine);
    }
    const slots = readSlots(dir);
    const number = chooseSlot(slots, sharing);
    if (number === null) return null;
    const slot = slots.find((one) => one.number === number);
    return onDisk("acquiring a cache mount", dir, () => {
      const fresh = slot === undefined || slot.fresh;
      if (fresh) {
        // Half filled by somebody who died: begins again.
        if (slot !== undefined) options.discard(join(dir, `slot-${number}`));
        makeSlot(dir, number);
      }
      return hold(dir, number, sharing === "shared" ? "s" : "x", fresh);
    });
  }

  async function read(
    id: string,
    { signal }: { readonly signal: AbortSignal },
  ): Promise<CacheMountHold | null> {
    const name = nameOf(id, "");
    const dir = join(options.dir, name);
    const take = async (): Promise<CacheMountHold | null> => {
      if (!isDirectory(dir)) return null;
      await dropDeadHolds(dir);
      const slot = readSlots(dir).find(({ fresh, holds }) => !fresh && !holds.includes("x"));
      return slot === undefined
        ? null
        : onDisk("acquiring a cache mount", dir, () => hold(dir, slot.number, "s", false));
    };
    return await options.exclusively(lockKey(name), take, { signal });
  }

  /** By rename(2): what stands there may be a link or a FIFO. */
  function writeId(dir: string, id: string): void {
    const file = join(dir, "id");
    const draft = `${file}-${owner.id}-${serial++}`;
    writeFileSync(draft, id, { mode: 0o600, flag: "wx" });
    if (isDirectory(file)) setAside(file, options.quarantine);
    renameSync(draft, file);
  }

  function hold(dir: string, number: number, kind: "s" | "x", fresh: boolean): CacheMountHold {
    const mark = join(dir, `hold-${number}-${kind}-${owner.id}-${serial++}`);
    putMark(mark);
    const outer = join(dir, `slot-${number}`);
    utimesSync(outer, new Date(), new Date());
    let ended = false;
    const seeded = () => {
      if (fresh) rmSync(join(dir, `fresh-${number}`), { recursive: true, force: true });
    };
    return {
      path: join(outer, "fs"),
      fresh,
      seeded,
      async [Symbol.asyncDispose]() {
        if (ended) return;
        ended = true;
        seeded();
        rmSync(mark, { recursive: true, force: true });
      },
    };
  }

  async function dropDeadHolds(dir: string): Promise<void> {
    for (const entry of readdirSync(dir)) {
      const match = HOLD.exec(entry);
      if (match !== null && !(await owner.isAlive(match[3] as string)))
        rmSync(join(dir, entry), { recursive: true, force: true });
    }
  }

  function list(): {
    readonly id: string;
    readonly path: string;
    readonly lastUsedMs: number;
    readonly inUse: boolean;
  }[] {
    return mountDirs().flatMap((dir) => {
      return readSlots(dir).flatMap((slot) => {
        const outer = join(dir, `slot-${slot.number}`);
        const stat = slot.whole ? lookAt(outer) : null;
        if (stat === null) return [];
        const inUse = slot.holds.length > 0;
        return [{ id: idOf(dir), path: join(outer, "fs"), lastUsedMs: stat.mtimeMs, inUse }];
      });
    });
  }

  async function remove(path: string, { signal }: { readonly signal: AbortSignal }): Promise<string | null> {
    const outer = join(path, "..");
    const dir = join(outer, "..");
    const number = Number(outer.slice(outer.lastIndexOf("-") + 1));
    const name = dir.slice(dir.lastIndexOf("/") + 1);
    return await options.exclusively(
      lockKey(name),
      async () => {
        await dropDeadHolds(dir);
        const slot = readSlots(dir).find((one) => one.number === number);
        if (slot === undefined || slot.holds.length > 0) return null;
        rmSync(join(dir, `fresh-${number}`), { recursive: true, force: true });
        const away = options.discard(outer);
        if (readSlots(dir).length === 0) rmSync(dir, { recursive: true, force: true }); // nothing but its id
        return away;
      },
      { signal },
    );
  }

  async function forget(
    id: string,
    { seeded, signal }: { readonly seeded: boolean; readonly signal: AbortSignal },
  ): Promise<readonly string[]> {
    const empty = join(options.dir, nameOf(id, ""));
    const dirs = seeded ? mountDirs().filter((dir) => dir !== empty && idOf(dir) === id) : [empty];
    const gone: string[] = [];
    for (const dir of dirs.filter(isDirectory)) {
      for (const { number } of readSlots(dir)) {
        const away = await remove(join(dir, `slot-${number}`, "fs"), { signal });
        if (away !== null) gone.push(away);
      }
    }
    return gone;
  }

  async function sweep(): Promise<void> {
    for (const dir of mountDirs()) await dropDeadHolds(dir);
  }

  function mountDirs(): string[] {
    if (!isDirectory(options.dir)) return [];
    return readdirSync(options.dir)
      .map((name) => join(options.dir, name))
      .filter(isDirectory);
  }

  return { acquire, read, forget, list, remove, sweep };
}

function nameOf(id: string, seedKey: string): string {
  return createHash("sha256").update(`${id}\0${seedKey}`).digest("hex");
}

/** Number of the slot to take, one that is not there yet to make it, or null to wait. */
export function chooseSlot(slots: readonly Slot[], sharing: Sharing): number | null {
  const free = slots.find((slot) => slot.holds.length === 0);
  const next = slots.reduce((most, slot) => Math.max(most, slot.number + 1), 0);
  switch (sharing) {
    case "shared": {
      const open = slots.filter((slot) => !slot.holds.includes("x"));
      if (open.length === 0) return next;
      const ready = open.find((slot) => !slot.fresh || slot.holds.length === 0);
      return ready?.number ?? null; // all are being filled at this moment
    }
    case "private":
      return free?.number ?? next;
    case "locked":
      return free?.number ?? (slots.length === 0 ? next : null);
  }
}

const lockKey = (name: string) => `cache-mount ${name}`; // names of both kinds are digests of different texts

function makeSlot(dir: string, number: number): void {
  // The mark first: a slot without it counts as filled.
  putMark(join(dir, `fresh-${number}`));
  const outer = join(dir, `slot-${number}`);
  mkdirSync(outer, { mode: 0o700 });
  mkdirSync(join(outer, "fs"), { mode: 0o755 });
  chmodSync(join(outer, "fs"), 0o755); // whatever the umask
}

/** An empty file; only its name counts, so anything that is there does. */
function putMark(path: string): void {
  if (lookAt(path) !== null) return;
  const { O_CREAT, O_EXCL, O_WRONLY } = constants;
  closeSync(openSync(path, O_CREAT | O_EXCL | O_WRONLY, 0o600));
}

/** `whole`: it and its fs/ are real directories. */
function readSlots(dir: string): (Slot & { readonly whole: boolean })[] {
  const names = readdirSync(dir);
  return names
    .flatMap((name) => (/^slot-\d+$/.test(name) ? [Number(name.slice(5))] : []))
    .sort((a, b) => a - b)
    .map((number) => ({
      number,
      whole: isDirectory(join(dir, `slot-${number}`)) && isDirectory(join(dir, `slot-${number}`, "fs")),
      holds: names.flatMap((name) => {
        const match = HOLD.exec(name);
        return match !== null && Number(match[1]) === number ? [match[2] as "s" | "x"] : [];
      }),
      fresh: names.includes(`fresh-${number}`),
    }));
}

const ID_MAX_BYTES = 2 ** 16;

/** The id as it was written; "" when that cannot be read. */
function idOf(dir: string): string {
  const descriptor = openDirectory(dir);
  try {
    return readIn(descriptor, "id", ID_MAX_BYTES)?.toString() ?? "";
  } catch (error) {
    if (error instanceof BuildError || ["ELOOP", "ENXIO", "EISDIR"].includes(errnoOf(error) ?? "")) return "";
    throw error;
  } finally {
    closeSync(descriptor);
  }
}

/** Names of a directory as one text, to see a change; empty when it is not there. */
function listing(dir: string): string {
  try {
    return readdirSync(dir).sort().join("\n");
  } catch (error) {
    // Not there, or no directory: then it is set aside when the mount is taken.
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return "";
    throw error;
  }
}
