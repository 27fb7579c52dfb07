// Copies of directories of clients elsewhere, kept in the store and brought up to date by their differences.
//
//   synced/…      slots as of cache mounts (cache-mounts.ts): the copy of one directory, for one build at a time
//   slot-<n>/boot which boot of the machine has written the copy
//
// A regular file is the same as in the copy when type, mode, size and time are: what BuildKit goes by (fsutil). So a copy must not say
// what is not so. A file gets its time once it is whole, a kill leaves one that is sent again; and what another boot of the machine wrote
// is sent again as a whole, since a power cut may have kept inodes without their bytes.
//
// The listing is the client's and may be anything: order, names and kinds are checked before anything is touched, and names are used below
// descriptors, never as paths through links (threat model P1, C6).

import { closeSync, constants, fchmodSync } from "node:fs";
import { dirname } from "node:path";
import { digestOf } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import { unlessAborted } from "../solver/graph/scope.ts";
import type { FileRules, FileTransfer, RemoteFiles } from "../solver/graph/session.ts";
import { fchmodat, mkdirat, openat2, statxOrNull, utimensat } from "../worker/sys/file.ts";
import { isSysError } from "../worker/sys/libc.ts";
import { archiveFault } from "./layers/archive.ts";
import { removeAt } from "./layers/remove-tree.ts";
import { invalid, type Listed, pauses, readListing, unlessStopped } from "./listed-files.ts";
import { refusalOf } from "./disk-fault.ts";
import { namesIn, openDirectory, openIn, readIn, writeAll, writeWholeIn } from "./outside.ts";
import { bootId } from "./owner.ts";
import {
  clear,
  type Directories,
  type FileSink,
  fileWriter,
  makeLink,
  makeSpecial,
  nameOf,
  openDirectories,
  type WrittenFile,
} from "./received-file.ts";
import { openFileThreads } from "./received-pool.ts";
import type { StatCache } from "./stat-cache.ts";
import { baseOf, type Child, joinPath, parentOf, type TreeStat } from "./tree.ts";
import { type LiveTree, liveTree } from "./tree-live.ts";
import { O, RESOLVE, S } from "../worker/sys/constants.ts";
import type { Store } from "./contract.ts";

/** A directory that stays as it is until it is disposed. */
export interface HeldDirectory extends AsyncDisposable {
  readonly path: string; // absolute
}
export interface SyncedDirectory extends HeldDirectory {
  /** What is in a directory of it (byte string), where that was seen while it was brought up to date; else null. */
  childrenOf(path: string): readonly Child[] | null;
}
/** Entries that are kept for childrenOf(), of some 300 bytes. */
const SEEN_MAX = 200_000;

const KEY_MAX_CHARS = 4096;
const OWNER_RWX = 0o700;

/**
 * Brings the copy of a client's directory up to date and holds it. `name`: what the session calls the directory. Files that `excludes` hide
 * are not in it. onBytes: told of contents as they come. isFresh: all contents are sent, whatever an earlier copy has. Throws SOURCE_FAILED for what is no listing, LIMIT_EXCEEDED, STORE_FULL, and what
 * the transfer throws.
 */
export async function syncFiles(
  files: RemoteFiles,
  { name, ...rules }: FileRules & { readonly name: string },
  store: Store,
  {
    signal,
    onBytes,
    isFresh = false,
    statCache,
  }: {
    readonly signal: AbortSignal;
    readonly onBytes: (count: number) => void;
    readonly isFresh?: boolean;
    /** That of a copy, by its place: learns what is in the files that are written. */
    readonly statCache?: (root: string) => StatCache;
  },
): Promise<SyncedDirectory> {
  if (files.key.length > KEY_MAX_CHARS) throw invalid("its key is too long");
  // What is excluded may change without all being sent again.
  const seedKey = digestOf(JSON.stringify([name, files.key, rules.includes, rules.follow]));
  const hold = await store.syncedFiles.acquire(`${name} of ${files.key}`, "private", { signal, seedKey });
  let childrenOf: SyncedDirectory["childrenOf"] = () => null;
  try {
    const transfer = await unlessAborted(files.open(rules, { signal }), signal);
    // A client that does not listen to the signal keeps nobody waiting, neither while it sends nor at its end.
    const end = (): Promise<void> => unlessAborted(Promise.resolve(transfer[Symbol.asyncDispose]()), signal);
    try {
      const known = statCache?.(hold.path);
      const onWritten = ({ path, stat, digest }: WrittenFile): void => known?.put(path, stat, digest);
      const seen = await update(hold.path, transfer, { signal, onBytes, onWritten, isFresh });
      childrenOf = (path) => seen.get(path) ?? null;
    } catch (error) {
      await end().catch(() => {}); // what it failed with comes first
      throw asRefusal(error, hold.path);
    }
    await end();
    hold.seeded();
    return { path: hold.path, childrenOf, [Symbol.asyncDispose]: () => hold[Symbol.asyncDispose]() };
  } catch (error) {
    await hold[Symbol.asyncDispose]();
    throw error;
  }
}

