// The documents of an OCI layout: its index, and the blobs that are not layers. image-spec image-layout.md; annotations as containerd's
// images/archive/exporter.go.

import { IMAGE_NAME, REF_NAME } from "../cache/registry/layout.ts";
import { parseReference } from "../cache/registry/reference.ts";
import { MEDIA_TYPES } from "../cache/registry/documents.ts";
import type { Descriptor } from "../solver/graph/request.ts";
import type { Assembled } from "./assembled.ts";
import { encodeGoJson } from "./go-json.ts";
import { type Document, encodeDescriptor } from "./image.ts";

const CREATED = "org.opencontainers.image.created";
export const LAYOUT_FILE: Uint8Array = Buffer.from('{"imageLayoutVersion":"1.0.0"}');

/** Entries of index.json: one for each name, or one without a name; and one for each artifact about it, as ORAS has them. */
export function indexEntries(assembled: Assembled, names: readonly string[]): readonly Descriptor[] {
  const { descriptor } = assembled.top;
  return [
    ...namedEntries(descriptor, { [CREATED]: assembled.created, ...descriptor.annotations }, names),
    ...(assembled.referrers ?? []).map(({ manifest }) => manifest.descriptor),
    ...(assembled.tagged ?? []).map(({ tag, manifest }) => ({
      ...manifest.descriptor,
      annotations: { ...manifest.descriptor.annotations, [REF_NAME]: tag },
    })),
  ];
}

export function namedEntries(
  descriptor: Descriptor,
  base: Readonly<Record<string, string>>,
  names: readonly string[],
): readonly Descriptor[] {
  if (names.length === 0) return [{ ...descriptor, annotations: base }];
  return names.map((name) => {
    const { tag, digest } = parseReference(name);
    return {
      ...descriptor,
      annotations: { ...base, [IMAGE_NAME]: name, [REF_NAME]: tag ?? digest ?? "latest" },
    };
  });
}

export function indexJson(entries: readonly Descriptor[]): Uint8Array {
  return encodeGoJson({
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.ociIndex,
    manifests: entries.map(encodeDescriptor),
  });
}

/** Documents of the image that are blobs of the layout. */
export function documentsOf(assembled: Assembled): readonly Document[] {
  const documents = assembled.images.flatMap(({ config, manifest }) => [config, manifest]);
  const all = new Map(
    [
      ...documents,
      assembled.top,
      ...[...(assembled.referrers ?? []), ...(assembled.tagged ?? [])].flatMap(({ manifest, blobs }) => [
        manifest,
        ...blobs,
      ]),
    ].map((document) => [document.descriptor.digest, document]),
  );
  return [...all.values()];
}
