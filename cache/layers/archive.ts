// Local tar archives for ADD: detects and unpacks them. [thread of the keeper]

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { BuildError } from "../../solver/graph/error.ts";
import { isSysError } from "../../worker/sys/libc.ts";
import { refusalOf } from "../disk-fault.ts";
import { sizeLimit } from "./apply.ts";
import { detectCompression, readDecompressed } from "./decompress.ts";
import { treeWriter } from "./entry.ts";
import { idMapKind } from "./ids.ts";
import { TAR_SPECIAL_MAX_BYTES, tarReader } from "./tar.ts";

/** What is read of a file to see whether it is an archive: a first header may have extensions before it. */
const PROBE_MAX_BYTES: number = 4 * TAR_SPECIAL_MAX_BYTES;

/** Is this regular file (a path, last component not followed, or a descriptor) a tar archive, compressed or not? As
 *  BuildKit asks: it can be decompressed and a first tar header can be read. Throws ARCHIVE_INVALID for compressed bytes that
 *  cannot be decompressed so far as to tell. */
export async function isArchive(source: string | number): Promise<boolean> {
  let fd: number;
  try {
    // Never waits: a fifo without a writer opens at once, and is refused below.
    fd =
      typeof source === "number"
        ? source
        : openSync(source, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (isFsError(error, "ELOOP", "ENOENT", "ENXIO")) return false;
    throw error;
  }
  try {
    if (!fstatSync(fd).isFile()) return false;
    let found = false;
    let isOther = false;
    let seen = 0;
    const reader = tarReader({
      entry: () => {
        found = true;
      },
      data: () => {},
      end: () => {},
    });
    try {
      await readDecompressed(fd, (chunk) => {
        seen += chunk.length;
        // In small pieces: what follows the first header is not looked at and may be anything.
        try {
          for (let at = 0; at < chunk.length && !found; at += 512) reader.push(chunk.subarray(at, at + 512));
        } catch (error) {
          if (!(error instanceof BuildError)) throw error;
          isOther = true; // no tar header: some other file
        }
        return !found && !isOther && !reader.ended && seen < PROBE_MAX_BYTES;
      });
    } catch (error) {
      // What only begins like compressed bytes is some other file too.
      if (!(error instanceof BuildError) || isCompressed(fd)) throw error;
    }
    return found;
  } finally {
    if (fd !== source) closeSync(fd);
  }
}

/** Reads an archive for its form alone: finish() throws ARCHIVE_INVALID for one that is cut off, as push() does for what is no tar. */
export function tarChecker(): { push(chunk: Uint8Array): void; finish(): void } {
  const reader = tarReader({ entry: () => {}, data: () => {}, end: () => {} });
  return {
    push(chunk) {
      if (!reader.ended) reader.push(chunk);
    },
    finish: () => reader.finish(),
  };
}

/** Time of the newest file in a tar archive, epoch seconds; null: it has none, is none or cannot be read. */
export async function newestMember(source: string | number): Promise<number | null> {
  let newestNs: bigint | null = null;
  const reader = tarReader({
    entry: ({ type, mtimeNs }) => {
      if (type === "file" && (newestNs === null || mtimeNs > newestNs)) newestNs = mtimeNs;
    },
    data: () => {},
    end: () => {},
  });
  try {
    await readDecompressed(source, (chunk) => {
      reader.push(chunk);
      return !reader.ended;
    });
    reader.finish();
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    return null;
  }
  // Go's Time.Unix rounds down.
  return newestNs === null ? null : Number((newestNs - (((newestNs % NS) + NS) % NS)) / NS);
}
const NS = 1_000_000_000n;

/** Whether a file that could not be decompressed was meant to be: bzip2 has but letters for a magic number, which texts may begin
 *  with, and 48 bits more at the start of its first block. */
function isCompressed(fd: number): boolean {
  const head = Buffer.alloc(10);
  readSync(fd, head, 0, head.length, 0);
  const kind = detectCompression(head);
  if (kind === "bzip2") return /^425a683[1-9](?:314159265359|177245385090)/.test(head.toString("hex"));
  return kind !== "none";
}

export interface Unpacked {
  readonly entries: number;
  readonly sizeBytes: number;
}

/** What extractArchive throws for a call that the kernel refuses, as the user's error: STORE_FULL, or ARCHIVE_INVALID for what a
 *  member asks for. `place`: a path in the store. Anything else as it is. */
export function archiveFault(error: unknown, doing: string, place: string): unknown {
  if (!isSysError(error)) return error;
  const refusal = refusalOf(error, "store", place);
  if (refusal === null)
    return new BuildError("ARCHIVE_INVALID", `${doing}: ${error.message}`, { cause: error });
  return new BuildError("STORE_FULL", `${refusal.words} while ${doing}`, {
    cause: error,
    hint: refusal.hint,
  });
}

/** Unpacks a tar archive (a path or a descriptor) into the directory `dest` stands for, with the owners, modes and
 *  times it states, as moby's Untar does for ADD: what is in the way is replaced, directories are merged, missing
 *  parents are made (0755, root). Nothing lands outside: links on the way are resolved as if `dest` were the root.
 *  `note` is told what had to be left out. Throws ARCHIVE_INVALID, LIMIT_EXCEEDED, SysError. */
export async function extractArchive(
  source: string | number,
  dest: number,
  options: {
    readonly note?: (message: string) => void;
    /** false: everything belongs to who unpacks, and devices are left out. */
    readonly owners?: boolean;
    /** Whose all members are to be; left out or null: who they say. */
    readonly owner?: { readonly uid: number; readonly gid: number } | null;
  } = {},
): Promise<Unpacked> {
  const fd = typeof source === "number" ? source : openSync(source, "r");
  const writer = treeWriter(dest, {
    form: "archive",
    idMap: options.owners === false ? "none" : idMapKind(),
    owner: options.owner ?? null,
    note: options.note ?? (() => {}),
  });
  try {
    const limit = sizeLimit(fstatSync(fd).size);
    const reader = tarReader(writer);
    await readDecompressed(fd, (chunk) => {
      limit(chunk.length);
      reader.push(chunk);
      return !reader.ended;
    });
    reader.finish();
    writer.finish();
    return { entries: writer.entries, sizeBytes: writer.sizeBytes };
  } finally {
    writer.close();
    if (fd !== source) closeSync(fd);
  }
}

function isFsError(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && codes.includes((error as NodeJS.ErrnoException).code ?? "");
}
