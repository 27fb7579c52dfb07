import { type FdTree } from "./fd-tree.ts";
import type { Owner } from "./owner.ts";
/** What a new file or directory is given. null: as the kernel makes it (owner: root, times: now). */
export interface Look {
    readonly owner: Owner;
    readonly mode: number;
    readonly mtimeNs: bigint | null;
    readonly xattrs: readonly (readonly [string, Buffer])[];
}
export interface Place {
    /** The same tree to be read; it sees all changes. */
    readonly tree: FdTree;
    /** Full resolution inside the root; missing parts are taken as written. */
    resolve(path: string): string;
    /** Makes what is missing of a resolved path, each with the given look; returns the paths made. Throws COPY_FAILED when
     *  something in the way is no directory. */
    makeParents(path: string, look: Omit<Look, "xattrs">): string[];
    /** A new directory, for the caller to dress when it is filled. */
    makeDirectory(path: string): void;
    /** A new empty file, write-only descriptor. An existing non-directory is replaced; throws COPY_FAILED on a directory. */
    createFile(path: string): number;
    makeSymlink(path: string, target: string): void;
    makeNode(path: string, mode: number, device: {
        readonly major: number;
        readonly minor: number;
    }): void;
    link(from: string, path: string): void;
    /** Removes what is there, whatever it is. False: there was nothing. */
    remove(path: string): boolean;
    dress(path: string, look: Look, kind: "directory" | "symlink" | "other"): void;
    chmodDirectory(path: string, mode: number): void;
    setTime(path: string, mtimeNs: bigint): void;
    /** To be called when others change the tree. */
    forgetDirectories(): void;
    close(): void;
}
/** Has the user namespace one id only, so that owners are noted beside the files (cache/layers/owner.ts)? */
export interface IdMode {
    readonly singleId: boolean;
}
/** `mount` (the root of the layers with a writable top) is taken over and closed with the place. */
export declare function openPlace(mount: number, { singleId }: IdMode): Place;
/** Gives an open, just written file its look. */
export declare function dressFile(fd: number, look: Look, idMode: IdMode): void;
/** The owner of an open file that was just made. */
export declare function setFileOwner(fd: number, { uid, gid }: Owner, { singleId }: IdMode): void;
/** unlinkat(2) of a tree by descriptors; links are removed, never followed. */
export declare function removeTree(directory: number, name: string | Buffer): void;
/** Writes all of the bytes. */
export declare function writeFully(fd: number, bytes: Uint8Array): void;
/** A path of the image for a message. */
export declare function shown(path: string): string;
