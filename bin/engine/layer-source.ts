// Layers as blobs for the exporters: packed by the keeper, once per format, cached in the layer's record.

import { statSync } from "node:fs";
import { earlierBlobs, noteBlocks } from "../../cache/block-indexes.ts";
import { COMPRESSORS } from "../../cache/layers/compress-block.ts";
import { DIFF_ID_ANNOTATION, tableOf } from "../../cache/table-annotations.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { isBaseLayer, type CallContext, type Descriptor, type LayerId } from "../../solver/graph/request.ts";
import { openTasks } from "../../solver/graph/tasks.ts";
import type { Keeper } from "../../worker/keeper/keeper.ts";
import type { PackOutcome } from "../../worker/keeper/messages.ts";
import type { Unpacker } from "../../worker/worker.ts";
import type { LayerBlob, LayerOptions, LayerSource, LayerVariant } from "../../exporters/contract.ts";
import type { LayerRecord, Store } from "../../cache/contract.ts";

const MEDIA_TYPES = {
  gzip: "application/vnd.oci.image.layer.v1.tar+gzip",
  zstd: "application/vnd.oci.image.layer.v1.tar+zstd",
  estargz: "application/vnd.oci.image.layer.v1.tar+gzip",
  "zstd:chunked": "application/vnd.oci.image.layer.v1.tar+zstd",
  uncompressed: "application/vnd.oci.image.layer.v1.tar",
} as const;

/** Interval of progress for a blob that is being written. */
const WATCHED_MS = 250;

export interface LayerSourceDeps {
  readonly store: Store;
  readonly keeper: () => Keeper;
  readonly unpacker: Unpacker;
  /** The step in which the unpacking of base layers is shown. */
  readonly vertex: Digest;
  readonly context: CallContext;
  /** Bytes must not depend on this machine's zlib: --reproducible. */
  readonly pinnedCompressor: boolean;
}

interface Packed {
  readonly diffId: Digest;
  readonly tarBytes: number;
  readonly descriptor: Descriptor | null;
}

/** Opens the source. Concurrent equal calls share one packing. */
export function openLayerSource(deps: LayerSourceDeps): LayerSource {
  const { store, unpacker, context } = deps;
  const packs = openTasks<Packed>();
  const blobs = openTasks<LayerBlob>();
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
    { signal, onBytes }: LayerOptions,
  ): Promise<Packed> => {
    const [dir] = await unpacker.directories([id], deps.vertex, { ...context, signal });
    if (dir === undefined) throw new Error("no directory");
    await using ingest = compression === null ? null : store.content.ingest();
    const form = compression && formKey(compression, level, epochSeconds, deps.pinnedCompressor);
    // A base layer has the bytes of its own blob packed anew, whatever was built here. zstd of this machine compresses about as fast as
    // blocks are named and found.
    const isSlow = compression === "gzip" || (compression === "zstd" && deps.pinnedCompressor);
    const step =
      form === null || !isSlow || isBaseLayer(id) ? null : { form, name: recordOf(id).description };
    const job = {
      kind: "pack",
      dir,
      out: ingest?.path ?? null,
      compression: compression ?? "uncompressed",
      level,
      epochSeconds,
      pinned: deps.pinnedCompressor,
      ...(step !== null && { earlier: earlierBlobs(store, step.form, step.name) }),
    } as const;
    const outcome = await watched(job.out, onBytes, () => deps.keeper().run(job, { signal }));
    const record = recordOf(id);
    if (isBaseLayer(id) && epochSeconds === null && outcome.diffId !== record.diffId) {
      // Its id is its diffId: another tar of the same files is another layer.
      throw new BuildError(
        "STORE_CORRUPT",
        `no blob of ${record.description || "a base layer"} is available`,
        {
          hint: "pull or build the image again",
        },
      );
    }
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
    const descriptor = describe(id, compression, outcome);
    store.layers.update(id, { ...changes, blobs: { ...record.blobs, [form as string]: descriptor } });
    if (step !== null && outcome.blocks !== undefined)
      noteBlocks(store.records, step.form, step.name, { digest: outcome.digest, ...outcome.blocks });
    return { diffId: outcome.diffId, tarBytes: outcome.tarBytes, descriptor };
  };

  /** The blob that was written, with where its table is and, as BuildKit notes it, its diffId where that is not the layer's. */
  const describe = (
    id: LayerId,
    compression: LayerVariant["compression"],
    { diffId, digest, size, table }: PackOutcome,
  ): Descriptor => {
    if (digest === null || size === null) throw new Error("packing gave no blob");
    const descriptor = { mediaType: MEDIA_TYPES[compression], digest, size };
    if (table === undefined) return descriptor;
    if (table.kind === "none") {
      const name = recordOf(id).description || id;
      const message = `${name}: ${table.why}, so the layer gets no table of contents and is always pulled as a whole`;
      context.emit({ kind: "note", message });
      return descriptor;
    }
    const own = table.diffId === diffId ? {} : { [DIFF_ID_ANNOTATION]: table.diffId };
    return { ...descriptor, annotations: { ...table.annotations, ...own } };
  };

  const recompress = async (
    id: LayerId,
    compression: LayerVariant["compression"],
    level: number | null,
    key: string,
    { signal, onBytes }: LayerOptions,
  ): Promise<Descriptor> => {
    await using ingest = store.content.ingest();
    const form = { compression, level, pinned: deps.pinnedCompressor };
    const outcome = await unpacker.withBlob(id, { ...context, signal }, (blob) =>
      watched(ingest.path, onBytes, () =>
        deps.keeper().run({ kind: "recompress", blob, out: ingest.path, ...form }, { signal }),
      ),
    );
    if (outcome.digest === null || outcome.size === null) throw new Error("recompressing gave no blob");
    ingest.commit({ digest: outcome.digest, size: outcome.size, trusted: true });
    const descriptor = describe(id, compression, outcome);
    const own = outcome.table?.kind === "table" ? outcome.table.diffId : outcome.diffId;
    // In the image it is another base layer than the one it was made of.
    if (own !== outcome.diffId)
      store.layers.update(store.layers.idOf(own), {
        diffId: own,
        verified: [{ mediaType: descriptor.mediaType, digest: descriptor.digest, size: descriptor.size }],
        description: recordOf(id).description,
      });
    store.layers.update(id, { blobs: { ...recordOf(id).blobs, [key]: descriptor } });
    return descriptor;
  };

  return {
    async diffId(id, epochSeconds, options) {
      const record = recordOf(id);
      const times = epochSeconds === null ? "" : `epoch=${epochSeconds}`;
      const known = epochSeconds === null ? record.diffId : (record.diffIds[times] ?? null);
      const tarBytes = record.tarBytes?.[times];
      if (known !== null && tarBytes !== undefined) return { diffId: known, tarBytes };
      return packs.share(`${id} ${times}`, options.signal, (signal) =>
        pack(id, null, null, epochSeconds, { ...options, signal }),
      );
    },
    async blob(id, variant, options) {
      const { signal } = options;
      const { compression, level, epochSeconds } = variant;
      const record = recordOf(id);
      const diffId =
        epochSeconds === null ? record.diffId : (record.diffIds[`epoch=${epochSeconds}`] ?? null);
      const key = formKey(compression, level, epochSeconds, deps.pinnedCompressor);
      const packed = record.blobs[key] ?? store.layers.made(id)?.blobs[key];
      const known =
        packed !== undefined && diffId !== null && store.content.has(packed.digest) ? packed : null;
      // Without force a base layer is exported unchanged; blobs of an imported cache in this format are not packed again.
      const asItCame = variant.pinned && !variant.force;
      if (known !== null && !asItCame) return blobOf(known, diffId as Digest);
      const isWanted = variant.pinned || (!deps.pinnedCompressor && epochSeconds === null);
      const forms = isWanted ? await unpacker.forms(id, { ...context, signal }, variant.unmade === true) : [];
      const original = asItCame
        ? forms[0]
        : forms.find(({ descriptor }) => isForm(descriptor, compression, variant.pinned));
      if (original !== undefined && diffId !== null) return { ...original, diffId };
      if (known !== null) return blobOf(known, diffId as Digest);
      if (variant.unmade) {
        const plain = await this.diffId(id, epochSeconds, { signal });
        const { diffId: digest, tarBytes: size } = plain;
        return {
          descriptor: { mediaType: MEDIA_TYPES.uncompressed, digest, size },
          diffId: digest,
          remote: null,
        };
      }
      return blobs.share(`${id} ${key}`, signal, async (shared) => {
        const own = { ...options, signal: shared };
        if (variant.pinned && forms.length > 0 && diffId !== null) {
          return blobOf(await recompress(id, compression, level, key, own), diffId);
        }
        const made = await pack(id, compression, level, epochSeconds, own);
        if (made.descriptor === null) throw new Error("packing gave no blob");
        return blobOf(made.descriptor, made.diffId);
      });
    },
  };
}

