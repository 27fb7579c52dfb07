// Builds that go on although something they used is damaged: imported caches, blobs without another source.

import { BuildError } from "../../solver/graph/error.ts";
import type { Emit, ProgressEvent } from "../../solver/graph/event.ts";
import type { CallContext } from "../../solver/graph/request.ts";
import type { OpenBuild } from "./parts.ts";

/** Runs `work`, again without imported caches that broke it, and again without each damaged blob. */
export async function persistently<T>(
  builds: readonly OpenBuild[],
  context: CallContext,
  work: (context: CallContext) => Promise<T>,
): Promise<T> {
  let attempt = (context: CallContext): Promise<T> => withLostLayersMade(context, work);
  for (const { imports } of builds) {
    if (imports === null) continue;
    const inner = attempt;
    const { withoutBrokenCaches } = await import("./build-caches.ts");
    attempt = (context) => withoutBrokenCaches(imports, context, inner);
  }
  return await attempt(context);
}

/**
 * Runs `work`, and restarts it for each damaged blob without another source, a new one each time. Such a blob was
 * set aside, results that need it are no longer used, and the step that created it runs again (threat model R3).
 */
async function withLostLayersMade<T>(
  context: CallContext,
  work: (context: CallContext) => Promise<T>,
): Promise<T> {
  const met = new Set<string>();
  for (;;) {
    const held: ProgressEvent[] = [];
    const emit: Emit = (event) => {
      if (event.kind === "failed" && event.error.code === "STORE_CORRUPT") held.push(event);
      else context.emit(event);
    };
    try {
      return await work({ ...context, emit });
    } catch (error) {
      const isLoss = error instanceof BuildError && error.code === "STORE_CORRUPT" && !met.has(error.message);
      if (context.signal.aborted || !isLoss) {
        for (const event of held) context.emit(event);
        throw error;
      }
      met.add(error.message);
      context.emit({ kind: "note", message: `${error.message}; restarting the build without it` });
    }
  }
}
