import type { Records } from "./store.ts";
export interface RecordsFile extends Records, AsyncDisposable {
    /** Runs `work` while no other process is inside alone() or a commit. The kernel frees the lock of a killed process. */
    alone(work: () => void): void;
    /** Are there writes that others cannot see yet? */
    hasPending(): boolean;
    /** Resolves after the next commit, which comes by itself; at once when nothing is pending. */
    nextCommit(): Promise<void>;
}
export interface RecordsOptions {
    /** Where a damaged database is put aside. */
    readonly quarantine: string;
    /** Runs before each commit: makes durable what the records name. */
    readonly beforeCommit: () => void;
}
/** Opens (or makes) dir/data.mdb. A file that is no database any more is set aside and an empty one made: all it held can be
 *  made again. Throws STORE_FULL, STORE_UNUSABLE. */
export declare function openRecords(dir: string, options: RecordsOptions): RecordsFile;
