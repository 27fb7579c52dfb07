// [keeper] Trees for steps: a selection copied to separate files, and single files from mounted layers.

import { combineSelections, matchesOf } from "../../cache/path-hash.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { FileOutcome, MaterializeJob, ReadJob } from "../keeper/messages.ts";
import { overlayMount } from "../sys/mount.ts";
import { copySubtree } from "./copy.ts";
import { inWords, inWordsAsync } from "./failure.ts";
import { openTreeOf } from "./open-tree.ts";
import { readInTree } from "./owner.ts";
import { type IdMode, openPlace } from "./place.ts";

/** Copies the subtree at the job's selector into `upper`, an empty directory; the directory itself gets its owner, mode
 *  and times. A selected file is placed in it under its own name. The digest is that of selectDigest with a "subtree"
 *  selector, null unless the tree is live. Throws CONTEXT_PATH_MISSING, COPY_FAILED, STORE_FULL. */
export async function materialize(job: MaterializeJob, idMode: IdMode): Promise<FileOutcome> {
  return inWordsAsync(`copy ${job.selector}`, async () => {
    const { tree: source, root: sourceRoot, close } = openTreeOf(job.tree);
    try {
      const place = openPlace(overlayMount({ lowers: [], upper: job.upper, userxattr: true }), idMode);
      try {
        const [match] = matchesOf(source, { kind: "subtree", path: job.selector });
        if (match === undefined) throw new Error("a subtree has one match");
        const target =
          match.stat.type === "directory" ? "" : match.path.slice(match.path.lastIndexOf("/") + 1);
        const digest = await copySubtree(match, target, { source, sourceRoot, place, idMode });
        if (match.stat.type === "directory") {
          const { mode, mtimeNs } = match.stat;
          place.dress("", { owner: match.stat, mode, mtimeNs, xattrs: [] }, "directory");
        }
        return { readDigest: digest === null ? null : combineSelections([digest]) };
      } finally {
        place.close();
      }
    } finally {
      close();
    }
  });
}

/** A file inside stacked layers: in-root, regular, never blocking; null when there is none. Throws LIMIT_EXCEEDED when it
 *  is larger than maxBytes. */
export function readInRoot(job: ReadJob): Uint8Array | null {
  if (job.path.includes("\0")) throw new BuildError("COPY_FAILED", "a path cannot contain a NUL character");
  return inWords(`read ${job.path}`, () => {
    const { root, close } = openTreeOf({ kind: "layers", dirs: job.dirs });
    try {
      return root === null ? null : readInTree(root, job.path, job.maxBytes);
    } finally {
      close();
    }
  });
}
