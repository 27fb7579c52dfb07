import { type Digest } from "../solver/graph/digest.ts";
import type { ContentStore } from "./store.ts";
export interface ContentFiles extends ContentStore {
    /** All blobs; lastUsedMs is when the blob came in. */
    list(): {
        readonly digest: Digest;
        readonly size: number;
        readonly addedAtMs: number;
    }[];
    /** Flushes the names of blobs committed since the last call. */
    syncNames(): void;
}
export interface ContentOptions {
    /** Directory of the blobs, exists. */
    readonly blobs: string;
    /** Directory for unfinished blobs on the same file system, exists. */
    readonly ingest: string;
    readonly quarantine: string;
    /** Prefix of unfinished files: whose they are. */
    readonly owner: string;
}
export declare function openContent(options: ContentOptions): ContentFiles;
/** fsync(2) of a directory: its names are on disk. */
export declare function syncDirectory(dir: string): void;
