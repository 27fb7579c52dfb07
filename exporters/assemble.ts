// Assembles an image: its layers in the required format, its documents in the content store.

import { MEDIA_TYPES } from "../cache/registry/documents.ts";
import type { Digest } from "../solver/graph/digest.ts";
import { BuildError, redactUrl } from "../solver/graph/error.ts";
import { formatPlatform } from "../solver/graph/op.ts";
import { type BuiltImage, type Descriptor, isBaseLayer, type LayerId } from "../solver/graph/request.ts";
import { Scope } from "../solver/graph/scope.ts";
import type { Assembled } from "./assembled.ts";
import { goTime } from "./go-json.ts";
import { type Document, type ImageLayer, type MadeImage, makeImage, makeIndex } from "./image.ts";
import { type ArchiveOutput, epochOf, type ImageOptions, type ImageOutput } from "./output-grammar.ts";
import { during, lineOf, moment, type Report } from "./shown.ts";
import type { Referrer } from "./referrers.ts";
import type {
  Attestation,
  AttestedImage,
  ExportDeps,
  LayerOptions,
  LayerSource,
  OutputContext,
} from "./contract.ts";
import type { Lease, RemoteBlob } from "../cache/contract.ts";

/** BuildKit's annotation of a layer with rewritten times: the epoch in seconds. */
const REWRITTEN = "buildkit/rewritten-timestamp";
/** Characters of a step's name beside its layer. */
const NAME_MAX = 50;

/** In which form an image is wanted. */
export interface ImageForm {
  readonly options: ImageOptions;
  /** The manifest names plain tars, and no blobs are made. */
  readonly isPlain: boolean;
}

/** The form an output wants an image in. One that is only named locally needs no blobs: its manifest has the uncompressed tars, which can be
 *  created from the layers at any time. Layers are compressed only on export. */
export function formOf(output: ImageOutput | ArchiveOutput): ImageForm {
  const { image } = output;
  const isPlain =
    output.kind === "image" && !output.push && !image.compressionChosen && !image.forceCompression;
  return { options: image, isPlain };
}

/** What the layers of one image have in common, whatever becomes of each. */
interface LayerMaking extends ImageForm {
  readonly epochSeconds: number | null;
  readonly deps: ExportDeps;
  /** Takes those that are elsewhere, by digest. */
  readonly remotes: Map<Digest, RemoteBlob>;
}

/** Has the layers of all images made in the wanted form, then the documents, which are in the content store afterwards. */
export async function assemble(
  images: readonly BuiltImage[],
  form: ImageForm,
  deps: ExportDeps,
  context: OutputContext,
  lease: Lease,
): Promise<Assembled> {
  const { options } = form;
  const epochSeconds = epochOf(options.epochSeconds, context.epochSeconds);
  const remotes = new Map<Digest, RemoteBlob>();
  const making: LayerMaking = { ...form, epochSeconds, deps, remotes };
  const { signal } = context;
  const makeOptions = { ociTypes: options.ociTypes, annotations: options.annotations, epochSeconds };
  const attestations = attestationsFor(images, form, context);
  const isBeside = options.attestations === "referrers";
  const isIndex = context.multiPlatform || images.length > 1 || (attestations !== null && !isBeside);
  await using scope = new Scope(signal);
  // Blobs of one layer in two images are one call to the source, which shares the work.
  const layers = await during(context, "exporting layers", () =>
    scope.all(
      images.map((image) => (signal: AbortSignal) => {
        const isOne = images.length === 1 && !context.multiPlatform;
        const platform = isOne ? "" : `${formatPlatform(image.platform)} `;
        return Promise.all(
          image.layers.map((id, index) => {
            const label = `exporting ${platform}layer ${index + 1}/${image.layers.length}`;
            return layerOf(id, label, clampedAs(image, making), { ...context, signal });
          }),
        );
      }),
    ),
  );
  lease.addBlobs(layers.flat().map(({ descriptor }) => descriptor.digest));
  const put = (what: string, { bytes, descriptor }: Document): void => {
    lease.addBlobs([descriptor.digest]);
    deps.store.content.put(bytes);
    moment(context, `exporting ${what} ${descriptor.digest}`);
  };
  const made = images.map((image, index) =>
    makeImage(withConfig(image, options), layers[index] ?? [], makeOptions),
  );
  for (const { config, manifest } of made) {
    put("manifest", manifest);
    put("config", config);
  }
  const created = newest(made, epochSeconds);
  const [only] = made;
  if (only === undefined) throw new Error("no image to export");
  const all = [...made];
  const referrers: Referrer[] = [];
  if (attestations !== null) {
    const { attestationManifest, attestationReferrers } = await import("./attestation/statement.ts");
    for (const [index, image] of made.entries()) {
      const own = attestations[index] ?? [];
      if (own.length === 0) continue;
      const about = aboutImage(image, images[index]?.layers ?? [], newest([image], epochSeconds));
      const { names } = options;
      if (isBeside) {
        referrers.push(...(await attestationReferrers(image, about, own, names)));
        continue;
      }
      const ociArtifact = options.ociArtifact ?? options.ociTypes;
      const attached = await attestationManifest(image, about, own, { names, ociArtifact });
      const { config, manifest } = attached.image;
      for (const { bytes, descriptor } of attached.statements) {
        lease.addBlobs([descriptor.digest]);
        deps.store.content.put(bytes);
      }
      put("attestation manifest", manifest);
      lease.addBlobs([config.descriptor.digest]);
      deps.store.content.put(config.bytes);
      all.push(attached.image);
    }
  }
  const beside = referrers.length === 0 ? {} : { referrers };
  if (!isIndex) return { images: made, top: only.manifest, isIndex, remotes, created, ...beside };
  const top = makeIndex(all, makeOptions);
  put("manifest list", top);
  return { images: all, top, isIndex, remotes, created, ...beside };
}

