// [keeper] Content keys of trees that only the keeper can read: stacked layers, with files of foreign owners.
import { selectDigest } from "../../cache/path-hash.js";
import { inWords } from "./failure.js";
import { openTreeOf } from "./open-tree.js";
/** Digest of what the selectors pick. Throws CONTEXT_PATH_MISSING, COPY_FAILED. */
export function runSelectJob(job) {
    return inWords("content key", () => {
        const { tree, close } = openTreeOf(job.tree);
        try {
            return selectDigest(tree, job.selectors);
        }
        finally {
            close();
        }
    });
}
//# sourceMappingURL=select.js.map