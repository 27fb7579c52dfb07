import type { SourceRange } from "../solver/graph/error.ts";
import type { Display } from "./progress.ts";
/** Opens the display; each event is written at once. */
export declare function openJsonDisplay(options: {
    readonly write: (text: string) => void;
}): Display;
/** pb.Range as Go's encoding/json writes it: zero values are left out. Lines count from 1; only they are set by BuildKit. */
export declare function rangeJson(range: SourceRange): object;
