// Artifacts about an image that lie beside it and name it as their subject, in registries and layouts. image-spec manifest.md, "subject";
// distribution spec 1.1, "Pushing Manifests with Subject" and "Referrers Tag Schema".

import { Readable } from "node:stream";
import { MEDIA_TYPES, parseDocument } from "../cache/registry/documents.ts";
import { formatRepository, type Repository } from "../cache/registry/reference.ts";
import { referrersTag } from "../cache/registry/referrers.ts";
import { type Digest, digestOf } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { Descriptor } from "../solver/graph/request.ts";
import type { Registry, SignalOptions } from "../cache/registry/contract.ts";
import { encodeGoJson, sortedMap } from "./go-json.ts";
import { type Document, encodeDescriptor } from "./image.ts";

/** image-spec manifest.md, "Guidance for an Empty Descriptor". */
export const EMPTY_TYPE = "application/vnd.oci.empty.v1+json";
export const EMPTY_CONFIG: Uint8Array = Buffer.from("{}");

/** Others may write the same list at the same moment; a list that has lost an entry is written again. */
const LIST_ATTEMPTS_MAX = 5;

/** An artifact manifest and its blobs. */
export interface Referrer {
  /** Its descriptor has the type and the annotations, as lists of referrers show them. */
  readonly manifest: Document;
  /** Config and layers. */
  readonly blobs: readonly Document[];
  readonly subject: Digest;
}

/** Makes an artifact with these layers about `subject`. */
export function artifactAbout(
  subject: Descriptor,
  artifactType: string,
  layers: readonly Document[],
  annotations: Readonly<Record<string, string>>,
): Referrer {
  const config = documentOf(EMPTY_TYPE, EMPTY_CONFIG);
  const { mediaType, digest, size } = subject;
  const bytes = encodeGoJson(
    {
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociManifest,
      artifactType,
      config: { ...config.descriptor, data: Buffer.from(EMPTY_CONFIG).toString("base64") },
      layers: layers.map(({ descriptor }) => encodeDescriptor(descriptor)),
      subject: { mediaType, digest, size },
      annotations: sortedMap(annotations),
    },
    2,
  );
  const { descriptor } = documentOf(MEDIA_TYPES.ociManifest, bytes);
  const shown = Object.keys(annotations).length === 0 ? {} : { annotations };
  return {
    manifest: { bytes, descriptor: { ...descriptor, artifactType, ...shown } },
    blobs: [config, ...layers],
    subject: digest,
  };
}

export function documentOf(mediaType: string, bytes: Uint8Array): Document {
  return { bytes, descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length } };
}

/** Pushes an artifact by its digest. Where the registry does not list referrers by itself, the tag that stands for the list gets an entry.
 *  Throws REGISTRY_*, IMAGE_INVALID when that tag is something else. */
export async function pushReferrer(
  registry: Registry,
  repository: Repository,
  { manifest, blobs, subject }: Referrer,
  options: SignalOptions,
): Promise<void> {
  for (const { bytes, descriptor } of blobs)
    await registry.uploadBlob(repository, descriptor, () => Readable.from([bytes]), options);
  const { digest, mediaType } = manifest.descriptor;
  const put = await registry.putManifest(repository, digest, manifest.bytes, mediaType, options);
  if (put.subject !== subject) await addToList(registry, repository, manifest.descriptor, subject, options);
}

/** Adds an entry to the list of referrers of a registry that makes none, unless it is there. Throws as pushReferrer. */
export async function addToList(
  registry: Registry,
  repository: Repository,
  entry: Descriptor,
  subject: Digest,
  options: SignalOptions,
): Promise<void> {
  const tag = referrersTag(subject);
  for (let attempt = 0; ; attempt++) {
    const entries = await listUnder(registry, repository, tag, options);
    if (entries.some(({ digest }) => digest === entry.digest)) return;
    if (attempt >= LIST_ATTEMPTS_MAX)
      throw new BuildError(
        "REGISTRY_PROTOCOL",
        `${formatRepository(repository)}:${tag}: the list of referrers loses what is added to it`,
        { hint: "others may be writing it: try again" },
      );
    const all = [...entries, encodeDescriptor(entry)];
    const bytes = encodeGoJson({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: all });
    await registry.putManifest(repository, tag, bytes, MEDIA_TYPES.ociIndex, options);
  }
}

/** Entries of the list as they are, with fields that are unknown here; none where there is no such tag. */
export async function listUnder(
  registry: Registry,
  repository: Repository,
  tag: string,
  options: SignalOptions,
): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const name = `${formatRepository(repository)}:${tag}`;
  let bytes: Uint8Array;
  try {
    ({ bytes } = await registry.manifest({ ...repository, tag, digest: null }, options));
  } catch (error) {
    if (error instanceof BuildError && error.code === "REGISTRY_NOT_FOUND") return [];
    throw error;
  }
  if (parseDocument(bytes, null, name).kind !== "index")
    throw new BuildError("IMAGE_INVALID", `${name}: it is not a list of referrers, but an image`, {
      hint: "nothing was changed: remove or rename that tag",
    });
  const { manifests } = JSON.parse(Buffer.from(bytes).toString("utf8")) as {
    readonly manifests: readonly Readonly<Record<string, unknown>>[] | null;
  };
  return manifests ?? [];
}
