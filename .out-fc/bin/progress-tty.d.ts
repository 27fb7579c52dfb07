import type { Display } from "./progress.ts";
import { type ProgressState } from "./progress-state.ts";
export interface TtyOptions {
    readonly write: (text: string) => void;
    readonly size: () => {
        readonly columns: number;
        readonly rows: number;
    };
    readonly now: () => number;
    readonly colours: Colours | null;
}
/** SGR parameters by meaning; BUILDKIT_COLORS changes them. */
export interface Colours {
    readonly run: string;
    readonly cancel: string;
    readonly error: string;
    readonly warning: string;
}
/** Opens the display and hides the cursor with the first frame; finish() draws the whole list a last time and shows it again. */
export declare function openTtyDisplay(options: TtyOptions): Display & {
    draw(): void;
};
interface FrameOptions {
    readonly columns: number;
    readonly rows: number;
    readonly nowMs: number;
    readonly startMs: number;
    readonly colours: Colours | null;
    /** All steps, however many; else as many as fit the terminal, running ones first. */
    readonly whole: boolean;
}
/** The lines of one frame, each within the width of the terminal. */
export declare function frame(state: ProgressState, options: FrameOptions): string[];
export {};
