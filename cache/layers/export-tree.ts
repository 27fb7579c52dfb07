// Exports a finished root file system: as a tar (`-o type=tar`) or as files in a directory (`-o type=local`).
// [thread of the keeper]

import { closeSync, openSync, writeSync } from "node:fs";
import { BuildError, printable } from "../../solver/graph/error.ts";
import { cloneContent } from "../../worker/sys/clone.ts";
import {
  close,
  fchmodat,
  fchownat,
  fsetxattr,
  fstat,
  linkat,
  lgetxattr,
  llistxattr,
  mkdirat,
  mknodat,
  openat,
  openat2,
  procPath,
  readlinkat,
  type Stat,
  statxOrNull,
  symlinkat,
  unlinkat,
  utimensat,
} from "../../worker/sys/file.ts";
import { isSysError } from "../../worker/sys/libc.ts";
import { isImageXattr, shownName } from "./names.ts";
import { idMapKind } from "./ids.ts";
import { treeTar } from "./tree-tar.ts";
import { removeAt } from "./remove-tree.ts";
import { DIRECTORY, type Visit, walkTree } from "./walk.ts";
import { AT, O, RESOLVE, S } from "../../worker/sys/constants.ts";

export interface ExportOptions {
  /** All times become this (seconds); null: as they are. */
  readonly epochSeconds: number | null;
  /** Told what was left out. */
  readonly note?: (message: string) => void;
}

/** 1 MiB blocks: the speed of the disk. */
const BLOCK_BYTES = 1 << 20;

/** Writes the tree below `rootDir` as a tar to `outFile`: a path that is not there yet, or a descriptor. Returns its bytes. Throws
 *  SysError, CONTEXT_CHANGED. */
export function writeTreeTar(rootDir: string, outFile: string | number, options: ExportOptions): number {
  let bytes = 0;
  const root = openat(AT.FDCWD, rootDir, O.RDONLY | O.DIRECTORY);
  try {
    const out = typeof outFile === "number" ? outFile : openSync(outFile, "wx");
    try {
      const blocks = treeTar(root, {
        form: "tree",
        epochSeconds: options.epochSeconds,
        blockBytes: BLOCK_BYTES,
        reuse: true,
        note: options.note ?? (() => {}),
      });
      for (const block of blocks) {
        bytes += block.length;
        for (let done = 0; done < block.length; ) done += writeSync(out, block, done, block.length - done);
      }
    } finally {
      if (out !== outFile) closeSync(out);
    }
  } finally {
    close(root);
  }
  return bytes;
}

/** Throws OUTPUT_FAILED when a file of one tree would replace that of another, by the names of the trees. */
export function refuseSameFiles(trees: readonly { readonly name: string; readonly place: string }[]): void {
  const seen = new Map<string, string>();
  for (const { name, place } of trees) {
    const root = openat(AT.FDCWD, place, O.RDONLY | O.DIRECTORY);
    try {
      for (const { phase, path, stat } of walkTree(root)) {
        if (phase === "leave" || (stat.mode & S.IFMT) === S.IFDIR) continue;
        const key = path.toString("latin1");
        const other = seen.get(key);
        if (other !== undefined)
          throw new BuildError(
            "OUTPUT_FAILED",
            `cannot overwrite ${printable(path.toString())} from ${other} with ${name} when split option is disabled`,
          );
        seen.set(key, name);
      }
    } finally {
      close(root);
    }
  }
}

/** Copies the tree below `rootDir` into the user's directory `destDir`, which stays and keeps what else it holds; files
 *  in the way are replaced, directories merged. Nothing is written through links that lie in `destDir`. Owners are kept
 *  by root of the machine only; anybody else gets files of their own, and devices are left out. Set-id bits are dropped
 *  where the owner is not kept. Returns the bytes of all files. Throws OUTPUT_FAILED where a directory would replace something else, SysError. */
