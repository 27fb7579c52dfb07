// save: writes images of the local store to one archive.

import { formatReference, parseReference } from "../../cache/registry/reference.ts";
import {
  isAttestation,
  onlyOf,
  type SavedImage,
  saveTogether,
  type StoredImage,
  withOnly,
} from "../../exporters/exporter.ts";
import { parseOutput } from "../../exporters/output-grammar.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import { formatPlatform, type Platform } from "../../solver/graph/op.ts";
import type { LocalWorker } from "../../worker/worker.ts";
import type { EngineTransferOptions, SaveRequest } from "./request.ts";
import type { EngineParts } from "./parts.ts";
import {
  asItIs,
  attestationsOf,
  bestOf,
  builtImages,
  chosenOf,
  claimLayers,
  NOT_ATTESTED,
  outputDeps,
  presentOf,
  wordsOf,
} from "./local-outputs.ts";
import { transferWorker } from "./pull.ts";
import { findImage, type LocalImage, normalizeName, platformAbsent } from "./local-images.ts";
import type { Store } from "../../cache/contract.ts";

/** Throws IMAGE_UNKNOWN, PLATFORM_UNSUPPORTED, OUTPUT_FAILED, and errors of packing. */
export async function saveImages(
  parts: EngineParts,
  request: SaveRequest,
  options: EngineTransferOptions,
): Promise<void> {
  const { store } = parts;
  await using worker = transferWorker(parts, options);
  await using lease = store.lease();
  const all = new Map<string, SavedImage & { readonly names: string[] }>();
  for (const text of request.images) {
    const found = presentOf(findImage(store, text));
    const { digest } = found.record.target;
    lease.addBlobs([digest]);
    const one = all.get(digest) ?? {
      ...(await savedOf(found, text, request.platform, worker, store)),
      names: [],
    };
    all.set(digest, one);
    // An image given by ID has no name in the archive.
    if (isNameOf(text, found.record.name) && !one.names.includes(found.record.name)) {
      one.names.push(found.record.name);
    }
  }
  const vertex = digestOf(`save ${request.images.join(" ")}`);
  const dest = request.path === null ? "-" : request.path;
  // Layers of images that were never pushed are unchanged: those built here are uncompressed tars, which docker reads fastest.
  const output = parseOutput(`type=docker,compression=uncompressed,${JSON.stringify(`dest=${dest}`)}`);
  if (output.kind !== "archive") throw new Error("no archive");
  const { emit, signal } = options;
  emit({ kind: "vertex", vertex, name: `saving ${request.images.join(", ")}`, inputs: [], at: [] });
  emit({ kind: "started", vertex, atMs: Date.now() });
  const deps = outputDeps(parts, worker, vertex, options);
  const context = { signal, emit, vertex, epochSeconds: null, nowMs: Date.now };
  await saveTogether([...all.values()], output, deps, context);
}

/** An image of the local store as it is saved; `text` is what the user wrote. Throws PLATFORM_UNSUPPORTED, STORE_CORRUPT. */
export async function savedOf(
  found: LocalImage,
  text: string,
  platform: Platform | null,
  worker: LocalWorker,
  store: Store,
): Promise<Omit<SavedImage, "names">> {
  const built = builtImages(found, text, store);
  claimLayers(worker, built, store);
  const images = chosenOf(built, platform);
  if (images.length === 0) {
    const wanted = platform === null ? "any platform" : formatPlatform(platform);
    throw platformAbsent(
      text,
      wanted,
      built.map((image) => formatPlatform(image.platform)),
    );
  }
  const isWhole = found.isIndex && platform === null;
  const attested = isWhole ? await attestationsOf(found, images, store) : NOT_ATTESTED;
  return {
    images,
    ...wordsOf(found, store),
    isIndex: isWhole,
    attestations: attested.all,
    ociArtifact: attested.ociArtifact,
    asItIs: () => storedOf(found, store, platform),
  };
}

/** The image byte for byte, or the part of it for the platform; null: it has to be assembled. */
function storedOf(found: LocalImage, store: Store, platform: Platform | null): StoredImage | null {
  const stored = asItIs(found, store);
  if (stored === null) return null;
  const { assembled } = stored;
  const here = new Set(found.manifests.map(({ descriptor }) => descriptor.digest));
  const images = assembled.images.filter(({ manifest }) => here.has(manifest.descriptor.digest));
  if (platform !== null) {
    const best = bestOf(images, platform);
    return best === null ? null : onlyOf(stored, best);
  }
  const others = assembled.images.filter(({ manifest }) => isAttestation(manifest.descriptor));
  return withOnly(stored, [...images, ...others]);
}

function isNameOf(text: string, name: string): boolean {
  try {
    return normalizeName(text) === name && formatReference(parseReference(name)) === name;
  } catch {
    return false; // an ID that can be no name
  }
}
