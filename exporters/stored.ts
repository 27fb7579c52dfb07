// An image of the local store unchanged, byte for byte: what a registry has confirmed is pushed again with the same digest.

import {
  CONFIG_MAX_BYTES,
  MANIFEST_MAX_BYTES,
  parseConfig,
  parseDocument,
} from "../cache/registry/documents.ts";
import type { Digest } from "../solver/graph/digest.ts";
import type { Descriptor } from "../solver/graph/request.ts";
import { newest } from "./assemble.ts";
import type { Assembled } from "./assembled.ts";
import { createdOf, type MadeImage } from "./image.ts";
import type { RemoteBlob, Store } from "../cache/contract.ts";

export interface StoredImage {
  readonly assembled: Assembled;
  /** Manifests of the index that are not here. */
  readonly missing: readonly Descriptor[];
}

/**
 * The documents under a descriptor. `placeOf`: where a blob that is not here can be had; null: nowhere. Gives null when the image
 * cannot leave as it is: a layer is nowhere, or it has none yet because it never left. Throws IMAGE_INVALID, STORE_CORRUPT.
 */
export function storedImage(
  store: Pick<Store, "content">,
  target: Descriptor,
  placeOf: (blob: Descriptor) => string | null,
): StoredImage | null {
  const remotes = new Map<Digest, RemoteBlob>();
  const bytes = store.content.read(target.digest, MANIFEST_MAX_BYTES);
  const document = parseDocument(bytes, target.mediaType, target.digest);
  const entries = document.kind === "index" ? document.manifests : [target];
  const missing = entries.filter(({ digest }) => !store.content.has(digest));
  const images: MadeImage[] = [];
  for (const entry of entries) {
    if (missing.includes(entry)) continue;
    const image = imageOf(store, entry);
    if (image === null) return null;
    for (const { descriptor } of image.layers) {
      if (store.content.has(descriptor.digest)) continue;
      const from = placeOf(descriptor);
      if (from === null) return null;
      remotes.set(descriptor.digest, { descriptor, from });
    }
    images.push(image);
  }
  const { mediaType } = document;
  const top = { bytes, descriptor: { ...target, mediaType, size: bytes.length } };
  const created = newest(images, null);
  const assembled = { images, top, isIndex: document.kind === "index", remotes, created };
  return { assembled, missing };
}

/** One image of a stored one, by its manifest. */
export function onlyOf(stored: StoredImage, image: MadeImage): StoredImage {
  const { assembled } = withOnly(stored, [image]);
  return { assembled: { ...assembled, top: image.manifest, isIndex: false }, missing: [] };
}

/** The same index with only these of its images. */
export function withOnly({ assembled, missing }: StoredImage, images: readonly MadeImage[]): StoredImage {
  const wanted = new Set(images.flatMap(({ layers }) => layers.map(({ descriptor }) => descriptor.digest)));
  const remotes = new Map([...assembled.remotes].filter(([digest]) => wanted.has(digest)));
  const others = assembled.images.filter((image) => !images.includes(image));
  return {
    assembled: { ...assembled, images, remotes, created: newest(images, null) },
    missing: [...missing, ...others.map(({ manifest }) => manifest.descriptor)],
  };
}

/** An entry of an index that says something about another one. */
export function isAttestation({ annotations }: Descriptor): boolean {
  return annotations?.["vnd.docker.reference.type"] !== undefined;
}

function imageOf(store: Pick<Store, "content">, descriptor: Descriptor): MadeImage | null {
  const bytes = store.content.read(descriptor.digest, MANIFEST_MAX_BYTES);
  const manifest = parseDocument(bytes, descriptor.mediaType, descriptor.digest);
  if (manifest.kind !== "manifest" || !store.content.has(manifest.config.digest)) return null;
  const configBytes = store.content.read(manifest.config.digest, CONFIG_MAX_BYTES);
  const config = !isAttestation(descriptor)
    ? parseConfig(configBytes, manifest.layers.length, descriptor.digest)
    : null;
  const { os = "unknown", architecture = "unknown", variant } = config ?? {};
  return {
    platform: descriptor.platform ?? { os, architecture, ...(variant ? { variant } : {}) },
    config: { bytes: configBytes, descriptor: manifest.config },
    manifest: { bytes, descriptor: { ...descriptor, size: bytes.length } },
    layers: manifest.layers.map((layer, index) => ({
      descriptor: layer,
      diffId: (config?.rootfs.diff_ids[index] ?? layer.digest) as Digest,
      createdAtMs: null,
      description: "",
    })),
    created: config === null ? null : createdOf(config, config.history, null),
  };
}
