// A finished root file system for the user: as a tar (`-o type=tar`) or as files in a directory (`-o type=local`).
// [thread of the keeper]

import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { BuildError } from "../../solver/graph/error.ts";
import {
  AT,
  close,
  copyFileRange,
  fchmodat,
  fchownat,
  linkat,
  lgetxattr,
  llistxattr,
  lsetxattr,
  mkdirat,
  mknodat,
  O,
  openat,
  openat2,
  procPath,
  RESOLVE,
  readlinkat,
  S,
  statxOrNull,
  symlinkat,
  unlinkat,
  utimensat,
} from "../../worker/sys/file.ts";
import { isSysError } from "../../worker/sys/libc.ts";
import { isImageXattr, shownName } from "./names.ts";
import { idMapKind, notedOwner } from "./owner.ts";
import { treeTar } from "./tree-tar.ts";
import { removeAt } from "./remove-tree.ts";
import { type Visit, walkTree } from "./walk.ts";

export interface ExportOptions {
  /** All times become this (seconds); null: as they are. */
  readonly epochSeconds: number | null;
  /** Told what was left out. */
  readonly note?: (message: string) => void;
}

/** 1 MiB blocks: the speed of the disk. */
const BLOCK_BYTES = 1 << 20;

/** Writes the tree below `rootDir` as a tar over `outFile` (path or descriptor). Throws SysError, CONTEXT_CHANGED. */
export function writeTreeTar(rootDir: string, outFile: string | number, options: ExportOptions): void {
  const root = openat(AT.FDCWD, rootDir, O.RDONLY | O.DIRECTORY);
  try {
    const out = typeof outFile === "number" ? outFile : openSync(outFile, "w");
    try {
      const blocks = treeTar(root, {
        form: "tree",
        epochSeconds: options.epochSeconds,
        blockBytes: BLOCK_BYTES,
        reuse: true,
        note: options.note ?? (() => {}),
      });
      for (const block of blocks) {
        for (let done = 0; done < block.length; ) done += writeSync(out, block, done, block.length - done);
      }
    } finally {
      if (out !== outFile) closeSync(out);
    }
  } finally {
    close(root);
  }
}

/** Copies the tree below `rootDir` into the user's directory `destDir`, which stays and keeps what else it holds; files
 *  in the way are replaced, directories merged. Nothing is written through links that lie in `destDir`. Owners are kept
 *  by root of the machine only; anybody else gets files of their own, and devices are left out. Set-id bits are dropped
 *  where the owner is not kept. Throws OUTPUT_FAILED where a directory would replace something else, SysError. */
