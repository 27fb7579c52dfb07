// The state of the steps of a running build, computed from events; for the displays and for printing errors.

import type { Digest } from "../solver/graph/digest.ts";
import type { ProgressEvent } from "../solver/graph/event.ts";
import { inUnits } from "./format.ts";
import { cleanText, type LineReader, openLineReader, type TextMode } from "./log-text.ts";
import type { StepLog } from "./step-log.ts";

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
  /** Place among all steps as they were announced: that of the Dockerfile. */
  readonly order: number;
  outcome: StepOutcome;
  /** Milliseconds since 1970; null: not started. */
  startedMs: number | null;
  /** It is only looked at, and shown as running meanwhile. */
  isLookedAt: boolean;
  readonly transfers: Map<string, Transfer>;
  /** The last lines it wrote, oldest first. */
  readonly tail: LogLine[];
  /** All it wrote, each line with its time; null: shown already, or the step ended well. */
  log: StepLog | null;
  readonly readers: Record<1 | 2, LineReader>;
}

/** Steps in the order in which they started; of those that were cached without a start, in that of the Dockerfile. */
export interface ProgressState {
  readonly steps: ReadonlyMap<Digest, Step>;
  readonly started: readonly Step[];
  /** Milliseconds of the first event with a time, null before it. */
  readonly firstMs: number | null;
  /** Takes one event in. `onLine` gets each complete line of the log the event brought. Returns the step it is about. */
  apply(event: ProgressEvent, onLine?: (step: Step, line: LogLine) => void): Step | null;
}

/** An empty state. mode: the policy for control characters of logs; openLog: for displays that do not show all lines as they come. */
export function openProgressState(mode: TextMode, openLog: (() => StepLog) | null = null): ProgressState {
  const steps = new Map<Digest, Step>();
  const started: Step[] = [];
  const cachedAtOnce = new Set<Step>();
  let firstMs: number | null = null;

  function begin(step: Step, atMs: number): void {
    if (step.startedMs === null) started.push(step);
    if (step.startedMs === null || step.isLookedAt) step.startedMs = atMs;
    step.isLookedAt = false;
  }

  /** Its time begins when it starts itself: until then it is as if it had not been seen. */
  function look(step: Step, atMs: number, done: boolean): void {
    if (!done && step.startedMs === null) {
      begin(step, atMs);
      step.isLookedAt = true;
      step.outcome = { kind: "running" };
    } else if (done && step.isLookedAt) {
      started.splice(started.indexOf(step), 1);
      Object.assign(step, { startedMs: null, isLookedAt: false, outcome: { kind: "waiting" } });
    }
  }

  /** What comes out of the cache without a start is found from the end backwards; it is shown in the Dockerfile's order. */
  function beginCached(step: Step, atMs: number): void {
    if (step.startedMs !== null) return;
    begin(step, atMs);
    cachedAtOnce.add(step);
    let at = started.length - 1;
    for (; at > 0; at--) {
      const before = started[at - 1] as Step;
      if (!cachedAtOnce.has(before) || before.order < step.order) break;
      started[at] = before;
    }
    started[at] = step;
  }

  function settle(step: Step, outcome: StepOutcome & { readonly atMs: number }): void {
    if (isSettled(step)) return; // the first word stands: "cached" may be followed by "done"
    if (outcome.kind === "cached") beginCached(step, outcome.atMs);
    else begin(step, outcome.atMs);
    step.outcome = outcome;
    if (outcome.kind !== "failed") forgetLog(step);
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
        if (event.kind === "bytes" || event.kind === "usage") return null; // of something that is no step of its own
        step = {
          order: steps.size,
          vertex: event.vertex,
          name: event.kind === "vertex" ? oneLine(event.name) : event.vertex,
          outcome: { kind: "waiting" },
          startedMs: null,
          isLookedAt: false,
          transfers: new Map(),
          tail: [],
          log: null,
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
        case "looking":
          look(step, event.atMs, event.done);
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
          if (!isSettled(target)) target.log ??= openLog?.() ?? null;
          target.readers[event.fd].push(event.data, (text) => {
            const line = { atMs: event.atMs, text };
            remember(target, line);
            onLine?.(target, line);
          });
          break;
        }
        case "bytes": {
          const label = oneLine(event.label);
          const before = step.transfers.get(label);
          step.transfers.set(label, {
            label,
            // one that was done and goes on is another of the same name
            startedMs: before === undefined || (before.done && !event.done) ? event.atMs : before.startedMs,
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

/** Adds a line to what a step is remembered by. */
export function remember(step: Step, line: LogLine): void {
  step.log?.add(`${logTime(step, line.atMs)} ${line.text}`);
  step.tail.push(line);
  if (step.tail.length > TAIL_LINES) step.tail.shift();
}

/** A last line without newline is one all the same. */
export function keepPartial(step: Step): void {
  for (const fd of [1, 2] as const) {
    const text = step.readers[fd].flush();
    if (text !== "") remember(step, { atMs: "atMs" in step.outcome ? step.outcome.atMs : 0, text });
  }
}

/** At the end of a display: only logs of failed steps will be asked for. */
export function endLogs(state: ProgressState): void {
  for (const step of state.started) {
    keepPartial(step);
    if (step.outcome.kind !== "failed") forgetLog(step);
  }
}

function forgetLog(step: Step): void {
  step.log?.discard();
  step.log = null;
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
