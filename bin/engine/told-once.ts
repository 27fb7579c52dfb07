// Events of graphs that are solved one after another in one build: a step they share is told once.

import type { Emit } from "../../solver/graph/event.ts";

/** Once a graph has been solved, others that contain the same steps do not tell of them again. */
export interface Told {
  readonly emit: Emit;
  /** What has ended is not told again from now on. */
  over(): void;
}

export function openTold(emit: Emit): Told {
  const ended = new Set<string>();
  const quiet = new Set<string>();
  return {
    emit(event) {
      const isStep =
        event.kind === "vertex" ||
        event.kind === "started" ||
        event.kind === "looking" ||
        event.kind === "cached" ||
        event.kind === "done";
      if (isStep && quiet.has(event.vertex)) return;
      if (event.kind === "done" || event.kind === "cached") ended.add(event.vertex);
      emit(event);
    },
    over() {
      for (const vertex of ended) quiet.add(vertex);
    },
  };
}
