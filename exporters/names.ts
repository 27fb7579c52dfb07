// Names of the local image store: an image's local name, and the digest under which a registry has it.

import { IMAGE_SPACE } from "../cache/image-record.ts";
import { type Index, type Manifest, MANIFEST_MAX_BYTES, parseDocument } from "../cache/registry/documents.ts";
import { formatRepository, parseReference } from "../cache/registry/reference.ts";
import type { Digest } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import { formatPlatformAll } from "../solver/graph/op.ts";
import { type BuiltImage, type Descriptor, isBaseLayer } from "../solver/graph/request.ts";
import type { Assembled } from "./assembled.ts";
import type { ImageOutput } from "./output-grammar.ts";
import { isAttestation } from "./stored.ts";
import type { ImageRecord, Store } from "../cache/contract.ts";

/** A built image that gets names. */
export interface Naming {
  readonly assembled: Assembled;
  /** What it was assembled from: a name keeps the layers of each platform. */
  readonly images: readonly BuiltImage[];
  readonly names: readonly string[];
  /** No form of its layers was asked for, so a name that stands for the same image as a registry has it goes on to do so; of
   *  anything else no registry has confirmed the digest yet. */
  readonly isPlain: boolean;
}

/** Gives a built image its names. */
export function nameImage(
  { assembled, images, names, isPlain }: Naming,
  output: ImageOutput,
  store: Store,
  nowMs: number,
): void {
  const { descriptor } = assembled.top;
  const isNamed = output.image.names.length > 0;
  const all = names.flatMap((name) =>
    output.nameCanonical && isNamed ? [name, `${name}@${descriptor.digest}`] : [name],
  );
  const layers = Object.fromEntries(
    images.map((image, index) => [
      formatPlatformAll(image.platform),
      image.layers.map((id, at) => {
        // One of the base image that was forced into eStargz has another diffId now.
        const diffId = assembled.images[index]?.layers[at]?.diffId;
        return isBaseLayer(id) && diffId !== undefined ? store.layers.idOf(diffId) : id;
      }),
    ]),
  );
  const changes = all.map((name) => {
    const known = store.records.get<ImageRecord>(IMAGE_SPACE, name);
    const isKept =
      known?.confirmed !== undefined &&
      (known.target.digest === descriptor.digest ||
        (isPlain && wordsOf(store, known.target.digest) === wordsOf(store, descriptor.digest)));
    const value: ImageRecord = {
      name,
      target: isKept ? known.target : descriptor,
      createdAtMs: nowMs,
      layers,
      ...(isKept && known.confirmed !== undefined ? { confirmed: known.confirmed } : {}),
    };
    return { space: IMAGE_SPACE, key: name, value };
  });
  if (changes.length > 0) store.records.batch(changes);
}

/**
 * A registry has the image now, as `assembled` and under these names. From here on they stand for that, and so do the other names
 * of what they stood for, if it is the same image: only the form of its layers can be another, because what was never exported
 * has none.
 */
export function confirmPushed(assembled: Assembled, names: readonly string[], store: Store): void {
  const { descriptor } = assembled.top;
  const configs = assembled.images
    .filter(({ manifest }) => !isAttestation(manifest.descriptor))
    .map(({ config }) => config.descriptor.digest);
  for (const name of names) {
    const named = store.records.get<ImageRecord>(IMAGE_SPACE, name);
    if (named === null) continue;
    const isSame =
      named.target.digest === descriptor.digest ||
      isSameImage(configsOf(store, named.target.digest), configs);
    if (!isSame) continue;
    const repository = formatRepository(parseReference(name));
    for (const { key, value } of [...store.records.entries<ImageRecord>(IMAGE_SPACE)]) {
      const isOne = value.target.digest === named.target.digest;
      if (!isOne || (key.includes("@") && !key.endsWith(descriptor.digest))) continue;
      // Another process may give the name to something else at this very moment.
      store.records.merge<ImageRecord>(IMAGE_SPACE, key, (now) => {
        if (now === null || ![named.target.digest, descriptor.digest].includes(now.target.digest)) return now;
        const before = now.target.digest === descriptor.digest ? (now.confirmed ?? []) : [];
        return { ...now, target: descriptor, confirmed: [...new Set([...before, repository])] };
      });
    }
  }
}

function isSameImage(some: readonly Digest[], others: readonly Digest[]): boolean {
  return some.length > 0 && some.length === others.length && some.every((one) => others.includes(one));
}

/** Configs of a manifest, or of all images that an index names; none when it is not here as a whole. What is attested changes with the form of
 *  the layers. */
function configsOf(store: Store, target: Digest): readonly Digest[] {
  const [top, ...images] = documentsOf(store, target, (one) => !isAttestation(one));
  const manifests = top?.kind === "index" ? images : [top];
  return manifests.flatMap((one) => (one?.kind === "manifest" ? [one.config.digest] : []));
}

/** All that the documents of an image say, but for the form of its layers. */
function wordsOf(store: Store, target: Digest): string {
  return JSON.stringify(
    documentsOf(store, target).map((one) => [
      one.mediaType,
      Object.entries(one.annotations).toSorted(),
      one.kind === "manifest"
        ? one.config.digest
        : one.manifests.map(({ annotations }) => annotations ?? null),
    ]),
  );
}

/** A manifest, or an index and all its manifests that are wanted; none when it is not here as a whole. */
function documentsOf(
  store: Store,
  target: Digest,
  isWanted: (descriptor: Descriptor) => boolean = () => true,
): readonly (Manifest | Index)[] {
  try {
    const read = (digest: Digest): Manifest | Index =>
      parseDocument(store.content.read(digest, MANIFEST_MAX_BYTES), null, digest);
    const top = read(target);
    if (top.kind === "manifest") return [top];
    return [top, ...top.manifests.filter(isWanted).map(({ digest }) => read(digest))];
  } catch (error) {
    if (error instanceof BuildError) return [];
    throw error;
  }
}
