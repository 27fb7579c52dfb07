// [keeper] Content keys of trees that only the keeper can read: mounted layers with files of other owners.

import { selectDigest } from "../../cache/path-hash.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import type { SelectJob } from "../keeper/messages.ts";
import { inWords } from "./failure.ts";
import { openTreeOf } from "./open-tree.ts";

/** Digest of what the selectors pick. Throws CONTEXT_PATH_MISSING, COPY_FAILED. */
export function runSelectJob(job: SelectJob): Digest {
  return inWords("content key", () => {
    const { tree, close } = openTreeOf(job.tree);
    try {
      return selectDigest(tree, job.selectors);
    } finally {
      close();
    }
  });
}
