// OCI layouts whose blobs a builder has written: their indexes get names for what it says of them.

import { closeSync } from "node:fs";
import { MANIFEST_MAX_BYTES, parseDocument } from "../../cache/registry/documents.ts";
import { openDirectory, readIn } from "../../cache/outside.ts";
import { blobPath } from "../../cache/registry/layout.ts";
import { directoryPlace } from "../../cache/remote-cache/place.ts";
import { addToLayout } from "../../exporters/layout-directory.ts";
import { type Digest, digestOf, isDigest } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Descriptor } from "../../solver/graph/request.ts";

type Response = Readonly<Record<string, string>>;

/** The image of an exporter with tar=false. Throws OUTPUT_FAILED. */
export async function nameImage(path: string, response: Response, signal: AbortSignal): Promise<void> {
  const text = Buffer.from(response["containerimage.descriptor"] ?? "", "base64").toString("utf8");
  const descriptor = descriptorIn(text, path);
  manifestIn(path, descriptor.digest);
  const names = response["image.name"]?.split(",").filter((name) => name !== "") ?? [];
  await addToLayout(path, descriptor, names, signal);
}

/** A cache export. Throws OUTPUT_FAILED, unless its errors are to be ignored. */
export async function nameCache(
  { path, tag, ignoreError }: { readonly path: string; readonly tag: string; readonly ignoreError: boolean },
  response: Response,
  signal: AbortSignal,
): Promise<void> {
  try {
    const { digest } = descriptorIn(response["cache.manifest"] ?? "", path);
    const bytes = manifestIn(path, digest);
    const { mediaType } = parseDocument(bytes, null, path);
    await directoryPlace(path, tag, null).putManifest(bytes, mediaType, { signal });
  } catch (error) {
    if (!ignoreError) throw error;
  }
}

/** The bytes under a digest, which they have. */
function manifestIn(path: string, digest: Digest): Uint8Array {
  const top = openDirectory(path);
  try {
    const bytes = readIn(top, blobPath(digest), MANIFEST_MAX_BYTES);
    if (bytes !== null && digestOf(bytes) === digest) return bytes;
  } finally {
    closeSync(top);
  }
  throw new BuildError("OUTPUT_FAILED", `the builder has not written ${digest} to ${path}`);
}

function descriptorIn(text: string, path: string): Descriptor {
  try {
    const json = JSON.parse(text) as Descriptor;
    if (isDigest(json.digest) && typeof json.mediaType === "string" && Number.isSafeInteger(json.size))
      return json;
  } catch {
    // told below
  }
  throw new BuildError("OUTPUT_FAILED", `the builder does not say what it has written to ${path}`);
}
