// The door of the exporters: exports a built image to several outputs at once.

import { familiarReference, formatReference, parseReference } from "../cache/registry/reference.ts";
import type { Digest } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import { asStep } from "../solver/graph/event.ts";
import type { BuiltImage } from "../solver/graph/request.ts";
import { Scope } from "../solver/graph/scope.ts";
import type { ClientOutputs } from "../solver/graph/session.ts";
import { assemble, formOf } from "./assemble.ts";
import type { Assembled } from "./assembled.ts";
import { exportArchive, exportTogether } from "./oci.ts";
import type { NamedImage } from "./docker.ts";
import { exportFiles } from "./files.ts";
import { type Annotation, annotationsFor } from "./annotations.ts";
import type { ArchiveOutput, ImageOutput, Output } from "./output-grammar.ts";
import { confirmPushed, nameImage } from "./names.ts";
import { pushImage } from "./registry.ts";
import { moment } from "./shown.ts";
import type { StoredImage } from "./stored.ts";
import { withWholeBlobs } from "./whole.ts";
import type { Attestation, ExportContext, ExportDeps, ExportOutcome, OutputContext } from "./contract.ts";
import type { Lease } from "../cache/contract.ts";

export type { Assembled } from "./assembled.ts";
export { confirmPushed } from "./names.ts";
export { pushImage as pushTo } from "./registry.ts";
export { isAttestation, onlyOf, type StoredImage, storedImage, withOnly } from "./stored.ts";
export { withWholeBlobs } from "./whole.ts";

/**
 * Runs outputs in parallel; the first failure stops the others. Throws OUTPUT_INVALID, OUTPUT_FAILED, REGISTRY_*, and errors
 * of packing. Files that were completed before another output failed are kept.
 */
export async function runOutputs(
  images: readonly BuiltImage[],
  outputs: readonly Output[],
  deps: ExportDeps,
  context: ExportContext,
): Promise<ExportOutcome[]> {
  const isIndex = context.multiPlatform || images.length > 1;
  checkOutputs(outputs, { isIndex, client: deps.client, attestations: context.attestations?.flat() ?? [] });
  await using scope = new Scope(context.signal);
  const lease = scope.use(deps.store.lease());
  for (const image of images) lease.addLayers(image.layers);
  const layers = images.flatMap((image) => image.layers);
  const { vertices, ...rest } = context;
  return await scope.all(
    outputs.map((output, index) => (signal: AbortSignal) => {
      const own: OutputContext = { ...rest, signal, vertex: vertices[index] ?? null };
      return asStep(own, () =>
        withWholeBlobs(layers, deps.store, own, () => runOutput(images, output, deps, own, lease)),
      );
    }),
  );
}

export interface SavedImage {
  readonly images: readonly BuiltImage[];
  readonly names: readonly string[];
  /** For an image that has to be assembled: its metadata, and whether it is an index. */
  readonly annotations: readonly Annotation[];
  readonly ociTypes: boolean;
  readonly isIndex: boolean;
  /** For one that has to be assembled: by image, and in which form. */
  readonly attestations: readonly (readonly Attestation[])[];
  readonly ociArtifact: boolean | null;
  /** The requested parts of the image, byte for byte; null: it has to be assembled. Called again after damage. */
  readonly asItIs: () => StoredImage | null;
}

/** Writes images with their names to one archive, as `docker save` does. Images from a registry keep their digests; layers of others
 *  keep their format. Throws as runOutputs. */
export async function saveTogether(
  all: readonly SavedImage[],
  output: ArchiveOutput,
  deps: ExportDeps,
  context: Omit<OutputContext, "multiPlatform">,
): Promise<void> {
  const { dest } = output;
  if (dest === null) throw new Error("an archive goes somewhere");
  await using lease = deps.store.lease();
  const layers = all.flatMap(({ images }) => images.flatMap((image) => image.layers));
  lease.addLayers(layers);
  await asStep(context, () =>
    withWholeBlobs(layers, deps.store, context, async () => {
      const named: NamedImage[] = [];
      for (const one of all)
        named.push({ assembled: await assembledFrom(one, output, deps, context, lease), names: one.names });
      await exportTogether(named, dest, deps, { ...context, multiPlatform: false });
    }),
  );
}

/** The documents of an image of the store, and access to its layers: unchanged, or assembled in the form of `output`. The lease holds what
 *  is made. Throws errors of packing. */
export async function assembledFrom(
  { images, names, annotations, ociTypes, ociArtifact, isIndex, asItIs, attestations }: SavedImage,
  output: Pick<ArchiveOutput, "image">,
  deps: ExportDeps,
  context: Omit<OutputContext, "multiPlatform">,
  lease: Lease,
): Promise<Assembled> {
  const stored = asItIs();
  if (stored !== null) return stored.assembled;
  const each = { ...context, multiPlatform: isIndex, attestations };
  const how = { ...output.image, names, annotations, ociTypes, ociArtifact };
  return await assemble(images, { options: how, isPlain: false }, deps, each, lease);
}

export interface OutputChecks {
  /** The result is an index. */
  readonly isIndex: boolean;
  /** As in ExportDeps. */
  readonly client: ClientOutputs | null;
  /** Left out: there are none. */
  readonly attestations?: readonly Pick<Attestation, "inlineOnly">[];
}

