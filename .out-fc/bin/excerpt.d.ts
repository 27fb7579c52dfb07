import { type SourceRange } from "../solver/graph/error.ts";
import type { ProgressEvent } from "../solver/graph/event.ts";
import type { SourceText } from "./config.ts";
import { type ProgressState, type Step } from "./progress-state.ts";
import type { Colours } from "./progress-tty.ts";
/** The lines of `source` around the ranges, those inside marked with >>>; "" when no range lies in the text. */
export declare function renderExcerpt(source: SourceText, ranges: readonly SourceRange[], colours: Colours | null): string;
/** The block with which BuildKit repeats the last lines of a failed step. */
export declare function renderTail(step: Step): string;
/** The list of warnings below a build, in buildx's form. debug: each with its detail, URL and lines. */
export declare function renderWarnings(warnings: readonly WarningEvent[], options: Pick<FailureOptions, "sources" | "colours" | "debug">): string;
type WarningEvent = Extract<ProgressEvent, {
    kind: "warning";
}>;
export interface FailureOptions {
    /** Texts by file name, for the excerpts. */
    readonly sources: ReadonlyMap<string, SourceText>;
    /** The steps, when there were any. */
    readonly state: ProgressState | null;
    readonly colours: Colours | null;
    /** Said before the message, such as "failed to build: failed to solve: ". */
    readonly prefix: string;
    /** Print the stack and the causes. */
    readonly debug: boolean;
}
/** Everything printed for an error, ending in a newline. Works for anything that was thrown. */
export declare function renderFailure(thrown: unknown, options: FailureOptions): string;
export {};
