// [keeper] The tree a file op writes to: every change is made on a descriptor of the directory it happens in, below one
// root (threat model P1 to P5).

import { writeSync } from "node:fs";
import { setOwner } from "../../cache/layers/owner.ts";
import { removeAt } from "../../cache/layers/remove-tree.ts";
import { baseOf, cleanPath, joinPath, nativePath, parentOf, resolvePath, textOf } from "../../cache/tree.ts";
import { BuildError } from "../../solver/graph/error.ts";
import {
  fchmod,
  fchmodat,
  fsetxattr,
  linkat,
  lsetxattr,
  mkdirat,
  mknodat,
  openat,
  procPath,
  statxOrNull,
  symlinkat,
  unlinkat,
  utimensat,
} from "../sys/file.ts";
import { isSysError } from "../sys/libc.ts";
import { type DirCursor, type FdTree, fdTree, openCursor } from "./fd-tree.ts";
import type { Owner } from "./owner.ts";
import { AT, O, S } from "../sys/constants.ts";

/** What a new file or directory is given. null: as the kernel makes it (owner: root, times: now). */
export interface Look {
  readonly owner: Owner;
  readonly mode: number;
  readonly mtimeNs: bigint | null;
  readonly xattrs: readonly (readonly [string, Buffer])[];
}

export interface Place {
  /** The same tree to be read; it sees all changes. */
  readonly tree: FdTree;
  /** Full resolution inside the root; missing parts are taken as written. */
  resolve(path: string): string;
  /** Makes what is missing of a resolved path, each with the given look; returns the paths made. Throws COPY_FAILED when
   *  something in the way is no directory. */
  makeParents(path: string, look: Omit<Look, "xattrs">): string[];
  /** A new directory, for the caller to dress when it is filled. */
  makeDirectory(path: string): void;
  /** A new empty file, write-only descriptor. An existing non-directory is replaced; throws COPY_FAILED on a directory. */
  createFile(path: string): number;
  makeSymlink(path: string, target: string): void;
  /** Throws COPY_FAILED for what overlayfs takes for a deleted file. */
  makeNode(path: string, mode: number, device: { readonly major: number; readonly minor: number }): void;
  link(from: string, path: string): void;
  /** Removes what is there, whatever it is. False: there was nothing. */
  remove(path: string): boolean;
  dress(path: string, look: Look, kind: "directory" | "symlink" | "other"): void;
  chmodDirectory(path: string, mode: number): void;
  setTime(path: string, mtimeNs: bigint): void;
  /** To be called when others change the tree. */
  forgetDirectories(): void;
  close(): void;
}

/** Has the user namespace one id only, so that owners are stored in attributes of the files (cache/layers/owner.ts)? */
export interface IdMode {
  readonly singleId: boolean;
}

