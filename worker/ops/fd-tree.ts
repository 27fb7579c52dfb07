// [keeper] Trees by descriptor: each directory is opened by the kernel below the root without following links, so no name is
// ever resolved outside, even if the tree changes meanwhile (threat model P1, P2, P9).

import { OWNER_XATTR, ownerOf } from "../../cache/layers/owner.ts";
import type { Child, FileType, TreeReader, TreeStat } from "../../cache/tree.ts";
import { baseOf, LIVE_ROOT_MODE, nativePath, parentOf, textOf } from "../../cache/tree.ts";
import { BuildError } from "../../solver/graph/error.ts";
import {
  close,
  fgetxattr,
  flistxattr,
  fstat,
  lgetxattr,
  llistxattr,
  openat,
  openat2,
  procPath,
  readdir,
  readlinkat,
  type Stat,
  statxOrNull,
} from "../sys/file.ts";
import { isSysError } from "../sys/libc.ts";
import { O, RESOLVE, S } from "../sys/constants.ts";

/** Keeps one directory open: neighbours in a walk share it. One, and not all on its path, because a path may have 2,000 parts
 *  and a process 1,024 descriptors; the kernel walks a path in one call. */
export interface DirCursor {
  /** Descriptor of a directory (byte string, relative to the root); valid until the next call. */
  at(path: string): number;
  /** Lets go of a directory that is about to be removed, and of all below it. */
  forget(path: string): void;
  /** Closes all but the root; the cursor can go on being used. */
  close(): void;
}

/** `root` stays the caller's. `crossing`: also what is mounted inside; otherwise that is EXDEV. */
export function openCursor(
  root: number,
  { crossing }: { readonly crossing: boolean } = { crossing: true },
): DirCursor {
  let current: { readonly path: string; readonly fd: number } | null = null;
  const forgetAll = (): void => {
    const old = current;
    current = null;
    if (old !== null) close(old.fd);
  };
  return {
    at: (path) => {
      if (path === "") return root;
      if (current?.path === path) return current.fd;
      const fd = openat2(root, nativePath(path), {
        flags: O.RDONLY | O.DIRECTORY | O.NOFOLLOW,
        resolve: RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS | (crossing ? 0 : RESOLVE.NO_XDEV),
      });
      forgetAll();
      current = { path, fd };
      return fd;
    },
    forget: (path) => {
      if (current?.path === path || current?.path.startsWith(`${path}/`) === true) forgetAll();
    },
    close: forgetAll,
  };
}

export interface FdTree extends TreeReader {
  readonly root: number;
  readonly cursor: DirCursor;
  close(): void;
}

/** The tree below a directory, whose descriptor is taken over and closed with it. `live`: files of the user (see TreeReader.live).
 *  `crossing`: as for openCursor. */
export function fdTree(
  owned: number,
  { live, crossing = true }: { readonly live: boolean; readonly crossing?: boolean },
): FdTree {
  // Descriptors of mounts are O_PATH ones and cannot be read; the mount lives as long as its own is open.
  const root = openat(owned, ".", O.RDONLY | O.DIRECTORY);
  // No instruction names the directory that a context happens to lie in: for who copies it, it has just been made.
  const openedNs = BigInt(Date.now()) * 1_000_000n;
  const cursor = openCursor(root, { crossing });
  const decode = (stat: Stat, directory: number, name: string): TreeStat => {
    const plain = toTreeStat(stat);
    if (live) return { ...plain, uid: 0, gid: 0 };
    // Only files and directories can hold a note, xattr(7).
    if (plain.type !== "file" && plain.type !== "directory") return plain;
    const { uid, gid } = ownerOf(plain, () => lgetxattr(procPath(directory, nativePath(name)), OWNER_XATTR));
    return uid === plain.uid && gid === plain.gid ? plain : { ...plain, uid, gid };
  };
  /** A single layer is mounted as it is: what it marks as deleted is not there (threat model T5). */
  const statOf = (directory: number, name: string): Stat | null => {
    const stat = statxOrNull(directory, nativePath(name));
    const isMark =
      stat !== null && (stat.mode & S.IFMT) === S.IFCHR && stat.rdevMajor === 0 && stat.rdevMinor === 0;
    return isMark && !live ? null : stat;
  };
  const lstat = (path: string): TreeStat | null => {
    if (path === "") {
      const stat = decode(fstat(root), root, ".");
      return live ? { ...stat, mode: LIVE_ROOT_MODE, mtimeNs: openedNs } : stat;
    }
    let directory: number;
    try {
      directory = cursor.at(parentOf(path));
    } catch (error) {
      if (isSysError(error, "ENOENT", "ENOTDIR", "ELOOP")) return null;
      throw error;
    }
    const name = baseOf(path);
    const stat = statOf(directory, name);
    return stat === null ? null : decode(stat, directory, name);
  };
  /** What was listed, and is gone or something else when it is asked for: of a live tree its owner has changed it. */
  const listed = <T>(path: string, work: () => T): T => {
    try {
      return work();
    } catch (error) {
      if (!live || !isSysError(error, "ENOENT", "ENOTDIR", "ELOOP")) throw error;
      throw new BuildError("CONTEXT_CHANGED", `${JSON.stringify(textOf(path))} changed while it was read`, {
        cause: error,
      });
    }
  };
  const listChildren = (path: string): Child[] => {
    const directory = cursor.at(path);
    const names = readdir(directory).map((entry) => entry.name.toString("latin1"));
    names.sort((a, b) => (a < b ? -1 : 1));
    const children: Child[] = [];
    for (const name of names) {
      const stat = statOf(directory, name);
      if (stat !== null) children.push({ name, stat: decode(stat, directory, name) });
    }
    return children;
  };
  return {
    root,
    cursor,
    live,
    lstat,
    children: (path) => listed(path, () => listChildren(path)),
    readlink: (path) =>
      listed(path, () => readlinkat(cursor.at(parentOf(path)), nativePath(baseOf(path))).toString("latin1")),
    open: (path) => listed(path, () => openRegular(cursor.at(parentOf(path)), path)),
    xattrs: (path) => (live ? [] : xattrsOf(path === "" ? root : cursor.at(parentOf(path)), path)),
    hiddenBy: () => null,
    knownDigest: () => null,
    close: () => {
      cursor.close();
      close(root);
      close(owned);
    },
  };
}