/** Checks outputs before any work. Throws OUTPUT_INVALID. */
export function checkOutputs(
  outputs: readonly Output[],
  { isIndex, client, attestations = [] }: OutputChecks,
): void {
  const names = new Set<string>();
  for (const output of outputs) {
    if ((output.kind === "archive" || output.kind === "files") && output.dest?.kind === "client") {
      if (client === null) {
        throw new BuildError("OUTPUT_INVALID", "dest file is required, refusing to write to a terminal", {
          hint: "add dest=FILE, or redirect standard output",
        });
      }
      if (names.has(output.dest.name))
        throw new BuildError("OUTPUT_INVALID", "only one output can go to standard output");
      names.add(output.dest.name);
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
    if (output.kind === "image" && output.push && output.pushByDigest)
      checkDigestOnly(output.image.writtenNames);
    checkReferrers(output);
    const isAttested =
      (output.kind === "archive" || output.kind === "image") &&
      output.image.attestations === "index" &&
      attestations.some(({ inlineOnly }) => !inlineOnly || output.image.attestationInline);
    if ((output.kind === "archive" || output.kind === "image") && !isIndex && !isAttested) {
      const { index, indexDescriptor } = annotationsFor(output.image.annotations, null);
      if (Object.keys(index).length + Object.keys(indexDescriptor).length > 0) {
        throw new BuildError("OUTPUT_INVALID", "index annotations not supported for single platform export");
      }
    }
  }
}

/** The image store knows images by their names, and no artifacts about them; docker's archives neither. */
function checkReferrers(output: Output): void {
  if (output.kind !== "image" && output.kind !== "archive") return;
  if (output.image.attestations !== "referrers") return;
  if (output.kind === "image" ? output.push : output.format === "oci") return;
  throw new BuildError(
    "OUTPUT_INVALID",
    `attestations=referrers is not supported for type=${output.kind === "image" ? "image without push=true" : "docker"}`,
    { hint: "they are in registries (push=true) and in OCI layouts (type=oci)" },
  );
}

/** An image pushed by digest gets no tag, so a tag is an error. BuildKit util/push, Push. */
function checkDigestOnly(writtenNames: string): void {
  for (const name of writtenNames.split(",")) {
    if (name === "") continue;
    const reference = parseReference(name);
    if (reference.tag === null && reference.digest === null) continue;
    throw new BuildError(
      "OUTPUT_INVALID",
      `failed to push ${name}: can't push tagged ref ${formatReference(reference)} by digest`,
      { hint: `omit the tag: ${familiarReference({ ...reference, tag: null, digest: null })}` },
    );
  }
}

async function runOutput(
  images: readonly BuiltImage[],
  output: Output,
  deps: ExportDeps,
  context: OutputContext,
  lease: Lease,
): Promise<ExportOutcome> {
  switch (output.kind) {
    case "cacheonly":
      return { output, descriptor: null, configDigest: null, imageName: null, loaderMessage: null };
    case "files":
      await exportFiles(images, output, deps, context);
      return { output, descriptor: null, configDigest: null, imageName: null, loaderMessage: null };
    case "archive": {
      const assembled = await assemble(images, formOf(output), deps, context, lease);
      const { signings = [] } = context;
      const signer =
        signings.length > 0 && output.format === "oci" ? await import("./signature/output.ts") : null;
      const isInside = signer !== null && output.tar;
      const loaderMessage = await exportArchive(
        isInside ? await signer.withSignatures(assembled, output, signings, deps, context) : assembled,
        output,
        deps,
        context,
      );
      if (signer !== null && !output.tar && output.dest?.kind === "path")
        await signer.signWritten(output.dest.path, assembled, output, signings, context);
      const imageName = output.image.names.join(",") || null;
      return outcomeOf(output, assembled, imageName, loaderMessage);
    }
    case "image": {
      const form = formOf(output);
      const assembled = await assemble(images, form, deps, context, lease);
      const names = namesOf(output, assembled.top.descriptor.digest);
      if (output.store) {
        nameImage({ assembled, images, names, isPlain: form.isPlain }, output, deps.store, context.nowMs());
        for (const name of names) moment(context, `naming to ${name}`);
      }
      if (output.push) {
        await pushImage(assembled, output, names, deps, context);
        confirmPushed(assembled, names, deps.store);
      }
      return outcomeOf(output, assembled, output.image.writtenNames || names.join(",") || null, null);
    }
  }
}

function outcomeOf(
  output: Output,
  assembled: Assembled,
  imageName: string | null,
  loaderMessage: string | null,
): ExportOutcome {
  return {
    output,
    descriptor: assembled.top.descriptor,
    configDigest: assembled.isIndex ? null : (assembled.images[0]?.config.descriptor.digest ?? null),
    imageName,
    loaderMessage,
  };
}

function namesOf(output: ImageOutput, digest: Digest): readonly string[] {
  if (output.image.names.length > 0) return output.image.names;
  return output.danglingNamePrefix === null ? [] : [`${output.danglingNamePrefix}@${digest}`];
}
