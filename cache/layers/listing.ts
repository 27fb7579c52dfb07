// The content of a layer's directory as two digests and a size: one walk that opens no file.
//
// The *listing* covers names, kinds, modes, owners, sizes, times, links and devices: it detects whether a layer was changed
// after its creation. The *shape* is the same without times: layers of different shapes cannot be equal, those of one shape are
// equal if attributes and the bytes of files are, too (sameWithin). Attributes are not part of it: reading them takes longer than
// the rest of the walk. 20,000 files of 80 MB on a busy machine: a listing takes 0.11 s of CPU, packing them 0.41 s, comparing
// two such trees 0.71 s.
//
// The comparison covers more than the tar of a layer, because a later step can see more than an image contains: every attribute,
// names that mark whiteouts in a tar, sockets, and the metadata of the root directory.

import { readSync } from "node:fs";
import { createHash } from "node:crypto";
import {
  close,
  fstat,
  lgetxattr,
  llistxattr,
  openat,
  procPath,
  readlinkat,
  type Stat,
} from "../../worker/sys/file.ts";
import { isSysError } from "../../worker/sys/libc.ts";
import { type Digest, digestFromHex } from "../../solver/graph/digest.ts";
import { DIRECTORY, type DeepVisit, walkDeepTree } from "./walk.ts";
import { AT, O, S } from "../../worker/sys/constants.ts";

export interface Listing {
  /** Bytes on disk, each inode once, the directory itself included. */
  readonly sizeBytes: number;
  /** Names below the directory. */
  readonly entries: number;
  readonly listing: Digest;
  readonly shape: Digest;
}

/** Lists what is below `dir`. Throws SysError. */
export function listTree(dir: string): Listing {
  const root = openat(AT.FDCWD, dir, DIRECTORY);
  try {
    return listOpen(root);
  } finally {
    close(root);
  }
}

/** A tree of so many entries and bytes is listed and hashed in 2 ms. */
const SMALL_ENTRIES = 64;
const SMALL_BYTES = 512 << 10;
/** Of a directory: it has more names, which are read at once. */
const LARGE_DIRECTORY_BYTES = 16 << 10;

/** Is there so little below `dir` that packing and listing it takes no longer than asking? false also if it cannot be read. */
export function isSmallTree(dir: string): boolean {
  const isLarge = ({ mode, size }: Stat): boolean =>
    (mode & S.IFMT) === S.IFDIR && size > LARGE_DIRECTORY_BYTES;
  try {
    const root = openat(AT.FDCWD, dir, DIRECTORY);
    try {
      if (isLarge(fstat(root))) return false;
      let entries = 0;
      let bytes = 0;
      for (const { phase, stat } of walkDeepTree(root)) {
        if (phase === "leave") continue;
        if ((stat.mode & S.IFMT) === S.IFREG) bytes += stat.size;
        if (isLarge(stat) || ++entries > SMALL_ENTRIES || bytes > SMALL_BYTES) return false;
      }
      return true;
    } finally {
      close(root);
    }
  } catch (error) {
    if (isSysError(error)) return false;
    throw error;
  }
}

/** A listing, and which of the earlier layers this one equals but for its times: the first that does. An earlier one that cannot
 *  be read equals nothing. Throws SysError for `dir`. */
export function measureLayer(job: {
  readonly dir: string;
  readonly earlier: readonly { readonly dir: string; readonly shape: Digest }[];
}): Listing & { readonly same: number | null } {
  const listed = listTree(job.dir);
  const same = job.earlier.findIndex(
    ({ dir, shape }) => shape === listed.shape && isSame(job.dir, dir, shape),
  );
  return { ...listed, same: same < 0 ? null : same };
}

/** What is equal is listed again in the end: its record may speak of files that somebody has changed since. */
function isSame(dir: string, earlier: string, shape: Digest): boolean {
  try {
    return sameWithin(dir, earlier) && listTree(earlier).shape === shape;
  } catch (error) {
    if (isSysError(error)) return false;
    throw error;
  }
}

function listOpen(root: number): Listing {
  const looks = digester();
  const times = digester();
  /** Inodes with several names, by the number of their first one. */
  const links = new Map<string, number>();
  const top = fstat(root);
  let blocks = top.blocks;
  let entries = 0;
  looks.add(lookOf(top));
  times.add(`${top.mtimeNs}`);
  for (const { phase, dirfd, name, path, depth, stat } of walkDeepTree(root)) {
    if (phase === "leave") continue;
    // In the order of a walk a name and its depth say as much as a path.
    const place = path === null ? `${depth}/${framed(name)}` : framed(path);
    entries++;
    const type = stat.mode & S.IFMT;
    if (isWhiteout(stat)) {
      // overlayfs makes them as links to one device: count, times and owner are its own affair.
      looks.add(`${place} whiteout`);
      continue;
    }
    let first: number | undefined;
    if (stat.nlink > 1 && type !== S.IFDIR) {
      const inode = `${stat.dev}:${stat.ino}`;
      first = links.get(inode);
      if (first === undefined) links.set(inode, entries);
    }
    if (first !== undefined) {
      looks.add(`${place} =${first}`);
      continue;
    }
    blocks += stat.blocks;
    const target = type === S.IFLNK ? framed(readlinkat(dirfd, name)) : "";
    looks.add(`${place} ${lookOf(stat)} ${target}`);
    times.add(`${stat.mtimeNs}`);
  }
  const shape = looks.end();
  const listing = createHash("sha256").update(`${shape} ${times.end()}`).digest("hex");
  return {
    sizeBytes: blocks * 512,
    entries,
    listing: digestFromHex(listing),
    shape: digestFromHex(shape),
  };
}

