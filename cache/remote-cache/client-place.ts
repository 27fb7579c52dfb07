// A build cache in a directory of a client that is somewhere else: the client has the index of the layout, and looks the digest up itself.

import { type Digest, digestOf } from "../../solver/graph/digest.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import type { WritableBlobs } from "../../solver/graph/session.ts";
import { MANIFEST_MAX_BYTES, parseDocument } from "../registry/documents.ts";
import type { SignalOptions } from "../registry/contract.ts";
import { blobBytes } from "../registry/image.ts";
import { type CachePlace, collect } from "./place.ts";

/** `name`: for messages; `from`: what tells its blobs from those of others; `digest`: of the manifest to be read, null: there is none. */
export function clientPlace(
  blobs: WritableBlobs,
  { name, from, digest }: { readonly name: string; readonly from: string; readonly digest: Digest | null },
): CachePlace {
  const read = (
    { digest: blob, size }: Pick<Descriptor, "digest" | "size">,
    maxBytes: number,
    options: SignalOptions,
  ): Promise<Uint8Array> => {
    const descriptor = { digest: blob, size };
    return collect(blobBytes(blobs, descriptor, options), descriptor, maxBytes, name);
  };
  return {
    name,
    from,
    async manifest(options) {
      if (digest === null) return null;
      const size = await blobs.size(digest, options);
      if (size === null) return null;
      const bytes = await read({ digest, size }, MANIFEST_MAX_BYTES, options);
      const { mediaType } = parseDocument(bytes, null, name);
      return { bytes, descriptor: { mediaType, digest, size } };
    },
    child: (descriptor, options) => read(descriptor, MANIFEST_MAX_BYTES, options),
    blob: read,
    putBlob: (descriptor, open, { signal }) => blobs.write(descriptor, open, { signal }),
    async putManifest(bytes, mediaType, { signal }): Promise<Descriptor> {
      const descriptor = { mediaType, digest: digestOf(bytes), size: bytes.length };
      await blobs.write(descriptor, () => once(bytes), { signal });
      return descriptor;
    },
  };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
