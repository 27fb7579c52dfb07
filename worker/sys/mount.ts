// Mounts by descriptor: the calls of mount_api(7) and overlay mounts made with them.
//
// A mount created here is detached: it is in no tree until moveMount attaches it, and the kernel drops it with
// its last descriptor. A crash leaves nothing to unmount.

import { mkdtempSync, rmdirSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { close, mkdirat, openat, statxOrNull } from "./file.ts";
import { bind, bindSyscall, check, cpath, cstring, NR, type PathLike, showPath, SysError } from "./libc.ts";
import { TAKES_PARTS } from "./stack-limit.ts";
import { AT, FSCONFIG, MOUNT_ATTR, O, OPEN_TREE, UMOUNT } from "./constants.ts";

const cFsopen = bindSyscall(NR.fsopen, ["ptr", "int"]);
const cFsconfig = bindSyscall(NR.fsconfig, ["int", "int", "ptr", "ptr", "int"]);
const cFsmount = bindSyscall(NR.fsmount, ["int", "int", "int"]);
const cMoveMount = bindSyscall(NR.moveMount, ["int", "ptr", "int", "ptr", "int"]);
const cOpenTree = bindSyscall(NR.openTree, ["int", "ptr", "int"]);
const cMountSetattr = bindSyscall(NR.mountSetattr, ["int", "ptr", "int", "ptr", "int64"]);
const cMount = bind("mount", "int", ["ptr", "ptr", "ptr", "int64", "ptr"]);
const cUmount2 = bind("umount2", "int", ["ptr", "int"]);

/** fsopen(2): a configuration context for a file system of this type. */
export function fsopen(type: string): number {
  return check("fsopen", cFsopen(cpath(type), 1 /* FSOPEN_CLOEXEC */), type);
}

/** fsconfig(2), FSCONFIG_SET_STRING. Values are at most 255 bytes. */
export function fsconfigString(fd: number, key: string, value: PathLike): void {
  check(
    "fsconfig",
    cFsconfig(fd, FSCONFIG.SET_STRING, cpath(key, 0), cstring(value), 0),
    `${key}=${showPath(value)}`,
  );
}

/** fsconfig(2), FSCONFIG_SET_FLAG. */
export function fsconfigFlag(fd: number, key: string): void {
  check("fsconfig", cFsconfig(fd, FSCONFIG.SET_FLAG, cpath(key), null, 0), key);
}

/** fsconfig(2), FSCONFIG_CMD_CREATE: makes the superblock. */
export function fsconfigCreate(fd: number): void {
  check("fsconfig", cFsconfig(fd, FSCONFIG.CMD_CREATE, null, null, 0), "create");
}

/** fsmount(2): a detached mount of the created superblock. */
export function fsmount(fd: number, attributes = 0): number {
  return check("fsmount", cFsmount(fd, 1 /* FSMOUNT_CLOEXEC */, attributes));
}

/** open_tree(2). With OPEN_TREE.CLONE a detached bind mount, else just a descriptor. */
export function openTree(dirfd: number, path: PathLike, flags: number): number {
  return check("open_tree", cOpenTree(dirfd, cpath(path), flags | O.CLOEXEC), path);
}

/** move_mount(2): gives a detached mount (from, "" with F_EMPTY_PATH) a place. */
export function moveMount(
  fromFd: number,
  fromPath: PathLike,
  toFd: number,
  toPath: PathLike,
  flags: number,
): void {
  check("move_mount", cMoveMount(fromFd, cpath(fromPath, 0), toFd, cpath(toPath, 1), flags), toPath);
}

/** mount_setattr(2), since Linux 5.12. */
export function mountSetattr(
  dirfd: number,
  path: PathLike,
  flags: number,
  change: { readonly set?: number; readonly clear?: number; readonly propagation?: number },
): void {
  // struct mount_attr { u64 attr_set, attr_clr, propagation, userns_fd; }
  const attributes = Buffer.alloc(32);
  attributes.writeUInt32LE(change.set ?? 0, 0);
  attributes.writeUInt32LE(change.clear ?? 0, 8);
  attributes.writeUInt32LE(change.propagation ?? 0, 16);
  check("mount_setattr", cMountSetattr(dirfd, cpath(path), flags, attributes, attributes.length), path);
}

/** umount2(2). */
export function umount2(path: PathLike, flags: number): void {
  check("umount2", cUmount2(cpath(path), flags), path);
}

/** Layers to be stacked. */
export interface OverlaySpec {
  readonly lowers: readonly string[]; // absolute directories, oldest first
  /** Where changes go; omitted: the mount is read-only. Needs `work`, an empty directory next to it. */
  readonly upper?: string;
  readonly work?: string;
  /** Marks in user.overlay.* instead of trusted.overlay.*: what an unprivileged user namespace may write. */
  readonly userxattr: boolean;
  /** Do not sync the upper on unmount. Only for an upper that is thrown away after a crash. */
  readonly volatile?: boolean;
}

/** Mounts stacked layers; returns a descriptor of the detached mount's root, to be closed by the caller. Throws SysError, ENOSPC also
 *  where the kernel would mount an upper read-only for want of space.
 *
 *  Overlay wants at least two layers when it has no upper: one layer alone is a read-only bind of its directory (it is
 *  the oldest, so it can hold no whiteout that means something), an upper alone a bind of that, no layer at all fails. */
export function overlayMount(spec: OverlaySpec): number {
  const { lowers, upper, work } = spec;
  if (upper === undefined) {
    if (lowers.length === 0) throw new Error("overlayMount: no layers");
    if (lowers.length === 1) return bindClone(lowers[0] as string, true);
  } else if (lowers.length === 0) {
    return bindClone(upper, false);
  } else if (work === undefined) {
    throw new Error("overlayMount: an upper needs a work directory");
  }
  // Options name directories as /proc/self/fd/N: an fsconfig value has at most 255 bytes, a store may lie deeper.
  const held: number[] = [];
  const opened = (path: string): number => {
    const fd = openat(AT.FDCWD, path, O.PATH | O.DIRECTORY);
    held.push(fd);
    return fd;
  };
  const hold = (path: string): string => `/proc/self/fd/${opened(path)}`;
  try {
    const workFd = upper === undefined || work === undefined ? null : opened(work);
    const stack: Stack = {
      lowers: lowers.map(hold).reverse(), // the kernel counts from the newest
      changes: workFd === null ? null : { upper: hold(upper as string), work: `/proc/self/fd/${workFd}` },
      flags: [
        ...(spec.userxattr ? ["userxattr"] : []),
        ...(spec.volatile && upper !== undefined ? ["volatile"] : []),
      ],
    };
    const mount = TAKES_PARTS ? mountByParts(stack) : mountByText(stack);
    try {
      if (workFd !== null) checkWork(workFd);
      return mount;
    } catch (error) {
      close(mount);
      throw error;
    }
  } finally {
    for (const fd of held) close(fd);
  }
}

/** Where the kernel cannot make its directory "work" (a full disk), it does not refuse the mount: it makes it read-only
 *  (ovl_workdir_create() and ovl_get_workdir() of fs/overlayfs/super.c), and steps would meet EROFS. Throws what making it meets. */
function checkWork(workFd: number): void {
  if (statxOrNull(workFd, "work") !== null) return;
  mkdirat(workFd, "work", 0o700);
  throw new SysError("mount", constants.errno.ENOSPC, "work directory"); // there is room again; there was none
}

interface Stack {
  readonly lowers: readonly string[]; // newest first
  readonly changes: { readonly upper: string; readonly work: string } | null;
  readonly flags: readonly string[];
}

/** With one "lowerdir+" for each layer, so that the stack is not limited to a page of text. */
function mountByParts(stack: Stack): number {
  const context = fsopen("overlay");
  try {
    for (const lower of stack.lowers) fsconfigString(context, "lowerdir+", lower);
    if (stack.changes !== null) {
      fsconfigString(context, "upperdir", stack.changes.upper);
      fsconfigString(context, "workdir", stack.changes.work);
    }
    for (const flag of stack.flags) fsconfigFlag(context, flag);
    fsconfigCreate(context);
    return fsmount(context, stack.changes === null ? MOUNT_ATTR.RDONLY : 0);
  } finally {
    close(context);
  }
}

/** With mount(2): one page of options holds some two hundred layers. The mount is cloned and its place given up at
 *  once; the caller's mount namespace is its own and private, so nobody else sees it. */
function mountByText(stack: Stack): number {
  const options = [
    `lowerdir=${stack.lowers.join(":")}`,
    ...(stack.changes === null ? [] : [`upperdir=${stack.changes.upper}`, `workdir=${stack.changes.work}`]),
    ...stack.flags,
  ].join(",");
  const place = mkdtempSync(join(tmpdir(), "tsbuild-mount-"));
  try {
    const flags = stack.changes === null ? MOUNT_ATTR.RDONLY : 0; // MS_RDONLY is the same bit
    check(
      "mount",
      cMount(cstring("overlay"), cstring(place), cstring("overlay"), flags, cstring(options)),
      options,
    );
    try {
      return openTree(AT.FDCWD, place, OPEN_TREE.CLONE);
    } finally {
      umount2(place, UMOUNT.DETACH);
    }
  } finally {
    rmdirSync(place);
  }
}

/** A detached bind mount of one directory. */
function bindClone(path: string, readonly: boolean): number {
  const mount = openTree(AT.FDCWD, path, OPEN_TREE.CLONE);
  if (!readonly) return mount;
  try {
    mountSetattr(mount, "", AT.EMPTY_PATH, { set: MOUNT_ATTR.RDONLY });
    return mount;
  } catch (error) {
    close(mount);
    throw error;
  }
}
