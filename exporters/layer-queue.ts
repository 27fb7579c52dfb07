// Work on layers of finished steps while later steps run, in the background: each layer once, in the order it came. Outputs and caches at the end
// of the build check all of it again, so work that fails is met there, with the words for it.

import type { Lease, Store } from "../cache/contract.ts";
import type { LayerId } from "../solver/graph/request.ts";
import { Scope } from "../solver/graph/scope.ts";

/** Disposed: nothing of it runs any more. */
export interface LayerQueue extends AsyncDisposable {
  /** Layers that were offered before are left out; so are all after an abort. */
  offer(layers: readonly LayerId[]): void;
  /** Begins nothing new, and resolves when what has begun is over. */
  finish(): Promise<void>;
}

/** For the work on one layer. */
export interface Working {
  readonly signal: AbortSignal;
  readonly lease: Lease;
}

/** Holds layers that are offered, and by `lease` what the work makes of them, until it is disposed. The work must not throw: what it cannot do is its
 *  own affair. `atOnce`: layers that are worked on at the same time. */
export function openLayerQueue(
  { store, parent, atOnce }: { readonly store: Store; readonly parent: AbortSignal; readonly atOnce: number },
  work: (layer: LayerId, working: Working) => Promise<void>,
): LayerQueue {
  const scope = new Scope(parent);
  const lease = scope.use(store.lease());
  const seen = new Set<LayerId>();
  const waiting: LayerId[] = [];
  const running = new Set<Promise<void>>();

  async function drain(signal: AbortSignal): Promise<void> {
    for (let id = waiting.shift(); id !== undefined && !signal.aborted; id = waiting.shift())
      await work(id, { signal, lease });
  }

  function begin(): void {
    for (let free = Math.min(atOnce - running.size, waiting.length); free > 0; free--) {
      const one: Promise<void> = scope.start(drain).finally(() => {
        running.delete(one);
        if (!scope.signal.aborted) begin(); // what came when it was about to end
      });
      running.add(one);
    }
  }

  return {
    offer(layers) {
      const fresh = layers.filter((id) => !seen.has(id));
      if (fresh.length === 0 || scope.signal.aborted) return;
      for (const id of fresh) seen.add(id);
      lease.addLayers(fresh);
      waiting.push(...fresh);
      begin();
    },
    async finish() {
      waiting.length = 0;
      await Promise.all(running);
    },
    [Symbol.asyncDispose]: () => scope[Symbol.asyncDispose](),
  };
}
