// The door of the exporters: a built image leaves the house, by several ways at once.

import type { Writable } from "node:stream";
import type { Registry } from "../cache/registry/client.ts";
import type { ImageRecord, Lease, RemoteBlob, Store } from "../cache/store.ts";
import type { Digest } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { Emit } from "../solver/graph/event.ts";
import { formatPlatform } from "../solver/graph/op.ts";
import type { BuiltImage, Descriptor, LayerId } from "../solver/graph/request.ts";
import { Scope } from "../solver/graph/scope.ts";
import type { Assembled } from "./assembled.ts";
import { exportArchive } from "./oci.ts";
import { exportFiles, type FilesKeeper } from "./files.ts";
import { goTime } from "./go-json.ts";
import { annotationsFor } from "./annotations.ts";
import { type ImageLayer, type MadeImage, makeImage, makeIndex } from "./image.ts";
import type { ImageOptions, ImageOutput, LayerCompression, Output } from "./output-grammar.ts";
import { pushImage } from "./registry.ts";

/** The form in which a layer is wanted. */
export interface LayerVariant {
  readonly compression: LayerCompression;
  readonly level: number | null;
  /** Only a blob of just this compression will do; else a base layer may come as it is. */
  readonly force: boolean;
  /** Times in it are at most this, in seconds; null: as they are. */
  readonly epochSeconds: number | null;
  /** A layer of the base image: its content, and without `force` its blob, stay as they are. */
  readonly pinned: boolean;
}

export interface LayerBlob {
  /** Media type in OCI's or Docker's words. The blob is in the content store, unless `remote` says where it can be had. */
  readonly descriptor: Descriptor;
  readonly diffId: Digest;
  readonly remote: RemoteBlob | null;
}

/** Layers as blobs; packs what has not been packed in that form. Equal calls at one time are one packing. */
export interface LayerSource {
  blob(id: LayerId, variant: LayerVariant, options: { readonly signal: AbortSignal }): Promise<LayerBlob>;
  /** Digest and size of the plain tar, without making a blob. */
  diffId(
    id: LayerId,
    epochSeconds: number | null,
    options: { readonly signal: AbortSignal },
  ): Promise<{ readonly diffId: Digest; readonly tarBytes: number }>;
}

