import type { Digest } from "../solver/graph/digest.ts";
export type FileType = "file" | "directory" | "symlink" | "fifo" | "socket" | "character" | "block";
export interface TreeStat {
    readonly type: FileType;
    readonly mode: number;
    readonly uid: number;
    readonly gid: number;
    readonly size: number;
    readonly nlink: number;
    readonly dev: number;
    readonly ino: bigint;
    readonly mtimeNs: bigint;
    readonly ctimeNs: bigint;
    readonly rdevMajor: number;
    readonly rdevMinor: number;
}
export interface Child {
    readonly name: string;
    readonly stat: TreeStat;
}
/** Read access to a tree. Paths are byte strings relative to the root ("" is the root) whose directories are real ones:
 *  resolve links first with resolvePath. Symbolic links are never followed, special files never opened. */
export interface TreeReader {
    /** Files of the user, read in place: owned by 0:0 for all that follows, sockets count as empty files. */
    readonly live: boolean;
    /** null: no such file. */
    lstat(path: string): TreeStat | null;
    /** Entries of a directory, sorted by bytes. */
    children(path: string): Child[];
    readlink(path: string): string;
    /** Descriptor of a regular file, for the caller to close. */
    open(path: string): number;
    /** Extended attributes that belong to the content, sorted; null where they are not looked at. */
    xattrs(path: string): readonly (readonly [name: string, value: Buffer])[];
    /** The ignore rule that hides a path, as written, or null. */
    hiddenBy(path: string): string | null;
    /** Known sha256 of a regular file, or null. */
    knownDigest(path: string, stat: TreeStat): Digest | null;
}
/** Mode the root of a live tree is seen with: how a user's own directory is protected is no part of a build. */
export declare const LIVE_ROOT_MODE = 493;
/** Byte string to text; bytes that are not UTF-8 become U+FFFD, as Go's matcher sees them. */
export declare function textOf(bytes: string): string;
/** Text to byte string (UTF-8). */
export declare function bytesOf(text: string): string;
/** A path for system calls: ASCII as it is, else the bytes. */
export declare function nativePath(bytes: string): string | Buffer;
/** Lexical form without "", "." and ".." (which stops at the root), relative: what Go's path.Join("/", p) gives, without
 *  its slash. Says where a path points when it has no links; it decides nothing about safety. */
export declare function cleanPath(path: string): string;
export declare function joinPath(directory: string, name: string): string;
export declare function parentOf(path: string): string;
export declare function baseOf(path: string): string;
/** The path with all links resolved inside the tree; what does not exist is taken as it is written, as Go's
 *  continuity/fs.RootPath does. `followLast`: also a link in the last component. Throws COPY_FAILED on a loop. */
export declare function resolvePath(tree: Pick<TreeReader, "lstat" | "readlink">, path: string, followLast: boolean): string;
