// [keeper] Mount targets that are not in the image: made for the step, taken away again after it, so that they never
// get into a layer. What BuildKit's MountStubsCleaner does, by descriptor instead of by path.

import { AT, close, O, openat2, RESOLVE, S, statx, unlinkat, utimensat, type Stat } from "../sys/file.ts";
import { isSysError } from "../sys/libc.ts";

/** One missing path: everything from `missing` on was not there before the step. */
interface Stub {
  readonly parent: number; // descriptor of the directory that has the first missing name
  readonly parentMtimeNs: bigint;
  readonly names: readonly string[]; // from the first missing name to the target
  readonly isFile: boolean;
}

export interface Stubs {
  /** Removes what is still an empty directory or file, restores the parents' times, closes descriptors. */
  clear(): void;
}

/** Notes which of the targets are missing below rootFd. To be called before the step, after the root is mounted. */
export function noteStubs(
  rootFd: number,
  targets: readonly { readonly path: string; readonly isFile: boolean }[],
): Stubs {
  const stubs: Stub[] = [];
  const seen = new Set<string>();
  for (const { path, isFile } of targets) {
    const stub = firstMissing(rootFd, path, isFile);
    if (stub === null) continue;
    const key = `${statx(stub.parent, "", AT.EMPTY_PATH).ino}/${stub.names.join("/")}`;
    if (seen.has(key)) close(stub.parent);
    else {
      seen.add(key);
      stubs.push(stub);
    }
  }
  return {
    clear() {
      for (const stub of stubs.reverse()) {
        try {
          clearStub(stub);
        } finally {
          close(stub.parent);
        }
      }
      stubs.length = 0;
    },
  };
}

function openIn(rootFd: number, path: string): number {
  return openat2(rootFd, path, {
    flags: O.PATH | O.CLOEXEC,
    mode: 0,
    resolve: RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS,
  });
}

function firstMissing(rootFd: number, path: string, isFile: boolean): Stub | null {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  let parent = openIn(rootFd, "/");
  let at = "";
  for (const [index, part] of parts.entries()) {
    at += `/${part}`;
    let fd: number;
    try {
      fd = openIn(rootFd, at);
    } catch (error) {
      if (isSysError(error, "ENOENT")) {
        return {
          parent,
          parentMtimeNs: statx(parent, "", AT.EMPTY_PATH).mtimeNs,
          names: parts.slice(index),
          isFile,
        };
      }
      close(parent);
      // A file where a directory is wanted, or a loop of links: mounting there fails with its own words.
      if (isSysError(error, "ENOTDIR", "ELOOP")) return null;
      throw error;
    }
    close(parent);
    parent = fd;
  }
  close(parent);
  return null;
}

function clearStub(stub: Stub): void {
  const opened: number[] = [];
  try {
    // Down to the deepest one that is there, each by its parent's descriptor and never through a link.
    let dir = stub.parent;
    const dirs = [dir];
    for (const name of stub.names.slice(0, -1)) {
      try {
        dir = openat2(dir, name, {
          flags: O.PATH | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC,
          mode: 0,
          resolve: RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS,
        });
      } catch (error) {
        if (isSysError(error, "ENOENT", "ENOTDIR", "ELOOP")) break; // the step changed it: no longer a stub
        throw error;
      }
      opened.push(dir);
      dirs.push(dir);
    }
    for (let index = dirs.length - 1; index >= 0; index--) {
      const name = stub.names[index] as string;
      const isTarget = index === stub.names.length - 1;
      if (!removeEmpty(dirs[index] as number, name, isTarget && stub.isFile)) return;
    }
    utimensat(stub.parent, "", null, stub.parentMtimeNs, AT.EMPTY_PATH);
  } finally {
    for (const fd of opened) close(fd);
  }
}

function removeEmpty(parent: number, name: string, isFile: boolean): boolean {
  let stat: Stat;
  try {
    stat = statx(parent, name, AT.SYMLINK_NOFOLLOW);
  } catch (error) {
    if (isSysError(error, "ENOENT")) return true;
    throw error;
  }
  const type = stat.mode & S.IFMT;
  if (isFile) {
    if (type !== S.IFREG || stat.size !== 0) return false;
    unlinkat(parent, name, 0);
    return true;
  }
  if (type !== S.IFDIR) return false;
  try {
    unlinkat(parent, name, AT.REMOVEDIR);
    return true;
  } catch (error) {
    if (isSysError(error, "ENOTEMPTY", "EEXIST")) return false; // the step left something there
    throw error;
  }
}
