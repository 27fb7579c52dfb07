// Layers made ready to be mounted: fetched and unpacked, side by side, each once over all processes of the store.

import { BuildError } from "../solver/graph/error.ts";
import type { Digest } from "../solver/graph/digest.ts";
import type { CallContext, LayerId } from "../solver/graph/request.ts";
import type { LayerRecord, RemoteBlob, Store } from "../cache/store.ts";
import type { Keeper } from "./keeper/keeper.ts";

/** Fetches a blob into the content store, verified; once over all processes that want it. */
export type FetchBlob = (
  remote: RemoteBlob,
  options: { readonly signal: AbortSignal; readonly onBytes: (current: number, total: number) => void },
) => Promise<void>;

export interface Unpacker {
  /** Directories of the layers, oldest first, all unpacked. vertex: the step that shows the transfer. */
  directories(layers: readonly LayerId[], vertex: Digest, context: CallContext): Promise<string[]>;
  /** A blob of the layer in the content store, fetched if it is elsewhere. */
  blob(layer: LayerId, vertex: Digest | null, context: CallContext): Promise<Digest>;
}

/** Opens the unpacker. */
export function openUnpacker(store: Store, keeper: () => Keeper, fetch: FetchBlob): Unpacker {
  const running = new Map<string, Promise<void>>();
  /** Seen unpacked. Who asks holds them, so they stay: a step need not ask again for each of the layers below it. */
  const ready = new Set<LayerId>();
  const isReady = (id: LayerId): boolean => {
    if (!ready.has(id) && store.layers.get(id)?.unpacked === true) ready.add(id);
    return ready.has(id);
  };

  /** Everybody who wants the same thing here shares one task; it goes on while one of them still waits. */
  const once = (key: string, work: () => Promise<void>): Promise<void> => {
    const known = running.get(key);
    if (known !== undefined) return known;
    const task = work().finally(() => running.delete(key));
    running.set(key, task);
    return task;
  };

  const fetchOne = async (
    record: LayerRecord,
    vertex: Digest | null,
    context: CallContext,
  ): Promise<Digest> => {
    const local = Object.values(record.blobs).find((blob) => store.content.has(blob.digest));
    if (local !== undefined) return local.digest;
    const remote = record.remotes[0];
    if (remote === undefined) {
      throw new BuildError(
        "STORE_CORRUPT",
        `a layer of the image is neither in the store nor known to a registry (${record.description})`,
        {
          hint: "pull or build the image again",
        },
      );
    }
    const { digest, size } = remote.descriptor;
    await once(`fetch ${digest}`, async () => {
      let last = 0;
      const report = (current: number, done: boolean): void => {
        if (vertex === null) return;
        const atMs = Date.now();
        if (!done && atMs - last < 100) return;
        last = atMs;
        context.emit({
          kind: "bytes",
          vertex,
          label: `sha256:${digest.slice(7, 19)}`,
          atMs,
          current,
          total: size,
          done,
        });
      };
      await fetch(remote, { signal: context.signal, onBytes: (current) => report(current, false) });
      report(size, true);
    });
    return digest;
  };

  const unpackOne = (id: LayerId, vertex: Digest, context: CallContext): Promise<void> =>
    once(`unpack ${id}`, () =>
      store.exclusively(
        `unpack ${id}`,
        async () => {
          const record = store.layers.get(id);
          if (record === null) throw new BuildError("STORE_CORRUPT", `layer ${id} is not in the store`);
          if (record.unpacked) return; // another process was quicker
          const digest = await fetchOne(record, vertex, context);
          const mediaType =
            record.remotes.find((remote) => remote.descriptor.digest === digest)?.descriptor.mediaType ??
            Object.values(record.blobs).find((blob) => blob.digest === digest)?.mediaType ??
            "";
          await using active = store.layers.prepare();
          const outcome = await keeper().run({
            kind: "apply",
            blob: store.content.path(digest),
            mediaType,
            diffId: record.diffId,
            dir: active.upper,
          });
          context.signal.throwIfAborted();
          for (const message of outcome.notes ?? []) context.emit({ kind: "note", message });
          active.commit(
            { ...record, unpacked: true, diffId: outcome.diffId, sizeBytes: outcome.sizeBytes },
            id,
          );
        },
        { signal: context.signal },
      ),
    );

  return {
    async directories(layers, vertex, context) {
      const missing = layers.filter((id) => !isReady(id));
      const results = await Promise.allSettled(missing.map((id) => unpackOne(id, vertex, context)));
      for (const result of results) if (result.status === "rejected") throw result.reason;
      // A merge may name one layer twice; overlayfs refuses that, and the upper one covers the lower.
      return layers
        .filter((id, index) => layers.lastIndexOf(id) === index)
        .map((id) => store.layers.directory(id));
    },
    async blob(layer, vertex, context) {
      const record = store.layers.get(layer);
      if (record === null) throw new BuildError("STORE_CORRUPT", `layer ${layer} is not in the store`);
      return fetchOne(record, vertex, context);
    },
  };
}
