// Access to untrusted trees and files with Node's own calls: what the front reads and writes without native code.
//
// A name is never resolved as a path. Each component is looked up below the descriptor of its directory, without following
// a link (`/proc/self/fd/N/name` has the effect of openat(2) with N), and what was opened is what is checked and used (threat
// model P1, P2). Nothing here blocks on a FIFO, opens a device, or reads without a limit (P9, C6). The keeper uses openat2(2)
// for the same (`worker/sys/file.ts`).

import { createHash, randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  copyFileSync,
  fstatSync,
  fsyncSync,
  futimesSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { type Digest, digestFromHex } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import { O, RESOLVE } from "../worker/sys/constants.ts";

const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_NOCTTY } = constants;

/** A name below an open directory, for calls that take paths and do not follow their last component. The name must be one
 *  component, "" is the directory itself; anything else is a plain Error, for callers check names before. */
export function pathIn(directory: number, name: string | Buffer): Buffer {
  const bytes = Buffer.isBuffer(name) ? name : Buffer.from(name);
  const base = `/proc/self/fd/${directory}/`;
  if (bytes.length === 0) return Buffer.from(`${base}.`);
  if (bytes.includes(0x2f) || bytes.includes(0) || bytes.equals(DOT) || bytes.equals(DOT_DOT)) {
    throw new Error(`${JSON.stringify(bytes.toString())} is not a valid file name`);
  }
  return Buffer.concat([Buffer.from(base), bytes]);
}
const DOT = Buffer.from(".");
const DOT_DOT = Buffer.from("..");