export function copyTree(rootDir: string, destDir: string, options: ExportOptions): void {
  const keepOwners = idMapKind() === "host";
  const root = openat(AT.FDCWD, rootDir, O.RDONLY | O.DIRECTORY);
  const dest = openat(AT.FDCWD, destDir, O.RDONLY | O.DIRECTORY);
  const links = new Map<string, Buffer>();
  let parent: { readonly path: Buffer; readonly fd: number } | null = null;

  /** The directory in `dest` that a visited name belongs to: made by us, so no part of its path may be a link. */
  function parentOf(visit: Visit): number {
    const path = visit.path.subarray(0, Math.max(0, visit.path.length - visit.name.length - 1));
    if (path.length === 0) return dest;
    if (parent !== null && parent.path.equals(path)) return parent.fd;
    if (parent !== null) close(parent.fd);
    parent = null;
    parent = { path: Buffer.from(path), fd: openBeneath(path) };
    return parent.fd;
  }
  function openBeneath(path: Buffer): number {
    return openat2(dest, path, {
      flags: O.RDONLY | O.DIRECTORY,
      resolve: RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS,
    });
  }

  function enter(visit: Visit): void {
    const { name, stat } = visit;
    const into = parentOf(visit);
    const type = stat.mode & S.IFMT;
    const there = statxOrNull(into, name);
    if (type === S.IFDIR) {
      if (there !== null && (there.mode & S.IFMT) !== S.IFDIR) {
        throw new BuildError(
          "OUTPUT_FAILED",
          `${shownName(visit.path)} in the output directory is no directory`,
        );
      }
      if (there === null) mkdirat(into, name, 0o700);
      return;
    }
    if (type === S.IFSOCK) return;
    if ((type === S.IFCHR || type === S.IFBLK) && !keepOwners) {
      options.note?.(
        `${shownName(visit.path)} is a device node, which cannot be made without root: left out`,
      );
      return;
    }
    if (there !== null) {
      if ((there.mode & S.IFMT) === S.IFDIR) removeAt(into, name);
      else unlinkat(into, name);
    }
    const inode = stat.nlink > 1 ? `${stat.dev}:${stat.ino}` : null;
    const first = inode === null ? undefined : links.get(inode);
    if (first !== undefined) {
      linkTo(first, into, name);
      return;
    }
    if (inode !== null) links.set(inode, visit.path);
    if (type === S.IFREG) copyFile(visit, into);
    else if (type === S.IFLNK) symlinkat(readlinkat(visit.dirfd, name), into, name);
    else mknodat(into, name, type | 0o600, { major: stat.rdevMajor, minor: stat.rdevMinor });
    attributes(visit, into);
  }

  function linkTo(first: Buffer, into: number, name: Buffer): void {
    const slash = first.lastIndexOf(0x2f);
    const fd = slash < 0 ? dest : openBeneath(first.subarray(0, slash));
    try {
      linkat(fd, first.subarray(slash + 1), into, name);
    } finally {
      if (fd !== dest) close(fd);
    }
  }

  /** Owner, mode, attributes and time of what we just made, or of a directory of ours after it was filled. */
  function attributes(visit: Visit, into: number): void {
    const { stat, name } = visit;
    const link = (stat.mode & S.IFMT) === S.IFLNK;
    const source = procPath(visit.dirfd, name);
    const noted = notedOwner(source);
    if (keepOwners) fchownat(into, name, noted?.uid ?? stat.uid, noted?.gid ?? stat.gid, AT.SYMLINK_NOFOLLOW);
    if (!link) {
      // A set-id bit belongs to its owner: it must not become one of the user's.
      fchmodat(into, name, stat.mode & (keepOwners ? S.PERM : 0o1777));
      copyXattrs(source, procPath(into, name));
    }
    const timeNs =
      options.epochSeconds === null ? stat.mtimeNs : BigInt(options.epochSeconds) * 1_000_000_000n;
    utimensat(into, name, timeNs, timeNs, AT.SYMLINK_NOFOLLOW);
  }

  try {
    for (const visit of walkTree(root)) {
      if (visit.phase === "enter") enter(visit);
      else attributes(visit, parentOf(visit));
    }
  } finally {
    const last = parent as { readonly fd: number } | null;
    if (last !== null) close(last.fd);
    close(root);
    close(dest);
  }
}

function copyFile(visit: Visit, into: number): void {
  const from = openat(visit.dirfd, visit.name, O.RDONLY | O.NOFOLLOW | O.NONBLOCK);
  try {
    const to = openat(into, visit.name, O.WRONLY | O.CREAT | O.EXCL | O.NOFOLLOW, 0o600);
    try {
      copyContent(from, to);
    } finally {
      close(to);
    }
  } finally {
    close(from);
  }
}

/** copy_file_range(2) shares blocks where it can, and does not work between some file systems. */
function copyContent(from: number, to: number): void {
  try {
    while (copyFileRange(from, to, 1 << 30) > 0);
    return;
  } catch (error) {
    // These come before the first byte: the kernel or this pair of file systems cannot.
    if (!isSysError(error, "EXDEV", "EINVAL", "ENOSYS", "EOPNOTSUPP", "EPERM")) throw error;
  }
  const buffer = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  for (;;) {
    const count = readSync(from, buffer, 0, buffer.length, null);
    if (count === 0) return;
    for (let done = 0; done < count; ) done += writeSync(to, buffer, done, count - done);
  }
}

function copyXattrs(from: Buffer, to: Buffer): void {
  for (const name of llistxattr(from)) {
    if (!isImageXattr(name)) continue;
    try {
      lsetxattr(to, name, lgetxattr(from, name) ?? Buffer.alloc(0));
    } catch (error) {
      // The user's file system does not take it, or the user may not set it.
      if (!isSysError(error, "EOPNOTSUPP", "EPERM", "EACCES", "ENOSPC", "E2BIG")) throw error;
    }
  }
}
