// Packs a cache mount's directory into an index and packs. [thread of the keeper]
//
// Every file is read and hashed; pieces in a pack of the last export are not packed again. Steps may use the directory
// meanwhile: names are looked up below descriptors (mount-cursor.ts), files that disappear are skipped, and so are files that change
// while they are read, because a partial file would be taken for the whole.

import { createHash, hash } from "node:crypto";
import { readSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { type Digest, digestOf, hexOf } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { close, fstat, openat, readdir, readlinkat, type Stat, statx } from "../../worker/sys/file.ts";
import { DIRECTORY } from "../layers/walk.ts";
import { readFileOf } from "../outside.ts";
import { type MountCursor, openFile, openMountCursor, orGone } from "./mount-cursor.ts";
import {
  encodeMountIndex,
  isMountPath,
  MOUNT_INDEX_MAX_BYTES,
  MOUNT_MAX_BYTES,
  type MountEntry,
  type MountIndex,
  PACK_BYTES,
  type PackOfMount,
  parentOf,
  parseMountIndex,
  PIECE_BYTES,
} from "./mount-index.ts";
import { AT, S } from "../../worker/sys/constants.ts";

export interface PackMountRequest {
  readonly dir: string;
  /** Index of the last export, whose packs are still there; null: none. */
  readonly previous: string | null;
  /** An empty directory for the index and new packs, each named by the hex digits of its digest. */
  readonly out: string;
}

export interface PackedMount {
  readonly index: { readonly digest: Digest; readonly size: number };
  readonly packs: readonly { readonly digest: Digest; readonly size: number; readonly isNew: boolean }[];
  readonly files: number;
  readonly bytes: number;
  /** Files, links and directories that are not in it: they changed meanwhile, or lie too deep (MOUNT_DEPTH_MAX). */
  readonly leftOut: number;
}

/** Packs of which less than this is still used are rewritten. */
const USED_MIN = 0.5;
/** So many packs below SMALL_BYTES may be; then they become one. */
const SMALL_MAX = 12;
const SMALL_BYTES = 4 << 20;
/** Dependencies are mostly archives already; 1 costs a third of 6 and gives nearly as much. */
const GZIP_LEVEL = 1;

/** Packs a directory. Throws LIMIT_EXCEEDED, system errors; what was written by then is to be removed. */
export function packMount(job: PackMountRequest): PackedMount {
  const root = openat(AT.FDCWD, job.dir, DIRECTORY);
  const cursor = openMountCursor(root);
  try {
    return pack(job, cursor);
  } finally {
    cursor.close();
    close(root);
  }
}

function pack(job: PackMountRequest, cursor: MountCursor): PackedMount {
  const previous = job.previous === null ? null : readPrevious(job.previous);
  const used = new Map<string, number>(); // hex to bytes
  // First look: names and hashes. Second look, for what is new: bytes.
  const places = new Map<string, { readonly path: string; readonly offset: number }>();
  const { entries, leftOut } = look(cursor, (path, hex, offset, bytes) => {
    used.set(hex, bytes);
    if (!places.has(hex)) places.set(hex, { path, offset });
  });

  const kept = previous === null ? [] : worthKeeping(previous.packs, used);
  const covered = new Set(kept.flatMap((pack) => pack.pieces.map(([hex]) => hex)));
  const fresh: PackOfMount[] = [];
  const lost = new Set<string>();
  let pieces: [string, number][] = [];
  let chunks: Buffer[] = [];
  let filled = 0;
  const close = (): void => {
    if (pieces.length === 0) return;
    const data = gzipSync(Buffer.concat(chunks), { level: GZIP_LEVEL });
    const digest = digestOf(data);
    writeFileSync(join(job.out, hexOf(digest)), data);
    fresh.push({ digest, size: data.length, pieces });
    [pieces, chunks, filled] = [[], [], 0];
  };
  for (const [hex, { path, offset }] of places) {
    if (covered.has(hex)) continue;
    const bytes = readPiece(cursor, path, offset);
    if (bytes === null || hash("sha256", bytes, "hex") !== hex) {
      lost.add(hex); // changed between the looks
      continue;
    }
    pieces.push([hex, bytes.length]);
    chunks.push(bytes);
    filled += bytes.length;
    if (filled >= PACK_BYTES) close();
  }
  close();

  const packs = [...kept, ...fresh];
  const whole = entries.filter((entry) => !entry.pieces.some((hex) => lost.has(hex)));
  const index = encodeMountIndex({ packs, entries: whole });
  if (index.length > MOUNT_INDEX_MAX_BYTES) throw tooLarge("more names than fit in its index");
  const digest = digestOf(index);
  writeFileSync(join(job.out, hexOf(digest)), index);
  const isNew = new Set(fresh);
  return {
    index: { digest, size: index.length },
    packs: packs.map((pack) => ({ digest: pack.digest, size: pack.size, isNew: isNew.has(pack) })),
    files: whole.filter(({ kind }) => kind === "file").length,
    bytes: [...used.values()].reduce((sum, bytes) => sum + bytes, 0),
    leftOut: leftOut + entries.length - whole.length,
  };
}

/** An index that cannot be read is as none: everything is packed again. */
function readPrevious(file: string): MountIndex | null {
  try {
    return parseMountIndex(readFileOf(file, MOUNT_INDEX_MAX_BYTES));
  } catch {
    return null; // the export that writes a good one over it is the cure
  }
}

function worthKeeping(
  packs: readonly PackOfMount[],
  used: ReadonlyMap<string, number>,
): readonly PackOfMount[] {
  const seen = new Set<string>();
  const good = packs.filter((pack) => {
    const total = pack.pieces.reduce((sum, [, bytes]) => sum + bytes, 0);
    const live = pack.pieces.reduce(
      (sum, [hex, bytes]) => sum + (used.has(hex) && !seen.has(hex) ? bytes : 0),
      0,
    );
    if (live === 0 || live < total * USED_MIN) return false;
    for (const [hex] of pack.pieces) seen.add(hex);
    return true;
  });
  const small = good.filter(({ size }) => size < SMALL_BYTES);
  return small.length <= SMALL_MAX ? good : good.filter((pack) => !small.includes(pack));
}

type OnPiece = (path: string, hex: string, offset: number, bytes: number) => void;

/** Names as latin1, sorted by bytes; directories before what is in them. */
function look(
  cursor: MountCursor,
  onPiece: OnPiece,
): { readonly entries: readonly MountEntry[]; readonly leftOut: number } {
  const entries: MountEntry[] = [];
  let leftOut = 0;
  let nameBytes = 0;
  let left = MOUNT_MAX_BYTES;
  const open: { readonly path: string; readonly names: readonly Buffer[]; at: number }[] = [];
  const enter = (path: string): void => {
    const fd = orGone(() => cursor.at(path));
    if (fd === null) {
      leftOut++;
      return;
    }
    entries.push(entryOf("directory", path, fstat(fd)));
    const names = readdir(fd).map(({ name }) => name);
    open.push({ path, names: names.sort(Buffer.compare), at: 0 });
  };
  const visit = (path: string, name: Buffer): void => {
    // A directory that was moved away and back may be another one by now: then this is about names of that one.
    const directory = orGone(() => cursor.at(parentOf(path)));
    const stat = directory === null ? null : orGone(() => statx(directory, name, AT.SYMLINK_NOFOLLOW));
    if (directory === null || stat === null) leftOut++;
    else if ((stat.mode & S.IFMT) === S.IFDIR) enter(path);
    else if ((stat.mode & S.IFMT) === S.IFLNK) {
      const target = orGone(() => readlinkat(directory, name));
      if (target === null) leftOut++;
      else entries.push({ ...entryOf("link", path, stat), target: target.toString("latin1") });
    } else if ((stat.mode & S.IFMT) === S.IFREG) {
      const read = hashFile(directory, name, left, (hex, offset, bytes) => onPiece(path, hex, offset, bytes));
      if (read === null) leftOut++;
      else {
        left -= read.stat.size;
        entries.push({ ...entryOf("file", path, read.stat), pieces: read.pieces });
      }
    } // sockets, pipes and devices are of the process that made them
  };
  enter("");
  for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
    const name = top.names[top.at++];
    if (name === undefined) {
      open.pop();
      continue;
    }
    const path = top.path === "" ? name.toString("latin1") : `${top.path}/${name.toString("latin1")}`;
    if (!isMountPath(path)) {
      leftOut++;
      continue;
    }
    nameBytes += path.length;
    if (nameBytes > MOUNT_INDEX_MAX_BYTES) throw tooLarge("more names than fit in its index");
    visit(path, name);
  }
  return { entries, leftOut };
}