/** Opens a directory the user named: links on the way are his. The caller closes it. Throws the system's error. */
export function openDirectory(path: string | Buffer): number {
  return openSync(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
}

/** Opens whatever is at a path the user named for reading: neither waits for the other end of a FIFO nor becomes its terminal.
 *  What it is must be examined before it is read. Throws the system's error. */
export function openGiven(path: string | Buffer): number {
  return openSync(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
}

/** openat(2) of one component, never through a link, never waiting for the other end of a FIFO. */
export function openIn(
  directory: number,
  name: string | Buffer,
  flags: number = O_RDONLY,
  mode = 0o600,
): number {
  return openSync(pathIn(directory, name), flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, mode);
}

/** A directory below another: every component of `path` ("a/b", no ".", or names) is a real directory. `make`: those missing are
 *  made. */
export function openDirectoryIn(
  directory: number,
  path: string | readonly Buffer[],
  options: { readonly make?: boolean } = {},
): number {
  let fd = openSync(pathIn(directory, ""), O_RDONLY | O_DIRECTORY);
  for (const name of typeof path === "string" ? path.split("/") : path) {
    if (name.length === 0) continue;
    try {
      if (options.make === true) makeDirectoryIn(fd, name);
      const next = openIn(fd, name, O_RDONLY | O_DIRECTORY);
      closeSync(fd);
      fd = next;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }
  return fd;
}

/** mkdir(2) of a path the user named, and of the parents that are missing; links on the way are his. False: a directory is there
 *  already. Throws the system's error, of the first that could not be made.
 *  The one place for it: mkdirSync's `recursive` (Node 20) tries forever where mkdir(2) says ENOENT below a directory that is there,
 *  as it does below /proc. */
export function makeDirectories(path: string, mode = 0o777): boolean {
  const isMade = (): boolean => {
    try {
      mkdirSync(path, { mode });
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") throw error;
      // Whatever mkdir(2) says of it, a directory that is there is what was wanted: / itself, one of a read-only file system.
      if (statSync(path).isDirectory()) return false;
      throw error;
    }
  };
  try {
    return isMade();
  } catch (error) {
    const parent = dirname(path);
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" || parent === path) throw error;
    makeDirectories(parent, mode);
    return isMade();
  }
}

/** mkdirat(2); one that is there stays. */
function makeDirectoryIn(directory: number, name: string | Buffer): void {
  try {
    mkdirSync(pathIn(directory, name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

/** Descriptor of a regular file by the components of `path`, none of them a link. null: there is no such file.
 *  Throws ELOOP or ENOTDIR as the system does, and FILE_INVALID for anything that is no regular file. */
export function openRegularIn(directory: number, path: string): number | null {
  const slash = path.lastIndexOf("/");
  let parent: number | null = null;
  try {
    parent = openDirectoryIn(directory, slash < 0 ? "" : path.slice(0, slash));
    return regular(openIn(parent, path.slice(slash + 1)), path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  } finally {
    if (parent !== null) closeSync(parent);
  }
}

/** Descriptor of the regular file at a path the user named (links are his). Throws the system's error, and FILE_INVALID for
 *  what is no regular file: a FIFO does not block, a device is not read. */
export function openRegularFile(path: string | Buffer): number {
  return regular(openGiven(path), path.toString());
}

/** Descriptor of the regular file a path leads to by links that are resolved by the kernel as if the directory were the root
 *  (openat2(2), RESOLVE_IN_ROOT); "nowhere": they lead to nothing; null: a file stands where a directory should be. Loads
 *  native code, which takes 20 ms: for what openRegularIn refuses as a link. Throws FILE_INVALID for what is no regular file. */
export async function openInRoot(directory: number, path: string): Promise<number | "nowhere" | null> {
  const [{ openat2 }, { isSysError }] = await Promise.all([
    import("../worker/sys/file.ts"),
    import("../worker/sys/libc.ts"),
  ]);
  try {
    const how = { flags: O.RDONLY | O.NONBLOCK, resolve: RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS };
    return regular(openat2(directory, path, how), path);
  } catch (error) {
    if (isSysError(error, "ENOTDIR")) return null;
    if (isSysError(error, "ENOENT", "ELOOP", "ENXIO")) return "nowhere";
    throw error;
  }
}

function regular(fd: number, shown: string): number {
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  throw new BuildError("FILE_INVALID", `${JSON.stringify(shown)} is not a regular file`);
}

/** All of an open file, from its start. Reads at most `maxBytes` + 1 bytes, whatever its size claims; throws LIMIT_EXCEEDED. */
export function readAll(fd: number, maxBytes: number, shown: string): Buffer {
  const chunks: Buffer[] = [];
  let length = 0;
  for (;;) {
    const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, maxBytes + 1 - length));
    const count = readSync(fd, chunk, 0, chunk.length, length);
    if (count === 0) return chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
    chunks.push(chunk.subarray(0, count));
    length += count;
    if (length > maxBytes) {
      throw new BuildError("LIMIT_EXCEEDED", `${JSON.stringify(shown)} is longer than ${maxBytes} bytes`);
    }
  }
}
const CHUNK_BYTES = 64 * 1024;

/** Bytes of a regular file below a directory, or null when it is not there. See openRegularIn and readAll. */
export function readIn(directory: number, path: string, maxBytes: number): Buffer | null {
  const fd = openRegularIn(directory, path);
  if (fd === null) return null;
  try {
    return readAll(fd, maxBytes, path);
  } finally {
    closeSync(fd);
  }
}

/** Bytes of a regular file the user named. See openRegularFile and readAll. */
export function readFileOf(path: string, maxBytes: number): Buffer {
  const fd = openRegularFile(path);
  try {
    return readAll(fd, maxBytes, path);
  } finally {
    closeSync(fd);
  }
}

/** Names in an open directory, in the file system's order. */
export function namesIn(directory: number): Buffer[] {
  return readdirSync(pathIn(directory, ""), { encoding: "buffer" });
}

/** lstat(2) of a name in an open directory; null when it is not there. */
export function statIn(directory: number, name: string | Buffer): Stats | null {
  return lstatSync(pathIn(directory, name), { throwIfNoEntry: false }) ?? null;
}

/** unlinkat(2); a name that is not there is fine. Links go themselves. */
export function unlinkIn(directory: number, name: string | Buffer): void {
  rmSync(pathIn(directory, name), { force: true });
}

/**
 * Makes a file of an open directory be what `make` puts under another name there, a draft: renamed when it is done. What had the
 * name is replaced at once and never written to, so a link there leads nowhere. Without success no draft stays, also when this
 * process leaves early.
 */
export async function replaceIn(
  directory: number,
  name: string,
  make: (draft: string) => Promise<void>,
): Promise<void> {
  const draft = `.${name.slice(0, DRAFT_NAME_CHARS)}.${randomBytes(8).toString("hex")}.part`;
  const remove = (): void => unlinkIn(directory, draft);
  process.once("exit", remove);
  try {
    await make(draft);
    renameSync(pathIn(directory, draft), pathIn(directory, name));
  } catch (error) {
    remove();
    throw error;
  } finally {
    process.off("exit", remove);
  }
  fsyncSync(directory);
}
/** NAME_MAX is 255 bytes, and a character may have four. */
const DRAFT_NAME_CHARS = 48;

/** As replaceIn, with a draft that is made, written by `fill` and flushed. The umask cuts `mode`. */
export async function writeWholeIn(
  directory: number,
  name: string,
  fill: (fd: number) => void | Promise<void>,
  mode = 0o666,
): Promise<void> {
  await replaceIn(directory, name, async (draft) => {
    const fd = openIn(directory, draft, O_WRONLY | O_CREAT | O_EXCL, mode);
    try {
      await fill(fd);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  });
}

/** Is a regular file of this name there, with these bytes? A file of the right size may be half of one after a power cut, or somebody
 *  else's: what is not written because it is there has been read. Throws signal.reason. */
export async function isBlobIn(
  directory: number,
  name: string,
  blob: { readonly digest: Digest; readonly size: number },
  signal: AbortSignal,
): Promise<boolean> {
  const stat = statIn(directory, name);
  if (stat?.isFile() !== true || stat.size !== blob.size) return false;
  const fd = openRegularIn(directory, name);
  if (fd === null) return false;
  try {
    return (await digestOfFile(fd, signal)) === blob.digest;
  } finally {
    closeSync(fd);
  }
}

/** sha256 of a file from its position to its end; null where the disk cannot give its bytes (EIO). Throws signal.reason, which is
 *  heard between two chunks. */
export async function digestOfFile(fd: number, signal: AbortSignal): Promise<Digest | null> {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(2 ** 20);
  for (;;) {
    let count: number;
    try {
      count = readSync(fd, buffer, 0, buffer.length, null);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EIO") return null;
      throw error;
    }
    if (count === 0) return digestFromHex(hash.digest("hex"));
    hash.update(buffer.subarray(0, count));
    await turn();
    signal.throwIfAborted();
  }
}

/** write(2) until all of it is written. */
export function writeAll(fd: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done);
}

/** Gives all that lies in an open directory, and itself, a time. Links get it themselves. */
export function setTimesIn(directory: number, seconds: number): void {
  const found: (readonly Buffer[])[] = [[]]; // names from the top, each directory after the one it lies in
  for (const path of found) {
    const fd = openDirectoryIn(directory, path);
    try {
      for (const name of namesIn(fd)) {
        if (statIn(fd, name)?.isDirectory() === true) found.push([...path, name]);
        else lutimesSync(pathIn(fd, name), seconds, seconds);
      }
      futimesSync(fd, seconds, seconds); // nothing is made in it any more
    } finally {
      closeSync(fd);
    }
  }
}

/** renameat(2) under the same name in another directory. */
export function moveIn(from: number, name: string | Buffer, to: number): void {
  renameSync(pathIn(from, name), pathIn(to, name));
}

/** A new file with the content of one of our own, sharing its blocks where the file system can. Throws EEXIST. */
export function copyIn(ours: string, directory: number, name: string | Buffer): void {
  copyFileSync(ours, pathIn(directory, name), constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
}
