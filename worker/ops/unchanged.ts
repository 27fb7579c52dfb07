// [keeper] Removes from a layer what overlayfs copied up without changes: `chown` to the current owner copies the whole
// file, as do `chmod` to the current mode, opening it for writing and creating a hard link to it. The same applies to files that a COPY
// replaces with equal ones.
//
// Which entries are unchanged follows BuildKit's overlay differ (util/overlay, sameDirent: kind, mode, owner,
// device, capabilities, size, time), plus what a later step could otherwise notice: all attributes, the
// bytes of files, the time of a directory.
//
// Directories that a step replaced are opaque for overlayfs. They become directories that delete each name the layers below
// have in them (deletions.ts), and what is unchanged in them is dropped as well.
//
// Cheap for steps that create new files: only directories that also exist in the layers below are read, and in them only
// names that both have. After most steps that is a handful, done by the keeper at once; if there are more, by a thread.

import { sameEntry } from "../../cache/layers/listing.ts";
import {
  close,
  type DirEntry,
  fstat,
  openat,
  readdir,
  readlinkat,
  type Stat,
  statx,
  statxOrNull,
  unlinkat,
  utimensat,
} from "../sys/file.ts";
import { overlayMount } from "../sys/mount.ts";
import { deleteByName, isOpaque, markDeleting, showBelow } from "./deletions.ts";
import { stackOf } from "./stack.ts";
import { AT, O, S } from "../sys/constants.ts";

const DIRECTORY = O.RDONLY | O.DIRECTORY | O.NOFOLLOW;

/** Deeper ones are left as they are: nothing is wrong with a layer that holds more than it needs to. */
const DEPTH_MAX = 128;
/** Up to so many names are asked for one by one; for more the directory below is listed. */
const ASKED_MAX = 128;

/** How much is examined: names, and bytes of files that may be equal. */
export interface UnchangedBudget {
  names: number;
  bytes: number;
}
class BudgetSpent extends Error {}

/** What is the same for all directories: the root of the layer, and how much may still be looked at. */
interface Dropping {
  readonly root: number;
  readonly budget: UnchangedBudget;
}

/** dropUnchanged() within a budget; false: there is more to look at than that. What is dropped by then stays dropped. */
export function dropFewUnchanged(upper: string, below: readonly string[], budget: UnchangedBudget): boolean {
  try {
    dropUnchanged(upper, below, budget);
    return true;
  } catch (error) {
    if (error instanceof BudgetSpent) return false;
    throw error;
  }
}

/** Removes from an upper directory (not mounted any more) what equals what the layers below it show, and lets it name all that it
 *  deletes. `below`: their directories, oldest first. Throws SysError. */
export function dropUnchanged(
  upper: string,
  below: readonly string[],
  budget: UnchangedBudget = { names: Number.POSITIVE_INFINITY, bytes: Number.POSITIVE_INFINITY },
): void {
  if (below.length === 0) return;
  const top = openat(AT.FDCWD, upper, DIRECTORY);
  try {
    const entries = readdir(top);
    if (entries.length === 0) return;
    const mount = overlayMount({ lowers: stackOf(below), userxattr: true });
    try {
      const bottom = openat(mount, ".", O.RDONLY | O.DIRECTORY);
      try {
        dropWithin(top, entries, bottom, 0, { root: top, budget });
      } finally {
        close(bottom);
      }
    } finally {
      close(mount);
    }
  } finally {
    close(top);
  }
}

/** True: nothing is left in the upper directory. */
function dropWithin(
  upper: number,
  entries: readonly DirEntry[],
  lower: number,
  depth: number,
  dropping: Dropping,
): boolean {
  const { budget } = dropping;
  spendNames(budget, entries.length);
  const { mtimeNs } = fstat(upper);
  let dropped = 0;
  try {
    for (const name of namesInBoth(entries, lower)) {
      const is = statx(upper, name, AT.SYMLINK_NOFOLLOW);
      const was = statxOrNull(lower, name);
      if (was === null) continue;
      if ((is.mode & S.IFMT) !== (was.mode & S.IFMT)) {
        // It takes the place of what is no directory: there is nothing for it to hide.
        if ((is.mode & S.IFMT) === S.IFDIR) showBelow(upper, name);
        continue;
      }
      const pair = [
        { dirfd: upper, name, stat: is },
        { dirfd: lower, name, stat: was },
      ] as const;
      const isDirectory = (is.mode & S.IFMT) === S.IFDIR;
      if (isDirectory && !isEmptied(upper, lower, name, depth, dropping)) continue;
      if (!hasSameLook(is, was)) continue;
      if ((is.mode & S.IFMT) === S.IFREG && (budget.bytes -= is.size) < 0) throw new BudgetSpent();
      if (!sameEntry(...pair)) continue;
      if ((is.mode & S.IFMT) === S.IFLNK && !readlinkat(upper, name).equals(readlinkat(lower, name)))
        continue;
      unlinkat(upper, name, isDirectory ? AT.REMOVEDIR : 0);
      dropped++;
    }
  } finally {
    // Taking names out changes the time of their directory, which the step has left as it was.
    if (dropped > 0) utimensat(upper, null, null, mtimeNs);
  }
  return dropped === entries.length;
}

/** Drops what is unchanged in a directory that both have; true: it holds nothing now. */
function isEmptied(upper: number, lower: number, name: Buffer, depth: number, dropping: Dropping): boolean {
  if (depth >= DEPTH_MAX) return false;
  const above = openat(upper, name, DIRECTORY);
  try {
    const hides = isOpaque(above);
    if (!hides && readdir(above).length === 0) return true;
    const below = openat(lower, name, DIRECTORY);
    try {
      if (hides) {
        markDeleting(dropping.root);
        deleteByName(above, below, DEPTH_MAX - depth, (names) => spendNames(dropping.budget, names));
      }
      return dropWithin(above, readdir(above), below, depth + 1, dropping);
    } finally {
      close(below);
    }
  } finally {
    close(above);
  }
}

function spendNames(budget: UnchangedBudget, count: number): void {
  budget.names -= count;
  if (budget.names < 0) throw new BudgetSpent();
}

function namesInBoth(entries: readonly DirEntry[], lower: number): readonly Buffer[] {
  if (entries.length <= ASKED_MAX) return entries.map(({ name }) => name);
  const there = new Set(readdir(lower).map(({ name }) => name.toString("latin1")));
  return entries.flatMap(({ name }) => (there.has(name.toString("latin1")) ? [name] : []));
}

/** All but what sameEntry looks at. A directory's size is its history. */
function hasSameLook(is: Stat, was: Stat): boolean {
  return (
    is.mode === was.mode &&
    is.uid === was.uid &&
    is.gid === was.gid &&
    is.mtimeNs === was.mtimeNs &&
    is.rdevMajor === was.rdevMajor &&
    is.rdevMinor === was.rdevMinor &&
    ((is.mode & S.IFMT) === S.IFDIR || is.size === was.size)
  );
}
