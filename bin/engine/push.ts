// push: sends an image of the local store to the registry in its name.
//
// An image that a registry has had before is sent byte for byte, so that it has the same digest everywhere. One that was never pushed
// has no blobs yet: its layers are packed, and from then on the names refer to what was pushed (exporters/names.ts).

import {
  confirmPushed,
  isAttestation,
  onlyOf,
  pushTo,
  runOutputs,
  type StoredImage,
  withWholeBlobs,
} from "../../exporters/exporter.ts";
import { parseOutput } from "../../exporters/output-grammar.ts";
import { parseDocument } from "../../cache/registry/documents.ts";
import {
  familiarReference,
  formatReference,
  parseReference,
  type Reference,
  withDefaultTag,
} from "../../cache/registry/reference.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { asStep } from "../../solver/graph/event.ts";
import { formatPlatform, type Platform } from "../../solver/graph/op.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import type { LocalWorker } from "../../worker/worker.ts";
import type { EngineParts } from "./parts.ts";
import type { EngineTransferOptions } from "./request.ts";
import { transferWorker } from "./pull.ts";
import { findImage, type LocalImage } from "./local-images.ts";
import {
  asItIs,
  attestationsOf,
  bestOf,
  builtImages,
  chosenOf,
  claimLayers,
  isClamped,
  NOT_ATTESTED,
  outputDeps,
  wordsOf,
} from "./local-outputs.ts";
import type { Registry } from "../../cache/registry/contract.ts";
import type { ExportDeps, OutputContext } from "../../exporters/contract.ts";

/** Sends an image under its name. `platform`: only that one of an index; null: all. Throws IMAGE_UNKNOWN, PLATFORM_UNSUPPORTED,
 *  REGISTRY_*, OUTPUT_INVALID where others would lose their images. */
export async function pushImage(
  parts: EngineParts,
  reference: string,
  platform: Platform | null,
  options: EngineTransferOptions,
): Promise<Descriptor> {
  const { store } = parts;
  const found = findImage(store, reference);
  const named = withDefaultTag(parseReference(reference));
  const name = formatReference(named);
  const vertex = digestOf(`push ${name}`);
  await using worker = transferWorker(parts, options);
  const deps = outputDeps(parts, worker, vertex, options, isClamped(found, store));
  const how: OutputContext = {
    signal: options.signal,
    emit: options.emit,
    vertex,
    multiPlatform: found.isIndex,
    epochSeconds: null,
    nowMs: Date.now,
  };
  await using lease = store.lease();
  lease.addBlobs([found.record.target.digest]);
  const layers = Object.values(found.record.layers).flat();
  lease.addLayers(layers);
  options.emit({ kind: "vertex", vertex, name: `pushing ${name}`, inputs: [], at: [] });
  options.emit({ kind: "started", vertex, atMs: Date.now() });
  const as = (): StoredImage | null => asItIs(found, store);
  if (as() !== null) {
    const pushed = await asStep(how, () =>
      withWholeBlobs(layers, store, how, async (): Promise<Descriptor | null> => {
        const stored = as();
        if (stored === null) return null; // a damaged blob has been set aside meanwhile
        const chosen = await toBePushed(stored, platform, named, await deps.registry(), options);
        await pushTo(chosen.assembled, { insecure: false, pushByDigest: false }, [name], deps, how);
        confirmPushed(chosen.assembled, [name], store);
        return chosen.assembled.top.descriptor;
      }),
    );
    if (pushed !== null) return pushed;
  }
  return await pushPacked({ found, reference, name, platform }, worker, deps, how);
}

/**
 * The whole index if the repository has, or gets, all of it; otherwise the only local image, unless the name has more platforms
 * in the registry.
 */
