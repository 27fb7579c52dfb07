// [keeper] ADD of a local archive: unpacked to the destination of the copy.

import { extractArchive, isArchive } from "../../cache/layers/archive.ts";
import type { TreeReader } from "../../cache/tree.ts";
import type { Match } from "../../cache/tree-select.ts";
import { close, openat } from "../sys/file.ts";
import type { Owner } from "./owner.ts";
import { type Look, type Place, shown } from "./place.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { O } from "../sys/constants.ts";

/** Unpacks a file of the source into a directory (a resolved path of the place) if it is an archive; else false, and
 *  nothing has changed. The directory is made, with `made` as its look; members have the times they state, and the owners
 *  unless there is an `owner` for all; `note` is told what had to be left out. Throws ARCHIVE_INVALID, LIMIT_EXCEEDED. */
export async function unpackMatch(
  source: TreeReader,
  match: Match,
  place: Place,
  directory: string,
  options: {
    readonly made: Omit<Look, "xattrs">;
    readonly owner: Owner | null;
    readonly note: (message: string) => void;
  },
): Promise<boolean> {
  const probe = source.open(match.path);
  try {
    if (!(await named(match, () => isArchive(probe)))) return false;
  } finally {
    close(probe);
  }
  place.makeParents(directory, options.made);
  // Descriptors of their own: the cursors may move, and must forget what the archive replaces.
  const target = openat(place.tree.cursor.at(directory), ".", O.RDONLY | O.DIRECTORY);
  place.forgetDirectories();
  try {
    const archive = source.open(match.path);
    try {
      const { note, owner } = options;
      await named(match, () => extractArchive(archive, target, { note, owner }));
      return true;
    } finally {
      close(archive);
    }
  } finally {
    close(target);
  }
}

/** What is wrong with an archive, with its name. */
async function named<T>(match: Match, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof BuildError) || error.code !== "ARCHIVE_INVALID") throw error;
    throw new BuildError("ARCHIVE_INVALID", `${shown(match.path)}: ${error.message}`, {
      cause: error,
      hint: error.hint ?? "COPY, or ADD --unpack=false, copies the file without unpacking it",
    });
  }
}
