// [keeper] The trees a job names, opened for reading.
import { filterTree } from "../../cache/tree-filter.js";
import { AT, O, openat } from "../sys/file.js";
import { overlayMount } from "../sys/mount.js";
import { emptyTree, fdTree } from "./fd-tree.js";
/** Opens a tree for reading: layers are stacked in a mount of their own, a directory of the user is opened where it is
 *  and shown as its ignore rules have it. */
export function openTreeOf(tree) {
    if (tree === null || (tree.kind === "layers" && tree.dirs.length === 0)) {
        return { tree: emptyTree(), root: null, close: () => { } };
    }
    if (tree.kind === "layers") {
        const opened = fdTree(overlayMount({ lowers: tree.dirs, userxattr: true }), { live: false });
        return { tree: opened, root: opened.root, close: () => opened.close() };
    }
    const opened = fdTree(openat(AT.FDCWD, tree.root, O.RDONLY | O.DIRECTORY), { live: true });
    return { tree: filterTree(opened, tree), root: opened.root, close: () => opened.close() };
}
//# sourceMappingURL=open-tree.js.map