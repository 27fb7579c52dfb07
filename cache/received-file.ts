// One file at a time of those that the other side of a connection sends: made below a descriptor, following no link, and hashed as it comes,
// so that it is not read again for its digest. Runs in threads as well (received-thread.ts).

import { createHash, type Hash, hash } from "node:crypto";
import { closeSync, fstatSync, writeSync } from "node:fs";
import {
  fchmod,
  linkat,
  mknodat,
  openat,
  openat2,
  statxOrNull,
  symlinkat,
  unlinkat,
  utimensat,
} from "../worker/sys/file.ts";
import { isSysError } from "../worker/sys/libc.ts";
import { AT, O, RESOLVE, S } from "../worker/sys/constants.ts";
import { type Digest, digestFromHex } from "../solver/graph/digest.ts";
import { removeAt } from "./layers/remove-tree.ts";
import type { Listed } from "./listed-files.ts";
import type { FileStat } from "./stat-cache.ts";
import { baseOf, parentOf } from "./tree.ts";

/** Directories below one: names come directory by directory, so the last one is kept open. Descriptors are good until the next call. */
export interface Directories {
  /** By a path of names, no link among them (byte string; "": the one they are below). Throws SysError. */
  open(path: string): number;
  close(): void;
}

/** `root`: a descriptor, which stays the caller's. */
export function openDirectories(root: number): Directories {
  let last: { readonly path: string; readonly fd: number } | null = null;
  const close = (): void => {
    if (last !== null) closeSync(last.fd);
    last = null;
  };
  return {
    open(path) {
      if (path === "") return root;
      if (last?.path === path) return last.fd;
      close();
      const fd = openat2(root, Buffer.from(path, "latin1"), {
        flags: O.RDONLY | O.DIRECTORY | O.NOFOLLOW,
        resolve: RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS,
      });
      last = { path, fd };
      return fd;
    },
    close,
  };
}

/** The last component of a path, for system calls. */
export function nameOf(path: string): Buffer {
  return Buffer.from(baseOf(path), "latin1");
}

/** Takes away what has the name, a directory with all in it. */
export function clear(directory: number, name: Buffer): void {
  const there = statxOrNull(directory, name);
  if (there === null) return;
  if ((there.mode & S.IFMT) === S.IFDIR) removeAt(directory, name);
  else unlinkat(directory, name);
}

/** A symbolic link or FIFO, in place of what has the name. A FIFO's mode is that of the umask. */
export function makeSpecial(entry: Listed, directories: Directories): void {
  const into = directories.open(parentOf(entry.path));
  const name = nameOf(entry.path);
  clear(into, name);
  if (entry.type === "symlink") symlinkat(Buffer.from(entry.linkName, "latin1"), into, name);
  else mknodat(into, name, S.IFIFO | (entry.mode & 0o777));
  utimensat(into, name, entry.mtimeNs, entry.mtimeNs, AT.SYMLINK_NOFOLLOW);
}

/** Another name of an earlier file or FIFO, in place of what has it. */
export function makeLink(entry: Listed, directories: Directories): void {
  // Descriptors are good until the next call only: the target's directory is held meanwhile.
  const from = openat(directories.open(parentOf(entry.linkName)), ".", O.RDONLY | O.DIRECTORY);
  try {
    const into = directories.open(parentOf(entry.path));
    const name = nameOf(entry.path);
    clear(into, name);
    linkat(from, nameOf(entry.linkName), into, name);
  } finally {
    closeSync(from);
  }
}

/** A descriptor of a new file: one that is there may have other names, which keep their content. */
export function createFile(path: string, directories: Directories): number {
  const into = directories.open(parentOf(path));
  const name = nameOf(path);
  try {
    return openat(into, name, NEW_FILE, 0o600);
  } catch (error) {
    if (!isSysError(error, "EEXIST")) throw error;
    clear(into, name);
    return openat(into, name, NEW_FILE, 0o600);
  }
}
const NEW_FILE = O.WRONLY | O.CREAT | O.EXCL | O.NOFOLLOW;

/** A file to be written: its path (byte string) below the root, permissions (0o7777), time of its content. */
export interface NewFile {
  readonly path: string;
  readonly mode: number;
  readonly mtimeNs: bigint;
}

/** One that was: as it is on the disk, and the digest of its bytes. */
export interface WrittenFile {
  readonly path: string;
  readonly stat: FileStat;
  readonly digest: Digest;
}

/** Takes files one after the other. */
export interface FileSink {
  begin(file: NewFile): void;
  /** The next bytes of the file, which are not changed later. A promise: enough is on its way, wait for it. */
  data(bytes: Uint8Array): Promise<void> | undefined;
  end(): void;
}

export interface FileWriter extends FileSink {
  data(bytes: Uint8Array): undefined;
  /** Closes what is open; always to be called. */
  close(): void;
}

/** Writes below `root`, whose directories are there. A file gets its mode and its time once it is whole. Throws SysError and what node:fs
 *  throws. */
export function fileWriter(root: number, onWritten: (file: WrittenFile) => void): FileWriter {
  const directories = openDirectories(root);
  let current: { readonly fd: number; readonly file: NewFile } | null = null;
  /** Most files come in one piece: a call for it is half of what a hash object costs. */
  let first: Uint8Array | null = null;
  let sha: Hash | null = null;

  return {
    begin(file) {
      current = { fd: createFile(file.path, directories), file };
      first = null;
      sha = null;
    },
    data(bytes) {
      if (current === null) return undefined;
      for (let done = 0; done < bytes.length; ) done += writeSync(current.fd, bytes, done);
      if (first === null) first = bytes;
      else {
        sha ??= createHash("sha256").update(first);
        sha.update(bytes);
      }
      return undefined;
    },
    end() {
      if (current === null) return;
      const { fd, file } = current;
      current = null;
      try {
        fchmod(fd, file.mode);
        utimensat(fd, null, file.mtimeNs, file.mtimeNs);
        const { size, mtimeNs, ctimeNs, ino, dev } = fstatSync(fd, { bigint: true });
        const hex = sha === null ? hash("sha256", first ?? EMPTY, "hex") : sha.digest("hex");
        const stat = { size, mtimeNs, ctimeNs, ino, dev, mode: file.mode };
        onWritten({ path: file.path, stat, digest: digestFromHex(hex) });
      } finally {
        closeSync(fd);
      }
    },
    close() {
      if (current !== null) closeSync(current.fd);
      current = null;
      directories.close();
    },
  };
}
const EMPTY = Buffer.alloc(0);
