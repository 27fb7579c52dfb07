// Config, manifest and index of an image as bytes. A pure function of its input: no clock, no order of arrival.
// image-spec config.md, manifest.md, image-index.md; the order of fields is that of BuildKit's containerimage/writer.go.

import { isManifestType, MEDIA_TYPES } from "../cache/registry/documents.ts";
import { type Digest, digestOf } from "../solver/graph/digest.ts";
import type { Platform } from "../solver/graph/op.ts";
import type { BuiltImage, Descriptor, HistoryEntry, ImageConfig } from "../solver/graph/request.ts";
import { type Annotation, annotationsFor } from "./annotations.ts";
import { encodeGoJson, goTime, orderedFields, sortedEntries, sortedMap } from "./go-json.ts";

/** One layer as it goes into an image. */
export interface ImageLayer {
  readonly descriptor: Descriptor;
  readonly diffId: Digest;
  readonly createdAtMs: number | null;
  /** What made it, for a history that has no entry for it. */
  readonly description: string;
}

export interface MakeOptions {
  readonly ociTypes: boolean;
  readonly annotations: readonly Annotation[];
  /** SOURCE_DATE_EPOCH: no time in the config is later. null: times stay. */
  readonly epochSeconds: number | null;
}

/** A document with its descriptor. */
export interface Document {
  readonly bytes: Uint8Array;
  readonly descriptor: Descriptor;
}
export interface MadeImage {
  readonly platform: Platform;
  readonly config: Document;
  readonly manifest: Document;
  readonly layers: readonly ImageLayer[]; // descriptors as in the manifest
  /** The config's `created`, or null. */
  readonly created: string | null;
}

// ocispec.ImageConfig, then moby/docker-image-spec's extension.
const CONTAINER_FIELDS = [
  "User",
  "ExposedPorts",
  "Env",
  "Entrypoint",
  "Cmd",
  "Volumes",
  "WorkingDir",
  "Labels",
  "StopSignal",
  "ArgsEscaped",
  "Healthcheck",
  "OnBuild",
  "Shell",
];
const HEALTHCHECK_FIELDS = ["Test", "Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"];
const HISTORY_FIELDS = ["created", "created_by", "author", "comment", "empty_layer"];

/** Makes config and manifest of one platform. The descriptor has the platform and its annotations. */
export function makeImage(image: BuiltImage, layers: readonly ImageLayer[], options: MakeOptions): MadeImage {
  const { ociTypes, epochSeconds } = options;
  const converted = layers.map((layer) => ({
    ...layer,
    descriptor: layerDescriptor(layer.descriptor, ociTypes),
  }));
  const history = normalizeHistory(image.config.history, layers, epochSeconds, image.baseHistory ?? 0);
  const created = createdOf(image.config, history, epochSeconds);
  const configBytes = encodeConfig(image.config, converted, history, created);
  const config: Document = {
    bytes: configBytes,
    descriptor: {
      mediaType: ociTypes ? MEDIA_TYPES.ociConfig : MEDIA_TYPES.dockerConfig,
      digest: digestOf(configBytes),
      size: configBytes.length,
    },
  };
  const annotations = annotationsFor(options.annotations, image.platform);
  const mediaType = ociTypes ? MEDIA_TYPES.ociManifest : MEDIA_TYPES.dockerManifest;
  const manifestBytes = encodeGoJson(
    {
      schemaVersion: 2,
      mediaType,
      config: encodeDescriptor(config.descriptor),
      layers: converted.map(({ descriptor }) => encodeDescriptor(descriptor)),
      annotations: sortedMap(annotations.manifest),
    },
    2,
  );
  const manifest: Document = {
    bytes: manifestBytes,
    descriptor: {
      mediaType,
      digest: digestOf(manifestBytes),
      size: manifestBytes.length,
      ...withAnnotations(annotations.manifestDescriptor),
      platform: image.platform,
    },
  };
  return { platform: image.platform, config, manifest, layers: converted, created };
}

/** Makes the index of a multi-platform image, manifests in the order given. */
export function makeIndex(images: readonly MadeImage[], options: MakeOptions): Document {
  const annotations = annotationsFor(options.annotations, null);
  const mediaType = options.ociTypes ? MEDIA_TYPES.ociIndex : MEDIA_TYPES.dockerIndex;
  const bytes = encodeGoJson(
    {
      schemaVersion: 2,
      mediaType,
      manifests: images.map(({ manifest }) => encodeDescriptor(manifest.descriptor)),
      annotations: sortedMap(annotations.index),
    },
    2,
  );
  return {
    bytes,
    descriptor: {
      mediaType,
      digest: digestOf(bytes),
      size: bytes.length,
      ...withAnnotations(annotations.indexDescriptor),
    },
  };
}

/** A descriptor in the field order of ocispec.Descriptor. */
export function encodeDescriptor(descriptor: Descriptor): Record<string, unknown> {
  const { mediaType, digest, size, annotations, platform, artifactType } = descriptor;
  return {
    mediaType,
    digest,
    size,
    annotations: sortedMap(annotations),
    platform: platform === undefined ? undefined : encodePlatform(platform),
    artifactType,
  };
}

function encodePlatform(platform: Platform): Record<string, unknown> {
  const { architecture, os, osVersion, variant } = platform;
  return orderedFields({ architecture, os, "os.version": osVersion, variant }, [
    "architecture",
    "os",
    "os.version",
    "variant",
  ]);
}

function withAnnotations(annotations: Readonly<Record<string, string>>): {
  readonly annotations?: Readonly<Record<string, string>>;
} {
  return Object.keys(annotations).length === 0 ? {} : { annotations };
}

