export interface IgnoreFile {
    readonly patterns: readonly string[];
    /** Of each pattern, the line it stands in; from 1. */
    readonly lines: readonly number[];
}
/** Reads a .dockerignore. Only a "#" in the first column starts a comment; blanks around a pattern are dropped, "/" at its
 *  front as well, and "." and ".." are resolved. Nothing in it is an error here. */
export declare function readIgnore(data: Uint8Array): IgnoreFile;
