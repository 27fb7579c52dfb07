// Local tar archives for ADD: is it one, and unpack it. [thread of the keeper]

import { closeSync, constants, fstatSync, openSync } from "node:fs";
import { BuildError } from "../../solver/graph/error.ts";
import { sizeLimit } from "./apply.ts";
import { readDecompressed } from "./decompress.ts";
import { treeWriter } from "./entry.ts";
import { idMapKind } from "./owner.ts";
import { TAR_SPECIAL_MAX_BYTES, tarReader } from "./tar.ts";

/** What is read of a file to see whether it is an archive: a first header may have extensions before it. */
const PROBE_MAX_BYTES: number = 4 * TAR_SPECIAL_MAX_BYTES;

/** Is this regular file (a path, last component not followed, or a descriptor) a tar archive, compressed or not? As
 *  BuildKit asks: it can be decompressed and a first tar header can be read. Never throws for bad content. */
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
        for (let at = 0; at < chunk.length && !found; at += 512) reader.push(chunk.subarray(at, at + 512));
        return !found && !reader.ended && seen < PROBE_MAX_BYTES;
      });
    } catch (error) {
      if (!(error instanceof BuildError)) throw error;
    }
    return found;
  } finally {
    if (fd !== source) closeSync(fd);
  }
}

export interface Unpacked {
  readonly entries: number;
  readonly sizeBytes: number;
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
