// Content of a cache mount outside of a store: an index (the directory's content) and packs (the bytes of its files, each piece
// once). An index refers to pieces by sha256 and says which pack contains each, so the next export only sends new pieces.
//
// Pack: gzip of concatenated pieces. Piece: a file, or 16 MiB of it. Index, version 1 (JSON):
//   { "version": 1,
//     "packs": [ { "digest": "sha256:…", "size": bytes, "pieces": [["<hex>", bytes], …] }, … ],
//     "entries": [ ["d", path, mode, uid, gid, mtimeMs], ["f", …, [hex, …]], ["l", …, target], … ] }
// Paths and targets are bytes, written as latin1 text; "" is the directory itself; directories come before their content.

import { type Digest, isDigest } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";

/** A Go module cache of 100,000 files: 20 MB. */
export const MOUNT_INDEX_MAX_BYTES: number = 128 << 20;
/** Files are cut into pieces of this size, so that memory has a bound and a file that only grew is sent in part. */
export const PIECE_BYTES: number = 16 << 20;
/** A pack is closed when it has this many plain bytes: large enough to be few, small enough to be rewritten when half is stale. */
export const PACK_BYTES: number = 32 << 20;

/** Bytes of a path below the directory: PATH_MAX, without its NUL. */
const MOUNT_PATH_MAX_BYTES = 4095;
/** Directories one in another: one descriptor is open for each. Trees of tools stay below 60. */
export const MOUNT_DEPTH_MAX = 400;
/** Bytes of all files of one mount. */
export const MOUNT_MAX_BYTES: number = 256 * 2 ** 30;
/** A pack of pieces that do not compress is a little longer than they are. */
export const PACK_FILE_MAX_BYTES: number = PACK_BYTES + PIECE_BYTES + (1 << 20);

export interface PackOfMount {
  readonly digest: Digest;
  readonly size: number;
  readonly pieces: readonly (readonly [hex: string, bytes: number])[];
}

export interface MountEntry {
  readonly kind: "directory" | "file" | "link";
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeMs: number;
  /** Pieces of a file. */
  readonly pieces: readonly string[];
  /** Target of a link. */
  readonly target: string;
}

export interface MountIndex {
  readonly packs: readonly PackOfMount[];
  readonly entries: readonly MountEntry[];
}

const LETTERS = { directory: "d", file: "f", link: "l" } as const;

export function encodeMountIndex({ packs, entries }: MountIndex): Uint8Array {
  const rows = entries.map(({ kind, path, mode, uid, gid, mtimeMs, pieces, target }) => [
    LETTERS[kind],
    path,
    mode,
    uid,
    gid,
    mtimeMs,
    ...(kind === "file" ? [pieces] : kind === "link" ? [target] : []),
  ]);
  return Buffer.from(JSON.stringify({ version: 1, packs, entries: rows }));
}

/**
 * Reads an index from outside. What it returns is safe to be made in an empty directory in order: names are single components
 * without "..", and what an entry lies in is a directory that stands before it, never a link. Throws IMAGE_INVALID.
 */
export function parseMountIndex(bytes: Uint8Array): MountIndex {
  if (bytes.length > MOUNT_INDEX_MAX_BYTES)
    throw invalid(`its index has more than ${MOUNT_INDEX_MAX_BYTES} bytes`);
  let json: { version?: unknown; packs?: unknown; entries?: unknown };
  try {
    json = JSON.parse(Buffer.from(bytes).toString("utf8")) as typeof json;
  } catch (cause) {
    throw invalid("its index is not JSON", cause);
  }
  if (json === null || typeof json !== "object" || json.version !== 1)
    throw invalid("its index has an unknown version");
  if (!Array.isArray(json.packs) || !Array.isArray(json.entries)) throw invalid("its index has no lists");
  const packs = json.packs.map(parsePack);
  const known = new Map<string, number>(); // hex to the most bytes any pack says it has
  for (const [hex, size] of packs.flatMap((pack) => pack.pieces))
    known.set(hex, Math.max(size, known.get(hex) ?? 0));
  let total = 0;
  const directories = new Set<string>();
  const names = new Set<string>();
  const entries = json.entries.map((row: unknown) => {
    const entry = parseEntry(row);
    if (names.has(entry.path)) throw invalid("its index contains a path twice");
    names.add(entry.path);
    if (entry.path !== "" && !directories.has(parentOf(entry.path)))
      throw invalid("its index has a path without its directory");
    if (entry.kind === "directory") directories.add(entry.path);
    else if (entry.path === "") throw invalid("its index has no root directory");
    for (const hex of entry.pieces) {
      const size = known.get(hex);
      if (size === undefined) throw invalid("its index is missing a part of a file");
      total += size;
    }
    // A few pieces can stand for any number of bytes.
    if (total > MOUNT_MAX_BYTES) throw invalid(`its files have more than ${MOUNT_MAX_BYTES} bytes`);
    return entry;
  });
  return { packs, entries };
}

