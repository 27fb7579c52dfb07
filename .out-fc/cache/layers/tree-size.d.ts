/** Bytes on disk (each inode once) and number of entries below `dir`. Throws SysError. */
export declare function measureTree(dir: string): {
    readonly sizeBytes: number;
    readonly entries: number;
};
/** Removes a file or a whole tree; a path that is not there is fine. Without privileges, directories that lack
 *  permissions are given them. The path must be one of our own, what lies below may be anybody's. Throws SysError. */
export declare function removeTree(path: string): void;
/** Removes `name` and all below it, in the directory of a descriptor. A missing name is fine. Throws SysError. */
export declare function removeAt(dirfd: number, name: Buffer): void;
