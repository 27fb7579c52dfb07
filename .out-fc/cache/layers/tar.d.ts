/** Longest pax record block or GNU long name; Go's archive/tar has the same limit (maxSpecialFileSize). */
export declare const TAR_SPECIAL_MAX_BYTES: number;
export type TarType = "file" | "link" | "symlink" | "char" | "block" | "dir" | "fifo";
/** One member. Times in nanoseconds since the epoch; mode holds the twelve permission bits. */
export interface TarEntry {
    readonly name: Buffer;
    readonly linkName: Buffer;
    readonly type: TarType;
    readonly mode: number;
    readonly uid: number;
    readonly gid: number;
    /** Bytes of the file; holes of sparse files count. */
    readonly size: number;
    readonly mtimeNs: bigint;
    readonly devMajor: number;
    readonly devMinor: number;
    /** Extended attributes by full name (SCHILY.xattr records), in the archive's order. */
    readonly xattrs: ReadonlyMap<string, Buffer>;
}
export interface TarHandler {
    entry(entry: TarEntry): void;
    /** Bytes of the current file that belong at `offset`; only valid during the call. */
    data(chunk: Buffer, offset: number): void;
    /** All data of the current member was given. */
    end(): void;
}
export interface TarReader {
    /** Takes the next bytes; throws ARCHIVE_INVALID or what the handler throws. */
    push(chunk: Uint8Array): void;
    /** No more bytes: throws ARCHIVE_INVALID when the archive stops inside a member. */
    finish(): void;
    /** Two zero blocks were seen: the rest of the input is padding. */
    readonly ended: boolean;
}
/** Makes a reader that calls the handler for each member in order. */
export declare function tarReader(handler: TarHandler): TarReader;