function parsePack(value: unknown): PackOfMount {
  const { digest, size, pieces } = (value ?? {}) as Record<string, unknown>;
  if (typeof digest !== "string" || !isDigest(digest) || !isCount(size) || !Array.isArray(pieces))
    throw invalid("a pack in its index is invalid");
  let total = 0;
  for (const piece of pieces as unknown[]) {
    if (!Array.isArray(piece) || !isHex(piece[0]) || !isCount(piece[1]))
      throw invalid("a file part in its index is invalid");
    total += piece[1];
  }
  if (total > PACK_BYTES + PIECE_BYTES) throw invalid("a pack in its index is too large");
  return { digest, size, pieces: pieces as [string, number][] };
}

function parseEntry(row: unknown): MountEntry {
  if (!Array.isArray(row)) throw invalid("an entry of its index is invalid");
  const [letter, path, mode, uid, gid, mtimeMs, last] = row as unknown[];
  const kind = (Object.keys(LETTERS) as MountEntry["kind"][]).find((one) => LETTERS[one] === letter);
  if (
    kind === undefined ||
    typeof path !== "string" ||
    typeof mtimeMs !== "number" ||
    !(Math.abs(mtimeMs) <= TIME_MAX_MS)
  ) {
    throw invalid("an entry of its index is invalid");
  }
  if (!isCount(mode) || mode > 0o7777 || !isId(uid) || !isId(gid))
    throw invalid("an entry of its index is invalid");
  if (path !== "" && (!isMountPath(path) || !path.split("/").every(isName)))
    throw invalid("an entry of its index has a path outside the mount");
  const pieces = kind === "file" ? last : [];
  const target = kind === "link" ? last : "";
  if (!Array.isArray(pieces) || !pieces.every(isHex)) throw invalid("a file in its index is invalid");
  if (
    typeof target !== "string" ||
    target.includes("\0") ||
    target.length > MOUNT_PATH_MAX_BYTES ||
    (kind === "link" && target === "")
  ) {
    throw invalid("a link in its index is invalid");
  }
  return { kind, path, mode, uid, gid, mtimeMs, pieces, target };
}

/** Is a path short enough, and does it lie in few enough directories? */
export function isMountPath(path: string): boolean {
  if (path.length > MOUNT_PATH_MAX_BYTES) return false;
  let depth = 0;
  for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1)) depth++;
  return depth < MOUNT_DEPTH_MAX;
}

export function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}

function isName(name: string): boolean {
  return name !== "" && name !== "." && name !== ".." && name.length <= 255 && !name.includes("\0");
}

function isHex(value: unknown): value is string {
  return typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

/** 32 bits; the largest means "leave it" to chown(2), and a larger one would be cut to another. */
function isId(value: unknown): value is number {
  return isCount(value) && value < 0xffffffff;
}

/** Of a Date. */
const TIME_MAX_MS = 8.64e15;

function invalid(problem: string, cause?: unknown): BuildError {
  return new BuildError("IMAGE_INVALID", `the content of a cache mount cannot be used: ${problem}`, {
    cause,
  });
}
