import type { Owner } from "./owner.ts";
export interface Locks extends AsyncDisposable {
    /** As Store.exclusively(). */
    exclusively<T>(key: string, work: () => Promise<T>, options: {
        readonly signal: AbortSignal;
    }): Promise<T>;
    /** The same without a promise about records: free as soon as the work is done. */
    briefly<T>(key: string, work: () => Promise<T>, options: {
        readonly signal: AbortSignal;
    }): Promise<T>;
    /** Removes locks of dead owners. */
    sweep(): Promise<void>;
}
export interface LocksOptions {
    readonly dir: string;
    readonly owner: Owner;
    /** See RecordsFile.alone(). */
    readonly alone: (work: () => void) => void;
    /** Resolves when what was written so far is visible to others. The lock is kept that long, but the one who worked does not wait
     *  for it: so a lock costs no disk flush of its own, and who comes next finds the records. */
    readonly visible: () => Promise<void>;
}
export declare function openLocks(options: LocksOptions): Locks;
/** Resolves when something in `dir` has changed so that `isOver()`, and in any case after POLL_MS. */
export declare function changeIn(dir: string, isOver: () => boolean, signal: AbortSignal): Promise<void>;
