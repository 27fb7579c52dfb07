import type { ChownOpt } from "../../solver/graph/op.ts";
export interface Owner {
    readonly uid: number;
    readonly gid: number;
}
export declare const ROOT: Owner;
/** Numeric owner of a ChownOpt. `rootOf` gives the descriptor of the tree that resolves a name, null for scratch.
 *
 *  As BuildKit has it: a user given by number has the group of the same number, one given by name its group of
 *  /etc/passwd, and a name nobody has is root. */
export declare function resolveOwner(owner: ChownOpt | null, rootOf: (input: number) => number | null): Owner | null;
/** A regular file inside a root, links resolved by the kernel within it; null when there is none. Never blocks. Throws
 *  LIMIT_EXCEEDED when it has more than maxBytes. */
export declare function readInTree(root: number, path: string, maxBytes: number): Buffer | null;