/** What the disk does not take, in words. */
function asRefusal(error: unknown, path: string): unknown {
  const known = archiveFault(error, "receiving files of the client", path);
  if (known !== error || error instanceof BuildError) return known;
  const refusal = refusalOf(error, "store", path);
  if (refusal === null) return error;
  return new BuildError("STORE_FULL", `${refusal.words} while receiving files of the client`, {
    cause: error,
    hint: refusal.hint,
  });
}

async function update(
  dir: string,
  transfer: FileTransfer,
  options: {
    readonly signal: AbortSignal;
    readonly onBytes: (count: number) => void;
    readonly onWritten: (file: WrittenFile) => void;
    readonly isFresh: boolean;
  },
): Promise<Differences["seen"]> {
  const listed = await readListing(transfer, options.signal);
  const slot = openDirectory(dirname(dir));
  const isOfThisBoot = readBoot(slot) === bootId();
  const root = openIn(slot, baseOf(dir), constants.O_RDONLY | constants.O_DIRECTORY);
  const copy = liveTree(dir, () => null);
  try {
    const pause = pauses(options.signal);
    const isKnown = isOfThisBoot && !options.isFresh;
    const { changed, touched, gone, seen } = await compare(listed, {
      copy,
      root,
      isOfThisBoot: isKnown,
      pause,
    });
    for (const [path, names] of gone) await removeNames(root, path, names, pause);
    await write(changed, root, transfer, { ...options, pause });
    await finishDirectories(listed, touched, root, pause);
    if (!isOfThisBoot) await writeWholeIn(slot, BOOT, (fd) => writeAll(fd, Buffer.from(bootId(), "latin1")));
    // Neither what was made or removed in it, nor what was done to a file that has names elsewhere.
    for (const path of touched) {
      seen.delete(path);
      seen.delete(parentOf(path));
    }
    for (const { type, linkName } of changed.values())
      if (type === "hardlink") seen.delete(parentOf(linkName));
    return seen;
  } finally {
    copy.close();
    closeSync(root);
    closeSync(slot);
  }
}
/** "": a new copy, or no file that could be believed. */
function readBoot(slot: number): string {
  try {
    return readIn(slot, BOOT, BOOT_MAX_BYTES)?.toString("latin1") ?? "";
  } catch {
    return "";
  }
}
const BOOT = "boot";
const BOOT_MAX_BYTES = 1024;

/** What is not the same in the copy. */
interface Differences {
  /** In the listing's order. */
  readonly changed: ReadonlyMap<string, Listed>;
  /** Directories whose mode or time has to be set in the end. */
  readonly touched: Set<string>;
  /** Names that the listing does not have, by directory. */
  readonly gone: ReadonlyMap<string, readonly string[]>;
  /** What the copy had, by directory. */
  readonly seen: Map<string, readonly Child[]>;
}

/** The copy as it is. */
interface Copy {
  readonly copy: LiveTree;
  readonly root: number;
  readonly pause: () => Promise<void> | undefined;
}