/** An empty tree: scratch. */
export function emptyTree(): TreeReader {
  const root: TreeStat = { ...NO_STAT };
  return {
    live: false,
    lstat: (path) => (path === "" ? root : null),
    children: () => [],
    readlink: () => "",
    open: (path) => {
      throw new Error(`no file ${path} in an empty tree`);
    },
    xattrs: () => [],
    hiddenBy: () => null,
    knownDigest: () => null,
  };
}
const NO_STAT: TreeStat = {
  type: "directory",
  mode: 0o755,
  uid: 0,
  gid: 0,
  size: 0,
  nlink: 2,
  dev: 0,
  ino: 0n,
  mtimeNs: 0n,
  ctimeNs: 0n,
  rdevMajor: 0,
  rdevMinor: 0,
};

/** A regular file and nothing else: links are refused, a FIFO neither blocks nor is read. */
function openRegular(directory: number, path: string): number {
  const fd = openat(directory, nativePath(baseOf(path)), O.RDONLY | O.NOFOLLOW | O.NONBLOCK);
  if ((fstat(fd).mode & S.IFMT) === S.IFREG) return fd;
  close(fd);
  throw new BuildError(
    "CONTEXT_CHANGED",
    `${JSON.stringify(textOf(path))} changed while it was read: no longer a regular file`,
  );
}

/** Attributes that mean something to a mount or to us are no content (threat model T5); labels belong to the host. */
export function isContentXattr(name: string): boolean {
  return !/^(?:(?:trusted|user)\.overlay\.|user\.tsbuild\.|security\.(?:selinux|ima|evm|apparmor)$)/.test(
    name,
  );
}

function xattrsOf(directory: number, path: string): [string, Buffer][] {
  // A link or special file cannot be opened, and there is no *at form before Linux 6.13: the last name is looked up
  // below the directory's descriptor, without following.
  const target = path === "" ? procPath(directory, ".") : procPath(directory, nativePath(baseOf(path)));
  const found: [string, Buffer][] = [];
  for (const name of llistxattr(target).filter(isContentXattr).sort()) {
    const value = lgetxattr(target, name);
    if (value !== null) found.push([name, value]);
  }
  return found;
}

/** Content attributes of an open file or directory. */
export function fileXattrs(fd: number): [string, Buffer][] {
  const found: [string, Buffer][] = [];
  for (const name of flistxattr(fd)) {
    if (!isContentXattr(name)) continue;
    const value = fgetxattr(fd, name);
    if (value !== null) found.push([name, value]);
  }
  return found;
}

export function toTreeStat(stat: Stat): TreeStat {
  return {
    type: TYPES[stat.mode & S.IFMT] ?? "file",
    mode: stat.mode & S.PERM,
    uid: stat.uid,
    gid: stat.gid,
    size: stat.size,
    nlink: stat.nlink,
    dev: stat.dev,
    ino: stat.ino,
    mtimeNs: stat.mtimeNs,
    ctimeNs: stat.ctimeNs,
    rdevMajor: stat.rdevMajor,
    rdevMinor: stat.rdevMinor,
  };
}

const TYPES: Readonly<Record<number, FileType>> = {
  [S.IFREG]: "file",
  [S.IFDIR]: "directory",
  [S.IFLNK]: "symlink",
  [S.IFIFO]: "fifo",
  [S.IFSOCK]: "socket",
  [S.IFCHR]: "character",
  [S.IFBLK]: "block",
};

/** Mode with type bits for mknodat(2). */
export function typeBits(type: FileType): number {
  switch (type) {
    case "file":
      return S.IFREG;
    case "directory":
      return S.IFDIR;
    case "symlink":
      return S.IFLNK;
    case "fifo":
      return S.IFIFO;
    case "socket":
      return S.IFSOCK;
    case "character":
      return S.IFCHR;
    case "block":
      return S.IFBLK;
  }
}
