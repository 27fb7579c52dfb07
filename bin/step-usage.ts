// Resources used by each step: in --metadata-file, and with --verbose in a line below slow steps.

import type { Digest } from "../solver/graph/digest.ts";
import type { ProgressEvent } from "../solver/graph/event.ts";
import { formatBytes } from "./progress-state.ts";

/** One step that ran. cpuMs: of all its processes. peakBytes: of its largest process, or of all together where the step
 *  had a cgroup of its own. */
export interface StepUsage {
  readonly name: string;
  readonly cpuMs: number;
  readonly peakBytes: number;
}

/** Steps that took less are not worth a line. */
export const SLOW_STEP_MS = 5_000;

/** Collects the usage of one build's steps. */
export function openStepUsage(): {
  /** Takes an event in. Returns the line to be said of a slow step that has just ended, else null. */
  take(event: ProgressEvent): string | null;
  /** Its part of --metadata-file; nothing when no step ran. */
  metadata(): { readonly "tsbuild.steps"?: readonly StepUsage[] };
} {
  const names = new Map<Digest, string>();
  const started = new Map<Digest, number>();
  const used = new Map<Digest, StepUsage>();
  return {
    take(event) {
      switch (event.kind) {
        case "vertex":
          names.set(event.vertex, event.name);
          return null;
        case "started":
          started.set(event.vertex, event.atMs);
          return null;
        case "usage":
          used.set(event.vertex, {
            name: names.get(event.vertex) ?? event.vertex,
            cpuMs: Math.round(event.cpuMs),
            peakBytes: event.peakBytes,
          });
          return null;
        case "done":
        case "failed": {
          const usage = used.get(event.vertex);
          const sinceMs = started.get(event.vertex);
          if (usage === undefined || sinceMs === undefined || event.atMs - sinceMs < SLOW_STEP_MS)
            return null;
          return `${usage.name}: ${(usage.cpuMs / 1000).toFixed(1)}s of CPU time, at most ${formatBytes(usage.peakBytes)} of memory`;
        }
        default:
          return null;
      }
    },
    metadata: () => (used.size === 0 ? {} : { "tsbuild.steps": [...used.values()] }),
  };
}