// Kind of tar and compression stay, the vendor changes; non-distributable types become plain ones, as BuildKit has it
// without prefer-nondist-layers. Docker's types know no annotations. BuildKit compression.ConvertAllLayerMediaTypes.
function layerDescriptor(descriptor: Descriptor, ociTypes: boolean): Descriptor {
  const { mediaType, digest, size, annotations } = descriptor;
  if (isManifestType(mediaType)) throw new Error(`not a layer: ${mediaType}`);
  const suffix = /[.+](gzip|zstd)$/.exec(mediaType)?.[1] ?? null;
  const isLayer = /^application\/vnd\.(?:oci\.image\.layer\.|docker\.image\.rootfs\.)/.test(mediaType);
  const type = !isLayer
    ? mediaType
    : ociTypes
      ? `${MEDIA_TYPES.ociLayer}${suffix === null ? "" : `+${suffix}`}`
      : `${MEDIA_TYPES.dockerLayer}${suffix === null ? "" : `.${suffix}`}`;
  const kept = sortedEntries(annotations ?? {}).filter(([key]) => !isInternal(key));
  return { mediaType: type, digest, size, ...(ociTypes ? withAnnotations(Object.fromEntries(kept)) : {}) };
}

function isInternal(key: string): boolean {
  return (
    key === "containerd.io/uncompressed" ||
    key === "buildkit/createdat" ||
    key.startsWith("containerd.io/distribution.source.")
  );
}

/** The platform's OCI words, config and the rest of it: keys of the top level sorted, as BuildKit's patching leaves them. */
function encodeConfig(
  config: ImageConfig,
  layers: readonly ImageLayer[],
  history: readonly HistoryEntry[],
  created: string | null,
): Uint8Array {
  const { config: container, history: _history, rootfs: _rootfs, ...rest } = config;
  const fields: Record<string, unknown> = { ...container };
  for (const name of ["ExposedPorts", "Volumes", "Labels"] as const)
    fields[name] = sortedMap<unknown>(container[name]);
  if (container.Healthcheck)
    fields["Healthcheck"] = orderedFields({ ...container.Healthcheck }, HEALTHCHECK_FIELDS);
  const top: Record<string, unknown> = {
    ...Object.fromEntries(
      Object.entries(rest).filter(([, value]) => value !== undefined && value !== null && value !== ""),
    ),
    architecture: config.architecture,
    os: config.os,
    config: orderedFields(fields, CONTAINER_FIELDS),
    history: history.map((entry) => orderedFields({ ...entry }, HISTORY_FIELDS)),
    rootfs: { type: "layers", diff_ids: layers.map(({ diffId }) => diffId) },
  };
  if (created === null) delete top["created"];
  else top["created"] = created;
  return encodeGoJson(Object.fromEntries(sortedEntries(top)));
}

// BuildKit writer.go, normalizeLayersAndHistory: exactly one entry without empty_layer for each layer, and a time for each.
function normalizeHistory(
  given: readonly HistoryEntry[] | null | undefined,
  layers: readonly ImageLayer[],
  epochSeconds: number | null,
  baseHistory: number,
): readonly HistoryEntry[] {
  let seen = 0;
  const history: HistoryEntry[] = (given ?? []).map((entry) => {
    if (entry.empty_layer) return { ...entry };
    // More entries than layers: the surplus is said to be empty.
    const isSurplus = seen >= layers.length;
    if (!isSurplus) seen++;
    return isSurplus ? { ...entry, empty_layer: true } : { ...entry };
  });
  for (const layer of layers.slice(seen)) {
    history.push({
      ...(layer.createdAtMs === null ? {} : { created: goTime(layer.createdAtMs) }),
      created_by: layer.description === "" ? "created by buildkit" : layer.description,
      comment: "buildkit.exporter.image.v0",
    });
  }
  let layerIndex = 0;
  for (const entry of history) {
    if (entry.empty_layer) continue;
    const createdAtMs = layers[layerIndex++]?.createdAtMs ?? null;
    if (!entry.created && createdAtMs !== null) entry.created = goTime(createdAtMs);
  }
  fillTimes(history);
  if (epochSeconds !== null) {
    // The base's own times stay, up to the first entry that had to be repaired: patchImageConfig.
    const isAsGiven = (entry: HistoryEntry, index: number): boolean =>
      index < baseHistory &&
      entry.created === given?.[index]?.created &&
      entry.empty_layer === given?.[index]?.empty_layer;
    const changed = history.findIndex((entry, index) => !isAsGiven(entry, index));
    for (const entry of changed < 0 ? [] : history.slice(changed)) {
      if (!entry.created || Date.parse(entry.created) > epochSeconds * 1000)
        entry.created = goTime(epochSeconds * 1000);
    }
  }
  return history;
}

// Entries without a time get that of the next layer that has one, else of the last before them.
function fillTimes(history: HistoryEntry[]): void {
  const firstGap = history.findIndex((entry) => !entry.created);
  if (firstGap < 0) return;
  const after = history.slice(firstGap).find((entry) => entry.created)?.created;
  let created = after ?? history.findLast((entry) => entry.created)?.created;
  let isInGap = false;
  for (const entry of history) {
    if (entry.created) {
      if (isInGap) created = entry.created;
    } else {
      isInGap = true;
      if (created !== undefined) entry.created = created;
    }
  }
}

/** RFC 3339; null where nothing says it. */
export function createdOf(
  config: ImageConfig,
  history: readonly HistoryEntry[],
  epochSeconds: number | null,
): string | null {
  const created = config.created ?? history.findLast((entry) => entry.created)?.created ?? null;
  if (epochSeconds === null) return created;
  const epochMs = epochSeconds * 1000;
  return created === null || Date.parse(created) > epochMs ? goTime(epochMs) : created;
}
