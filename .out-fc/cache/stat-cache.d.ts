import { type Digest } from "../solver/graph/digest.ts";
import type { Records } from "./store.ts";
/** What identifies an unchanged file; nanoseconds as given by lstat with bigint. */
export interface FileStat {
    readonly size: bigint | number;
    readonly mtimeNs: bigint;
    readonly ctimeNs: bigint;
    readonly ino: bigint | number;
    readonly dev: bigint | number;
    readonly mode: bigint | number;
}
export interface StatCache {
    /** Digest put for this path when its stat was exactly this one. */
    get(path: Uint8Array | string, stat: FileStat): Digest | null;
    /** `stat` was taken before the bytes were read, and after the cache was opened. Too young files are not kept. */
    put(path: Uint8Array | string, stat: FileStat, digest: Digest): void;
    /** Stores the entries. Call when everything went well. */
    flush(): void;
}
export declare const STAT_SPACE = "stat";
/** Opens the cache of one context directory (absolute path). */
export declare function openStatCache(records: Records, root: string): StatCache;
/** When a stored value was flushed, 0 when it is none of ours. */
export declare function savedAtMs(value: Uint8Array): number;