async function toBePushed(
  stored: StoredImage,
  platform: Platform | null,
  named: Reference,
  registry: Registry,
  { signal, emit }: EngineTransferOptions,
): Promise<StoredImage> {
  const { assembled, missing } = stored;
  const images = assembled.images.filter(({ manifest }) => !isAttestation(manifest.descriptor));
  if (platform !== null) return onlyOf(stored, suitable(images, platform, named));
  if (missing.length === 0) return stored;
  const there = await Promise.all(
    missing.map(({ digest }) => isThere(registry, { ...named, tag: null, digest }, signal)),
  );
  if (!there.includes(false)) return stored;
  const shown = familiarReference(named);
  const [only] = images;
  const lacking = missing.flatMap(({ platform: one }) =>
    one === undefined || one.os === "unknown" ? [] : [formatPlatform(one)],
  );
  const offered = await platformsAt(registry, named, signal);
  const lost = offered.filter((one) => !images.some((image) => formatPlatform(image.platform) === one));
  if (only === undefined || images.length > 1 || lost.length > 0) {
    const what = lost.length > 0 ? lost : lacking;
    throw new BuildError(
      "OUTPUT_INVALID",
      lost.length > 0
        ? `${shown} also has ${what.join(", ")} in the registry; this push would leave only ${listed(images)}`
        : `${shown}: the platforms ${what.join(", ")} are not in the local store`,
      {
        hint: `pull them first (tsbuild pull --platform …), or push a single one: tsbuild push --platform ${only === undefined ? "…" : formatPlatform(only.platform)} ${shown}`,
      },
    );
  }
  // docker says so, too
  const from = assembled.top.descriptor.digest;
  const message = `some platforms of the image are not in the local store (${lacking.join(", ")}): pushing only ${listed(images)}: ${from} -> ${only.manifest.descriptor.digest}`;
  emit({ kind: "note", message });
  return onlyOf(stored, only);
}

type Images = StoredImage["assembled"]["images"];

const listed = (images: Images): string => images.map((image) => formatPlatform(image.platform)).join(", ");

function suitable(images: Images, platform: Platform, named: Reference): Images[number] {
  const best = bestOf(images, platform);
  if (best !== null) return best;
  throw new BuildError(
    "PLATFORM_UNSUPPORTED",
    `image ${familiarReference(named)} was found, but its platform is not ${formatPlatform(platform)}`,
    { hint: `it is in the local store for ${listed(images)}` },
  );
}

async function isThere(registry: Registry, reference: Reference, signal: AbortSignal): Promise<boolean> {
  try {
    await registry.resolve(reference, { signal });
    return true;
  } catch (error) {
    if (error instanceof BuildError && error.code === "REGISTRY_NOT_FOUND") return false;
    throw error;
  }
}

/** Platforms of the name in the registry; none: it does not exist, or is a single image. */
async function platformsAt(
  registry: Registry,
  named: Reference,
  signal: AbortSignal,
): Promise<readonly string[]> {
  if (!(await isThere(registry, named, signal))) return [];
  const { bytes, descriptor } = await registry.manifest(named, { signal });
  const document = parseDocument(bytes, descriptor.mediaType, formatReference(named));
  if (document.kind !== "index") return [];
  return document.manifests.flatMap(({ platform }) =>
    platform === undefined || platform.os === "unknown" ? [] : [formatPlatform(platform)],
  );
}

/** An image of the local store to be pushed. */
interface PushWish {
  readonly found: LocalImage;
  /** As the user wrote it. */
  readonly reference: string;
  /** The same, normalized. */
  readonly name: string;
  /** null: all that are here. */
  readonly platform: Platform | null;
}

/** Layers are packed as gzip for the push. */
async function pushPacked(
  { found, reference, name, platform }: PushWish,
  worker: LocalWorker,
  deps: ExportDeps,
  { vertex, ...context }: OutputContext,
): Promise<Descriptor> {
  const all = builtImages(found, reference, deps.store);
  claimLayers(worker, all, deps.store);
  const images = chosenOf(all, platform);
  if (images.length === 0) {
    throw new BuildError(
      "PLATFORM_UNSUPPORTED",
      `image ${familiarReference(parseReference(reference))} was found, but its platform is not ${platform === null ? "in the local store" : formatPlatform(platform)}`,
      {
        hint: `it is in the local store for ${all.map((image) => formatPlatform(image.platform)).join(", ")}`,
      },
    );
  }
  const plain = parseOutput(`type=image,name=${name},push=true,store=false`);
  if (plain.kind !== "image") throw new Error("no image");
  // Annotations of the image are pushed, too.
  const { annotations, ociTypes } = wordsOf(found, deps.store);
  const isIndex = context.multiPlatform && platform === null;
  const attested = isIndex ? await attestationsOf(found, images, deps.store) : NOT_ATTESTED;
  const own = isIndex ? annotations : annotations.filter(({ target }) => target.startsWith("manifest"));
  const { ociArtifact } = attested;
  const output = { ...plain, image: { ...plain.image, annotations: own, ociTypes, ociArtifact } };
  const [outcome] = await runOutputs(images, [output], deps, {
    ...context,
    vertices: vertex === null ? [] : [vertex],
    multiPlatform: isIndex,
    attestations: attested.all,
  });
  if (outcome?.descriptor == null) throw new Error("the push gave no image");
  return outcome.descriptor;
}
