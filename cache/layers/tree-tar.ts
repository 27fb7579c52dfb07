// A directory tree as the bytes of a tar, in blocks.
//
// "layer": the tree is an overlay upper directory; 0/0 devices and opaque directories become whiteouts. "tree": a whole
// root file system, unchanged.

import { readSync } from "node:fs";
import { crc32 } from "node:zlib";
import { BuildError } from "../../solver/graph/error.ts";
import {
  close,
  flistxattr,
  lgetxattr,
  llistxattr,
  openat,
  procPath,
  readlinkat,
  type Stat,
} from "../../worker/sys/file.ts";
import {
  isImageXattr,
  isWhiteoutName,
  OPAQUE_NAME,
  OPAQUE_XATTR,
  shownName,
  WHITEOUT_PREFIX,
} from "./names.ts";
import { PATH_MAX_BYTES, pathTooLong } from "../tree.ts";
import { OWNER_XATTR, ownerOf } from "./owner.ts";
import type { TarType } from "./tar.ts";
import { TAR_HEADER_MAX_BYTES, writeHeader } from "./tar-write.ts";
import { type Visit, walkTree } from "./walk.ts";
import { O, S } from "../../worker/sys/constants.ts";

export interface TreeTarOptions {
  readonly form: "layer" | "tree";
  /** Seconds; null: times as they are. layer: later times become this one (rewrite-timestamp). tree: all do, as
   *  BuildKit's local and tar exporters have it. */
  readonly epochSeconds: number | null;
  /** Of every block but the last; the most, with `cutAtMembers`. */
  readonly blockBytes: number;
  /** End blocks where members begin, chosen by name, so that a file that grows or comes changes only the blocks around it. */
  readonly cutAtMembers?: boolean;
  /** Every block is the same buffer, valid until the next is asked for. */
  readonly reuse: boolean;
  /** See PackRequest. */
  readonly oneId?: boolean;
  /** Told what a tar cannot hold and is left out. */
  readonly note: (message: string) => void;
}

/** The one attribute a layer holds. The image of the same Dockerfile by BuildKit has no other: containerd,
 *  archive.ChangeWriter. */
const CAPABILITY = "security.capability";

const NO_DATA = Buffer.alloc(0);
const SLASH = Buffer.from("/");

/** The tar of what is below `root`; the root directory itself has no entry. Sorted by bytes, parents first. Throws
 *  CONTEXT_CHANGED when a file shrinks while it is read, LIMIT_EXCEEDED for a path no tool could unpack, SysError. */
