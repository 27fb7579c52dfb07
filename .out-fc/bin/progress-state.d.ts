import type { Digest } from "../solver/graph/digest.ts";
import type { ProgressEvent } from "../solver/graph/event.ts";
import { type LineReader, type TextMode } from "./log-text.ts";
/** Lines kept of each step for the error block; BuildKit keeps as many. */
export declare const TAIL_LINES = 10;
export type StepOutcome = {
    readonly kind: "waiting";
} | {
    readonly kind: "running";
} | {
    readonly kind: "done" | "cached" | "cancelled";
    readonly atMs: number;
} | {
    readonly kind: "failed";
    readonly atMs: number;
    readonly message: string;
};
/** A download or upload inside a step. */
export interface Transfer {
    readonly label: string;
    readonly startedMs: number;
    readonly atMs: number;
    readonly current: number;
    readonly total: number | null;
    readonly done: boolean;
}
export interface LogLine {
    readonly atMs: number;
    readonly text: string;
}
export interface Step {
    readonly vertex: Digest;
    readonly name: string;
    outcome: StepOutcome;
    /** Milliseconds since 1970; null: not started. */
    startedMs: number | null;
    readonly transfers: Map<string, Transfer>;
    /** The last lines it wrote, oldest first. */
    readonly tail: LogLine[];
    readonly readers: Record<1 | 2, LineReader>;
}
/** Steps in the order in which they started. */
export interface ProgressState {
    readonly steps: ReadonlyMap<Digest, Step>;
    readonly started: readonly Step[];
    /** Milliseconds of the first event with a time, null before it. */
    readonly firstMs: number | null;
    /** Takes one event in. `onLine` gets each complete line of the log the event brought. Returns the step it is about. */
    apply(event: ProgressEvent, onLine?: (step: Step, line: LogLine) => void): Step | null;
}
/** An empty state. mode: the policy for control characters of logs. */
export declare function openProgressState(mode: TextMode): ProgressState;
/** Has the step ended, one way or the other? */
export declare function isSettled(step: Step): boolean;
/** Adds a line to the tail a step is remembered by. */
export declare function remember(step: Step, line: LogLine): void;
/** Seconds since a step started, with the precision BuildKit uses: "0.123", "12.34", "123.4". */
export declare function logTime(step: Step, atMs: number): string;
/** Bytes in units of 1000, as BuildKit prints transfers: "1.25MB". */
export declare function formatBytes(bytes: number): string;
/** "12.5MB / 30MB", "12.5MB" or "". */
export declare function formatTransfer(transfer: Transfer): string;
