// Descriptors that users give as JSON, as sources of a new index.

import {
  isIndexType,
  isManifestType,
  MEDIA_TYPES,
  parseDocument,
} from "../../../cache/registry/documents.ts";
import { type RawDescriptor, rawDescriptor } from "../../../exporters/raw-index.ts";
import { BuildError } from "../../../solver/graph/error.ts";

/** A descriptor in JSON, of --file. Throws USAGE. */
export function parseGivenDescriptor(text: string): RawDescriptor {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new BuildError("USAGE", "a source is not a descriptor in JSON", { cause });
  }
  // The checks of an index are those of each of its entries.
  const wrapped = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      manifests: [{ size: 0, mediaType: MEDIA_TYPES.ociManifest, ...(json as object) }],
    }),
  );
  parseDocument(wrapped, null, "a source");
  const given = json as RawDescriptor;
  const { mediaType } = given;
  if (typeof mediaType === "string" && !isManifestType(mediaType) && !isIndexType(mediaType))
    throw new BuildError("USAGE", `a source has the type ${mediaType}, which is no image`);
  return rawDescriptor(given);
}