/** An image as its attestations know it. `created`: RFC 3339. */
function aboutImage({ layers }: MadeImage, ids: readonly LayerId[], created: string): AttestedImage {
  return {
    layers: layers.map(({ descriptor, diffId }, at) => ({ id: ids[at] as LayerId, descriptor, diffId })),
    createdSeconds: Math.floor(Date.parse(created) / 1000),
  };
}

/** By image; null: there are none for this output. An image alone gets no index for what is only to be inline, where the output does not ask for
 *  it (BuildKit: ForceInlineAttestations). Throws OUTPUT_INVALID. */
function attestationsFor(
  images: readonly BuiltImage[],
  { options }: ImageForm,
  { attestations = [], multiPlatform }: OutputContext,
): readonly (readonly Attestation[])[] | null {
  if (attestations.every((own) => own.length === 0)) return null;
  const isIndex = multiPlatform || images.length > 1;
  if (!isIndex && !options.attestationInline && attestations.flat().every(({ inlineOnly }) => inlineOnly))
    return null;
  if (!options.ociTypes && options.attestations === "index")
    throw new BuildError("OUTPUT_INVALID", 'cannot export attestations with "oci-mediatypes=false"', {
      hint: "leave it out, or add --provenance=false",
    });
  return attestations;
}

/** An image of the store keeps the times its layers have. */
function clampedAs({ clampedTo }: BuiltImage, making: LayerMaking): LayerMaking {
  if (clampedTo === undefined) return making;
  return { ...making, epochSeconds: clampedTo, options: { ...making.options, rewriteTimestamp: true } };
}

/** The image with the config that its output was given. */
function withConfig(image: BuiltImage, { configs }: ImageOptions): BuiltImage {
  const config = configs.get(formatPlatform(image.platform)) ?? configs.get("");
  return config === undefined ? image : { ...image, config };
}

/** A layer in the form that an image wants of it, and where its blob is if not in the content store. */
export interface FormedLayer {
  readonly descriptor: Descriptor;
  readonly diffId: Digest;
  readonly remote: RemoteBlob | null;
  /** Times of its files were set to at most this; null: they are as they were. */
  readonly clampedTo: number | null;
}

/** Has a layer made in the form. `epochSeconds`: of the output. Throws as LayerSource does. */
export async function formLayer(
  id: LayerId,
  { options, isPlain }: ImageForm,
  epochSeconds: number | null,
  layers: LayerSource,
  how: LayerOptions,
): Promise<FormedLayer> {
  // Ids of base layers begin so; BuildKit too leaves them alone when it rewrites times.
  const pinned = isBaseLayer(id);
  const clampedTo = options.rewriteTimestamp && !pinned ? epochSeconds : null;
  if (isPlain && !pinned) {
    const { diffId, tarBytes } = await layers.diffId(id, clampedTo, how);
    const descriptor = { mediaType: MEDIA_TYPES.ociLayer, digest: diffId, size: tarBytes };
    return { descriptor, diffId, remote: null, clampedTo };
  }
  const variant = {
    compression: options.compression,
    level: options.compressionLevel,
    force: options.forceCompression,
    epochSeconds: clampedTo,
    pinned,
    unmade: isPlain,
  };
  return { ...(await layers.blob(id, variant, how)), clampedTo };
}

async function layerOf(
  id: LayerId,
  label: string,
  { epochSeconds, deps, remotes, ...form }: LayerMaking,
  context: OutputContext,
): Promise<ImageLayer> {
  const { signal } = context;
  // What the record of a base layer says besides comes from whoever brought it first, perhaps another image.
  const record = isBaseLayer(id) ? null : deps.store.layers.get(id);
  const common = { createdAtMs: record?.createdAtMs ?? null, description: record?.description ?? "" };
  let line: ReturnType<typeof lineOf> | null = null;
  const onBytes: Report = (current, total) => {
    line ??= lineOf(
      context,
      common.description === "" ? label : `${label} (${shortened(common.description)})`,
    );
    line.report(current, total);
  };
  const formed = await formLayer(id, form, epochSeconds, deps.layers, { signal, onBytes });
  const { descriptor, diffId, remote, clampedTo } = formed;
  (line as ReturnType<typeof lineOf> | null)?.end(descriptor.size, descriptor.size);
  if (remote !== null) remotes.set(descriptor.digest, remote);
  const isMarked = clampedTo !== null && form.options.marksRewritten;
  const annotations = isMarked ? { ...descriptor.annotations, [REWRITTEN]: String(clampedTo) } : null;
  return {
    descriptor: annotations === null ? descriptor : { ...descriptor, annotations },
    diffId,
    ...common,
  };
}

/** A step's name without its place among the others, which may be of another Dockerfile. */
function shortened(description: string): string {
  const text = redactUrl(description.replace(/^\[[^\]]*\] /, "").replace(/\s+/g, " "));
  return text.length > NAME_MAX ? `${text.slice(0, NAME_MAX - 1)}…` : text;
}

/** RFC 3339. */
export function newest(images: readonly MadeImage[], epochSeconds: number | null): string {
  if (epochSeconds !== null) return goTime(epochSeconds * 1000);
  const times = images.map(({ created }) => Date.parse(created ?? "")).filter((ms) => !Number.isNaN(ms));
  return `${goTime(Math.max(0, ...times)).slice(0, 19)}Z`; // whole seconds: time.RFC3339
}
