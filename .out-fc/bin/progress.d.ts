import type { ProgressEvent } from "../solver/graph/event.ts";
import type { Environment, ProgressMode } from "./config.ts";
import { type ProgressState } from "./progress-state.ts";
/** Shows events. Nothing is shown after finish(), which may be called twice. */
export interface Display {
    readonly state: ProgressState;
    event(event: ProgressEvent): void;
    /** Draws the final state and gives the terminal back (cursor, colours). */
    finish(): void;
}
/** The part of a tty stream that is used. */
export interface ProgressStream {
    readonly isTTY?: boolean;
    readonly columns?: number;
    readonly rows?: number;
    write(text: string): unknown;
}
/** --progress, else BUILDKIT_PROGRESS, else auto. "none" is another word for quiet. Throws USAGE. */
export declare function progressMode(flag: string | null, env: Environment): ProgressMode;
/** Opens a display on the stream (standard error). auto: tty on a terminal, else plain. Throws USAGE for tty without one. */
export declare function openDisplay(mode: ProgressMode, options: {
    readonly stream: ProgressStream;
    readonly env: Environment;
}): Promise<Display>;
