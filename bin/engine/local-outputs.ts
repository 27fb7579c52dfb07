// Images of the local store in the form exporters need, for push and save.

import { type Annotation, annotationsIn } from "../../exporters/annotations.ts";
import { isAttestation, type StoredImage, storedImage } from "../../exporters/exporter.ts";
import { MANIFEST_MAX_BYTES, MEDIA_TYPES, parseDocument } from "../../cache/registry/documents.ts";
import { platformRank } from "../../cache/registry/platform-match.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { formatPlatform, formatPlatformAll, type Platform } from "../../solver/graph/op.ts";
import {
  isBaseLayer,
  type BuiltImage,
  type CallContext,
  type Descriptor,
  type ImageConfig,
  type LayerId,
} from "../../solver/graph/request.ts";
import type { LocalWorker } from "../../worker/worker.ts";
import type { EngineTransferOptions } from "./request.ts";
import type { EngineParts } from "./parts.ts";
import { openLayerSource } from "./layer-source.ts";
import { mayBeLayersOf, type LocalImage, type LocalManifest } from "./local-images.ts";
import type { Attestation, ExportDeps } from "../../exporters/contract.ts";
import type { ImageRecord, LayerRecord, Store } from "../../cache/contract.ts";

/** Byte for byte; null: it was never pushed or one of its blobs is missing, and it has to be assembled. */
export function asItIs({ record, manifests }: LocalImage, store: Store): StoredImage | null {
  const [confirmed] = record.confirmed ?? [];
  // A manifest that was never pushed has uncompressed tars, unless another format was requested.
  const isPlain = manifests.some(({ layers }) =>
    layers.some(({ mediaType }) => !/[+.](gzip|zstd)$/.test(mediaType)),
  );
  if (confirmed === undefined && isPlain) return null;
  const places = new Map(
    Object.values(record.layers)
      .flat()
      .flatMap((id) => store.layers.get(id)?.remotes ?? [])
      .map(({ descriptor, from }) => [descriptor.digest, from]),
  );
  return storedImage(store, record.target, ({ digest }) => places.get(digest) ?? confirmed ?? null);
}

/** A local platform of an image. */
export interface LocalBuilt extends BuiltImage {
  /** Its layers as in the manifest. */
  readonly blobs: readonly Descriptor[];
}

/** The image without the platforms of which only documents are local; unchanged if that leaves none. */
export function presentOf(found: LocalImage): LocalImage {
  const manifests = found.manifests.filter(
    (one) => layersOf(found.record, platformOf(one), one.config) !== null,
  );
  return manifests.length === 0 ? found : { ...found, manifests };
}

/** All local platforms. Throws STORE_CORRUPT. */
export function builtImages(
  { record, manifests }: LocalImage,
  reference: string,
  store: Store,
): readonly LocalBuilt[] {
  return manifests.map((one) => {
    const { config, layers: blobs } = one;
    const platform = platformOf(one);
    const layers = layersOf(record, platform, config);
    if (layers === null)
      throw new BuildError("STORE_CORRUPT", `${reference}: the layers of the image are unknown`, {
        hint: "build or pull it again",
      });
    const clampedTo = clampOf(layers, config, store);
    return { platform, layers, config, blobs, ...(clampedTo !== null && { clampedTo }) };
  });
}

/** To what the times in the layers were set when the image was built (--reproducible, rewrite-timestamp), in seconds: its diffIds say so.
 *  null: they are as the steps left them. */
function clampOf(layers: readonly LayerId[], config: ImageConfig, store: Store): number | null {
  for (const [at, diffId] of (config.rootfs?.diff_ids ?? []).entries()) {
    const id = layers[at];
    const record = id === undefined || isBaseLayer(id) ? null : store.layers.get(id);
    if (record === null || record.diffId === diffId) continue;
    const seconds = clampIn(record, diffId);
    if (seconds !== null) return seconds;
  }
  return null;
}

/** To what the times of a step's layer are set in its tar with that diffId; null: they are as they are. */
export function clampIn({ diffIds }: LayerRecord, diffId: string): number | null {
  const times = Object.entries(diffIds).find(([, other]) => other === diffId)?.[0] ?? "";
  const seconds = /^epoch=(\d+)$/.exec(times)?.[1];
  return seconds === undefined ? null : Number(seconds);
}

/** Was one of its platforms built with times that were set? Its blobs are then the same wherever they are packed. */
export function isClamped({ record, manifests }: LocalImage, store: Store): boolean {
  return manifests.some((one) => {
    const layers = layersOf(record, platformOf(one), one.config);
    return layers !== null && clampOf(layers, one.config, store) !== null;
  });
}

function platformOf({ config, descriptor }: LocalManifest): Platform {
  const { os, architecture, variant } = config;
  return descriptor.platform ?? { os, architecture, ...(variant ? { variant } : {}) };
}

/** Layers of the platform; whatever its name in the record, they must be those in the config. */
function layersOf(record: ImageRecord, platform: Platform, config: ImageConfig): readonly LayerId[] | null {
  const named = record.layers[formatPlatform(platform)];
  return (
    [...(named === undefined ? [] : [named]), ...Object.values(record.layers)].find((ids) =>
      mayBeLayersOf(ids, config),
    ) ?? null
  );
}

/** Metadata of the image besides layers and configs, to preserve it when it is assembled. */
export interface LocalWords {
  readonly annotations: readonly Annotation[];
  readonly ociTypes: boolean;
}

