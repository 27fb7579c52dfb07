// [keeper] Trees for steps: a selection as files of its own, and single files out of stacked layers.
import { combineSelections, matchesOf } from "../../cache/path-hash.js";
import { BuildError } from "../../solver/graph/error.js";
import { overlayMount } from "../sys/mount.js";
import { copySubtree } from "./copy.js";
import { inWords } from "./failure.js";
import { openTreeOf } from "./open-tree.js";
import { readInTree } from "./owner.js";
import { openPlace } from "./place.js";
/** Copies the subtree at the job's selector into `upper`, an empty directory; the directory itself gets its owner, mode
 *  and times. A selected file is placed in it under its own name. The digest is that of selectDigest with a "subtree"
 *  selector, null unless the tree is live. Throws CONTEXT_PATH_MISSING, COPY_FAILED, STORE_FULL. */
export function materialize(job, idMode) {
    return inWords(`copy ${job.selector}`, () => {
        const { tree: source, close } = openTreeOf(job.tree);
        try {
            const place = openPlace(overlayMount({ lowers: [], upper: job.upper, userxattr: true }), idMode);
            try {
                const [match] = matchesOf(source, { kind: "subtree", path: job.selector });
                if (match === undefined)
                    throw new Error("a subtree has one match");
                const target = match.stat.type === "directory" ? "" : match.path.slice(match.path.lastIndexOf("/") + 1);
                const digest = copySubtree(match, target, { source, place, idMode });
                if (match.stat.type === "directory") {
                    const { mode, mtimeNs } = match.stat;
                    place.dress("", { owner: match.stat, mode, mtimeNs, xattrs: [] }, "directory");
                }
                return { readDigest: digest === null ? null : combineSelections([digest]) };
            }
            finally {
                place.close();
            }
        }
        finally {
            close();
        }
    });
}
/** A file inside stacked layers: in-root, regular, never blocking; null when there is none. Throws LIMIT_EXCEEDED when it
 *  is larger than maxBytes. */
export function readInRoot(job) {
    if (job.path.includes("\0"))
        throw new BuildError("COPY_FAILED", "a path cannot hold a NUL character");
    return inWords(`read ${job.path}`, () => {
        const { root, close } = openTreeOf({ kind: "layers", dirs: job.dirs });
        try {
            return root === null ? null : readInTree(root, job.path, job.maxBytes);
        }
        finally {
            close();
        }
    });
}
//# sourceMappingURL=materialize.js.map