// An image of the local store as a side: layers that were made here are packed as their config says they are.

import { MANIFEST_MAX_BYTES } from "../../../cache/registry/documents.ts";
import { digestOf } from "../../../solver/graph/digest.ts";
import { formatPlatform } from "../../../solver/graph/op.ts";
import { hostPlatform } from "../../../solver/graph/platform.ts";
import { isBaseLayer, type CallContext } from "../../../solver/graph/request.ts";
import { findImage, platformAbsent } from "../local-images.ts";
import { bestOf, builtImages, claimLayers, clampIn, outputDeps, presentOf } from "../local-outputs.ts";
import { readBuiltFrom } from "./built-from.ts";
import type { ImageSide } from "./contract.ts";
import { openStoredLayer, type SideDeps } from "./stored-layer.ts";

/** Throws IMAGE_UNKNOWN, PLATFORM_UNSUPPORTED, STORE_CORRUPT. */
export async function openLocalSide(shown: string, reference: string, deps: SideDeps): Promise<ImageSide> {
  const { parts, worker, lease, options, platform } = deps;
  const { store } = parts;
  const found = presentOf(findImage(store, reference));
  lease.addBlobs([found.record.target.digest]);
  const images = builtImages(found, reference, store).map((image, at) => ({
    ...image,
    manifest: found.manifests[at],
  }));
  claimLayers(worker, images, store);
  const wanted = platform ?? hostPlatform();
  const image =
    bestOf(images, wanted) ?? (platform === null && images.length === 1 ? (images[0] ?? null) : null);
  if (image === null)
    throw platformAbsent(
      reference,
      formatPlatform(wanted),
      images.map((one) => formatPlatform(one.platform)),
    );
  lease.addLayers(image.layers);
  const vertex = digestOf(`compare ${reference}`);
  const { layers: source } = outputDeps(parts, worker, vertex, options);
  const context: CallContext = { signal: options.signal, session: options.session, emit: options.emit };
  const diffIds = image.config.rootfs?.diff_ids ?? [];
  return {
    kind: "image",
    shown,
    digest: image.manifest?.descriptor.digest ?? null,
    configDigest: image.manifest?.configDescriptor.digest ?? null,
    config: image.config,
    platform: image.platform,
    provenance: () =>
      readBuiltFrom(
        store,
        store.content.read(found.record.target.digest, MANIFEST_MAX_BYTES),
        image.manifest?.descriptor.digest ?? found.record.target.digest,
        async () => {}, // the store has them
      ),
    layers: image.layers.map((id, at) => ({
      diffId: diffIds[at] ?? "",
      digest: image.blobs[at]?.digest ?? null,
      async open({ signal }) {
        const record = store.layers.get(id);
        const epochSeconds = record === null ? null : clampIn(record, diffIds[at] ?? "");
        const isBase = isBaseLayer(id);
        if (isBase) await worker.unpacker.fetch(id, vertex, { ...context, signal }).catch(() => {}); // packed then
        const { descriptor } = await source.blob(
          id,
          { compression: "uncompressed", level: null, force: false, epochSeconds, pinned: isBase },
          { signal },
        );
        lease.addBlobs([descriptor.digest]);
        return await openStoredLayer(shown, descriptor.digest, diffIds[at] ?? null, deps, signal);
      },
    })),
  };
}
