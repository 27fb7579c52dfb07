import type { FileType, TreeReader, TreeStat } from "../../cache/tree.ts";
import { type Stat } from "../sys/file.ts";
/** Keeps the directories on one path open: neighbours in a walk share them. */
export interface DirCursor {
    /** Descriptor of a directory (byte string, relative to the root); valid until the next call. */
    at(path: string): number;
    /** Lets go of a directory that is about to be removed, and of all below it. */
    forget(path: string): void;
    /** Closes all but the root; the cursor can go on being used. */
    close(): void;
}
/** `root` stays the caller's. */
export declare function openCursor(root: number): DirCursor;
export interface FdTree extends TreeReader {
    readonly root: number;
    readonly cursor: DirCursor;
    close(): void;
}
/** The tree below a directory, whose descriptor is taken over and closed with it. `live`: files of the user (see TreeReader.live). */
export declare function fdTree(owned: number, { live }: {
    readonly live: boolean;
}): FdTree;
/** An empty tree: scratch. */
export declare function emptyTree(): TreeReader;
/** Attributes that mean something to a mount or to us are no content (threat model T5); labels belong to the host. */
export declare function isContentXattr(name: string): boolean;
/** Content attributes of an open file or directory. */
export declare function fileXattrs(fd: number): [string, Buffer][];
export declare function toTreeStat(stat: Stat): TreeStat;
/** Mode with type bits for mknodat(2). */
export declare function typeBits(type: FileType): number;