/** Throws IMAGE_INVALID, STORE_CORRUPT. */
export function wordsOf({ record, manifests }: LocalImage, { content }: Store): LocalWords {
  const read = ({ digest, mediaType }: Descriptor): ReturnType<typeof parseDocument> =>
    parseDocument(content.read(digest, MANIFEST_MAX_BYTES), mediaType, digest);
  const { target } = record;
  const top = read(target);
  const all = manifests.flatMap((one) => {
    const manifest = read(one.descriptor);
    return manifest.kind === "manifest"
      ? [{ platform: platformOf(one), descriptor: one.descriptor, manifest }]
      : [];
  });
  return {
    annotations: annotationsIn(target, top.kind === "index" ? top : null, all),
    ociTypes: all.every(({ manifest }) => manifest.mediaType === MEDIA_TYPES.ociManifest),
  };
}

/** What is attested of the platforms of an image. */
export interface LocalAttestations {
  /** By the place of the platform; none: nothing is. */
  readonly all: readonly (readonly Attestation[])[];
  readonly ociArtifact: boolean | null;
}
export const NOT_ATTESTED: LocalAttestations = { all: [], ociArtifact: null };

/** What the image says of each of its platforms, as attestations of the same image in another form: its layers get another digest when they are
 *  packed. By the place of the platform in `images`. Throws IMAGE_INVALID, STORE_CORRUPT. */
export async function attestationsOf(
  { record, isIndex, manifests }: LocalImage,
  images: readonly LocalBuilt[],
  { content }: Store,
): Promise<LocalAttestations> {
  const { target } = record;
  const top = parseDocument(content.read(target.digest, MANIFEST_MAX_BYTES), target.mediaType, target.digest);
  const attached =
    top.kind === "index" && isIndex
      ? top.manifests.filter((one) => isAttestation(one) && content.has(one.digest))
      : [];
  if (attached.length === 0) return NOT_ATTESTED;
  const { attestedBy, IN_TOTO_TYPE, isArtifact, reattested, STATEMENT_MAX_BYTES } = await import(
    "../../exporters/attestation/statement.ts"
  );
  const artifacts: boolean[] = [];
  const all = images.map(({ platform }) => {
    const own = manifests.find((one) => formatPlatformAll(platformOf(one)) === formatPlatformAll(platform));
    return attached.flatMap((descriptor) => {
      if (own === undefined || attestedBy(descriptor) !== own.descriptor.digest) return [];
      const bytes = content.read(descriptor.digest, MANIFEST_MAX_BYTES);
      const manifest = parseDocument(bytes, descriptor.mediaType, descriptor.digest);
      if (manifest.kind !== "manifest") return [];
      artifacts.push(isArtifact(manifest));
      return manifest.layers
        .filter(({ digest, mediaType }) => mediaType === IN_TOTO_TYPE && content.has(digest))
        .map(({ digest }) => reattested(content.read(digest, STATEMENT_MAX_BYTES), own.descriptor.digest));
    });
  });
  return { all, ociArtifact: artifacts[0] ?? null };
}

/** The best match for a platform; null: none. */
export function bestOf<T extends { readonly platform: Platform }>(
  images: readonly T[],
  platform: Platform,
): T | null {
  const ranked = images.flatMap((image) => {
    const rank = platformRank(platform, image.platform);
    return rank === null ? [] : [{ image, rank }];
  });
  return ranked.toSorted((a, b) => a.rank - b.rank)[0]?.image ?? null;
}

/** All of them if no platform is requested; else the best match, or none. */
export function chosenOf<T extends { readonly platform: Platform }>(
  images: readonly T[],
  platform: Platform | null,
): readonly T[] {
  if (platform === null) return images;
  const best = bestOf(images, platform);
  return best === null ? [] : [best];
}

/** Claims of the image about its layers, valid for its own exports. */
export function claimLayers({ claims }: LocalWorker, images: readonly LocalBuilt[], store: Store): void {
  for (const { layers, blobs } of images) {
    // For layers that were built here, or never pushed with their image, the manifest only has the uncompressed tars.
    layers.forEach((id, at) => {
      const descriptor = blobs[at];
      if (!isBaseLayer(id) || descriptor === undefined) return;
      const isBlob = store.layers.idOf(descriptor.digest) !== id || store.content.has(descriptor.digest);
      if (isBlob) claims.add([id], [{ descriptor }]);
    });
  }
}

/** What exporters need to send or write images of the local store. `vertex`: the step in which unpacking is shown. `pinned`: compressed bytes
 *  must not depend on this machine. */
export function outputDeps(
  parts: EngineParts,
  { unpacker }: LocalWorker,
  vertex: Digest,
  options: EngineTransferOptions,
  pinned = false,
): ExportDeps {
  const { store } = parts;
  const context: CallContext = { signal: options.signal, session: options.session, emit: options.emit };
  return {
    store,
    registry: () => parts.registry(options.session),
    layers: openLayerSource({
      ...{ store, keeper: parts.keeper, unpacker, vertex, context },
      pinnedCompressor: pinned,
    }),
    files: async () => {
      throw new Error("no files are written");
    },
    digests: async () => {
      throw new Error("no files are written");
    },
    client: options.session.outputs,
    loaders: [],
    env: parts.config.env,
  };
}