/** Have two trees of one shape the same attributes, and their files the same bytes? Ends at the first difference. Throws
 *  SysError. */
export function sameWithin(one: string, other: string): boolean {
  const roots: number[] = [];
  try {
    for (const dir of [one, other]) roots.push(openat(AT.FDCWD, dir, DIRECTORY));
    const [left, right] = roots as [number, number];
    // "/." : of what the descriptor stands for, not of its link in /proc.
    if (attributesOf(procPath(left, ".")) !== attributesOf(procPath(right, "."))) return false;
    const [entries, others] = [entriesBelow(left), entriesBelow(right)];
    for (;;) {
      const [a, b] = [entries.next(), others.next()];
      if (a.done === true || b.done === true) return a.done === b.done;
      if (a.value.depth !== b.value.depth || !a.value.name.equals(b.value.name)) return false;
      if (!sameEntry(a.value, b.value)) return false;
    }
  } finally {
    for (const root of roots) close(root);
  }
}

/** What has attributes or bytes of its own: no whiteouts, each inode once. */
function* entriesBelow(root: number): Generator<DeepVisit> {
  const seen = new Set<string>();
  for (const visit of walkDeepTree(root)) {
    const { phase, stat } = visit;
    if (phase === "leave" || isWhiteout(stat)) continue;
    if (stat.nlink > 1 && (stat.mode & S.IFMT) !== S.IFDIR) {
      const inode = `${stat.dev}:${stat.ino}`;
      if (seen.has(inode)) continue;
      seen.add(inode);
    }
    yield visit;
  }
}

/** What is met in a directory, wherever that lies. */
type Met = Pick<DeepVisit, "dirfd" | "name" | "stat">;

/** Have two entries of one look the same attributes, and as files the same bytes? Throws SysError. */
export function sameEntry(a: Met, b: Met): boolean {
  if (attributesOf(procPath(a.dirfd, a.name)) !== attributesOf(procPath(b.dirfd, b.name))) return false;
  return (a.stat.mode & S.IFMT) !== S.IFREG || sameBytes(a, b);
}

/** 256 KiB each: most files fit in whole. */
const CHUNK_BYTES = 256 * 1024;

function sameBytes(a: Met, b: Met): boolean {
  if (a.stat.size !== b.stat.size) return false;
  if (a.stat.size === 0) return true;
  const opened: number[] = [];
  try {
    for (const { dirfd, name } of [a, b])
      opened.push(openat(dirfd, name, O.RDONLY | O.NOFOLLOW | O.NONBLOCK));
    const [left, right] = opened as [number, number];
    for (let at = 0; at < a.stat.size; ) {
      const count = readSync(left, LEFT, 0, CHUNK_BYTES, at);
      if (count === 0) return false; // shorter than it was: nobody should be writing here
      for (let got = 0; got < count; ) {
        const more = readSync(right, RIGHT, got, count - got, at + got);
        if (more === 0) return false;
        got += more;
      }
      if (LEFT.compare(RIGHT, 0, count, 0, count) !== 0) return false;
      at += count;
    }
    return true;
  } finally {
    for (const fd of opened) close(fd);
  }
}
const LEFT = Buffer.allocUnsafeSlow(CHUNK_BYTES);
const RIGHT = Buffer.allocUnsafeSlow(CHUNK_BYTES);

/** overlayfs.rst, "whiteouts and opaque directories". */
function isWhiteout(stat: Stat): boolean {
  return (stat.mode & S.IFMT) === S.IFCHR && stat.rdevMajor === 0 && stat.rdevMinor === 0;
}

/** Kind and mode, owner, and size of a file or number of a device. A directory's size is its history. */
function lookOf({ mode, uid, gid, size, rdevMajor, rdevMinor }: Stat): string {
  const type = mode & S.IFMT;
  const more =
    type === S.IFREG ? size : type === S.IFCHR || type === S.IFBLK ? `${rdevMajor},${rdevMinor}` : "";
  return `${mode.toString(8)} ${uid}:${gid} ${more}`;
}

/** What overlayfs notes for itself about where a file came from says nothing of the layer. */
const BOOKKEEPING: ReadonlySet<string> = new Set(
  ["origin", "impure", "nlink", "upper", "uuid"].map((name) => `user.overlay.${name}`),
);

function attributesOf(path: Buffer): string {
  const names = llistxattr(path).filter((name) => !BOOKKEEPING.has(name));
  if (names.length === 0) return "";
  return names
    .sort()
    .map((name) => `${name} ${framed(lgetxattr(path, name) ?? Buffer.alloc(0))}`)
    .join(" ");
}

/** Bytes behind their length: no two lists of fields give the same text. */
function framed(bytes: Buffer): string {
  return `${bytes.length}:${bytes.toString("latin1")}`;
}

/** Larger pieces: hashing 20,000 short texts one by one takes twice as long. */
const PIECE_CHARS = 64 * 1024;

function digester(): { add(text: string): void; end(): string } {
  const hash = createHash("sha256");
  let piece = "";
  return {
    add(text) {
      piece += `${text}\n`;
      if (piece.length < PIECE_CHARS) return;
      hash.update(piece, "latin1");
      piece = "";
    },
    end: () => hash.update(piece, "latin1").digest("hex"),
  };
}
