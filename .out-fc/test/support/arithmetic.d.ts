import type { Store } from "../../cache/store.ts";
import type { CallContext, Result } from "../../solver/graph/request.ts";
import type { Worker } from "../../worker/worker.ts";
/** Path to number. */
export type Numbers = Readonly<Record<string, number>>;
export interface Arithmetic extends Worker {
    /** Runs of steps, by name: `args[1]` of commands, the path of what is written for file ops, the source's identifier. */
    readonly runs: Map<string, number>;
    readonly pins: string[];
    /** How often content was hashed. */
    hashes: number;
    warmed: number;
    /** Steps at work now; after a build it must be 0. */
    active: number;
    /** The live directories, by name. */
    readonly live: Map<string, Numbers>;
    /** What tags stand for: `docker-image://NAME` to numbers. */
    readonly images: Map<string, Numbers>;
    /** Called inside each run, before it reads anything; may wait, throw, or change live files. */
    during: (name: string, context: CallContext) => Promise<void>;
    /** All files of a result. */
    read(result: Result): Numbers;
}
/** A calculating worker whose layers are records of the store. */
export declare function openArithmetic(store: Store): Arithmetic;