async function compare(
  listed: ReadonlyMap<string, Listed>,
  { copy, root, isOfThisBoot, pause }: Copy & { readonly isOfThisBoot: boolean },
): Promise<Differences> {
  const changed = new Map<string, Listed>();
  const touched = new Set<string>();
  const gone = new Map<string, readonly string[]>();
  const seen = new Map<string, readonly Child[]>();
  let seenCount = 0;
  /** The directories on the way to the last entry, with what the copy has in them that was not listed so far: a listing goes through one
   *  directory after the other. */
  const open: { readonly path: string; readonly names: Map<string, TreeStat> }[] = [];
  const enter = (path: string, isThere: boolean): void => {
    const children = isThere ? copy.children(path) : [];
    seenCount += children.length;
    if (isThere && seenCount <= SEEN_MAX) seen.set(path, children);
    open.push({ path, names: new Map(children.map(({ name, stat }) => [name, stat])) });
  };
  const leave = (): void => {
    const directory = open.pop();
    if (directory === undefined || directory.names.size === 0) return;
    gone.set(directory.path, [...directory.names.keys()]);
    touched.add(directory.path);
  };
  enter("", true);
  for (const entry of listed.values()) {
    await pause();
    const { path, type } = entry;
    const parent = parentOf(path);
    while (open.length > 1 && open.at(-1)?.path !== parent) leave();
    const name = baseOf(path);
    const names = open.at(-1)?.names;
    const there = names?.get(name) ?? null;
    names?.delete(name);
    const isMerged = type === "directory" && there?.type === "directory";
    if (there?.type === "directory" && (there.mode & OWNER_RWX) !== OWNER_RWX) {
      // Closed to this process, which is not root: opened for now.
      const directory = openBelow(root, parent);
      fchmodat(directory, Buffer.from(name, "latin1"), there.mode | OWNER_RWX);
      closeSync(directory);
      touched.add(path);
    }
    if (type === "directory") enter(path, isMerged);
    if (there !== null && isSame(entry, there, { copy, changed, isOfThisBoot })) continue;
    if (isMerged) {
      touched.add(path); // its own mode or time alone
      continue;
    }
    changed.set(path, entry);
    touched.add(parent);
    if (type === "directory") touched.add(path);
  }
  while (open.length > 0) leave();
  return { changed, touched, gone, seen };
}

function isSame(
  entry: Listed,
  there: TreeStat,
  {
    copy,
    changed,
    isOfThisBoot,
  }: {
    readonly copy: LiveTree;
    readonly changed: ReadonlyMap<string, Listed>;
    readonly isOfThisBoot: boolean;
  },
): boolean {
  const { path, type, linkName } = entry;
  if (type === "hardlink") {
    return there.ino === copy.lstat(linkName)?.ino && !changed.has(linkName);
  }
  if (there.type !== type || there.mtimeNs !== entry.mtimeNs) return false;
  if (type === "symlink") return copy.readlink(path) === linkName;
  if (there.mode !== entry.mode) return false;
  // Names of one file in the copy that are files of their own by now.
  if (type !== "directory" && there.nlink !== entry.names) return false;
  return type !== "file" || (isOfThisBoot && there.size === entry.size);
}

/** Levels of directories that are held open; what lies deeper goes at once. */
const OPEN_MAX = 64;

/** Also whole trees, one name after the other. */
async function removeNames(
  root: number,
  path: string,
  names: readonly string[],
  pause: Copy["pause"],
  depth = 0,
): Promise<void> {
  const directory = openBelow(root, path);
  try {
    for (const name of names) {
      await pause();
      const native = Buffer.from(name, "latin1");
      const stat = statxOrNull(directory, native);
      if (depth < OPEN_MAX && stat !== null && (stat.mode & S.IFMT) === S.IFDIR) {
        fchmodat(directory, native, 0o700);
        const child = joinPath(path, name);
        const inside = openBelow(root, child);
        let below: Buffer[];
        try {
          below = namesIn(inside);
        } finally {
          closeSync(inside);
        }
        await removeNames(
          root,
          child,
          below.map((one) => one.toString("latin1")),
          pause,
          depth + 1,
        );
      }
      removeAt(directory, native);
    }
  } finally {
    closeSync(directory);
  }
}

/** Fewer files, of fewer bytes, are written while threads would start. */
const THREADS_MIN_FILES = 500;
const THREADS_MIN_BYTES = 16 << 20;

