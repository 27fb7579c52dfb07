import { type Stat } from "../../worker/sys/file.ts";
/** Flags that open a directory by a name that is not a link. */
export declare const DIRECTORY: number;
export interface Visit {
    /** Directories are met twice: before and after what is in them. */
    readonly phase: "enter" | "leave";
    /** The directory the name is in; valid until the walk goes on. */
    readonly dirfd: number;
    readonly name: Buffer;
    /** Path below the root, without a slash at either end. */
    readonly path: Buffer;
    readonly stat: Stat;
}
/** Entries below `root` (a descriptor that stays the caller's), in the order of their bytes within each directory.
 *  `open` opens a directory to be walked. The tree must not change but by the caller, who may remove what was visited.
 *  Throws SysError. */
export declare function walkTree(root: number, open?: (dirfd: number, name: Buffer) => number): Generator<Visit>;
