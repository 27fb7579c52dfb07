// Events of one build about its vertices: each event of a vertex at most once, in a consistent order.

import type { Vertex, VertexNote } from "./graph/definition.ts";
import type { Digest } from "./graph/digest.ts";
import type { BuildError } from "./graph/error.ts";
import type { Emit } from "./graph/event.ts";

export interface Reporter {
  /** For the events of others (log, bytes…); a second "started" of a vertex is dropped. */
  readonly emit: Emit;
  started(vertex: Digest): void;
  /** What the vertex reads is examined while `work` goes on; that may be long before it starts, if it does. */
  looking<T>(vertex: Digest, work: () => Promise<T>): Promise<T>;
  /** The vertex is over. Later calls for it do nothing. */
  ended(vertex: Digest, how: "cached" | "done"): void;
  failed(vertex: Digest, error: BuildError): void;
  /** All that have started and not ended are cancelled. */
  cancelled(): void;
}

/** Announces the vertices, in order, and keeps count from then on. */
export function openReporter(
  vertices: Iterable<{ readonly vertex: Vertex; readonly note: VertexNote | null }>,
  emit: Emit,
  nowMs: () => number,
): Reporter {
  const running = new Set<Digest>();
  const looks = new Map<Digest, number>();
  const over = new Set<Digest>();
  for (const { vertex, note } of vertices) {
    const { digest, inputs, op } = vertex;
    const below = [...new Set(inputs.map((input) => input.vertex))];
    emit({ kind: "vertex", vertex: digest, name: note?.name ?? op.kind, inputs: below, at: note?.at ?? [] });
  }

  function end(vertex: Digest): boolean {
    if (over.has(vertex)) return false;
    over.add(vertex);
    running.delete(vertex);
    return true;
  }

  const reporter: Reporter = {
    emit(event) {
      if (event.kind === "started") reporter.started(event.vertex);
      else emit(event);
    },
    started(vertex) {
      if (over.has(vertex) || running.has(vertex)) return;
      running.add(vertex);
      emit({ kind: "started", vertex, atMs: nowMs() });
    },
    async looking(vertex, work) {
      const count = looks.get(vertex) ?? 0;
      looks.set(vertex, count + 1);
      if (count === 0) emit({ kind: "looking", vertex, atMs: nowMs(), done: false });
      try {
        return await work();
      } finally {
        const left = (looks.get(vertex) ?? 1) - 1;
        looks.set(vertex, left);
        if (left === 0) emit({ kind: "looking", vertex, atMs: nowMs(), done: true });
      }
    },
    ended(vertex, how) {
      if (end(vertex)) emit({ kind: how, vertex, atMs: nowMs() });
    },
    failed(vertex, error) {
      reporter.started(vertex); // nothing fails that has not begun
      if (end(vertex)) emit({ kind: "failed", vertex, atMs: nowMs(), error });
    },
    cancelled() {
      for (const vertex of [...running]) {
        if (end(vertex)) emit({ kind: "cancelled", vertex, atMs: nowMs() });
      }
    },
  };
  return reporter;
}
