// ProgressEvent: everything that rooms report. Only bin/ formats events as text.

import type { Digest } from "./digest.ts";
import { BuildError, locate, type SourceRange } from "./error.ts";

export type ProgressEvent =
  | {
      readonly kind: "vertex";
      readonly vertex: Digest;
      readonly name: string;
      readonly inputs: readonly Digest[];
      readonly at: readonly SourceRange[];
    }
  | {
      readonly kind: "started" | "cached" | "done" | "cancelled";
      readonly vertex: Digest;
      readonly atMs: number;
    }
  /** What a step reads is examined, to see whether it has to run at all; it has not started. Ends with `done`. */
  | { readonly kind: "looking"; readonly vertex: Digest; readonly atMs: number; readonly done: boolean }
  | { readonly kind: "failed"; readonly vertex: Digest; readonly atMs: number; readonly error: BuildError }
  | {
      readonly kind: "log";
      readonly vertex: Digest;
      readonly atMs: number;
      readonly fd: 1 | 2;
      readonly data: Uint8Array;
    }
  | {
      readonly kind: "bytes"; // transfer inside a step: a layer download, an upload
      readonly vertex: Digest;
      readonly label: string;
      readonly atMs: number;
      readonly current: number;
      readonly total: number | null;
      readonly done: boolean;
    }
  | { readonly kind: "usage"; readonly vertex: Digest; readonly cpuMs: number; readonly peakBytes: number }
  | {
      readonly kind: "warning";
      readonly rule: string; // name of the build check; "" for others
      readonly message: string;
      readonly detail: string;
      readonly url: string;
      readonly at: readonly SourceRange[];
    }
  /** One line, shown once and only in verbose output (which sandbox, which network and why). */
  | { readonly kind: "note"; readonly message: string };

export type Emit = (event: ProgressEvent) => void;

/** Reports that a step waits for another build; `holder`: which process that is, and whether it is running. */
export function saysWaiting(emit: Emit, vertex: Digest, what: string): (holder: string) => void {
  return (holder) => {
    const atMs = Date.now();
    emit({ kind: "started", vertex, atMs });
    emit({ kind: "log", vertex, atMs, fd: 2, data: Buffer.from(`waiting for ${what}: ${holder}\n`) });
  };
}

/** Runs the work of a started step; reports its end, and adds the step to an error. null: the step is not shown. */
export async function asStep<T>(
  {
    emit,
    vertex,
    signal,
    nowMs,
  }: {
    readonly emit: Emit;
    readonly vertex: Digest | null;
    readonly signal: AbortSignal;
    readonly nowMs: () => number;
  },
  work: () => Promise<T>,
): Promise<T> {
  if (vertex === null) return await work();
  try {
    const result = await work();
    emit({ kind: "done", vertex, atMs: nowMs() });
    return result;
  } catch (error) {
    if (signal.aborted) emit({ kind: "cancelled", vertex, atMs: nowMs() });
    if (signal.aborted || !(error instanceof BuildError)) throw error;
    const located = locate(error, null, vertex);
    emit({ kind: "failed", vertex, atMs: nowMs(), error: located });
    throw located;
  }
}
