// A build cache in a directory of a client that is somewhere else: the client has the index of the layout, and looks the digest up itself.

import { type Digest, digestOf } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import type { WritableBlobs } from "../../solver/graph/session.ts";
import { MANIFEST_MAX_BYTES, parseDocument } from "../registry/documents.ts";
import type { SignalOptions } from "../registry/contract.ts";
import type { CachePlace } from "./place.ts";

/** `name`: for messages; `from`: what tells its blobs from those of others; `digest`: of the manifest to be read, null: there is none. */
export function clientPlace(
  blobs: WritableBlobs,
  { name, from, digest }: { readonly name: string; readonly from: string; readonly digest: Digest | null },
): CachePlace {
  const read = async (
    blob: Digest,
    size: number,
    maxBytes: number,
    { signal }: SignalOptions,
  ): Promise<Uint8Array> => {
    if (size > maxBytes)
      throw new BuildError("LIMIT_EXCEEDED", `${name}: ${blob} has ${size} bytes, more than ${maxBytes}`);
    const chunks: Uint8Array[] = [];
    let total = 0;
    for await (const chunk of blobs.read(blob, { signal })) {
      total += chunk.length;
      if (total > size) break;
      chunks.push(chunk);
    }
    const bytes = Buffer.concat(chunks);
    if (total !== size || digestOf(bytes) !== blob)
      throw new BuildError("DIGEST_MISMATCH", `${name}: the client sent something else for ${blob}`);
    return bytes;
  };
  return {
    name,
    from,
    async manifest(options) {
      if (digest === null) return null;
      const size = await blobs.size(digest, options);
      if (size === null) return null;
      const bytes = await read(digest, size, MANIFEST_MAX_BYTES, options);
      const { mediaType } = parseDocument(bytes, null, name);
      return { bytes, descriptor: { mediaType, digest, size } };
    },
    child: (descriptor, options) => read(descriptor.digest, descriptor.size, MANIFEST_MAX_BYTES, options),
    blob: (descriptor, maxBytes, options) => read(descriptor.digest, descriptor.size, maxBytes, options),
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
