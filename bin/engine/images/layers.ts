// Sizes of an image: what each step added, its largest files, and what was deleted again.

import { copyPlain } from "../archives.ts";
import { pullBlob } from "../../../cache/registry/image.ts";
import { BuildError } from "../../../solver/graph/error.ts";
import type { Digest } from "../../../solver/graph/digest.ts";
import type { Descriptor } from "../../../solver/graph/request.ts";
import type { GraphImage, LayerReport, LayerSize } from "./contract.ts";
import { type FileLedger, openFileLedger } from "./layer-files.ts";
import { inParallel } from "./graph.ts";
import type { ImageDeps, ImageSource } from "./source.ts";

const FETCHES_AT_ONCE = 4;

/** The steps of an image with their layers. `count`: of the largest files, for which layers are fetched; 0: none are. Throws IMAGE_INVALID. */
export async function layerReport(
  image: GraphImage,
  source: ImageSource,
  count: number,
  deps: ImageDeps,
): Promise<LayerReport> {
  const { manifest, config, node, platform } = image;
  const diffIds = config.rootfs?.diff_ids ?? [];
  if (diffIds.length !== manifest.layers.length)
    throw new BuildError(
      "IMAGE_INVALID",
      `${source.shown}: its manifest has ${manifest.layers.length} layers, but its config has ${diffIds.length}`,
    );
  const ledger = count === 0 ? null : await readLayers(manifest.layers, source, deps);
  const totals = ledger?.totals() ?? [];
  const steps = (config.history ?? []).filter(({ empty_layer: isEmpty }) => !isEmpty);
  const layers = manifest.layers.map((descriptor, at): LayerSize => {
    const total = totals[at];
    return {
      ...{ layer: at + 1, descriptor, diffId: diffIds[at] as Digest },
      createdBy: steps[at]?.created_by ?? "",
      fileBytes: total?.fileBytes ?? null,
      files: total?.files ?? null,
      wastedBytes: total?.wastedBytes ?? null,
    };
  });
  const { kept, wasted } = ledger?.largest(count) ?? { kept: [], wasted: [] };
  return { name: source.name, platform, digest: node.descriptor.digest, layers, largest: kept, wasted };
}

async function readLayers(
  layers: readonly Descriptor[],
  source: ImageSource,
  deps: ImageDeps,
): Promise<FileLedger> {
  const { signal } = deps.options;
  await inParallel(layers, FETCHES_AT_ONCE, signal, (layer, own) => fetchBlob(layer, source, deps, own));
  const ledger = openFileLedger(source.shown);
  for (const { digest } of layers) {
    const reader = ledger.layer();
    await copyPlain(deps.parts.store.content.path(digest), signal, (chunk) => reader.push(chunk));
    reader.finish();
  }
  return ledger;
}

/** Brings a blob into the content store, where the lease holds it. */
export async function fetchBlob(
  descriptor: Descriptor,
  source: ImageSource,
  { parts: { store }, lease, options, vertex }: ImageDeps,
  signal: AbortSignal,
): Promise<void> {
  const { digest, size } = descriptor;
  lease.addBlobs([digest]);
  const onBytes = (current: number): void =>
    options.emit({
      ...{ kind: "bytes", vertex, label: `fetching ${digest}`, atMs: Date.now() },
      ...{ current, total: size, done: current === size },
    });
  await pullBlob(descriptor, store, () => source.blob(descriptor, { signal, onBytes }), { signal });
}
