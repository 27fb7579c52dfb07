import type { Display } from "./progress.ts";
import { type ProgressState } from "./progress-state.ts";
export interface PlainOptions {
    readonly write: (text: string) => void;
    /** Milliseconds since 1970. */
    readonly now: () => number;
    /** Log lines begin with the time since the step's start (BuildKit's default). */
    readonly state?: ProgressState;
}
/** Opens the display. flush() writes what is due; finish() all that is left. */
export declare function openPlainDisplay(options: PlainOptions): Display & {
    flush(): void;
};