/** `mount` (the root of the layers with a writable top) is taken over and closed with the place. */
export function openPlace(mount: number, { singleId }: IdMode): Place {
  const tree = fdTree(mount, { live: false });
  const { cursor, root } = tree;
  const linkCursor: DirCursor = openCursor(root);
  const at = (path: string): number => cursor.at(parentOf(path));
  const nameOf = (path: string): string | Buffer => nativePath(baseOf(path));

  const makeRoom = (path: string): void => {
    const stat = statxOrNull(at(path), nameOf(path));
    if (stat === null) return;
    if ((stat.mode & S.IFMT) === S.IFDIR) {
      throw new BuildError("COPY_FAILED", `cannot replace to directory ${shown(path)} with file`);
    }
    unlinkat(at(path), nameOf(path));
  };

  /** Tries, and only when something is there already makes room: most targets are new. */
  const replacing = <T>(path: string, make: () => T): T => {
    try {
      return make();
    } catch (error) {
      if (!isSysError(error, "EEXIST")) throw error;
      makeRoom(path);
      return make();
    }
  };

  const dress = (path: string, look: Look, kind: "directory" | "symlink" | "other"): void => {
    const directory = path === "" ? root : at(path);
    const name = path === "" ? "." : nameOf(path);
    setOwner(directory, name, look.owner.uid, look.owner.gid, { singleId });
    if (kind !== "symlink") fchmodat(directory, name, look.mode);
    for (const [key, value] of look.xattrs) setXattr(() => lsetxattr(procPath(directory, name), key, value));
    if (look.mtimeNs !== null) utimensat(directory, name, look.mtimeNs, look.mtimeNs, AT.SYMLINK_NOFOLLOW);
  };

  return {
    tree,
    resolve: (path) => resolvePath(tree, path, true),
    makeParents: (path, look) => {
      const made: string[] = [];
      let here = "";
      for (const part of path === "" ? [] : path.split("/")) {
        here = joinPath(here, part);
        const stat = statxOrNull(at(here), nativePath(part));
        if (stat === null) {
          mkdirat(at(here), nativePath(part), 0o700);
          dress(here, { ...look, xattrs: [] }, "directory");
          made.push(here);
        } else if ((stat.mode & S.IFMT) !== S.IFDIR) {
          throw new BuildError("COPY_FAILED", `mkdir ${shown(here)}: not a directory`);
        }
      }
      return made;
    },
    makeDirectory: (path) => mkdirat(at(path), nameOf(path), 0o700),
    createFile: (path) =>
      replacing(path, () => openat(at(path), nameOf(path), O.WRONLY | O.CREAT | O.EXCL | O.NOFOLLOW, 0o600)),
    makeSymlink: (path, target) =>
      replacing(path, () => symlinkat(nativePath(target), at(path), nameOf(path))),
    makeNode: (path, mode, device) => {
      // Where nothing is mounted below the place this would be a mark of the layer instead of a file (threat model T5).
      if ((mode & S.IFMT) === S.IFCHR && device.major === 0 && device.minor === 0) {
        throw new BuildError(
          "COPY_FAILED",
          `${shown(path)} is a character device 0, 0, which overlayfs uses to mark deleted files: it cannot be copied`,
          { hint: "exclude it with .dockerignore" },
        );
      }
      replacing(path, () => mknodat(at(path), nameOf(path), mode, device));
    },
    link: (from, path) =>
      replacing(path, () => linkat(linkCursor.at(parentOf(from)), nameOf(from), at(path), nameOf(path))),
    remove: (path) => {
      if (path === "") throw new BuildError("COPY_FAILED", "the root directory cannot be removed");
      let directory: number;
      try {
        directory = at(path);
      } catch (error) {
        if (isSysError(error, "ENOENT", "ENOTDIR")) return false;
        throw error;
      }
      if (statxOrNull(directory, nameOf(path)) === null) return false;
      cursor.forget(path);
      linkCursor.forget(path);
      removeAt(directory, Buffer.from(baseOf(path), "latin1"));
      return true;
    },
    dress,
    chmodDirectory: (path, mode) => fchmod(cursor.at(path), mode),
    setTime: (path, mtimeNs) => utimensat(cursor.at(path), null, mtimeNs, mtimeNs),
    forgetDirectories: () => {
      linkCursor.close();
      cursor.close();
    },
    close: () => {
      linkCursor.close();
      tree.close();
    },
  };
}

/** Gives an open, just written file its look. */
export function dressFile(fd: number, look: Look, idMode: IdMode): void {
  // Owner first: chown(2) takes set-id bits and capabilities away.
  const { uid, gid } = look.owner;
  // With one id a new file is root's already.
  if (!idMode.singleId || uid !== 0 || gid !== 0) setOwner(fd, "", uid, gid, idMode);
  fchmod(fd, look.mode);
  for (const [key, value] of look.xattrs) setXattr(() => fsetxattr(fd, key, value));
  if (look.mtimeNs !== null) utimensat(fd, null, look.mtimeNs, look.mtimeNs);
}

/** Attributes a file system or an unprivileged user cannot have are left out, as BuildKit does. */
function setXattr(set: () => void): void {
  try {
    set();
  } catch (error) {
    if (!isSysError(error, "EPERM", "EOPNOTSUPP", "EINVAL")) throw error;
  }
}

/** Writes all of the bytes. */
export function writeFully(fd: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
}

/** A path of the image for a message. */
export function shown(path: string): string {
  return `/${textOf(cleanPath(path))}`;
}
