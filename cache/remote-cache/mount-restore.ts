// Index and packs to the directory of a cache mount. [thread of the keeper]

import { createHash } from "node:crypto";
import {
  chmodSync,
  closeSync,
  lchownSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeSync,
} from "node:fs";
import { gunzipSync } from "node:zlib";
import { BuildError } from "../../solver/graph/error.ts";
import { type MountEntry, type MountIndex, PACK_BYTES, parseMountIndex, PIECE_BYTES } from "./mount-index.ts";

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
  const index = parseMountIndex(readFileSync(job.index));
  const root = Buffer.from(job.dir);
  try {
    return fill(index, root, job.packs);
  } catch (error) {
    for (const name of readdirSync(root, { encoding: "buffer" })) {
      rmSync(Buffer.concat([root, SLASH, name]), { recursive: true, force: true });
    }
    throw error;
  }
}

const SLASH = Buffer.from("/");

// Directories first, links last: no path ever leads through a link (parseMountIndex has checked what lies in what).
function fill(index: MountIndex, root: Buffer, packs: RestoreMountRequest["packs"]): RestoredMount {
  const at = ({ path }: MountEntry): Buffer =>
    path === "" ? root : Buffer.concat([root, SLASH, Buffer.from(path, "latin1")]);
  const directories = index.entries.filter(({ kind }) => kind === "directory");
  const files = index.entries.filter(({ kind }) => kind === "file");
  for (const entry of directories) if (entry.path !== "") mkdirSync(at(entry), 0o700);

  const wanted = new Map<string, { readonly file: Buffer; readonly offset: number }[]>();
  for (const entry of files) {
    closeSync(openSync(at(entry), "wx", 0o600));
    entry.pieces.forEach((hex, number) => {
      const places = wanted.get(hex) ?? [];
      places.push({ file: at(entry), offset: number * PIECE_BYTES });
      wanted.set(hex, places);
    });
  }
  let bytes = 0;
  for (const pack of index.packs) {
    if (!pack.pieces.some(([hex]) => wanted.has(hex))) continue;
    const path = packs[pack.digest];
    if (path === undefined) throw invalid(`the pack ${pack.digest} is missing`);
    const data = unpack(readFileSync(path));
    let from = 0;
    for (const [hex, length] of pack.pieces) {
      const piece = data.subarray(from, from + length);
      from += length;
      const places = wanted.get(hex);
      if (places === undefined) continue;
      wanted.delete(hex);
      if (piece.length !== length || createHash("sha256").update(piece).digest("hex") !== hex)
        throw invalid("a pack is not what its index says");
      for (const { file, offset } of places) writeAt(file, piece, offset);
      bytes += length * places.length;
    }
  }
  if (wanted.size > 0) throw invalid("a piece of a file is missing");
  for (const entry of files) dress(at(entry), entry);
  for (const entry of index.entries) {
    if (entry.kind !== "link") continue;
    symlinkSync(Buffer.from(entry.target, "latin1"), at(entry));
    dress(at(entry), entry);
  }
  for (const entry of directories.reverse()) dress(at(entry), entry);
  return { files: files.length, bytes };
}

function unpack(data: Uint8Array): Buffer {
  try {
    return gunzipSync(data, { maxOutputLength: PACK_BYTES + PIECE_BYTES });
  } catch (cause) {
    throw invalid("a pack is damaged", cause);
  }
}

function writeAt(file: Buffer, piece: Buffer, offset: number): void {
  const fd = openSync(file, "r+");
  try {
    for (let done = 0; done < piece.length; )
      done += writeSync(fd, piece, done, piece.length - done, offset + done);
  } finally {
    closeSync(fd);
  }
}

/** Owner before mode (chown(2) clears set-id bits), times last. Owners this machine has no ids for stay ours. */
function dress(path: Buffer, { kind, uid, gid, mode, mtimeMs }: MountEntry): void {
  try {
    lchownSync(path, uid, gid);
  } catch (error) {
    if (!["EPERM", "EINVAL"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
  if (kind !== "link") chmodSync(path, mode);
  lutimesSync(path, mtimeMs / 1000, mtimeMs / 1000);
}

function invalid(problem: string, cause?: unknown): BuildError {
  return new BuildError("IMAGE_INVALID", `the content of a cache mount cannot be used: ${problem}`, {
    cause,
  });
}
