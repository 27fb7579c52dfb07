// Damaged blobs during export. A blob is verified while it is read; a damaged one is set aside. Then all
// blobs of the layers concerned are read, to find all damage at once, and the export restarts: the layer source finds
// them missing and fetches or packs them again (threat model R3).

import { sureForms } from "../cache/claims.ts";
import type { Digest } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { Emit } from "../solver/graph/event.ts";
import type { LayerId } from "../solver/graph/request.ts";
import { Scope } from "../solver/graph/scope.ts";
import type { Store } from "../cache/contract.ts";

const READS_AT_ONCE = 2;

/** Does `work`; once more when it met a damaged blob. */
export async function withWholeBlobs<T>(
  layers: readonly LayerId[],
  store: Store,
  { signal, emit }: { readonly signal: AbortSignal; readonly emit: Emit },
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (signal.aborted || !(error instanceof BuildError) || error.code !== "STORE_CORRUPT") throw error;
    emit({ kind: "note", message: `${error.message}; it will be fetched or rebuilt` });
    const records = [...new Set(layers)].flatMap((id) => store.layers.get(id) ?? []);
    const blobs = records.flatMap((record) => [
      ...sureForms(record),
      ...Object.values(record.blobs),
      ...record.remotes.map(({ descriptor }) => descriptor),
    ]);
    await readAll(
      blobs.map(({ digest }) => digest),
      store,
      signal,
    );
  }
  return await work();
}

/** Reads blobs that are about to leave for where nothing can be taken back. Throws STORE_CORRUPT when one is damaged. */
export async function checkBlobs(
  blobs: readonly Digest[],
  store: Pick<Store, "content">,
  signal: AbortSignal,
): Promise<void> {
  const damaged = await readAll(blobs, store, signal);
  const [first] = damaged;
  if (first === undefined) return;
  throw new BuildError(
    "STORE_CORRUPT",
    `the blob ${store.content.path(first)} is damaged on disk and was set aside`,
    { hint: "run the build again: the blob will be fetched or rebuilt" },
  );
}

/** Those that were damaged; they are set aside. */
async function readAll(
  blobs: readonly Digest[],
  { content }: Pick<Store, "content">,
  parent: AbortSignal,
): Promise<readonly Digest[]> {
  const waiting = [...new Set(blobs)].filter((digest) => content.has(digest));
  const damaged: Digest[] = [];
  await using scope = new Scope(parent);
  await scope.all(
    Array.from({ length: Math.min(READS_AT_ONCE, waiting.length) }, () => async (signal: AbortSignal) => {
      for (let digest = waiting.shift(); digest !== undefined; digest = waiting.shift())
        if (!(await content.isWhole(digest, { signal }))) damaged.push(digest);
    }),
  );
  return damaged;
}
