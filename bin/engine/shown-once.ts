// A step of the progress display for work that usually has nothing to show: layers that are not unpacked yet.

import { type Digest, digestOf } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Emit } from "../../solver/graph/event.ts";
import type { CallContext } from "../../solver/graph/request.ts";

/** A progress step of this name, if there is any progress to show. */
export async function shownOnce<T>(
  context: CallContext,
  name: string,
  work: (vertex: Digest, context: CallContext) => Promise<T>,
): Promise<T> {
  const vertex = digestOf(name);
  let isShown = false;
  const emit: Emit = (event) => {
    if (!isShown && "vertex" in event && event.vertex === vertex) {
      isShown = true;
      context.emit({ kind: "vertex", vertex, name, inputs: [], at: [] });
      context.emit({ kind: "started", vertex, atMs: Date.now() });
    }
    context.emit(event);
  };
  try {
    const result = await work(vertex, { ...context, emit });
    if (isShown) emit({ kind: "done", vertex, atMs: Date.now() });
    return result;
  } catch (error) {
    if (isShown && error instanceof BuildError) emit({ kind: "failed", vertex, atMs: Date.now(), error });
    throw error;
  }
}
