// [thread of the keeper] Finds the packages in a tree: here, since only the keeper can read files of other owners.
//
// The tree is scanned as steps see it, so overlayfs has hidden what later layers delete. Which layer brought a package is read from the
// directories of the layers themselves, with the same rules (overlayfs.rst, "whiteouts and opaque directories").

import { baseOf, nativePath, parentOf } from "../../cache/tree.ts";
import type { FileVersion, Scan, ScanTree } from "../sbom/contract.ts";
import type { ScanJob } from "../keeper/messages.ts";
import { AT, O, S } from "../sys/constants.ts";
import { close, fgetxattr, fstat, openat, statxOrNull } from "../sys/file.ts";
import { inWordsAsync } from "./failure.ts";
import { type DirCursor, openCursor } from "./fd-tree.ts";
import { openTreeOf } from "./open-tree.ts";

/** Throws COPY_FAILED when the tree itself cannot be opened; what is wrong inside of it is in the result. */
export async function runScanJob(job: ScanJob): Promise<Scan> {
  return await inWordsAsync("scan for packages", async () => {
    const { scanTree } = await import("../sbom/scan.ts");
    const { tree, close: end } = openTreeOf(job.tree);
    const layers = job.tree.kind === "layers" ? openLayers(job.layers) : null;
    try {
      const source: ScanTree = layers === null ? { tree } : { tree, versionsOf: layers.versionsOf };
      return await scanTree(source);
    } finally {
      layers?.close();
      end();
    }
  });
}

interface Layers {
  readonly versionsOf: (path: string) => readonly FileVersion[];
  readonly close: () => void;
}

/** What a layer says of a directory. `hides`: it covers what the layers below have in it. */
type DirectoryState = "hidden" | { readonly isHere: boolean; readonly hides: boolean };

/** Directories of layers, oldest first. */
function openLayers(dirs: readonly string[]): Layers {
  const roots: number[] = [];
  try {
    for (const dir of dirs) roots.push(openat(AT.FDCWD, dir, O.RDONLY | O.DIRECTORY));
  } catch (error) {
    for (const root of roots) close(root);
    throw error;
  }
  const layers = roots.map((root) => ({
    cursor: openCursor(root),
    known: new Map<string, DirectoryState>([["", { isHere: true, hides: false }]]),
  }));
  return {
    versionsOf(path) {
      const versions: FileVersion[] = [];
      for (const [index, { cursor, known }] of [...layers.entries()].reverse()) {
        const directory = stateOf(parentOf(path), cursor, known);
        if (directory === "hidden") break;
        if (directory.isHere) {
          const stat = statxOrNull(cursor.at(parentOf(path)), nativePath(baseOf(path)));
          // A whiteout, or something else that this file replaced.
          if (stat !== null && (stat.mode & S.IFMT) !== S.IFREG) break;
          if (stat !== null)
            versions.push({ layer: index, size: stat.size, open: () => openIn(cursor, path) });
        }
        if (directory.hides) break;
      }
      return versions.reverse();
    },
    close() {
      for (const { cursor } of layers) cursor.close();
      for (const root of roots) close(root);
    },
  };
}

/** The state of a directory follows from that of its parent, so no name is looked up below a link. */
function stateOf(path: string, cursor: DirCursor, known: Map<string, DirectoryState>): DirectoryState {
  const todo: string[] = [];
  let at = path;
  while (!known.has(at)) {
    todo.push(at);
    at = parentOf(at);
  }
  let state = known.get(at) as DirectoryState;
  for (const directory of todo.reverse()) {
    state = below(state, directory, cursor);
    known.set(directory, state);
  }
  return state;
}

function below(parent: DirectoryState, path: string, cursor: DirCursor): DirectoryState {
  if (parent === "hidden" || !parent.isHere) return parent;
  const stat = statxOrNull(cursor.at(parentOf(path)), nativePath(baseOf(path)));
  if (stat === null) return { isHere: false, hides: parent.hides };
  if ((stat.mode & S.IFMT) !== S.IFDIR) return "hidden";
  return { isHere: true, hides: parent.hides || fgetxattr(cursor.at(path), OPAQUE) !== null };
}
const OPAQUE = "user.overlay.opaque";

function openIn(cursor: DirCursor, path: string): number {
  const fd = openat(cursor.at(parentOf(path)), nativePath(baseOf(path)), O.RDONLY | O.NOFOLLOW | O.NONBLOCK);
  if ((fstat(fd).mode & S.IFMT) === S.IFREG) return fd;
  close(fd);
  throw new Error("a layer changed while it was read");
}
