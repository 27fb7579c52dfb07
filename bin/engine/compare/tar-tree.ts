// The files of a layer or of a tar of a root file system, indexed in one pass and read where they lie. Nothing is unpacked: names and
// links of the archive never reach the file system. Memory is bounded by the number and length of names.

import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { sizeLimit } from "../../../cache/layers/apply.ts";
import { detectCompression, readDecompressed } from "../../../cache/layers/decompress.ts";
import { type TarEntry, tarReader } from "../../../cache/layers/tar.ts";
import { openRegularFile, writeAll } from "../../../cache/outside.ts";
import { BuildError } from "../../../solver/graph/error.ts";
import type { Content, FileTree, Member } from "./contract.ts";

/** Of one layer. Real ones have some 100,000. */
export const MEMBERS_MAX = 2_000_000;
/** Of all names, link targets and attributes of one layer. */
export const NAMES_MAX_BYTES: number = 512 << 20;
const CHUNK_BYTES = 1 << 20;
/** Chunks between two turns for signals. */
const CHUNKS_PER_TURN = 16;

interface TarOptions {
  readonly signal: AbortSignal;
  /** What its bytes must hash to, uncompressed; null: not known. */
  readonly diffId: string | null;
  /** For messages. */
  readonly shown: string;
  /** Where an uncompressed copy goes, if one is needed. */
  readonly tempDir: () => string;
}

/** Opens a tar, compressed or not. Throws ARCHIVE_INVALID, LIMIT_EXCEEDED, DIGEST_MISMATCH, FILE_INVALID. */
export async function openTarTree(path: string, options: TarOptions): Promise<FileTree> {
  const fd = await openPlain(path, options);
  try {
    const members = await indexed(fd, options);
    return { members, [Symbol.dispose]: () => closeSync(fd) };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** The archive itself, or an uncompressed copy that has no name any more. */
async function openPlain(path: string, { signal, tempDir }: TarOptions): Promise<number> {
  const given = openRegularFile(path);
  const head = Buffer.alloc(8);
  if (detectCompression(head.subarray(0, readSync(given, head, 0, 8, 0))) === "none") return given;
  let copy: number | null = null;
  try {
    const { unlinkSync } = await import("node:fs");
    const name = join(tempDir(), "plain.tar");
    copy = openSync(name, "wx+", 0o600);
    unlinkSync(name);
    const limit = sizeLimit(fstatSync(given).size);
    const into = copy;
    await readDecompressed(given, (chunk) => {
      limit(chunk.length);
      writeAll(into, chunk);
      return !signal.aborted;
    });
    signal.throwIfAborted();
    return copy;
  } catch (error) {
    if (copy !== null) closeSync(copy);
    throw error;
  } finally {
    closeSync(given);
  }
}

/** A stretch of a file, and where it lies in the tar. Holes have none. */
interface Extent {
  readonly offset: number;
  readonly at: number;
  length: number;
}

async function indexed(fd: number, { signal, diffId, shown }: TarOptions): Promise<Map<string, Member>> {
  const members = new Map<string, Member>();
  const hash = createHash("sha256");
  let names = 0;
  let current: { readonly name: string; readonly entry: TarEntry; readonly extents: Extent[] } | null = null;
  let chunk: Buffer = Buffer.alloc(0);
  let position = 0; // of the chunk in the tar

  const reader = tarReader({
    entry(entry) {
      const name = cleanPath(entry.name);
      names += name.length + entry.linkName.length;
      for (const [key, value] of entry.xattrs) names += key.length + value.length;
      if (members.size >= MEMBERS_MAX || names > NAMES_MAX_BYTES)
        throw new BuildError("LIMIT_EXCEEDED", `${shown} has too many files to be compared`);
      current = { name, entry, extents: [] };
    },
    data(bytes, offset) {
      if (current === null) return;
      const at = position + (bytes.byteOffset - chunk.byteOffset);
      const last = current.extents.at(-1);
      if (last !== undefined && last.offset + last.length === offset && last.at + last.length === at)
        last.length += bytes.length;
      else current.extents.push({ offset, at, length: bytes.length });
    },
    end() {
      if (current === null) return;
      const { name, entry, extents } = current;
      current = null;
      members.delete(name); // of two with one name the last counts, and its place
      members.set(name, memberOf(entry, contentOf(fd, entry, extents)));
    },
  });
  for (let count = 0; ; count++) {
    const buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
    const length = readSync(fd, buffer, 0, CHUNK_BYTES, position);
    if (length === 0) break;
    chunk = buffer.subarray(0, length);
    hash.update(chunk);
    if (!reader.ended) reader.push(chunk);
    position += length;
    if (count % CHUNKS_PER_TURN === 0) await turn();
    signal.throwIfAborted();
  }
  if (position > 0) reader.finish(); // an empty file is an empty layer for some builders
  const found = `sha256:${hash.digest("hex")}`;
  if (diffId !== null && found !== diffId)
    throw new BuildError(
      "DIGEST_MISMATCH",
      `${shown}: a layer has diff ID ${found}, but its config says ${diffId}`,
    );
  members.delete("");
  return members;
}

function memberOf(entry: TarEntry, content: Content | null): Member {
  const isDevice = entry.type === "char" || entry.type === "block";
  return {
    type: entry.type,
    mode: entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    mtimeNs: entry.mtimeNs,
    link:
      entry.type === "symlink"
        ? entry.linkName.toString("latin1")
        : entry.type === "link"
          ? cleanPath(entry.linkName)
          : "",
    device: isDevice ? `${entry.devMajor}:${entry.devMinor}` : "",
    xattrs: entry.xattrs,
    content,
  };
}

function contentOf(fd: number, { type, size }: TarEntry, extents: readonly Extent[]): Content | null {
  if (type !== "file") return null;
  return {
    size,
    read(into, position) {
      const count = Math.max(0, Math.min(into.length, size - position));
      const wanted = into.subarray(0, count);
      wanted.fill(0);
      for (const extent of extents) {
        const from = Math.max(position, extent.offset);
        const to = Math.min(position + count, extent.offset + extent.length);
        if (from >= to) continue;
        const at = extent.at + (from - extent.offset);
        const length = readSync(fd, wanted, from - position, to - from, at);
        if (length < to - from)
          throw new BuildError("ARCHIVE_INVALID", "an archive became shorter while it was read");
      }
      return count;
    },
  };
}

/** "a/b" for "./a//b/": names for comparing, which open nothing. */
export function cleanPath(name: Buffer): string {
  return name
    .toString("latin1")
    .split("/")
    .filter((part) => part !== "" && part !== ".")
    .join("/");
}