export function copyTree(rootDir: string, destDir: string, options: ExportOptions): number {
  let bytes = 0;
  const keepOwners = idMapKind() === "host";
  const root = openat(AT.FDCWD, rootDir, O.RDONLY | O.DIRECTORY);
  const dest = openat(AT.FDCWD, destDir, O.RDONLY | O.DIRECTORY);
  const links = new Map<string, Buffer>();
  const entered: Stat[] = [];
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
          `${shownName(visit.path)} in the output directory is not a directory`,
        );
      }
      if (there === null) mkdirat(into, name, 0o700);
      within(openat(into, name, DIRECTORY), (fd) => entered.push(fstat(fd)));
      return;
    }
    if (type === S.IFSOCK) return;
    // A single layer is mounted as it is: this marks a deleted file (overlayfs.rst, "whiteouts").
    if (type === S.IFCHR && stat.rdevMajor === 0 && stat.rdevMinor === 0) return;
    if ((type === S.IFCHR || type === S.IFBLK) && !keepOwners) {
      options.note?.(
        `${shownName(visit.path)} is a device node, which cannot be created without root: skipped`,
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
    if (type === S.IFREG) {
      copyFile(visit, into, (fd) => attributes(visit, fd));
      bytes += Number(stat.size);
    } else if (type === S.IFLNK) {
      symlinkat(readlinkat(visit.dirfd, name), into, name);
      withMade(visit, into, (fd) => {
        if (keepOwners) fchownat(fd, "", stat.uid, stat.gid, AT.EMPTY_PATH);
        utimensat(into, name, timeOf(stat), timeOf(stat), AT.SYMLINK_NOFOLLOW);
      });
    } else {
      mknodat(into, name, type | 0o600, { major: stat.rdevMajor, minor: stat.rdevMinor });
      withMade(visit, into, (fd) => attributes(visit, fd));
    }
  }

  /** The link or special file that was just made; not opened for reading or writing, so what it is for does not begin. */
  function withMade(visit: Visit, into: number, work: (fd: number) => void): void {
    within(openat(into, visit.name, O.PATH | O.NOFOLLOW), (fd) => {
      const { mode, nlink } = fstat(fd);
      if ((mode & S.IFMT) !== (visit.stat.mode & S.IFMT) || nlink > 1) throw swapped(visit);
      work(fd);
    });
  }

  function leave(visit: Visit): void {
    within(openat(parentOf(visit), visit.name, DIRECTORY), (fd) => {
      const [before, now] = [entered.pop(), fstat(fd)];
      if (before?.ino !== now.ino || before.dev !== now.dev) throw swapped(visit);
      attributes(visit, fd);
    });
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

  /** Owner, mode, attributes and time of what we just made, or of a directory of ours after it was filled. By its descriptor: who
   *  else may write to the directory could put another file under the name meanwhile (threat model P4, P5). */
  function attributes({ dirfd, name, stat }: Visit, fd: number): void {
    const type = stat.mode & S.IFMT;
    const source = procPath(dirfd, name);
    // The kernel's own word: notes of owners are nothing to real root (owner.ts).
    if (keepOwners) fchownat(fd, "", stat.uid, stat.gid, AT.EMPTY_PATH);
    // A set-id bit belongs to its owner: it must not become one of the user's.
    fchmodat(AT.FDCWD, procPath(fd), stat.mode & (keepOwners ? S.PERM : 0o1777));
    if (type === S.IFREG || type === S.IFDIR) copyXattrs(source, fd);
    utimensat(AT.FDCWD, procPath(fd), timeOf(stat), timeOf(stat));
  }

  function timeOf({ mtimeNs }: Stat): bigint {
    return options.epochSeconds === null ? mtimeNs : BigInt(options.epochSeconds) * 1_000_000_000n;
  }

  try {
    for (const visit of walkTree(root)) {
      if (visit.phase === "enter") enter(visit);
      else leave(visit);
    }
  } finally {
    const last = parent as { readonly fd: number } | null;
    if (last !== null) close(last.fd);
    close(root);
    close(dest);
  }
  return bytes;
}

function swapped({ path }: Visit): BuildError {
  return new BuildError(
    "OUTPUT_FAILED",
    `${shownName(path)} in the output directory was replaced while it was written`,
  );
}

function within(fd: number, work: (fd: number) => void): void {
  try {
    work(fd);
  } finally {
    close(fd);
  }
}

/** `then` gets the descriptor of the copy. */
function copyFile(visit: Visit, into: number, then: (to: number) => void): void {
  const from = openat(visit.dirfd, visit.name, O.RDONLY | O.NOFOLLOW | O.NONBLOCK);
  try {
    const to = openat(into, visit.name, O.WRONLY | O.CREAT | O.EXCL | O.NOFOLLOW, 0o600);
    try {
      cloneContent(from, to);
      then(to);
    } finally {
      close(to);
    }
  } finally {
    close(from);
  }
}

function copyXattrs(from: Buffer, to: number): void {
  for (const name of llistxattr(from)) {
    if (!isImageXattr(name)) continue;
    try {
      fsetxattr(to, name, lgetxattr(from, name) ?? Buffer.alloc(0));
    } catch (error) {
      // The user's file system does not take it, or the user may not set it.
      if (!isSysError(error, "EOPNOTSUPP", "EPERM", "EACCES", "ENOSPC", "E2BIG")) throw error;
    }
  }
}
