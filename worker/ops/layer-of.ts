// [thread of the keeper] Which layer brought a file, by its name in the directories of the layers: the newest that has one, whatever later layers
// delete. BuildKit: fileLayerFinder in exporter/containerimage/attestations.go.

import { baseOf, bytesOf, cleanPath, nativePath, parentOf } from "../../cache/tree.ts";
import type { LayerOfJob } from "../keeper/messages.ts";
import { AT, O, S } from "../sys/constants.ts";
import { close, openat, statxOrNull } from "../sys/file.ts";
import { isSysError } from "../sys/libc.ts";
import { inWords } from "./failure.ts";
import { type DirCursor, openCursor } from "./fd-tree.ts";

/** A place in `layers` for each path; null: no layer has it. Names are not followed through links. */
export function runLayerOfJob({ layers, paths }: LayerOfJob): readonly (number | null)[] {
  return inWords("look for files in layers", () => {
    const found = new Map<string, number>();
    const asked = paths.map((path) => (path.includes("\0") ? "" : cleanPath(bytesOf(path))));
    // Sorted, files of one directory come together, which is opened once a layer then.
    let missing = [...new Set(asked)].filter((path) => path !== "").sort();
    for (const [index, dir] of [...layers.entries()].reverse()) {
      if (missing.length === 0) break;
      const root = openat(AT.FDCWD, dir, O.RDONLY | O.DIRECTORY);
      const cursor = openCursor(root);
      try {
        const here = membersOf(cursor, missing);
        for (const path of here) found.set(path, index);
        missing = missing.filter((path) => !here.has(path));
      } finally {
        cursor.close();
        close(root);
      }
    }
    return asked.map((path) => found.get(path) ?? null);
  });
}

function membersOf(cursor: DirCursor, sorted: readonly string[]): ReadonlySet<string> {
  const here = new Set<string>();
  let absent: string | null = null;
  for (const path of sorted) {
    const parent = parentOf(path);
    if (parent === absent) continue;
    try {
      const stat = statxOrNull(cursor.at(parent), nativePath(baseOf(path)));
      // overlayfs.rst: a whiteout is a character device with number 0/0.
      const isWhiteout = stat !== null && (stat.mode & S.IFMT) === S.IFCHR && stat.rdevMajor === 0;
      if (stat !== null && !isWhiteout) here.add(path);
    } catch (error) {
      if (!isSysError(error, "ENOENT", "ENOTDIR", "ELOOP", "ENAMETOOLONG")) throw error;
      if (!isSysError(error, "ENAMETOOLONG")) absent = parent;
    }
  }
  return here;
}
