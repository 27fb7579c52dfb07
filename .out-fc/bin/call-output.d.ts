import type { CallAnswer, CallRequest } from "./config.ts";
export interface CallOutput {
    readonly text: string;
    readonly exitCode: number;
    /** The build of it would fail with this; printed behind the text. */
    readonly error: Error | null;
}
/** What to print for an answer, and the exit code: 1 when a check found something. */
export declare function renderCall(answer: CallAnswer, call: CallRequest): CallOutput;
/** Columns as wide as their widest cell and `pad` spaces; the last one is not padded. One line a row. */
export declare function table(rows: readonly (readonly string[])[], pad: number): string;
