import type { Input } from "./graph/definition.ts";
import type { CallContext, Result } from "./graph/request.ts";
import type { Flights } from "./flight.ts";
import { type Job } from "./job.ts";
import { type Made, type Means } from "./making.ts";
import { type ResultRecords } from "./records.ts";
/** Called for every result a root or another step takes, as soon as it is there. cached: nothing had to run for it. */
export type OnResult = (input: Input, result: Result, cached: boolean) => void;
export interface RunOptions {
    readonly means: Means;
    readonly flights: Flights<Made>;
    readonly records: ResultRecords;
    /** Sets forced runs of this build apart from those of others. */
    readonly name: string;
    readonly onResult: OnResult | null;
}
/**
 * Results of the job's roots, in their order. Throws the first BuildError, located, after everything it started has
 * stopped; rejects with `signal.reason` when the client cancels.
 */
export declare function runJob(job: Job, context: CallContext, options: RunOptions): Promise<readonly Result[]>;
