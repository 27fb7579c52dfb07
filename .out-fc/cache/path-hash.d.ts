import { type Digest } from "../solver/graph/digest.ts";
import { type TreeReader, type TreeStat } from "./tree.ts";
import { type Entry, type Match, type Selector } from "./tree-select.ts";
/** What the content of an entry is: of a file its sha256 and the bytes that were hashed, of a link its target. */
export type Content = {
    readonly kind: "file";
    readonly digest: Digest;
    readonly size: number;
} | {
    readonly kind: "link";
    readonly target: string;
} | {
    readonly kind: "none";
};
/** Takes the matches of one selector with their entries in walking order. */
export interface SelectionFold {
    match(match: Match): void;
    entry(entry: Entry, content: Content, xattrs: readonly (readonly [string, Buffer])[]): void;
    digest(): Digest;
}
/** Starts the digest of one selector. */
export declare function foldSelection(selector: Selector): SelectionFold;
/** The digest over several selectors, in their order. */
export declare function combineSelections(parts: readonly Digest[]): Digest;
/** Content of an empty file. */
export declare const EMPTY: Digest;
/** Digest of what the selectors pick out of the tree; reads what is not known. Throws CONTEXT_PATH_MISSING for a source
 *  that is not there, COPY_FAILED for a loop of links. */
export declare function selectDigest(tree: TreeReader, selectors: readonly Selector[], options?: {
    readonly onHashed?: (path: string, stat: TreeStat, digest: Digest) => void;
}): Digest;
/** Like selectDigest for a live directory at `root`; much unknown content is hashed on threads. Paths given to
 *  `onHashed` are byte strings relative to the root. */
export declare function selectDigestLive(tree: TreeReader, root: string, selectors: readonly Selector[], options: {
    readonly signal: AbortSignal;
    readonly onHashed?: (path: string, stat: TreeStat, digest: Digest) => void;
}): Promise<Digest>;
/** A failed call of node:fs on a live directory, as the user's error; anything else as it is. */
export declare function readFailure(error: unknown): unknown;
/** The sources of a selector; a subtree is one nameless source. */
export declare function matchesOf(tree: TreeReader, selector: Selector): Match[];
/** null for a file that must be read. */
export declare function contentWithoutReading(tree: TreeReader, { path, stat }: Entry): Content | null;
/** sha256 and size of what a descriptor still has to give; closes it. */
export declare function hashFile(fd: number): {
    digest: Digest;
    size: number;
};
/** Fills the buffer unless the file ends before; returns the bytes read. */
export declare function readFully(fd: number, buffer: Buffer): number;
