// Progress of an export: lines within its step that start and end, with the wording of BuildKit's exporters (exporter/
// containerimage/writer.go, util/push/push.go), with the bytes transferred.

import type { Digest } from "../solver/graph/digest.ts";
import type { Emit } from "../solver/graph/event.ts";

export interface Shown {
  readonly emit: Emit;
  /** The step the lines belong to; null: nothing is shown. */
  readonly vertex: Digest | null;
  readonly nowMs: () => number;
}

/** Bytes so far, of `total` if that is known. */
export type Report = (current: number, total?: number | null) => void;

/** Reports of one line come at most so often. */
const REPORT_MS = 100;

/** A line that begins with its first report, and is not there without one. `end` says the last word. */
export function lineOf(
  { emit, vertex, nowMs }: Shown,
  label: string,
): { readonly report: Report; readonly end: Report } {
  let lastMs = Number.NEGATIVE_INFINITY;
  const say = (current: number, total: number | null, done: boolean): void => {
    if (vertex === null) return;
    const atMs = nowMs();
    if (!done && atMs - lastMs < REPORT_MS) return;
    lastMs = atMs;
    emit({ kind: "bytes", vertex, label, atMs, current, total, done });
  };
  return {
    report: (current, total = null) => say(current, total, false),
    end: (current, total = null) => say(current, total, true),
  };
}

/** A line for as long as the work takes; one whose work fails stays open: the step's error is the end of it. */
export async function during<T>(
  shown: Shown,
  label: string,
  work: (report: Report) => Promise<T>,
): Promise<T> {
  const line = lineOf(shown, label);
  let bytes: Parameters<Report> = [0, null];
  line.report(...bytes);
  const result = await work((...so) => {
    bytes = so;
    line.report(...so);
  });
  line.end(...bytes);
  return result;
}

/** A line for what takes no time. */
export function moment(shown: Shown, label: string): void {
  lineOf(shown, label).end(0);
}

/** The same bytes, reported as they go. */
export async function* counted(
  data: AsyncIterable<Uint8Array>,
  report: Report,
): AsyncGenerator<Uint8Array, void, undefined> {
  let bytes = 0;
  for await (const chunk of data) {
    yield chunk;
    bytes += chunk.length;
    report(bytes);
  }
}
