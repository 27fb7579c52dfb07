// Locks and graphs: what the sources of a solved graph stood for, and those of one that is only resolved.

import type { Definition } from "../../solver/graph/definition.ts";
import { BuildError, locate } from "../../solver/graph/error.ts";
import type { SourceOp } from "../../solver/graph/op.ts";
import type { Origins } from "../../solver/solver.ts";
import { type BuildLock, keyOf } from "./lock.ts";
import type { ResolveOptions } from "./source-metadata.ts";

/** Notes what a graph was made of. Throws CONTEXT_CHANGED. */
export function noteOrigins(lock: BuildLock, { definition, materials }: Origins): void {
  for (const { op, platform, digest } of definition.vertices.values()) {
    const material = materials.get(digest);
    if (op.kind === "source" && material !== undefined) lock.material(op, platform, material);
  }
}

/** Has `resolve` look at each source that nothing says the bytes of. Throws what that throws, with the step and its place. */
export async function resolveSources(
  { vertices, notes }: Definition,
  resolve: (source: SourceOp, question: ResolveOptions) => Promise<unknown>,
): Promise<void> {
  for (const { op, platform, digest } of vertices.values()) {
    if (op.kind !== "source" || keyOf(op) === null) continue;
    try {
      await resolve(op, { platform, name: op.identifier, resolveMode: "", gitObjects: false });
    } catch (error) {
      throw error instanceof BuildError ? locate(error, notes.get(digest)?.at[0] ?? null, digest) : error;
    }
  }
}
