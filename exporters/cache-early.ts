// Sends layers of finished steps to the build's caches while later steps run: packed and sent one by one, in the background.
// The export at the end of the build (cache-export.ts) checks everything again, so errors here are ignored. A failed build leaves
// only unreferenced blobs.

import type { CachePlace } from "../cache/remote-cache/place.ts";
import type { LayerId, Result } from "../solver/graph/request.ts";
import { type LayerQueue, openLayerQueue, type Working } from "./layer-queue.ts";
import { bytesOf, type CacheDeps, type CacheForm, layerVariant } from "./cache-export.ts";

export interface EarlyTarget {
  readonly open: () => Promise<CachePlace>;
  /** With mode=max: what a step has made is exported whatever comes of it. */
  readonly form: CacheForm;
}

/** `finish()` is to be awaited before the export at the end. */
export interface EarlyExport extends Omit<LayerQueue, "offer"> {
  /** A result that was just made. */
  offer(result: Result): void;
  /** Bytes that were sent to the target with this index. */
  sentBytes(target: number): number;
}

/** Opens it; does nothing before the first result. */
export function openEarlyExport(
  targets: readonly EarlyTarget[],
  deps: CacheDeps,
  parent: AbortSignal,
): EarlyExport {
  const sent = targets.map(() => 0);
  const places: (Promise<CachePlace | null> | undefined)[] = [];

  async function send(id: LayerId, index: number, { signal, lease }: Working): Promise<void> {
    const { open, form } = targets[index] as EarlyTarget;
    const place = await (places[index] ??= open().catch(() => null));
    if (place === null) return;
    const { descriptor, remote } = await deps.layers.blob(id, layerVariant(id, form), { signal });
    if (remote !== null) return; // imported: it is somewhere already
    lease.addBlobs([descriptor.digest]);
    const read = () => bytesOf(descriptor, new Map(), deps, signal);
    if (await place.putBlob(descriptor, read, { signal, mountFrom: [] })) {
      sent[index] = (sent[index] ?? 0) + descriptor.size;
    }
  }

  const queue = openLayerQueue({ store: deps.store, parent, atOnce: 1 }, async (id, working) => {
    for (const index of targets.keys()) {
      if (working.signal.aborted) return;
      await send(id, index, working).catch(() => {
        places[index] = Promise.resolve(null); // the export at the end meets it again, and has the words for it
      });
    }
  });
  return {
    ...queue,
    offer(result) {
      const id = result.kind === "layers" ? result.layers.at(-1) : undefined;
      if (id?.startsWith("r-") === true) queue.offer([id]);
    },
    sentBytes: (target) => sent[target] ?? 0,
  };
}