async function write(
  changed: ReadonlyMap<string, Listed>,
  root: number,
  transfer: FileTransfer,
  {
    signal,
    onBytes,
    onWritten,
    pause,
  }: {
    readonly signal: AbortSignal;
    readonly onBytes: (count: number) => void;
    readonly onWritten: (file: WrittenFile) => void;
    readonly pause: Copy["pause"];
  },
): Promise<void> {
  const wanted: Listed[] = [];
  let size = 0;
  const links: Listed[] = [];
  const directories = openDirectories(root);
  try {
    for (const entry of changed.values()) {
      await pause();
      if (entry.type === "file") {
        wanted.push(entry);
        size += entry.size;
      } else if (entry.type === "hardlink") links.push(entry);
      else if (entry.type === "directory") makeDirectory(entry, directories);
      else {
        makeSpecial(entry, directories);
        if (entry.type === "fifo")
          fchmodat(directories.open(parentOf(entry.path)), nameOf(entry.path), entry.mode);
      }
    }
    const contents = (sink: FileSink): Promise<void> =>
      writeContents(wanted, transfer, sink, { signal, onBytes });
    if (wanted.length >= THREADS_MIN_FILES || size >= THREADS_MIN_BYTES) {
      await using threads = openFileThreads(root, onWritten);
      await contents(threads);
      await threads.finish();
    } else if (wanted.length > 0) {
      const one = fileWriter(root, onWritten);
      try {
        await contents(one);
      } finally {
        one.close();
      }
    }
    for (const entry of links) {
      await pause();
      makeLink(entry, directories);
    }
  } finally {
    directories.close();
  }
}

/** In place of what has the name and is none. It stays open to this process until the end. */
function makeDirectory({ path, mode }: Listed, directories: Directories): void {
  const into = directories.open(parentOf(path));
  const name = nameOf(path);
  try {
    mkdirat(into, name, OWNER_RWX);
  } catch (error) {
    if (!isSysError(error, "EEXIST")) throw error;
    clear(into, name);
    mkdirat(into, name, OWNER_RWX);
  }
  fchmodat(into, name, mode | OWNER_RWX);
}

async function writeContents(
  wanted: readonly Listed[],
  transfer: FileTransfer,
  sink: FileSink,
  { signal, onBytes }: { readonly signal: AbortSignal; readonly onBytes: (count: number) => void },
): Promise<void> {
  const all = wanted.values();
  let current: Listed | null = null;
  const contents = transfer.contents(wanted.map((entry) => entry.index));
  for await (const pieces of unlessStopped(contents, signal)) {
    for (const { index, data } of pieces) {
      if (current === null) {
        current = all.next().value ?? null;
        if (current !== null) sink.begin(current);
      }
      if (current?.index !== index) throw invalid("it sent a file that was not asked for");
      if (data === null) {
        sink.end();
        current = null;
        continue;
      }
      const full = sink.data(data);
      if (full !== undefined) await full;
      onBytes(data.length);
    }
  }
  if (current !== null || all.next().done !== true) throw invalid("it stopped sending in the middle");
}

/** Modes and times of directories in which something was made or removed; children first, since a parent may be closed then. */
async function finishDirectories(
  listed: ReadonlyMap<string, Listed>,
  touched: Set<string>,
  root: number,
  pause: Copy["pause"],
): Promise<void> {
  const deepestFirst = [...touched].sort((a, b) => (a < b ? 1 : -1));
  for (const path of deepestFirst) {
    await pause();
    const entry = listed.get(path);
    if (entry?.type !== "directory") continue; // the top, or what a link or file has taken the place of
    const fd = openBelow(root, path);
    try {
      fchmodSync(fd, entry.mode);
      utimensat(fd, null, entry.mtimeNs, entry.mtimeNs);
    } finally {
      closeSync(fd);
    }
  }
}

/** A directory of the copy, by no link. */
function openBelow(root: number, path: string): number {
  return openat2(root, Buffer.from(path === "" ? "." : path, "latin1"), {
    flags: O.RDONLY | O.DIRECTORY | O.NOFOLLOW,
    resolve: RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS,
  });
}