export interface ExportDeps {
  readonly store: Store;
  readonly layers: LayerSource;
  /** Opened by who needs it: most outputs talk to no registry. */
  readonly registry: () => Promise<Registry>;
  readonly files: FilesKeeper;
  /** Where dest=- goes; null: a terminal, which gets no bytes. */
  readonly stdout: Writable | null;
  /** Command lines for `--load`, tried in order: [["docker","load"],["podman","load"]]. */
  readonly loaders: readonly (readonly string[])[];
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface ExportContext {
  readonly signal: AbortSignal;
  readonly emit: Emit;
  /** The step transfers are shown under; null: not shown. */
  readonly vertex: Digest | null;
  /** The result is an index although it may have one image only. */
  readonly multiPlatform: boolean;
  /** SOURCE_DATE_EPOCH of the build; null: none. */
  readonly epochSeconds: number | null;
  /** The clock: of progress and of names in the image store; never in an image. */
  readonly nowMs: () => number;
}

export interface ExportOutcome {
  readonly output: Output;
  /** Manifest or index; null for files. */
  readonly descriptor: Descriptor | null;
  /** Of the only image; null for files and several platforms. */
  readonly configDigest: Digest | null;
  readonly names: readonly string[];
  /** What a program that loaded the image said. */
  readonly loaderMessage: string | null;
}

/** Where the image store keeps names; see ImageRecord. */
export const IMAGE_SPACE = "image";

/**
 * Runs outputs side by side; the first failure stops the others. Throws OUTPUT_INVALID, OUTPUT_FAILED, REGISTRY_*, and what
 * packing throws. What was written under a final name before a failure elsewhere stays.
 */
export async function runOutputs(
  images: readonly BuiltImage[],
  outputs: readonly Output[],
  deps: ExportDeps,
  context: ExportContext,
): Promise<ExportOutcome[]> {
  checkOutputs(outputs, { isIndex: context.multiPlatform || images.length > 1, stdout: deps.stdout });
  await using scope = new Scope(context.signal);
  const lease = scope.use(deps.store.lease());
  for (const image of images) lease.addLayers(image.layers);
  return await scope.all(
    outputs.map(
      (output) => (signal: AbortSignal) => runOutput(images, output, deps, { ...context, signal }, lease),
    ),
  );
}

/** What can be known to be wrong is said before any work. `isIndex`: the result is an index; stdout: as in ExportDeps. Throws
 *  OUTPUT_INVALID. */
export function checkOutputs(
  outputs: readonly Output[],
  { isIndex, stdout }: { readonly isIndex: boolean; readonly stdout: Writable | null },
): void {
  let toStdout = 0;
  for (const output of outputs) {
    if ((output.kind === "archive" || output.kind === "files") && output.dest?.kind === "stdout") {
      toStdout++;
      if (stdout === null) {
        throw new BuildError("OUTPUT_INVALID", "dest file is required, refusing to write to a terminal", {
          hint: "add dest=FILE, or redirect standard output",
        });
      }
    }
    if (output.kind === "archive" && output.format === "docker" && isIndex) {
      throw new BuildError(
        "OUTPUT_INVALID",
        "docker exporter does not currently support exporting manifest lists",
        {
          hint: "use type=oci, or build one platform",
        },
      );
    }
    if (
      output.kind === "image" &&
      output.push &&
      output.image.names.length === 0 &&
      output.danglingNamePrefix === null
    ) {
      throw new BuildError("OUTPUT_INVALID", "tag is needed when pushing to registry", {
        hint: "add -t NAME or name=NAME",
      });
    }
    if ((output.kind === "archive" || output.kind === "image") && !isIndex) {
      const { index, indexDescriptor } = annotationsFor(output.image.annotations, null);
      if (Object.keys(index).length + Object.keys(indexDescriptor).length > 0) {
        throw new BuildError("OUTPUT_INVALID", "index annotations not supported for single platform export");
      }
    }
  }
  if (toStdout > 1) throw new BuildError("OUTPUT_INVALID", "only one output can go to standard output");
}

async function runOutput(
  images: readonly BuiltImage[],
  output: Output,
  deps: ExportDeps,
  context: ExportContext,
  lease: Lease,
): Promise<ExportOutcome> {
  switch (output.kind) {
    case "cacheonly":
      return { output, descriptor: null, configDigest: null, names: [], loaderMessage: null };
    case "files":
      await exportFiles(images, output, deps, context);
      return { output, descriptor: null, configDigest: null, names: [], loaderMessage: null };
    case "archive": {
      const assembled = await assemble(images, output.image, false, deps, context, lease);
      const loaderMessage = await exportArchive(assembled, output, deps, context);
      return outcomeOf(output, assembled, output.image.names, loaderMessage);
    }
    case "image": {
      // An image that only gets a name here needs no blobs: its manifest names the plain tars, which can be made from
      // the layers at any time. Nothing is compressed before it leaves.
      const isPlain = !output.push && !output.image.compressionChosen && !output.image.forceCompression;
      const assembled = await assemble(images, output.image, isPlain, deps, context, lease);
      const names = namesOf(output, assembled.top.descriptor.digest);
      if (output.store) nameImage(assembled, images, output, names, deps.store, context.nowMs());
      if (output.push) await pushImage(assembled, output, names, deps, context);
      return outcomeOf(output, assembled, names, null);
    }
  }
}

function outcomeOf(
  output: Output,
  assembled: Assembled,
  names: readonly string[],
  loaderMessage: string | null,
): ExportOutcome {
  return {
    output,
    descriptor: assembled.top.descriptor,
    configDigest: assembled.isIndex ? null : (assembled.images[0]?.config.descriptor.digest ?? null),
    names,
    loaderMessage,
  };
}

function namesOf(output: ImageOutput, digest: Digest): readonly string[] {
  if (output.image.names.length > 0) return output.image.names;
  return output.danglingNamePrefix === null ? [] : [`${output.danglingNamePrefix}@${digest}`];
}

async function assemble(
  images: readonly BuiltImage[],
  options: ImageOptions,
  isPlain: boolean,
  deps: ExportDeps,
  context: ExportContext,
  lease: Lease,
): Promise<Assembled> {
  const epochSeconds = options.epochSeconds ?? context.epochSeconds;
  const remotes = new Map<Digest, RemoteBlob>();
  const { signal } = context;
  // Blobs of one layer in two images are one call to the source, which shares the work.
  const makeOptions = { ociTypes: options.ociTypes, annotations: options.annotations, epochSeconds };
  await using scope = new Scope(signal);
  const made = await scope.all(
    images.map((image) => async (signal: AbortSignal) => {
      const layers = await Promise.all(
        image.layers.map((id) => layerOf(id, options, epochSeconds, isPlain, deps, remotes, signal)),
      );
      for (const { descriptor } of layers) lease.addBlobs([descriptor.digest]);
      return makeImage(image, layers, makeOptions);
    }),
  );
  const isIndex = context.multiPlatform || images.length > 1;
  const only = made[0];
  if (only === undefined) throw new Error("no image to export");
  const top = isIndex ? makeIndex(made, makeOptions) : only.manifest;
  for (const document of new Set([top, ...made.flatMap(({ config, manifest }) => [config, manifest])])) {
    lease.addBlobs([document.descriptor.digest]);
    deps.store.content.put(document.bytes);
  }
  return { images: made, top, isIndex, remotes, created: newest(made, epochSeconds) };
}

async function layerOf(
  id: LayerId,
  options: ImageOptions,
  epochSeconds: number | null,
  isPlain: boolean,
  deps: ExportDeps,
  remotes: Map<Digest, RemoteBlob>,
  signal: AbortSignal,
): Promise<ImageLayer> {
  // Ids of base layers begin so; BuildKit too leaves them alone when it rewrites times.
  const pinned = id.startsWith("d-");
  const clampTo = options.rewriteTimestamp && !pinned ? epochSeconds : null;
  const record = deps.store.layers.get(id);
  const common = { createdAtMs: record?.createdAtMs ?? null, description: record?.description ?? "" };
  if (isPlain && !pinned) {
    const { diffId, tarBytes } = await deps.layers.diffId(id, clampTo, { signal });
    const descriptor = {
      mediaType: "application/vnd.oci.image.layer.v1.tar",
      digest: diffId,
      size: tarBytes,
    };
    return { descriptor, diffId, ...common };
  }
  const { descriptor, diffId, remote } = await deps.layers.blob(
    id,
    {
      compression: options.compression,
      level: options.compressionLevel,
      force: options.forceCompression,
      epochSeconds: clampTo,
      pinned,
    },
    { signal },
  );
  if (remote !== null) remotes.set(descriptor.digest, remote);
  return { descriptor, diffId, ...common };
}

function newest(images: readonly MadeImage[], epochSeconds: number | null): string {
  if (epochSeconds !== null) return goTime(epochSeconds * 1000);
  const times = images.map(({ created }) => Date.parse(created ?? "")).filter((ms) => !Number.isNaN(ms));
  return `${goTime(Math.max(0, ...times)).slice(0, 19)}Z`; // whole seconds: time.RFC3339
}

function nameImage(
  assembled: Assembled,
  images: readonly BuiltImage[],
  output: ImageOutput,
  names: readonly string[],
  store: Store,
  nowMs: number,
): void {
  const { descriptor } = assembled.top;
  const isNamed = output.image.names.length > 0;
  const all = names.flatMap((name) =>
    output.nameCanonical && isNamed ? [name, `${name}@${descriptor.digest}`] : [name],
  );
  const layers = Object.fromEntries(images.map((image) => [formatPlatform(image.platform), image.layers]));
  const changes = all.map((name) => {
    const value: ImageRecord = { name, target: descriptor, createdAtMs: nowMs, layers };
    return { space: IMAGE_SPACE, key: name, value };
  });
  if (changes.length > 0) store.records.batch(changes);
}
