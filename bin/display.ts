// What shows the progress of a request. Types only.

import type { ProgressEvent } from "../solver/graph/event.ts";
import type { ProgressState } from "./progress-state.ts";

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
