// Cache mounts of steps that must not be cached (--no-cache) start empty: what a step finds in them is a cache, too.

import type { Definition } from "../../solver/graph/definition.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import { cacheMountId } from "../../solver/graph/op.ts";
import type { EngineParts } from "./parts.ts";

/**
 * Empties the cache mounts of the forced steps of a definition, before it is solved; those that a running step uses stay. `known`: steps that
 * were here before, which run once in a build and keep what they left; they are added.
 */
export async function dropForcedMounts(
  { store, keeper }: Pick<EngineParts, "store" | "keeper">,
  definition: Definition,
  noCache: boolean,
  { known, signal }: { readonly known: Set<Digest>; readonly signal: AbortSignal },
): Promise<void> {
  const mounts: { readonly id: string; readonly seeded: boolean }[] = [];
  for (const { digest, op } of definition.vertices.values()) {
    if (op.kind !== "exec" || known.has(digest)) continue;
    if (!noCache && definition.notes.get(digest)?.ignoreCache !== true) continue;
    known.add(digest);
    for (const mount of op.mounts)
      if (mount.kind === "cache") mounts.push({ id: cacheMountId(mount), seeded: mount.input !== null });
  }
  const gone: string[] = [];
  for (const { id, seeded } of mounts) gone.push(...(await store.cacheMounts.forget(id, { seeded, signal })));
  if (gone.length > 0) await keeper().run({ kind: "remove", paths: gone }, { signal });
}
