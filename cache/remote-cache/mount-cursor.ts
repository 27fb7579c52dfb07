// Directories of a cache mount by descriptor. [thread of the keeper]
//
// A step may change the directory while it is read: each directory is opened from its parent's descriptor without following a
// link, so whatever is swapped, no name is looked up outside the mount (threat model P1, P2).

import { close, fstat, openat, procPath, type Stat } from "../../worker/sys/file.ts";
import { isSysError } from "../../worker/sys/libc.ts";
import { DIRECTORY } from "../layers/walk.ts";
import { O, S } from "../../worker/sys/constants.ts";

/** Keeps the directories on one path open: neighbours share them. Paths as in mount-index.ts, so the depth has a limit. */
export interface MountCursor {
  /** Descriptor of a directory, valid until the next call. Throws SysError when it is not there (any more). */
  at(path: string): number;
  close(): void;
}

/** `root` stays the caller's. */
export function openMountCursor(root: number): MountCursor {
  const opened: { readonly name: string; readonly fd: number }[] = [];
  let current = "";
  const shrink = (depth: number): void => {
    while (opened.length > depth) close((opened.pop() as { fd: number }).fd);
  };
  return {
    at(path) {
      if (path !== current) {
        const names = path === "" ? [] : path.split("/");
        const same = names.findIndex((name, depth) => opened[depth]?.name !== name);
        shrink(same < 0 ? names.length : same);
        current = NOWHERE; // should an open fail
        for (const name of names.slice(opened.length)) {
          const parent = opened.at(-1)?.fd ?? root;
          opened.push({ name, fd: openat(parent, Buffer.from(name, "latin1"), DIRECTORY) });
        }
        current = path;
      }
      return opened.at(-1)?.fd ?? root;
    },
    close() {
      shrink(0);
      current = "";
    },
  };
}
const NOWHERE = "/";

/** A regular file, opened for reading, with what it is; null: it vanished, or is something else. Nothing but a regular file is
 *  ever opened for reading: the look comes first, and is at what is opened then (threat model P9). */
export function openFile(
  directory: number,
  name: Buffer,
): { readonly fd: number; readonly stat: Stat } | null {
  const place = orGone(() => openat(directory, name, O.PATH | O.NOFOLLOW));
  if (place === null) return null;
  try {
    const stat = fstat(place);
    if ((stat.mode & S.IFMT) !== S.IFREG) return null;
    return { fd: openat(-1, procPath(place), O.RDONLY | O.NONBLOCK), stat };
  } finally {
    close(place);
  }
}

/** null: it is not there (any more), or no longer what it was; EINVAL is what readlink(2) says of no link. */
export function orGone<T>(call: () => T): T | null {
  try {
    return call();
  } catch (error) {
    if (isSysError(error, "ENOENT", "ENOTDIR", "ELOOP", "EINVAL", "ESTALE")) return null;
    throw error;
  }
}