function entryOf(kind: MountEntry["kind"], path: string, stat: Stat): MountEntry {
  const { uid, gid, mtimeNs } = stat;
  const mtimeMs = Number(mtimeNs / MS) + Number(mtimeNs % MS) / Number(MS);
  return { kind, path, mode: stat.mode & S.PERM, uid, gid, mtimeMs, pieces: [], target: "" };
}
const MS = 1_000_000n;

/** null: it vanished, is no file any more, or changed while it was read. */
function hashFile(
  directory: number,
  name: Buffer,
  maxBytes: number,
  onPiece: (hex: string, offset: number, bytes: number) => void,
): { readonly stat: Stat; readonly pieces: readonly string[] } | null {
  const file = openFile(directory, name);
  if (file === null) return null;
  const { fd, stat } = file;
  try {
    if (stat.size > maxBytes) throw tooLarge(`more than ${MOUNT_MAX_BYTES} bytes`);
    const found: [hex: string, offset: number, bytes: number][] = [];
    const block = Buffer.allocUnsafe(Math.min(1 << 20, Math.max(1, stat.size)));
    for (let offset = 0; offset < stat.size; ) {
      const sha = createHash("sha256");
      let bytes = 0;
      const size = Math.min(PIECE_BYTES, stat.size - offset);
      while (bytes < size) {
        const count = readSync(fd, block, 0, Math.min(block.length, size - bytes), offset + bytes);
        if (count === 0) return null;
        sha.update(block.subarray(0, count));
        bytes += count;
      }
      found.push([sha.digest("hex"), offset, bytes]);
      offset += bytes;
    }
    const after = fstat(fd);
    if (after.size !== stat.size || after.mtimeNs !== stat.mtimeNs || after.ctimeNs !== stat.ctimeNs)
      return null;
    for (const [hex, offset, bytes] of found) onPiece(hex, offset, bytes);
    return { stat, pieces: found.map(([hex]) => hex) };
  } finally {
    close(fd);
  }
}

function readPiece(cursor: MountCursor, path: string, offset: number): Buffer | null {
  const directory = orGone(() => cursor.at(parentOf(path)));
  const name = Buffer.from(path.slice(path.lastIndexOf("/") + 1), "latin1");
  const file = directory === null ? null : openFile(directory, name);
  if (file === null) return null;
  try {
    const size = Math.min(PIECE_BYTES, Math.max(0, file.stat.size - offset));
    const data = Buffer.allocUnsafeSlow(size);
    let filled = 0;
    while (filled < size) {
      const count = readSync(file.fd, data, filled, size - filled, offset + filled);
      if (count === 0) break;
      filled += count;
    }
    return data.subarray(0, filled);
  } finally {
    close(file.fd);
  }
}

function tooLarge(what: string): BuildError {
  return new BuildError("LIMIT_EXCEEDED", `a cache mount has ${what}`);
}
