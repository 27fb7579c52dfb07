// [keeper] Directories that overlayfs copied up only because a mount target was created in them temporarily: without the target
// they are the same as in the layers below. BuildKit omits such directories from a layer; so do we.

import { close, fgetxattr, openat, openat2, readdir, type Stat, statxOrNull, unlinkat } from "../sys/file.ts";
import { AT, O, RESOLVE } from "../sys/constants.ts";

/** Removes from an upper directory (not mounted any more) the parents of `targets` that are empty and equal what the layers
 *  below show. `lowers`: oldest first. Paths with links on the way are left alone. */
export function dropUnchangedDirs(
  upper: string,
  lowers: readonly string[],
  targets: readonly string[],
): void {
  const root = openat(AT.FDCWD, upper, O.PATH | O.DIRECTORY);
  try {
    for (const target of new Set(targets)) {
      const parts = target.split("/").filter((part) => part !== "" && part !== ".");
      for (let length = parts.length - 1; length > 0; length--) {
        if (!dropOne(root, lowers, parts.slice(0, length))) break;
      }
    }
  } finally {
    close(root);
  }
}

function dropOne(root: number, lowers: readonly string[], parts: readonly string[]): boolean {
  const name = parts.at(-1) as string;
  const parent = openDirectory(root, parts.slice(0, -1));
  if (parent === null) return false;
  try {
    const stat = statxOrNull(parent, name);
    const fd = stat === null ? null : openDirectory(parent, [name], O.RDONLY);
    if (stat === null || fd === null) return false;
    try {
      if (readdir(fd).length > 0 || fgetxattr(fd, "user.overlay.opaque") !== null) return false;
    } finally {
      close(fd);
    }
    const below = lookBelow(lowers, parts);
    if (below === null || !isSame(stat, below)) return false;
    unlinkat(parent, name, AT.REMOVEDIR);
    return true;
  } finally {
    close(parent);
  }
}

/** The newest layer that has the directory decides what is seen; null when something else stands in its way. */
function lookBelow(lowers: readonly string[], parts: readonly string[]): Stat | null {
  for (const lower of lowers.toReversed()) {
    const root = openat(AT.FDCWD, lower, O.PATH | O.DIRECTORY);
    try {
      const parent = openDirectory(root, parts.slice(0, -1));
      if (parent === null) continue;
      try {
        const stat = statxOrNull(parent, parts.at(-1) as string);
        if (stat !== null) return stat;
      } finally {
        close(parent);
      }
    } finally {
      close(root);
    }
  }
  return null;
}

function openDirectory(root: number, parts: readonly string[], flags: number = O.PATH): number | null {
  try {
    return openat2(root, parts.length === 0 ? "." : parts.join("/"), {
      flags: flags | O.DIRECTORY | O.CLOEXEC,
      mode: 0,
      resolve: RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS,
    });
  } catch {
    return null; // not there, or a link: nothing that a mount target could have changed
  }
}

function isSame(a: Stat, b: Stat): boolean {
  return a.mode === b.mode && a.uid === b.uid && a.gid === b.gid && a.mtimeNs === b.mtimeNs;
}