export function* treeTar(root: number, options: TreeTarOptions): Generator<Buffer> {
  const { blockBytes, reuse } = options;
  const layer = options.form === "layer";
  const header = Buffer.allocUnsafeSlow(TAR_HEADER_MAX_BYTES);
  const links = new Map<string, Buffer>(); // inode to the first of its names
  let block = Buffer.allocUnsafeSlow(blockBytes);
  let filled = 0;

  function* flush(): Generator<Buffer> {
    yield block.subarray(0, filled);
    if (!reuse) block = Buffer.allocUnsafeSlow(blockBytes);
    filled = 0;
  }

  /** Whether a file begins a block depends on its name and size only, so that two trees have the same blocks again soon after
   *  what differs. Large ones always do; on average one does every half block. */
  function beginsBlock(path: Buffer, size: number): boolean {
    if (options.cutAtMembers !== true || filled === 0) return false;
    if (size >= blockBytes) return true;
    return filled >= blockBytes / 8 && crc32(path) < 2 ** 32 * (size / (blockBytes / 2));
  }

  function* bytes(source: Buffer): Generator<Buffer> {
    for (let at = 0; at < source.length; ) {
      const count = source.copy(block, filled, at);
      at += count;
      filled += count;
      if (filled === blockBytes) yield* flush();
    }
  }

  /** Content of an open file straight into the blocks, and zeros up to a multiple of 512. */
  function* content(fd: number, { stat: { size }, path }: Visit): Generator<Buffer> {
    for (let at = 0; at < size; ) {
      const count = readSync(fd, block, filled, Math.min(blockBytes - filled, size - at), at);
      if (count === 0) {
        throw new BuildError("CONTEXT_CHANGED", `${shownName(path)} became shorter while it was read`);
      }
      at += count;
      filled += count;
      if (filled === blockBytes) yield* flush();
    }
    yield* zeros((512 - (size % 512)) % 512);
  }

  function* zeros(count: number): Generator<Buffer> {
    for (let left = count; left > 0; ) {
      const part = Math.min(left, blockBytes - filled);
      block.fill(0, filled, filled + part);
      left -= part;
      filled += part;
      if (filled === blockBytes) yield* flush();
    }
  }

  function mtimeOf(stat: Stat): number {
    const seconds = Number(stat.mtimeNs >= 0n ? stat.mtimeNs / NS : -((-stat.mtimeNs + NS - 1n) / NS));
    if (options.epochSeconds === null) return seconds;
    return layer ? Math.min(seconds, options.epochSeconds) : options.epochSeconds;
  }

  function* whiteout(name: Buffer): Generator<Buffer> {
    if (name.length > PATH_MAX_BYTES) throw pathTooLong(name.toString("latin1"));
    const end = writeHeader(header, 0, {
      name,
      linkName: null,
      type: "file",
      mode: 0,
      uid: 0,
      gid: 0,
      size: 0,
      // Deleted things have no time; a fixed one keeps the bytes repeatable.
      mtimeSeconds: options.epochSeconds ?? 0,
      devMajor: 0,
      devMinor: 0,
      xattrs: null,
    });
    yield* bytes(header.subarray(0, end));
  }

  for (const visit of walkTree(root)) {
    if (visit.phase === "leave") continue;
    const { stat, path, name } = visit;
    const type = typeOf(stat);
    if (type === null) continue; // a socket lives with its process: containerd leaves them out silently too
    if (type === "char" && stat.rdevMajor === 0 && stat.rdevMinor === 0) {
      if (layer) yield* whiteout(whiteoutPath(path, name));
      continue;
    }
    if (layer && isWhiteoutName(name)) {
      // In a layer this name would delete a file (threat model T5). BuildKit's images lack it as well.
      options.note(
        `${shownName(path)} cannot be in an image, because its name marks a deleted file: skipped`,
      );
      continue;
    }
    let written: TarType = type;
    let linkName: Buffer | null = type === "symlink" ? readlinkat(visit.dirfd, name) : null;
    if (stat.nlink > 1 && type !== "dir") {
      const inode = `${stat.dev}:${stat.ino}`;
      const first = links.get(inode);
      if (first === undefined) links.set(inode, path);
      else {
        written = "link";
        linkName = first;
      }
    }
    const fd = written === "file" ? openat(visit.dirfd, name, O.RDONLY | O.NOFOLLOW | O.NONBLOCK) : null;
    try {
      const native = procPath(visit.dirfd, name);
      // By descriptor where there is one: a path below /proc costs several times as much to walk.
      const attributes = fd === null ? llistxattr(native) : flistxattr(fd);
      const owner = ownerOf(
        stat,
        () => (attributes.includes(OWNER_XATTR) ? lgetxattr(native, OWNER_XATTR) : null),
        options.oneId,
      );
      const end = writeHeader(header, 0, {
        name: type === "dir" ? Buffer.concat([path, SLASH]) : path,
        linkName,
        type: written,
        mode: stat.mode & S.PERM,
        uid: owner.uid,
        gid: owner.gid,
        size: written === "file" ? stat.size : 0,
        mtimeSeconds: mtimeOf(stat),
        devMajor: type === "char" || type === "block" ? stat.rdevMajor : 0,
        devMinor: type === "char" || type === "block" ? stat.rdevMinor : 0,
        xattrs: xattrsOf(native, attributes, options.form),
      });
      if (fd !== null && beginsBlock(path, stat.size)) yield* flush();
      yield* bytes(header.subarray(0, end));
      if (fd !== null) yield* content(fd, visit);
      if (layer && type === "dir" && attributes.includes(OPAQUE_XATTR) && isOpaque(native)) {
        yield* whiteout(Buffer.concat([path, SLASH, OPAQUE_NAME]));
      }
    } finally {
      if (fd !== null) close(fd);
    }
  }
  yield* zeros(1024); // the end of an archive: two blocks of zeros
  if (filled > 0) yield* flush();
}
const NS = 1_000_000_000n;

function typeOf(stat: Stat): TarType | null {
  switch (stat.mode & S.IFMT) {
    case S.IFREG:
      return "file";
    case S.IFDIR:
      return "dir";
    case S.IFLNK:
      return "symlink";
    case S.IFCHR:
      return "char";
    case S.IFBLK:
      return "block";
    case S.IFIFO:
      return "fifo";
    default:
      return null;
  }
}

function whiteoutPath(path: Buffer, name: Buffer): Buffer {
  return Buffer.concat([path.subarray(0, path.length - name.length), WHITEOUT_PREFIX, name]);
}

function xattrsOf(
  path: Buffer,
  names: readonly string[],
  form: TreeTarOptions["form"],
): ReadonlyMap<string, Buffer> | null {
  const wanted = names.filter((name) => (form === "layer" ? name === CAPABILITY : isImageXattr(name)));
  if (wanted.length === 0) return null;
  return new Map(wanted.map((name) => [name, lgetxattr(path, name) ?? NO_DATA]));
}

/** overlayfs.rst: "y" hides what is below; "x" means that files inside may be whiteouts in xattr form. */
function isOpaque(path: Buffer): boolean {
  return lgetxattr(path, OPAQUE_XATTR)?.toString("latin1") === "y";
}
