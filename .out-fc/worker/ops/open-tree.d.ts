import type { TreeReader } from "../../cache/tree.ts";
import type { Tree } from "../keeper/messages.ts";
export interface OpenTree {
    readonly tree: TreeReader;
    /** Its root directory; null for scratch. */
    readonly root: number | null;
    readonly close: () => void;
}
/** Opens a tree for reading: layers are stacked in a mount of their own, a directory of the user is opened where it is
 *  and shown as its ignore rules have it. */
export declare function openTreeOf(tree: Tree | null): OpenTree;
