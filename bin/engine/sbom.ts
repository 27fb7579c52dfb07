// Software bills of materials: has the keeper scan trees, and knows what their documents say.

import type { DocumentInputs, Scan } from "../../worker/sbom/contract.ts";
import type { Attestation } from "../../exporters/contract.ts";
import { isNameless } from "../../cache/image-record.ts";
import { familiarReference, parseReference } from "../../cache/registry/reference.ts";
import type { Input } from "../../solver/graph/definition.ts";
import { type Digest, digestOf } from "../../solver/graph/digest.ts";
import { printable } from "../../solver/graph/error.ts";
import { asStep } from "../../solver/graph/event.ts";
import { formatPlatform, type Platform } from "../../solver/graph/op.ts";
import { hostPlatform } from "../../solver/graph/platform.ts";
import type { CallContext, ImageConfig, LayerId, Result } from "../../solver/graph/request.ts";
import type { Keeper } from "../../worker/keeper/keeper.ts";
import type { LocalWorker } from "../../worker/worker.ts";
import { findImage, platformAbsent } from "./local-images.ts";
import { bestOf, builtImages, claimLayers, presentOf } from "./local-outputs.ts";
import type { EngineParts } from "./parts.ts";
import { transferWorker } from "./pull.ts";
import type { EngineTransferOptions, ImageScan } from "./request.ts";
import { shownOnce } from "./shown-once.ts";

/**
 * The packages in a list of layers, which the caller has leased: of an image, of a stage, of whatever a step sees. `layer` in the result
 * counts `layers`, or says nothing. Layers that are not here are fetched and unpacked; `vertex`: the step that shows it.
 */
export async function scanLayers(
  { keeper, unpacker }: { readonly keeper: () => Keeper; readonly unpacker: LocalWorker["unpacker"] },
  layers: readonly LayerId[],
  vertex: Digest,
  context: CallContext,
  saysLayers = true,
): Promise<Scan> {
  const dirs = await unpacker.directories(layers, vertex, context);
  // `dirs` is what is mounted: a layer that is there twice is in it once, and the oldest of very many are one.
  const own: string[] = [];
  for (const layer of saysLayers ? layers : [])
    own.push(...(await unpacker.directories([layer], vertex, context)));
  return await keeper().run(
    { kind: "scan", tree: { kind: "layers", dirs }, layers: own },
    { signal: context.signal },
  );
}

/** The packages in a directory of the client, as the rules of its ignore file have it: a build context. */
export async function scanFiles(
  keeper: Keeper,
  files: {
    readonly root: string;
    readonly excludes: readonly string[];
    readonly includes: readonly string[];
  },
  { signal }: { readonly signal: AbortSignal },
): Promise<Scan> {
  return await keeper.run({ kind: "scan", tree: { kind: "files", ...files }, layers: [] }, { signal });
}

/** Throws IMAGE_UNKNOWN, PLATFORM_UNSUPPORTED, STORE_CORRUPT, and what fetching and unpacking throw. */
export async function scanImage(
  parts: EngineParts,
  reference: string,
  platform: Platform | null,
  options: EngineTransferOptions,
): Promise<ImageScan> {
  const { store } = parts;
  await using worker = transferWorker(parts, options);
  await using lease = store.lease();
  const found = presentOf(findImage(store, reference));
  lease.addBlobs([found.record.target.digest]);
  const images = builtImages(found, reference, store).map((image, index) => ({
    ...image,
    digest: found.manifests[index]?.descriptor.digest ?? null,
  }));
  claimLayers(worker, images, store);
  const wanted = platform ?? hostPlatform();
  const image =
    bestOf(images, wanted) ?? (platform === null && images.length === 1 ? images[0] : null) ?? null;
  if (image === null)
    throw platformAbsent(
      reference,
      formatPlatform(wanted),
      images.map((one) => formatPlatform(one.platform)),
    );
  lease.addLayers(image.layers);
  const context: CallContext = { signal: options.signal, session: options.session, emit: options.emit };
  const deps = { keeper: parts.keeper, unpacker: worker.unpacker };
  const scan = await shownOnce(context, `load ${reference}`, (vertex, shown) =>
    scanLayers(deps, image.layers, vertex, shown),
  );
  const { name } = found.record;
  const shown = isNameless(name) ? found.id : familiarReference(parseReference(name));
  return { scan, inputs: documentInputs(shown, image.config, image.digest) };
}

/**
 * What the documents of an image say besides its packages: nothing that is not in the image, so that the same image gives the same document.
 * `digest`: of its manifest; null where it is not known yet, as in a statement about the image that is part of it.
 */
export function documentInputs(
  name: string,
  config: ImageConfig,
  digest: Digest | null,
): Omit<DocumentInputs, "toolVersion" | "namespace"> {
  const createdMs = Date.parse(config.created ?? "");
  return {
    name,
    kind: "image",
    createdEpochSeconds: Number.isFinite(createdMs) ? Math.floor(createdMs / 1000) : 0,
    layers: config.rootfs?.diff_ids ?? [],
    digest,
  };
}

/** What makes a bill of materials of an image. */
export interface SbomDeps {
  readonly keeper: () => Keeper;
  readonly unpacker: LocalWorker["unpacker"];
  readonly context: CallContext;
  /** The result's step, which it comes after in the display; null: there is none. */
  readonly root: Input | null;
  /** Version of this program. */
  readonly version: string;
}

/** What is scanned for an image: itself, a stage, its context. */
export interface SbomTarget {
  /** What the document is called after. */
  readonly name: string;
  readonly filename: string;
  /** For the display: "", " of stage build". */
  readonly title: string;
  readonly result: Result;
  /** It is the image: packages have its layers. */
  readonly isImage: boolean;
}

/** A bill of materials by the built-in scanner, as an attestation of an image: scanned once, when the first output needs it. */
export async function sbomAttestation(
  { name, filename, title: more, result, isImage }: SbomTarget,
  platform: Platform,
  { keeper, unpacker, context, root, version }: SbomDeps,
): Promise<Attestation> {
  const { SPDX_PREDICATE_TYPE, spdxPredicate } = await import("../../worker/sbom/documents.ts");
  let scanned: Promise<Scan> | null = null;
  const scan = async (): Promise<Scan> => {
    const vertex = digestOf(`scan ${formatPlatform(platform)} ${JSON.stringify(result)} ${more}`);
    const title = `[${formatPlatform(platform)}] generating sbom${more}`;
    context.emit({ kind: "vertex", vertex, name: title, inputs: root === null ? [] : [root.vertex], at: [] });
    context.emit({ kind: "started", vertex, atMs: Date.now() });
    const found = await asStep({ ...context, vertex, nowMs: Date.now }, () =>
      result.kind === "files"
        ? scanFiles(keeper(), result, context)
        : scanLayers({ keeper, unpacker }, result.layers, vertex, context, isImage),
    );
    for (const { path, reason } of found.unread)
      context.emit({
        kind: "note",
        message: `not in the bill of materials${more}: ${printable(path)}: ${reason}`,
      });
    return found;
  };
  return {
    predicateType: SPDX_PREDICATE_TYPE,
    filename,
    inlineOnly: false,
    async predicate(image) {
      const inputs: DocumentInputs = {
        ...{
          name,
          kind: isImage ? "image" : "directory",
          toolVersion: version,
          namespace: null,
          digest: null,
        },
        createdEpochSeconds: image.createdSeconds ?? 0,
        layers: isImage ? (image.layers?.map(({ diffId }) => diffId) ?? []) : [],
      };
      return JSON.stringify(spdxPredicate(await (scanned ??= scan()), inputs));
    },
  };
}
