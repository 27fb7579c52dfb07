import type PQueue from "p-queue";
import type { ResultRecord, Store } from "../cache/store.ts";
import type { Worker } from "../worker/worker.ts";
import { type CacheKey } from "./cache-key.ts";
import { type Parts } from "./edge.ts";
import type { Digest } from "./graph/digest.ts";
import type { CallContext, Result } from "./graph/request.ts";
import type { Node } from "./job.ts";
import { type ResultRecords } from "./records.ts";
/** How much may run at once, by the kind of op: source, exec, and file for all others. */
export interface Limits {
    readonly exec: PQueue;
    readonly file: PQueue;
    readonly source: PQueue;
}
/** What the making needs from outside. */
export interface Means {
    readonly worker: Worker;
    readonly store: Store;
    readonly limits: () => Promise<Limits>;
    readonly nowMs: () => number;
}
export interface Task {
    readonly node: Node;
    readonly parts: Parts;
    readonly results: readonly Result[];
    readonly priority: number;
}
/** A result that was made, or found because another process had just made it. */
export interface Made {
    readonly outputs: readonly (Result | null)[];
    readonly how: "ran" | "found";
    /** What was read of live files: what the key says, something else that is known, or something nobody knows. */
    readonly read: "as-keyed" | Digest | "unknown";
    /** null: cannot be recorded (a result that is no layers). */
    readonly record: ResultRecord | null;
    /** Keys it is recorded under already. */
    readonly recordedAs: readonly CacheKey[];
}
/** Finds or makes the result; records it. Never joins others: that is the flight's part. */
export declare function make(task: Task, means: Means, records: ResultRecords, context: CallContext): Promise<Made>;
/** Runs a source that has no name yet; recorded nowhere. */
export declare function fetchUnnamed(node: Node, means: Means, context: CallContext): Promise<Made>;
/** Keys of what was really read, and the first of them, the key by definition. Without a way to know, users go by the
 *  layers that came out, and nothing is recorded. */
export declare function keysAsRead(task: Pick<Task, "node" | "parts">, made: Made): {
    readonly key: CacheKey;
    readonly keys: readonly CacheKey[];
};
