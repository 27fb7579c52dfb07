// [keeper] Mount targets that are not in the image: created for the step and removed after it, so that they never
// become part of a layer. Like BuildKit's MountStubsCleaner, but by descriptor instead of by path (threat model P5).
//
// Creating and removing a name changes the time of its directory, which must only show what the step did: after
// each of the two the time is restored to its previous value.

import {
  close,
  fchmodat,
  mkdirat,
  mknodat,
  openat,
  openat2,
  type Stat,
  statx,
  unlinkat,
  utimensat,
} from "../sys/file.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { isSysError } from "../sys/libc.ts";
import { AT, O, RESOLVE, S } from "../sys/constants.ts";

/** One missing path: everything from the first of `names` on was not there before the step. */
interface Stub {
  readonly parent: number; // descriptor of the directory that has the first missing name
  readonly names: readonly string[]; // from the first missing name to the target
  readonly isFile: boolean;
}

/** A directory that got stubs: its time before that, which the step sees, and the one it had with them. */
interface Times {
  readonly parent: number;
  readonly beforeNs: bigint;
  readonly withStubsNs: bigint;
}

export interface Stubs {
  /** Removes what is still an empty directory or file, leaves their directories the times the step left, closes descriptors. */
  clear(): void;
}

/** Makes those of the targets that are missing below rootFd. Throws MOUNT_INVALID where a directory stands for a file, or the other
 *  way round. To be called before the step, after the root is mounted.
 *  What lies below another target is not made: it is for that mount to have. */
export function makeStubs(
  rootFd: number,
  targets: readonly { readonly path: string; readonly isFile: boolean }[],
): Stubs {
  const stubs: Stub[] = [];
  const parents = new Map<string, Times>();
  const seen = new Set<string>();
  try {
    for (const { path, isFile } of targets) {
      if (targets.some((other) => path.startsWith(`${other.path}/`))) continue;
      const stub = firstMissing(rootFd, path, isFile);
      if (stub === null) continue;
      stubs.push(stub);
      const { ino, mtimeNs } = lookAt(stub.parent);
      if (seen.has(`${ino}/${stub.names.join("/")}`)) continue;
      seen.add(`${ino}/${stub.names.join("/")}`);
      makeStub(stub);
      const key = String(ino);
      const beforeNs = parents.get(key)?.beforeNs ?? mtimeNs;
      parents.set(key, { parent: stub.parent, beforeNs, withStubsNs: lookAt(stub.parent).mtimeNs });
    }
    for (const { parent, beforeNs } of parents.values()) setTime(parent, beforeNs);
  } catch (error) {
    for (const { parent } of stubs) close(parent);
    throw error;
  }
  return {
    clear() {
      try {
        clearStubs(stubs, [...parents.values()]);
      } finally {
        for (const { parent } of stubs) close(parent);
        stubs.length = 0;
      }
    },
  };
}

function clearStubs(stubs: readonly Stub[], parents: readonly Times[]): void {
  const found = parents.map((times) => ({ ...times, foundNs: lookAt(times.parent).mtimeNs }));
  const kept = new Set<bigint>();
  for (const stub of stubs.toReversed()) {
    if (!clearStub(stub)) kept.add(lookAt(stub.parent).ino);
  }
  for (const { parent, beforeNs, withStubsNs, foundNs } of found) {
    // A stub the step has put something into is its own: then the directory changed when it was made.
    const isKept = foundNs === beforeNs && kept.has(lookAt(parent).ino);
    setTime(parent, isKept ? withStubsNs : foundNs);
  }
}

function lookAt(fd: number): Stat {
  return statx(fd, "", AT.EMPTY_PATH);
}

function setTime(fd: number, mtimeNs: bigint): void {
  utimensat(fd, "", null, mtimeNs, AT.EMPTY_PATH);
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
        const names = parts.slice(index);
        if (!names.includes("..")) return { parent, names, isFile };
        close(parent);
        return null;
      }
      close(parent);
      // A file where a directory is wanted, or a loop of links: mounting there fails with its own words.
      if (isSysError(error, "ENOTDIR", "ELOOP")) return null;
      throw error;
    }
    close(parent);
    parent = fd;
  }
  const isDirectory = (lookAt(parent).mode & S.IFMT) === S.IFDIR;
  close(parent);
  // move_mount(2) says no more than EINVAL.
  if (isDirectory === isFile) throw otherKind(path, isFile);
  return null;
}

function otherKind(path: string, isFile: boolean): BuildError {
  const [is, needed] = isFile ? ["a directory", "a file"] : ["a file", "a directory"];
  return new BuildError(
    "MOUNT_INVALID",
    `${path} is ${is} in the image, but ${needed} must be mounted there for the step`,
    { hint: `remove it from the image in an earlier step, or use another mount target` },
  );
}

/** Modes as BuildKit's runtimes give them. What is there in the meantime is left to the mount. */
function makeStub({ parent, names, isFile }: Stub): void {
  let dir = parent;
  try {
    for (const [index, name] of names.entries()) {
      const isLast = index === names.length - 1;
      try {
        if (isLast && isFile) mknodat(dir, name, S.IFREG | 0o644);
        else mkdirat(dir, name, 0o755);
        fchmodat(dir, name, isLast && isFile ? 0o644 : 0o755); // past the umask
      } catch (error) {
        if (!isSysError(error, "EEXIST")) throw error;
      }
      if (isLast) return;
      const next = openat(dir, name, O.PATH | O.DIRECTORY | O.NOFOLLOW);
      if (dir !== parent) close(dir);
      dir = next;
    }
  } finally {
    if (dir !== parent) close(dir);
  }
}

/** False: the step left something there. */
function clearStub(stub: Stub): boolean {
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
      if (!removeEmpty(dirs[index] as number, name, isTarget && stub.isFile)) return false;
    }
    return true;
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
