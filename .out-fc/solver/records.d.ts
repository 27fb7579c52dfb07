import type { ResultRecord, Store } from "../cache/store.ts";
import type { CacheKey, Ingredients } from "./cache-key.ts";
import type { Result } from "./graph/request.ts";
export interface Found {
    readonly outputs: readonly (Result | null)[];
    readonly record: ResultRecord;
}
export interface ResultRecords extends AsyncDisposable {
    /** Holds layers against collection until disposed. */
    hold(outputs: readonly (Result | null)[]): void;
    /** What is recorded under a key, or null. Believed only if the wanted outputs still exist; they are held from then on. */
    find(key: CacheKey, wanted: readonly number[]): Found | null;
    /** Records a result under all its keys at once, and how long the op (opName()) took. */
    put(keys: readonly CacheKey[], record: ResultRecord, op: string | null): void;
    /** Milliseconds an op (opName()) took the last time, whatever its inputs; null: never seen. */
    durationMs(op: string): number | null;
    /** Notes the use of records that were hit, and of `below`: keys of steps that a hit made unnecessary. One transaction. */
    touch(below: Iterable<CacheKey>): void;
}
/** Records of one build. Dispose it when the results are no longer needed. */
export declare function openResultRecords(store: Store, nowMs: () => number): ResultRecords;
/** Ingredients fit to be kept in a record: short ones as they are. */
export declare function kept(ingredients: Ingredients): Ingredients;
