// Restores the directory of a cache mount from index and packs. [thread of the keeper]

import { createHash } from "node:crypto";
import { writeSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { BuildError } from "../../solver/graph/error.ts";
import {
  close,
  fchmod,
  fchownat,
  mkdirat,
  openat,
  readdir,
  symlinkat,
  utimensat,
} from "../../worker/sys/file.ts";
import { isSysError } from "../../worker/sys/libc.ts";
import { removeAt } from "../layers/remove-tree.ts";
import { DIRECTORY } from "../layers/walk.ts";
import { readFileOf } from "../outside.ts";
import { type MountCursor, openMountCursor } from "./mount-cursor.ts";
import {
  MOUNT_INDEX_MAX_BYTES,
  type MountEntry,
  type MountIndex,
  PACK_BYTES,
  PACK_FILE_MAX_BYTES,
  parentOf,
  parseMountIndex,
  PIECE_BYTES,
} from "./mount-index.ts";
import { AT, O, S } from "../../worker/sys/constants.ts";

export interface RestoreMountRequest {
  /** File with the index, checked against its digest. */
  readonly index: string;
  /** Files with the packs by their digests, checked as well. */
  readonly packs: Readonly<Record<string, string>>;
  /** Exists, is empty, and nobody else uses it. */
  readonly dir: string;
}

export interface RestoredMount {
  readonly files: number;
  readonly bytes: number;
}

/** Fills the directory. Throws IMAGE_INVALID for content that is not what the index says, system errors; the directory is then
 *  empty again. */
export function restoreMount(job: RestoreMountRequest): RestoredMount {
  const index = parseMountIndex(readFileOf(job.index, MOUNT_INDEX_MAX_BYTES));
  const root = openat(AT.FDCWD, job.dir, DIRECTORY);
  const cursor = openMountCursor(root);
  try {
    return fill(index, cursor, job.packs);
  } catch (error) {
    cursor.close();
    for (const { name } of readdir(root)) removeAt(root, name);
    throw error;
  } finally {
    cursor.close();
    close(root);
  }
}

// Directories first, links last, each below the descriptor of its parent: no name ever leads through a link.
function fill(index: MountIndex, cursor: MountCursor, packs: RestoreMountRequest["packs"]): RestoredMount {
  const directories = index.entries.filter(({ kind }) => kind === "directory");
  const files = index.entries.filter(({ kind }) => kind === "file");
  for (const { path } of directories)
    if (path !== "") mkdirat(cursor.at(parentOf(path)), nameOf(path), 0o700);

  const wanted = new Map<string, { readonly path: string; readonly offset: number }[]>();
  for (const { path, pieces } of files) {
    within(openIn(cursor, path, O.WRONLY | O.CREAT | O.EXCL), () => {});
    pieces.forEach((hex, number) => {
      const places = wanted.get(hex) ?? [];
      places.push({ path, offset: number * PIECE_BYTES });
      wanted.set(hex, places);
    });
  }
  let bytes = 0;
  for (const pack of index.packs) {
    if (!pack.pieces.some(([hex]) => wanted.has(hex))) continue;
    const file = packs[pack.digest];
    if (file === undefined) throw invalid(`the pack ${pack.digest} is missing`);
    const data = unpack(readFileOf(file, PACK_FILE_MAX_BYTES));
    let from = 0;
    for (const [hex, length] of pack.pieces) {
      const piece = data.subarray(from, from + length);
      from += length;
      const places = wanted.get(hex);
      if (places === undefined) continue;
      wanted.delete(hex);
      if (piece.length !== length || createHash("sha256").update(piece).digest("hex") !== hex)
        throw invalid("a pack does not match its index");
      for (const { path, offset } of places)
        within(openIn(cursor, path, O.WRONLY), (fd) => writeAt(fd, piece, offset));
      bytes += length * places.length;
    }
  }
  if (wanted.size > 0) throw invalid("a part of a file is missing");
  for (const entry of files) within(openIn(cursor, entry.path, O.RDONLY), (fd) => dress(fd, entry));
  for (const entry of index.entries) {
    if (entry.kind !== "link") continue;
    const directory = cursor.at(parentOf(entry.path));
    const name = nameOf(entry.path);
    symlinkat(Buffer.from(entry.target, "latin1"), directory, name);
    give(entry, (uid, gid) => fchownat(directory, name, uid, gid, AT.SYMLINK_NOFOLLOW));
    utimensat(directory, name, timeOf(entry), timeOf(entry), AT.SYMLINK_NOFOLLOW);
  }
  for (const entry of directories.reverse()) dress(cursor.at(entry.path), entry);
  return { files: files.length, bytes };
}

function nameOf(path: string): Buffer {
  return Buffer.from(path.slice(path.lastIndexOf("/") + 1), "latin1");
}

function openIn(cursor: MountCursor, path: string, flags: number): number {
  return openat(cursor.at(parentOf(path)), nameOf(path), flags | O.NOFOLLOW | O.NONBLOCK, 0o600);
}

function within(fd: number, work: (fd: number) => void): void {
  try {
    work(fd);
  } finally {
    close(fd);
  }
}

function unpack(data: Uint8Array): Buffer {
  try {
    return gunzipSync(data, { maxOutputLength: PACK_BYTES + PIECE_BYTES });
  } catch (cause) {
    throw invalid("a pack is damaged", cause);
  }
}

function writeAt(fd: number, piece: Buffer, offset: number): void {
  for (let done = 0; done < piece.length; )
    done += writeSync(fd, piece, done, piece.length - done, offset + done);
}

/** Owner before mode (chown(2) clears set-id bits), times last. A set-id bit belongs to its owner: without him it goes. */
function dress(fd: number, entry: MountEntry): void {
  const isGiven = give(entry, (uid, gid) => fchownat(fd, "", uid, gid, AT.EMPTY_PATH));
  fchmod(fd, entry.mode & (isGiven ? S.PERM : 0o1777));
  utimensat(fd, null, timeOf(entry), timeOf(entry));
}

/** false: this machine has no ids for the owner; the file stays ours. */
function give({ uid, gid }: MountEntry, chown: (uid: number, gid: number) => void): boolean {
  try {
    chown(uid, gid);
    return true;
  } catch (error) {
    if (isSysError(error, "EPERM", "EINVAL")) return false;
    throw error;
  }
}

function timeOf({ mtimeMs }: MountEntry): bigint {
  return BigInt(Math.round(mtimeMs * 1000)) * 1000n;
}

function invalid(problem: string, cause?: unknown): BuildError {
  return new BuildError("IMAGE_INVALID", `the content of a cache mount cannot be used: ${problem}`, {
    cause,
  });
}