/** Reports the growing size of the blob that the keeper writes to `out`. */
async function watched<T>(
  out: string | null,
  onBytes: LayerOptions["onBytes"],
  work: () => Promise<T>,
): Promise<T> {
  if (onBytes === undefined) return await work();
  onBytes(0);
  if (out === null) return await work();
  const timer = setInterval(() => {
    const size = statSync(out, { throwIfNoEntry: false })?.size;
    if (size !== undefined) onBytes(size);
  }, WATCHED_MS).unref();
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
}

function formKey(
  compression: string,
  level: number | null,
  epochSeconds: number | null,
  pinned: boolean,
): string {
  return `${compression}${level === null ? "" : `-${level}`}${epochSeconds === null ? "" : `+epoch=${epochSeconds}`}${pinned ? `+${compressorOf(compression)}` : ""}`;
}

function compressorOf(compression: string): string {
  switch (compression) {
    case "gzip":
    case "estargz":
      return COMPRESSORS.gzip;
    case "zstd":
    case "zstd:chunked":
      return COMPRESSORS.zstd;
    default:
      return "pinned";
  }
}

/** A blob that is here, with what its tar is. */
function blobOf(descriptor: Descriptor, diffId: Digest): LayerBlob {
  return {
    descriptor,
    diffId: (descriptor.annotations?.[DIFF_ID_ANNOTATION] as Digest | undefined) ?? diffId,
    remote: null,
  };
}

/** Is the blob in this form? One of a base image that can also be pulled lazily is good enough for plain zstd, as in BuildKit; one of ours
 *  is what was asked for, whatever else has been made of the layer. */
function isForm(descriptor: Descriptor, compression: LayerVariant["compression"], isBase: boolean): boolean {
  const { mediaType } = descriptor;
  const table = tableOf(descriptor);
  switch (compression) {
    case "gzip":
      return /[+.]gzip$/.test(mediaType) && table !== "estargz";
    case "zstd":
      return /[+.]zstd$/.test(mediaType) && (isBase || table === null);
    case "estargz":
    case "zstd:chunked":
      return table === compression;
    case "uncompressed":
      return /\.tar$/.test(mediaType);
  }
}
