// [keeper] Opens the trees of a job for reading.

import type { TreeReader } from "../../cache/tree.ts";
import { filterTree } from "../../cache/tree-filter.ts";
import type { Tree } from "../keeper/messages.ts";
import { openat } from "../sys/file.ts";
import { overlayMount } from "../sys/mount.ts";
import { emptyTree, fdTree } from "./fd-tree.ts";
import { stackOf } from "./stack.ts";
import { AT, O } from "../sys/constants.ts";

export interface OpenTree {
  readonly tree: TreeReader;
  /** Its root directory; null for scratch. */
  readonly root: number | null;
  readonly close: () => void;
}

/** Opens a tree for reading: layers are stacked in a mount of their own, a directory of the user is opened where it is
 *  and shown as its ignore rules have it. */
export function openTreeOf(tree: Tree | null): OpenTree {
  if (tree === null || (tree.kind === "layers" && tree.dirs.length === 0)) {
    return { tree: emptyTree(), root: null, close: () => {} };
  }
  if (tree.kind === "layers") {
    const opened = fdTree(overlayMount({ lowers: stackOf(tree.dirs), userxattr: true }), { live: false });
    return { tree: opened, root: opened.root, close: () => opened.close() };
  }
  const opened = fdTree(openat(AT.FDCWD, tree.root, O.RDONLY | O.DIRECTORY), { live: true });
  return { tree: filterTree(opened, tree), root: opened.root, close: () => opened.close() };
}
