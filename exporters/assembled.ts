// An image with finished documents, and access to the bytes of its layers.

import { pullLayer } from "../cache/registry/image.ts";
import type { Digest } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { Descriptor } from "../solver/graph/request.ts";
import type { Document, MadeImage } from "./image.ts";
import type { Referrer } from "./referrers.ts";
import type { ExportDeps } from "./contract.ts";
import type { RemoteBlob } from "../cache/contract.ts";

/** An image ready to go: all documents, and how to get at each layer. */
export interface Assembled {
  readonly images: readonly MadeImage[];
  /** The index, or the only manifest. */
  readonly top: Document;
  readonly isIndex: boolean;
  readonly remotes: ReadonlyMap<Digest, RemoteBlob>;
  /** RFC 3339; the newest `created` in it, so that the same image is always said to be of the same time. */
  readonly created: string;
  /** What lies beside it and is about it; left out: nothing. */
  readonly referrers?: readonly Referrer[];
  /** The same under tags of their own: signatures. */
  readonly tagged?: readonly Tagged[];
}

/** A manifest under a tag, and its blobs. */
export interface Tagged {
  readonly tag: string;
  readonly manifest: Document;
  readonly blobs: readonly Document[];
}

/** Bytes of a blob of an assembled image, fetched into the content store first when it is only elsewhere. */
export async function* blobBytes(
  assembled: Pick<Assembled, "remotes">,
  descriptor: Descriptor,
  deps: Pick<ExportDeps, "store" | "registry">,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { content } = deps.store;
  if (!content.has(descriptor.digest)) {
    const remote = assembled.remotes.get(descriptor.digest);
    if (remote === undefined)
      throw new BuildError("STORE_CORRUPT", `the blob ${descriptor.digest} of a layer is missing`);
    await pullLayer(remote, deps.store, await deps.registry(), { signal });
  }
  yield* content.stream(descriptor.digest, { signal });
}

/** Layer descriptors of all images, each once, in the order they appear. */
export function layersOf(assembled: Assembled): readonly Descriptor[] {
  const seen = new Map<Digest, Descriptor>();
  for (const image of assembled.images) {
    for (const { descriptor } of image.layers)
      if (!seen.has(descriptor.digest)) seen.set(descriptor.digest, descriptor);
  }
  return [...seen.values()];
}
