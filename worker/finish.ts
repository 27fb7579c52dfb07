// Turns the output of a step into a layer: a new one, or an earlier one of the same step that is equal except for times.
//
// Every new layer is measured: its size for `du`, its listing for fsck, its shape for the next time the step runs. If there is
// an earlier layer to compare with, that happens before the commit, because later steps wait for the result. Otherwise it
// happens in the background, when no other job needs a thread.

import type { CallContext, LayerId } from "../solver/graph/request.ts";
import type { Keeper } from "./keeper/keeper.ts";
import type { MeasureJob, MeasureOutcome } from "./keeper/messages.ts";
import type { ActiveLayer, LayerRecord, Lease, Store } from "../cache/contract.ts";

export interface Finisher extends AsyncDisposable {
  /** Commits the layer, held by the lease, or gives one of `earlier` (held by the caller), which stands for it; then the new one
   *  is for its owner to dispose of. description: for `du`. */
  finish(
    active: ActiveLayer,
    earlier: readonly LayerId[],
    description: string,
    context: CallContext,
  ): Promise<LayerId>;
}

/** Disposing waits for measurements under way, unless `signal` (of the whole build) cancels them. */
export function openFinisher(
  store: Store,
  keeper: () => Keeper,
  lease: Lease,
  signal: AbortSignal,
): Finisher {
  const measuring: Promise<void>[] = [];

  /** null: it cannot be listed. Nothing depends on that but the comfort of knowing. */
  async function measure(
    job: Pick<MeasureJob, "dir" | "earlier" | "background">,
    options: { readonly signal: AbortSignal },
  ): Promise<MeasureOutcome | null> {
    try {
      return await keeper().run({ kind: "measure", ...job }, options);
    } catch {
      return null; // trouble of the keeper or the disk is told by the next step
    }
  }

  /** Never rejects. */
  async function measureLater(id: LayerId): Promise<void> {
    const job = { dir: store.layers.directory(id), earlier: [], background: true };
    const outcome = await measure(job, { signal });
    if (signal.aborted || outcome === null) return; // the store may be closed
    try {
      if (store.layers.get(id) !== null) store.layers.update(id, measuredFields(outcome));
    } catch {
      // as above
    }
  }

  return {
    async finish(active, earlier, description, context) {
      const candidates = earlier.flatMap((id) => {
        const record = store.layers.get(id);
        const shape = record?.shape;
        return record?.unpacked !== true || shape === undefined
          ? []
          : [{ id, shape, dir: store.layers.directory(id) }];
      });
      const outcome =
        candidates.length === 0
          ? null
          : await measure({ dir: active.upper, earlier: candidates, background: false }, context);
      context.signal.throwIfAborted();
      const same = candidates[outcome?.same ?? -1];
      if (same !== undefined) return same.id;
      // Held from before it is visible until the worker closes; by then the records that name it exist.
      lease.addLayers([active.id]);
      const fields = outcome === null ? {} : measuredFields(outcome);
      const { id } = active.commit({ ...fields, unpacked: true, createdAtMs: Date.now(), description });
      if (outcome === null) measuring.push(measureLater(id));
      return id;
    },
    async [Symbol.asyncDispose]() {
      const cancelled = new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        else signal.addEventListener("abort", () => resolve(), { once: true });
      });
      await Promise.race([Promise.all(measuring), cancelled]);
    },
  };
}

function measuredFields({
  sizeBytes,
  listing,
  shape,
}: MeasureOutcome): Pick<LayerRecord, "sizeBytes" | "listing" | "shape"> {
  return { sizeBytes, listing, shape };
}
