// What is known of the steps of a running build: the events folded up, for the displays and for printing errors.

import type { Digest } from "../solver/graph/digest.ts";
import type { ProgressEvent } from "../solver/graph/event.ts";
import { inUnits } from "./format.ts";
import { cleanText, type LineReader, openLineReader, type TextMode } from "./log-text.ts";

/** Lines kept of each step for the error block; BuildKit keeps as many. */
export const TAIL_LINES = 10;

export type StepOutcome =
  | { readonly kind: "waiting" }
  | { readonly kind: "running" }
  | { readonly kind: "done" | "cached" | "cancelled"; readonly atMs: number }
  | { readonly kind: "failed"; readonly atMs: number; readonly message: string };

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
export function openProgressState(mode: TextMode): ProgressState {
  const steps = new Map<Digest, Step>();
  const started: Step[] = [];
  let firstMs: number | null = null;

  function begin(step: Step, atMs: number): void {
    if (step.startedMs !== null) return;
    step.startedMs = atMs;
    started.push(step);
  }

  function settle(step: Step, outcome: StepOutcome & { readonly atMs: number }): void {
    if (isSettled(step)) return; // the first word stands: "cached" may be followed by "done"
    begin(step, outcome.atMs);
    step.outcome = outcome;
  }

  return {
    steps,
    started,
    get firstMs() {
      return firstMs;
    },
    apply(event, onLine) {
      if (event.kind === "warning" || event.kind === "note") return null;
      let step = steps.get(event.vertex);
      if (step === undefined) {
        step = {
          vertex: event.vertex,
          name: event.kind === "vertex" ? oneLine(event.name) : event.vertex,
          outcome: { kind: "waiting" },
          startedMs: null,
          transfers: new Map(),
          tail: [],
          readers: { 1: openLineReader(mode), 2: openLineReader(mode) },
        };
        steps.set(event.vertex, step);
      } else if (event.kind === "vertex") {
        Object.assign(step, { name: oneLine(event.name) });
      }
      if ("atMs" in event) firstMs ??= event.atMs;
      switch (event.kind) {
        case "vertex":
        case "usage":
          break;
        case "started":
          begin(step, event.atMs);
          if (!isSettled(step)) step.outcome = { kind: "running" };
          break;
        case "done":
        case "cached":
        case "cancelled":
          settle(step, { kind: event.kind, atMs: event.atMs });
          break;
        case "failed":
          settle(step, { kind: "failed", atMs: event.atMs, message: cleanText(event.error.message) });
          break;
        case "log": {
          const target = step;
          target.readers[event.fd].push(event.data, (text) => {
            const line = { atMs: event.atMs, text };
            remember(target, line);
            onLine?.(target, line);
          });
          break;
        }
        case "bytes": {
          const label = oneLine(event.label);
          step.transfers.set(label, {
            label,
            startedMs: step.transfers.get(label)?.startedMs ?? event.atMs,
            atMs: event.atMs,
            current: event.current,
            total: event.total,
            done: event.done,
          });
          break;
        }
      }
      return step;
    },
  };
}

/** Has the step ended, one way or the other? */
export function isSettled(step: Step): boolean {
  return step.outcome.kind !== "waiting" && step.outcome.kind !== "running";
}

/** Adds a line to the tail a step is remembered by. */
export function remember(step: Step, line: LogLine): void {
  step.tail.push(line);
  if (step.tail.length > TAIL_LINES) step.tail.shift();
}

/** Seconds since a step started, with the precision BuildKit uses: "0.123", "12.34", "123.4". */
export function logTime(step: Step, atMs: number): string {
  const seconds = Math.max(0, atMs - (step.startedMs ?? atMs)) / 1000;
  return seconds.toFixed(seconds < 10 ? 3 : seconds < 100 ? 2 : 1);
}

/** Bytes in units of 1000, as BuildKit prints transfers: "1.25MB". */
export function formatBytes(bytes: number): string {
  const { value, unit } = inUnits(bytes);
  return unit === "B" ? `${value}B` : `${value.toFixed(2)}${unit}`;
}

/** "12.5MB / 30MB", "12.5MB" or "". */
export function formatTransfer(transfer: Transfer): string {
  if (transfer.total !== null && transfer.total > 0) {
    return `${formatBytes(transfer.current)} / ${formatBytes(transfer.total)}`;
  }
  return transfer.current > 0 ? formatBytes(transfer.current) : "";
}

function oneLine(text: string): string {
  return cleanText(text).replaceAll("\n", " ");
}
