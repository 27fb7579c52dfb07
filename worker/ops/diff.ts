// [keeper] DiffOp of two results with no common base: a layer that turns the lower tree into the upper one.
//
// Differences are those of containerd's fs.Changes, which BuildKit uses: kind, mode, owner and attributes of
// everything; size, time and bytes of everything except directories.

import { childPath, joinPath, type TreeReader, type TreeStat } from "../../cache/tree.ts";
import type { DiffJob } from "../keeper/messages.ts";
import { overlayMount } from "../sys/mount.ts";
import { copySubtree, type LinkedFiles } from "./copy.ts";
import { inWordsAsync } from "./failure.ts";
import { type OpenTree, openTreeOf } from "./open-tree.ts";
import { type IdMode, openPlace, type Place } from "./place.ts";
import { stackOf } from "./stack.ts";
import { readContent } from "./transfer.ts";
import { dropUnchanged } from "./unchanged.ts";

/** Runs the job; blocks its thread. Throws COPY_FAILED, STORE_FULL. What a failed job leaves in `upper` is for the caller to drop. */
export async function runDiffJob(job: DiffJob, idMode: IdMode): Promise<null> {
  return inWordsAsync("diff", async () => {
    const wanted = openTreeOf({ kind: "layers", dirs: job.to });
    try {
      const place = openPlace(
        overlayMount({ lowers: stackOf(job.from), upper: job.upper, work: job.work, userxattr: true }),
        idMode,
      );
      try {
        await become("", { wanted, place, idMode, linked: new Map() });
      } finally {
        place.close();
      }
      dropUnchanged(job.upper, job.from);
      return null;
    } finally {
      wanted.close();
    }
  });
}

interface Becoming {
  readonly wanted: OpenTree;
  readonly place: Place;
  readonly idMode: IdMode;
  readonly linked: LinkedFiles;
}

/** Makes a directory that both trees have the one that is wanted. True: something below it or in its look was changed. */
async function become(directory: string, becoming: Becoming): Promise<boolean> {
  const { wanted, place } = becoming;
  const goal = wanted.tree.children(directory);
  const names = new Set(goal.map(({ name }) => name));
  let isChanged = false;
  for (const { name } of place.tree.children(directory)) {
    if (!names.has(name)) isChanged = place.remove(joinPath(directory, name)) || isChanged;
  }
  for (const { name, stat } of goal) {
    const path = childPath(directory, name);
    const there = place.tree.lstat(path);
    if (there?.type === "directory" && stat.type === "directory") {
      isChanged = (await become(path, becoming)) || isChanged;
    } else if (there === null || !isSame(path, there, stat, becoming)) {
      if (there?.type === "directory" || stat.type === "directory") place.remove(path);
      const { tree: source, root: sourceRoot } = wanted;
      await copySubtree({ path, name, stat }, path, { ...becoming, source, sourceRoot });
      isChanged = true;
    }
  }
  const [is, look] = [place.tree.lstat(directory), wanted.tree.lstat(directory)];
  if (is === null || look === null) throw new Error("a directory disappeared");
  if (!isChanged && hasSameLook(directory, is, look, becoming)) return false;
  const xattrs = wanted.tree.xattrs(directory);
  place.dress(directory, { owner: look, mode: look.mode, mtimeNs: look.mtimeNs, xattrs }, "directory");
  return true;
}

function isSame(path: string, is: TreeStat, goal: TreeStat, becoming: Becoming): boolean {
  const [left, right] = [becoming.place.tree, becoming.wanted.tree];
  if (is.type !== goal.type || is.mtimeNs !== goal.mtimeNs || is.size !== goal.size) return false;
  if (!hasSameLook(path, is, goal, becoming)) return false;
  switch (goal.type) {
    case "file":
      return contentOf(left, path) === contentOf(right, path);
    case "symlink":
      return left.readlink(path) === right.readlink(path);
    default:
      return is.rdevMajor === goal.rdevMajor && is.rdevMinor === goal.rdevMinor;
  }
}

function hasSameLook(path: string, is: TreeStat, goal: TreeStat, { place, wanted }: Becoming): boolean {
  if (is.mode !== goal.mode || is.uid !== goal.uid || is.gid !== goal.gid) return false;
  return attributesOf(place.tree, path) === attributesOf(wanted.tree, path);
}

function attributesOf(tree: TreeReader, path: string): string {
  return JSON.stringify(tree.xattrs(path).map(([name, value]) => [name, value.toString("base64")]));
}

function contentOf(tree: TreeReader, path: string): string {
  const content = readContent(tree, path);
  return content.kind === "file" ? content.digest : "";
}
