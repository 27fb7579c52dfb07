// Removes untrusted trees: no link is followed, any depth works.

import { basename, dirname } from "node:path";
import { close, fchmod, fchmodat, openat, procPath, statxOrNull, unlinkat } from "../../worker/sys/file.ts";
import { isSysError } from "../../worker/sys/libc.ts";
import { DIRECTORY, walkDeepTree } from "./walk.ts";
import { AT, O, S } from "../../worker/sys/constants.ts";

/** Removes a file or a whole tree; a path that is not there is fine. Without privileges, directories that lack
 *  permissions are given them. The path must be one of our own, what lies below may be anybody's. Throws SysError. */
export function removeTree(path: string): void {
  let parent: number;
  try {
    parent = openat(AT.FDCWD, dirname(path), O.PATH | O.DIRECTORY);
  } catch (error) {
    if (isSysError(error, "ENOENT")) return;
    throw error;
  }
  within(parent, (fd) => removeAt(fd, Buffer.from(basename(path))));
}

/** Removes `name` and all below it, in the directory of a descriptor. A missing name is fine. Throws SysError. */
export function removeAt(dirfd: number, name: Buffer): void {
  const stat = statxOrNull(dirfd, name);
  if (stat === null) return;
  if ((stat.mode & S.IFMT) !== S.IFDIR) {
    unlinkat(dirfd, name);
    return;
  }
  within(openForRemoval(dirfd, name), (root) => {
    for (const visit of walkDeepTree(root, openForRemoval)) {
      const directory = (visit.stat.mode & S.IFMT) === S.IFDIR;
      if (directory === (visit.phase === "leave")) {
        unlinkWritable(visit.dirfd, visit.name, directory ? AT.REMOVEDIR : 0);
      }
    }
  });
  unlinkat(dirfd, name, AT.REMOVEDIR);
}

/** Opens a directory to be emptied: that needs read, write and search permission where one is not privileged. */
function openForRemoval(dirfd: number, name: Buffer): number {
  try {
    return openat(dirfd, name, DIRECTORY);
  } catch (error) {
    if (!isSysError(error, "EACCES")) throw error;
    // An O_PATH descriptor needs no permission; through /proc it is the very directory, whatever its name leads to.
    within(openat(dirfd, name, O.PATH | O.DIRECTORY | O.NOFOLLOW), (fd) => fchmodat(fd, procPath(fd), 0o700));
    return openat(dirfd, name, DIRECTORY);
  }
}

function unlinkWritable(dirfd: number, name: Buffer, flags: number): void {
  try {
    unlinkat(dirfd, name, flags);
  } catch (error) {
    if (!isSysError(error, "EACCES")) throw error;
    fchmod(dirfd, 0o700);
    unlinkat(dirfd, name, flags);
  }
}

function within<T>(fd: number, work: (fd: number) => T): T {
  try {
    return work(fd);
  } finally {
    close(fd);
  }
}
