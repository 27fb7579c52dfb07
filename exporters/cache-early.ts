// Sends layers of finished steps to the build's caches while later steps run: packed and sent one by one, in the background.
// The export at the end of the build (cache-export.ts) checks everything again, so errors here are ignored. A failed build leaves
// only unreferenced blobs.

import type { CachePlace } from "../cache/remote-cache/place.ts";
import type { LayerId, Result } from "../solver/graph/request.ts";
import { Scope } from "../solver/graph/scope.ts";
import { bytesOf, type CacheDeps, type CacheForm, layerVariant } from "./cache-export.ts";

export interface EarlyTarget {
  readonly open: () => Promise<CachePlace>;
  /** With mode=max: what a step has made is exported whatever comes of it. */
  readonly form: CacheForm;
}

/** Disposed: nothing of it runs any more. */
export interface EarlyExport extends AsyncDisposable {
  /** A result that was just made. */
  offer(result: Result): void;
  /** Begins nothing new, and resolves when what has begun is over. To be awaited before the export at the end. */
  finish(): Promise<void>;
  /** Bytes that were sent to the target with this index. */
  sentBytes(target: number): number;
}

/** Opens it; does nothing before the first result. */
export function openEarlyExport(
  targets: readonly EarlyTarget[],
  deps: CacheDeps,
  parent: AbortSignal,
): EarlyExport {
  const scope = new Scope(parent);
  const lease = scope.use(deps.store.lease());
  const seen = new Set<LayerId>();
  const waiting: LayerId[] = [];
  const sent = targets.map(() => 0);
  const places: (Promise<CachePlace | null> | undefined)[] = [];
  let running: Promise<void> | null = null;

  async function send(id: LayerId, index: number, signal: AbortSignal): Promise<void> {
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

  async function work(signal: AbortSignal): Promise<void> {
    for (let id = waiting.shift(); id !== undefined; id = waiting.shift()) {
      for (const index of targets.keys()) {
        try {
          await send(id, index, signal);
        } catch {
          if (signal.aborted) {
            waiting.length = 0;
            return;
          }
          places[index] = Promise.resolve(null); // the export at the end meets it again, and has the words for it
        }
      }
    }
  }

  const begin = (): void => {
    if (waiting.length === 0) return;
    running ??= scope.start(work).finally(() => {
      running = null;
      begin(); // what came when it was about to end
    });
  };

  return {
    offer(result) {
      const id = result.kind === "layers" ? result.layers.at(-1) : undefined;
      if (id === undefined || !id.startsWith("r-") || seen.has(id) || scope.signal.aborted) return;
      seen.add(id);
      lease.addLayers([id]);
      waiting.push(id);
      begin();
    },
    async finish() {
      waiting.length = 0;
      await running;
    },
    sentBytes: (target) => sent[target] ?? 0,
    [Symbol.asyncDispose]: () => scope[Symbol.asyncDispose](),
  };
}
