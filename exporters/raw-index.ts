// Indexes as JSON: read, changed and written again with all that Go's types know of a descriptor, in their order.
// image-spec specs-go/v1: descriptor.go, index.go.

import { encodeGoJson, orderedFields, sortedMap, withoutEmpty } from "./go-json.ts";

/** A descriptor as it is in a document. */
export type RawDescriptor = Readonly<Record<string, unknown>>;

export interface RawIndex {
  readonly mediaType: string;
  readonly manifests: readonly RawDescriptor[];
  readonly annotations: Readonly<Record<string, string>>;
  /** Other fields that the specification has. */
  readonly artifactType?: unknown;
  readonly subject?: unknown;
}

/** Reads an index that has been checked (parseDocument). */
export function readRawIndex(bytes: Uint8Array): RawIndex {
  const json = JSON.parse(Buffer.from(bytes).toString("utf8")) as Record<string, unknown>;
  return {
    mediaType: (json["mediaType"] as string | undefined) ?? "",
    manifests: (json["manifests"] as RawDescriptor[] | null) ?? [],
    annotations: (json["annotations"] as Record<string, string> | undefined) ?? {},
    artifactType: json["artifactType"],
    subject: json["subject"],
  };
}

/** As json.MarshalIndent with two spaces writes ocispec.Index. */
export function encodeRawIndex({
  mediaType,
  artifactType,
  manifests,
  subject,
  annotations,
}: RawIndex): Uint8Array {
  return encodeGoJson(
    {
      schemaVersion: 2,
      ...withoutEmpty({ mediaType, artifactType }),
      manifests: manifests.map(rawDescriptor),
      ...withoutEmpty({
        subject: subject === undefined ? undefined : rawDescriptor(subject as RawDescriptor),
      }),
      ...withoutEmpty({ annotations: sortedMap(annotations) }),
    },
    2,
  );
}

/** The same index with the entries that are wanted. */
export function encodeIndexOf(bytes: Uint8Array, isWanted: (entry: RawDescriptor) => boolean): Uint8Array {
  const index = readRawIndex(bytes);
  return encodeRawIndex({ ...index, manifests: index.manifests.filter(isWanted) });
}

/** A descriptor in the order of ocispec.Descriptor, without what it does not know. */
export function rawDescriptor(descriptor: RawDescriptor): Record<string, unknown> {
  const { mediaType, digest, size, urls, annotations, data, platform, artifactType } = descriptor;
  return {
    ...{ mediaType, digest, size },
    ...withoutEmpty({
      urls,
      annotations: sortedMap(annotations as Record<string, unknown> | undefined),
      data,
      platform:
        platform === undefined || platform === null ? undefined : rawPlatform(platform as RawDescriptor),
      artifactType,
    }),
  };
}

function rawPlatform(platform: RawDescriptor): Record<string, unknown> {
  const { architecture = "", os = "" } = platform;
  const more = ["os.version", "os.features", "variant"];
  const others = Object.fromEntries(more.map((name) => [name, platform[name]]));
  return { architecture, os, ...orderedFields(others, more) };
}
