import type { TarHandler } from "./tar.ts";
/** Members of one archive. */
export declare const ENTRIES_MAX = 10000000;
export interface WriterOptions {
    readonly form: "layer" | "archive";
    /** May device nodes be made, and ids be given? idMapKind() knows. "none": neither is wanted. */
    readonly idMap: "host" | "mapped" | "single" | "none";
    /** Told once per kind of loss (a device node, an attribute the file system does not take). */
    readonly note: (message: string) => void;
}
export interface TreeWriter extends TarHandler {
    /** Directory times, at the very end. Call once after the last member. */
    finish(): void;
    /** Closes what is open; always to be called. */
    close(): void;
    readonly entries: number;
    readonly sizeBytes: number;
}
/** Writes members below `root`, a directory descriptor that stays the caller's. Members throw ARCHIVE_INVALID (archive),
 *  IMAGE_INVALID (layer), LIMIT_EXCEEDED or SysError; the tree is then of no use. */
export declare function treeWriter(root: number, options: WriterOptions): TreeWriter;
