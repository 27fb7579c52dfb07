import type { Owner } from "./owner.ts";
import type { CacheMounts } from "./store.ts";
type Sharing = "shared" | "private" | "locked";
export interface Slot {
    readonly number: number;
    readonly holds: readonly ("s" | "x")[];
    /** Not filled yet by whoever holds it. */
    readonly fresh: boolean;
}
export interface MountFiles extends CacheMounts {
    /** Takes a directory of list() out of sight, unless somebody uses it: returns its new path for the keeper, or null. */
    remove(path: string, options: {
        readonly signal: AbortSignal;
    }): Promise<string | null>;
    /** Drops the holds of dead owners. */
    sweep(): Promise<void>;
}
export interface CacheMountsOptions {
    readonly dir: string;
    readonly owner: Owner;
    readonly exclusively: <T>(key: string, work: () => Promise<T>, options: {
        readonly signal: AbortSignal;
    }) => Promise<T>;
    /** See LayerDirs.discard(). */
    readonly discard: (dir: string) => string | null;
}
export declare function openCacheMounts(options: CacheMountsOptions): MountFiles;
/** Number of the slot to take, one that is not there yet to make it, or null to wait. */
export declare function chooseSlot(slots: readonly Slot[], sharing: Sharing): number | null;
export {};
