// Layers as blobs for the exporters: packed by the keeper, once per form, remembered in the layer's record.

import type { LayerBlob, LayerSource, LayerVariant } from "../exporters/exporter.ts";
import type { LayerRecord, RemoteBlob, Store } from "../cache/store.ts";
import type { Digest } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { Descriptor, LayerId } from "../solver/graph/request.ts";
import type { Keeper } from "../worker/keeper/keeper.ts";

const MEDIA_TYPES = {
  gzip: "application/vnd.oci.image.layer.v1.tar+gzip",
  zstd: "application/vnd.oci.image.layer.v1.tar+zstd",
  uncompressed: "application/vnd.oci.image.layer.v1.tar",
} as const;

export interface LayerSourceDeps {
  readonly store: Store;
  readonly keeper: () => Keeper;
  /** Path of a blob of a base layer, in the content store. */
  readonly fetch: (id: LayerId, signal: AbortSignal) => Promise<string>;
  /** Makes sure the layer's directory is there (unpacks a base layer). */
  readonly unpack: (id: LayerId, signal: AbortSignal) => Promise<string>;
  /** Bytes must not depend on this machine's zlib: --reproducible. */
  readonly pinnedCompressor: boolean;
}

/** Opens the source. Equal calls at one time share one packing. */
export function openLayerSource(deps: LayerSourceDeps): LayerSource {
  const { store } = deps;
  const running = new Map<string, Promise<unknown>>();
  const once = <T>(key: string, work: () => Promise<T>): Promise<T> => {
    const known = running.get(key);
    if (known !== undefined) return known as Promise<T>;
    const task = work().finally(() => running.delete(key));
    running.set(key, task);
    return task;
  };
  const recordOf = (id: LayerId): LayerRecord => {
    const record = store.layers.get(id);
    if (record === null) throw new BuildError("STORE_CORRUPT", `layer ${id} is not in the store`);
    return record;
  };

  const pack = async (
    id: LayerId,
    compression: LayerVariant["compression"] | null,
    level: number | null,
    epochSeconds: number | null,
    signal: AbortSignal,
  ): Promise<{ diffId: Digest; tarBytes: number; descriptor: Descriptor | null }> => {
    const dir = await deps.unpack(id, signal);
    await using ingest = compression === null ? null : store.content.ingest();
    signal.throwIfAborted();
    const outcome = await deps.keeper().run({
      kind: "pack",
      dir,
      out: ingest?.path ?? null,
      compression: compression ?? "uncompressed",
      level,
      epochSeconds,
      pinned: deps.pinnedCompressor,
    });
    signal.throwIfAborted();
    const record = recordOf(id);
    const times = epochSeconds === null ? "" : `epoch=${epochSeconds}`;
    const changes: Partial<Omit<LayerRecord, "id">> =
      epochSeconds === null
        ? {
            diffId: outcome.diffId,
            sizeBytes: record.sizeBytes || outcome.tarBytes,
            tarBytes: { ...record.tarBytes, [times]: outcome.tarBytes },
          }
        : {
            diffIds: { ...record.diffIds, [times]: outcome.diffId },
            tarBytes: { ...record.tarBytes, [times]: outcome.tarBytes },
          };
    if (ingest === null || compression === null || outcome.digest === null || outcome.size === null) {
      store.layers.update(id, changes);
      return { diffId: outcome.diffId, tarBytes: outcome.tarBytes, descriptor: null };
    }
    ingest.commit({ digest: outcome.digest, size: outcome.size, trusted: true });
    const descriptor: Descriptor = {
      mediaType: MEDIA_TYPES[compression],
      digest: outcome.digest,
      size: outcome.size,
    };
    store.layers.update(id, {
      ...changes,
      blobs: {
        ...record.blobs,
        [formKey(compression, level, epochSeconds, deps.pinnedCompressor)]: descriptor,
      },
    });
    return { diffId: outcome.diffId, tarBytes: outcome.tarBytes, descriptor };
  };

  const recompress = async (
    id: LayerId,
    compression: LayerVariant["compression"],
    level: number | null,
    diffId: Digest,
    key: string,
    signal: AbortSignal,
  ): Promise<Descriptor> => {
    const blob = await deps.fetch(id, signal);
    await using ingest = store.content.ingest();
    const outcome = await deps
      .keeper()
      .run({ kind: "recompress", blob, out: ingest.path, compression, level, pinned: deps.pinnedCompressor });
    signal.throwIfAborted();
    if (outcome.diffId !== diffId || outcome.digest === null || outcome.size === null) {
      throw new BuildError(
        "DIGEST_MISMATCH",
        `a layer of the base image has the diffId ${outcome.diffId}, its config says ${diffId}`,
      );
    }
    ingest.commit({ digest: outcome.digest, size: outcome.size, trusted: true });
    const descriptor: Descriptor = {
      mediaType: MEDIA_TYPES[compression],
      digest: outcome.digest,
      size: outcome.size,
    };
    store.layers.update(id, { blobs: { ...recordOf(id).blobs, [key]: descriptor } });
    return descriptor;
  };

  return {
    async diffId(id, epochSeconds, { signal }) {
      const record = recordOf(id);
      const times = epochSeconds === null ? "" : `epoch=${epochSeconds}`;
      const known = epochSeconds === null ? record.diffId : (record.diffIds[times] ?? null);
      const tarBytes = record.tarBytes?.[times];
      if (known !== null && tarBytes !== undefined) return { diffId: known, tarBytes };
      return once(`diff ${id} ${times}`, () => pack(id, null, null, epochSeconds, signal));
    },
    async blob(id, variant, { signal }) {
      const { compression, level, epochSeconds } = variant;
      const record = recordOf(id);
      const diffId =
        epochSeconds === null ? record.diffId : (record.diffIds[`epoch=${epochSeconds}`] ?? null);
      const key = formKey(compression, level, epochSeconds, deps.pinnedCompressor);
      const known = record.blobs[key];
      if (known !== undefined && diffId !== null && store.content.has(known.digest)) {
        return { descriptor: known, diffId, remote: null };
      }
      // Without force a base layer leaves as it came; what an imported cache has in this form is not packed again.
      const original = variant.pinned
        ? record.remotes[0]
        : deps.pinnedCompressor || epochSeconds !== null
          ? undefined
          : imported(record, compression);
      if (original !== undefined && diffId !== null && (!variant.force || isForm(original, compression))) {
        return {
          descriptor: plainDescriptor(original.descriptor),
          diffId,
          remote: store.content.has(original.descriptor.digest) ? null : original,
        };
      }
      return once(`blob ${id} ${key}`, async (): Promise<LayerBlob> => {
        if (original !== undefined && diffId !== null) {
          return {
            descriptor: await recompress(id, compression, level, diffId, key, signal),
            diffId,
            remote: null,
          };
        }
        const packed = await pack(id, compression, level, epochSeconds, signal);
        if (packed.descriptor === null) throw new Error("packing gave no blob");
        return { descriptor: packed.descriptor, diffId: packed.diffId, remote: null };
      });
    },
  };
}

function imported(record: LayerRecord, compression: LayerVariant["compression"]): RemoteBlob | undefined {
  return record.remotes.find((remote) => isForm(remote, compression));
}

function formKey(
  compression: string,
  level: number | null,
  epochSeconds: number | null,
  pinned: boolean,
): string {
  return `${compression}${level === null ? "" : `-${level}`}${epochSeconds === null ? "" : `+epoch=${epochSeconds}`}${pinned ? "+pinned" : ""}`;
}

function isForm(remote: RemoteBlob, compression: LayerVariant["compression"]): boolean {
  const type = remote.descriptor.mediaType;
  if (compression === "gzip") return /[+.]gzip$/.test(type);
  if (compression === "zstd") return /[+.]zstd$/.test(type);
  return /\.tar$/.test(type);
}

function plainDescriptor({ mediaType, digest, size }: Descriptor): Descriptor {
  return { mediaType, digest, size };
}
