import { BuildError } from "../solver/graph/error.ts";
import type { CopyAction } from "../solver/graph/op.ts";
import { type TreeReader, type TreeStat } from "./tree.ts";
/** The paths an op reads. copy: as FileActionCopy picks its sources; subtree: all below a path, for read-only mounts. */
export type Selector = {
    readonly kind: "copy";
    readonly src: string;
    readonly followSymlink: boolean;
    readonly allowWildcard: boolean;
    readonly includePatterns: readonly string[];
    readonly excludePatterns: readonly string[];
    /** Owners and modes of the sources do not matter where the op sets them. */
    readonly ignoreOwner: boolean;
    readonly ignoreMode: boolean;
} | {
    readonly kind: "subtree";
    readonly path: string;
};
export type CopySelector = Extract<Selector, {
    kind: "copy";
}>;
/** The selector of what a copy action reads. Owner and mode of the sources count only where the action keeps them. */
export declare function copySelector(action: CopyAction): CopySelector;
/** One source of a copy. Paths are byte strings relative to the tree. */
export interface Match {
    /** Where it really lies, links resolved. */
    readonly path: string;
    /** Last part of the path it was asked by: its name in a destination directory; "" for the root. */
    readonly name: string;
    readonly stat: TreeStat;
}
/** The sources of a copy, in order; none when a wildcard matches nothing. Throws CONTEXT_PATH_MISSING for a source that
 *  does not exist. */
export declare function findMatches(tree: TreeReader, selector: Pick<CopySelector, "src" | "allowWildcard" | "followSymlink">): Match[];
/** The error for a path that is not in a tree, in BuildKit's words; says so when an ignore rule hides it. */
export declare function missing(tree: TreeReader, asked: string, resolved: string): BuildError;
/** Something that is copied. */
export interface Entry {
    readonly path: string;
    readonly relative: string;
    readonly stat: TreeStat;
    /** A directory that is there only because something below it was chosen. */
    readonly isWay: boolean;
}
export interface Visitor {
    /** Directories before what is in them. */
    enter(entry: Entry): void;
    /** Directories, after all that is in them. */
    leave?(entry: Entry): void;
}
/** Walks what a selector's patterns choose below one match, sorted by bytes in each directory. Directories that hold
 *  nothing chosen are not entered. */
export declare function walkMatch(tree: TreeReader, match: Pick<Match, "path" | "stat">, patterns: Pick<CopySelector, "includePatterns" | "excludePatterns">, visitor: Visitor): void;
