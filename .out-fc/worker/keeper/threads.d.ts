import type { ThreadJob, WireError } from "./messages.ts";
export interface JobThreads {
    run(job: ThreadJob): Promise<unknown>;
}
/** What a thread answers. */
export type ThreadAnswer = {
    readonly outcome: unknown;
} | {
    readonly error: WireError;
};
/** At most `count` threads, started when first needed and kept. */
export declare function openJobThreads(count: number, singleId: boolean): JobThreads;
