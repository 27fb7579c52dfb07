// A cache mount's directory to an index and packs. [thread of the keeper]
//
// Every file is read and hashed; pieces that a pack of the last export has are not packed again. The directory may be in use:
// what vanishes while it is read is left out, and a file that changes has the bytes that were read.

import { createHash, hash } from "node:crypto";
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { type Digest, digestOf, hexOf } from "../../solver/graph/digest.ts";
import {
  encodeMountIndex,
  type MountEntry,
  type MountIndex,
  PACK_BYTES,
  type PackOfMount,
  parseMountIndex,
  PIECE_BYTES,
} from "./mount-index.ts";

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
}

/** Packs of which less than this is still used are written anew. */
const USED_MIN = 0.5;
/** So many packs below SMALL_BYTES may be; then they become one. */
const SMALL_MAX = 12;
const SMALL_BYTES = 4 << 20;
/** Dependencies are mostly archives already; 1 costs a third of 6 and gives nearly as much. */
const GZIP_LEVEL = 1;

/** Packs a directory. Throws system errors; what was written by then is to be removed. */
export function packMount(job: PackMountRequest): PackedMount {
  const previous = job.previous === null ? null : readPrevious(job.previous);
  const entries: MountEntry[] = [];
  const used = new Map<string, number>(); // hex to bytes
  // First look: names and hashes. Second look, for what is new: bytes.
  const root = Buffer.from(job.dir);
  const places = new Map<string, { readonly file: Buffer; readonly offset: number }>();
  walk(root, "", entries, (file, hex, offset, bytes) => {
    used.set(hex, bytes);
    if (!places.has(hex)) places.set(hex, { file, offset });
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
  for (const [hex, { file, offset }] of places) {
    if (covered.has(hex)) continue;
    const bytes = readPiece(file, offset);
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
  const digest = digestOf(index);
  writeFileSync(join(job.out, hexOf(digest)), index);
  const isNew = new Set(fresh);
  return {
    index: { digest, size: index.length },
    packs: packs.map((pack) => ({ digest: pack.digest, size: pack.size, isNew: isNew.has(pack) })),
    files: whole.filter(({ kind }) => kind === "file").length,
    bytes: [...used.values()].reduce((sum, bytes) => sum + bytes, 0),
  };
}

/** An index that cannot be read is as none: everything is packed anew. */
function readPrevious(file: string): MountIndex | null {
  try {
    return parseMountIndex(readFileSync(file));
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

type OnPiece = (file: Buffer, hex: string, offset: number, bytes: number) => void;

/** Names as latin1, sorted by bytes; directories before what is in them. */
function walk(dir: Buffer, path: string, entries: MountEntry[], onPiece: OnPiece): void {
  const stat = orGone(() => lstatSync(dir));
  if (stat === null || !stat.isDirectory()) return;
  entries.push(entryOf("directory", path, stat));
  const names = orGone(() => readdirSync(dir, { encoding: "buffer" })) ?? [];
  for (const name of names.sort(Buffer.compare)) {
    const place = Buffer.concat([dir, SLASH, name]);
    const below = path === "" ? name.toString("latin1") : `${path}/${name.toString("latin1")}`;
    const found = orGone(() => lstatSync(place));
    if (found === null) continue;
    if (found.isDirectory()) walk(place, below, entries, onPiece);
    else if (found.isFile()) {
      const pieces = hashFile(place, onPiece);
      if (pieces !== null) entries.push({ ...entryOf("file", below, found), pieces });
    } else if (found.isSymbolicLink()) {
      const target = orGone(() => readlinkSync(place, { encoding: "buffer" }));
      if (target !== null)
        entries.push({ ...entryOf("link", below, found), target: target.toString("latin1") });
    } // sockets, pipes and devices are of the process that made them
  }
}

const SLASH = Buffer.from("/");

function entryOf(
  kind: MountEntry["kind"],
  path: string,
  stat: { readonly mode: number; readonly uid: number; readonly gid: number; readonly mtimeMs: number },
): MountEntry {
  const { uid, gid, mtimeMs } = stat;
  return { kind, path, mode: stat.mode & 0o7777, uid, gid, mtimeMs, pieces: [], target: "" };
}

/** null: it vanished. */
function hashFile(file: Buffer, onPiece: OnPiece): readonly string[] | null {
  const fd = orGone(() => openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK));
  if (fd === null) return null;
  try {
    const { size } = fstatSync(fd);
    const pieces: string[] = [];
    const block = Buffer.allocUnsafe(Math.min(1 << 20, Math.max(1, size)));
    for (let offset = 0; ; ) {
      const sha = createHash("sha256");
      let bytes = 0;
      while (bytes < PIECE_BYTES) {
        const count = readSync(fd, block, 0, Math.min(block.length, PIECE_BYTES - bytes), offset + bytes);
        if (count === 0) break;
        sha.update(block.subarray(0, count));
        bytes += count;
      }
      if (bytes === 0) return pieces;
      const hex = sha.digest("hex");
      onPiece(file, hex, offset, bytes);
      pieces.push(hex);
      offset += bytes;
    }
  } finally {
    closeSync(fd);
  }
}

function readPiece(file: Buffer, offset: number): Buffer | null {
  const fd = orGone(() => openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK));
  if (fd === null) return null;
  try {
    const size = Math.min(PIECE_BYTES, Math.max(0, fstatSync(fd).size - offset));
    const data = Buffer.allocUnsafeSlow(size);
    let filled = 0;
    while (filled < size) {
      const count = readSync(fd, data, filled, size - filled, offset + filled);
      if (count === 0) break;
      filled += count;
    }
    return data.subarray(0, filled);
  } finally {
    closeSync(fd);
  }
}

/** null: it is not there (any more), or no longer what it was. */
function orGone<T>(call: () => T): T | null {
  try {
    return call();
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "ELOOP", "ENXIO"].includes((error as NodeJS.ErrnoException).code ?? ""))
      return null;
    throw error;
  }
}
