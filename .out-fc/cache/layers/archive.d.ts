/** Is this regular file (a path, last component not followed, or a descriptor) a tar archive, compressed or not? As
 *  BuildKit asks: it can be decompressed and a first tar header can be read. Never throws for bad content. */
export declare function isArchive(source: string | number): Promise<boolean>;
export interface Unpacked {
    readonly entries: number;
    readonly sizeBytes: number;
}
/** Unpacks a tar archive (a path or a descriptor) into the directory `dest` stands for, with the owners, modes and
 *  times it states, as moby's Untar does for ADD: what is in the way is replaced, directories are merged, missing
 *  parents are made (0755, root). Nothing lands outside: links on the way are resolved as if `dest` were the root.
 *  `note` is told what had to be left out. Throws ARCHIVE_INVALID, LIMIT_EXCEEDED, SysError. */
export declare function extractArchive(source: string | number, dest: number, options?: {
    readonly note?: (message: string) => void;
    /** false: everything belongs to who unpacks, and devices are left out. */
    readonly owners?: boolean;
}): Promise<Unpacked>;
