// The local image store: names in the records, documents in the content store. Needs neither keeper nor network.

import { IMAGE_SPACE, isNameless, namelessKey } from "../../cache/image-record.ts";
import { nearName } from "../../cache/near-image.ts";
import {
  familiarReference,
  formatReference,
  parseNewName,
  parseReference,
  withDefaultTag,
} from "../../cache/registry/reference.ts";
import { type Digest, isDigest } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { formatPlatform } from "../../solver/graph/op.ts";
import { isBaseLayer, type Descriptor, type ImageConfig, type LayerId } from "../../solver/graph/request.ts";
import type { ImageRecord, Store } from "../../cache/contract.ts";

/** Manifests, indexes and configs are read into memory; registries refuse larger ones. Bytes. */
const DOCUMENT_MAX_BYTES = 4 << 20;

/** docker.io/library/app:latest for "app". Throws REFERENCE_INVALID. */
export function normalizeName(text: string): string {
  return formatReference(withDefaultTag(parseReference(text)));
}

/** The same for a new name. Throws REFERENCE_INVALID. */
export function normalizeNewName(text: string): string {
  return formatReference(parseNewName(text));
}

/** "app", "latest" and the digest of a normalized name, as users write them; null if it has none. For an image without a name all
 *  are <none>, as in docker. */
export function splitName(name: string): { repository: string; tag: string | null; digest: Digest | null } {
  if (isNameless(name)) return { repository: "<none>", tag: null, digest: null };
  const reference = parseReference(name);
  return {
    repository: familiarReference({ ...reference, tag: null, digest: null }),
    tag: reference.tag,
    digest: reference.digest,
  };
}

/** One image of one platform of a name. */
export interface LocalManifest {
  readonly descriptor: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly configDescriptor: Descriptor;
  readonly config: ImageConfig;
  /** Bytes of each layer on disk, by its id. */
  readonly sizes: ReadonlyMap<string, number>;
  readonly sizeBytes: number;
}

export interface LocalImage {
  readonly record: ImageRecord;
  /** Config digest of a single image (also the only local one of an index), else the digest of the index: the image ID. */
  readonly id: Digest;
  readonly isIndex: boolean;
  /** The local ones, in the order of the index. */
  readonly manifests: readonly LocalManifest[];
  /** Bytes on disk of the unpacked layers if known, else of the compressed ones. */
  readonly sizeBytes: number;
}

/** All names, and the images without one, newest image first. A record whose documents are missing or damaged is skipped and reported to
 *  `onBroken`. */
export function listImages(store: Store, onBroken: (name: string, error: BuildError) => void): LocalImage[] {
  const all: LocalImage[] = [];
  for (const { key, value } of store.records.entries<ImageRecord>(IMAGE_SPACE)) {
    try {
      all.push(readImage(store, value));
    } catch (error) {
      if (!(error instanceof BuildError)) throw error;
      onBroken(key, error);
    }
  }
  // It may have been given a name since.
  const named = new Set(all.filter(({ record }) => !isNameless(record.name)).map(({ id }) => id));
  const images = all.filter(({ id, record }) => !isNameless(record.name) || !named.has(id));
  return images.toSorted(
    (a, b) => b.record.createdAtMs - a.record.createdAtMs || (a.record.name < b.record.name ? -1 : 1),
  );
}

/** The image of a name, or of an ID or digest (whole, or at least 4 digits when only one image has them). Throws IMAGE_UNKNOWN. */
export function findImage(store: Store, text: string): LocalImage {
  const digits = /^(?:sha256:)?([a-f0-9]{4,64})$/.exec(text)?.[1];
  // A complete ID is never a name.
  const named = digits?.length === 64 ? null : findRecord(store, text);
  if (named !== null) return readImage(store, named);
  if (digits !== undefined) {
    const matches = listImages(store, () => {}).filter((image) =>
      idsOf(image).some((id) => id.startsWith(`sha256:${digits}`)),
    );
    const ids = new Set(matches.map((image) => image.id));
    if (ids.size > 1)
      throw new BuildError("IMAGE_UNKNOWN", `more than one image has an ID that begins with ${text}`);
    if (matches[0] !== undefined) return matches[0];
  }
  const near = digits === undefined ? nearName(store, normalizeName(text)) : null;
  throw new BuildError("IMAGE_UNKNOWN", `No such image: ${text}`, {
    hint:
      near === null
        ? "run 'tsbuild images' to list local images, 'tsbuild pull' to fetch one"
        : `did you mean ${near}?`,
  });
}

/** Of an image that is not here for a platform; `shown` is what the user wrote, `there` what it is here for. */
export function platformAbsent(shown: string, wanted: string, there: readonly string[]): BuildError {
  return new BuildError("PLATFORM_UNSUPPORTED", `${shown} is not in the local store for ${wanted}`, {
    hint: there.length === 0 ? null : `it is there for ${there.join(", ")}`,
  });
}

function findRecord(store: Store, text: string): ImageRecord | null {
  let name: string;
  try {
    name = normalizeName(text);
  } catch (error) {
    // 64 hex digits are not a name, but may be an ID
    if (error instanceof BuildError && /^(?:sha256:)?[a-f0-9]{4,64}$/.test(text)) return null;
    throw error;
  }
  const record = store.records.get<ImageRecord>(IMAGE_SPACE, name);
  // name@digest: the local name must have that digest
  const { digest } = splitName(name);
  if (record !== null && (digest === null || record.target.digest === digest)) return record;
  if (digest === null) return null;
  for (const { value } of store.records.entries<ImageRecord>(IMAGE_SPACE)) {
    if (value.target.digest === digest && splitName(value.name).repository === splitName(name).repository)
      return value;
  }
  return null;
}

/** Keeps the image under its ID, unless it has a local name. Returns the ID. The caller commits. */
export function keepNameless(store: Store, record: Omit<ImageRecord, "name">): Digest {
  const { id } = readImage(store, { ...record, name: "" });
  const isNamed = listImages(store, () => {}).some((image) => image.id === id);
  const name = namelessKey(id);
  if (!isNamed) store.records.put(IMAGE_SPACE, name, { ...record, name } satisfies ImageRecord);
  return id;
}

function idsOf(image: LocalImage): Digest[] {
  return [image.id, image.record.target.digest];
}

/** Names of one image: all records with its ID, in the order of the names. */
export function namesOf(store: Store, image: LocalImage): ImageRecord[] {
  const same = listImages(store, () => {}).filter(({ id }) => id === image.id);
  return same.map(({ record }) => record).toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** "app@sha256:…" for each repository whose registry has the image of the record. */
export function repoDigestsOf(record: ImageRecord): string[] {
  return (record.confirmed ?? []).map((repository) => {
    const reference = parseReference(repository);
    return familiarReference({ ...reference, tag: null, digest: record.target.digest });
  });
}

/** Reads the documents of a record. Throws IMAGE_INVALID, STORE_CORRUPT. */
export function readImage(store: Store, record: ImageRecord): LocalImage {
  const root = readDocument(store, record.target.digest);
  const isIndex = Array.isArray(root.manifests);
  const descriptors = isIndex ? (root.manifests as Descriptor[]) : [record.target];
  const manifests = descriptors
    .filter((descriptor) => isDigest(descriptor.digest) && (!isIndex || store.content.has(descriptor.digest)))
    .filter((descriptor) => descriptor.annotations?.["vnd.docker.reference.type"] === undefined) // attestations
    .map((descriptor) => readManifest(store, descriptor, record));
  const [single] = manifests;
  return {
    record,
    id:
      manifests.length === 1 && single !== undefined ? single.configDescriptor.digest : record.target.digest,
    isIndex,
    manifests,
    sizeBytes: sumOf(new Map(manifests.flatMap(({ sizes }) => [...sizes]))),
  };
}

function readManifest(store: Store, descriptor: Descriptor, record: ImageRecord): LocalManifest {
  const manifest = readDocument(store, descriptor.digest);
  const configDescriptor = manifest.config as Descriptor | undefined;
  const layers = (manifest.layers ?? []) as Descriptor[]; // null: BuildKit's word for none
  if (configDescriptor === undefined || !isDigest(configDescriptor.digest) || !Array.isArray(layers)) {
    throw new BuildError("IMAGE_INVALID", `${descriptor.digest} is not an image manifest`);
  }
  const read = readDocument(store, configDescriptor.digest) as unknown as ImageConfig;
  const diffIds = (read.rootfs?.diff_ids as string[] | null | undefined) ?? [];
  const config: ImageConfig = { ...read, rootfs: { type: "layers", diff_ids: diffIds } };
  const sizes = sizesOf(store, layers, config, record);
  return { descriptor, layers, configDescriptor, config, sizes, sizeBytes: sumOf(sizes) };
}

/** Bytes of the layers on disk, by their ids: of a base layer that was made here those of the layer that stands in for it, of one that is not
 *  unpacked its blob's. */
function sizesOf(
  store: Store,
  layers: readonly Descriptor[],
  config: ImageConfig,
  record: ImageRecord,
): ReadonlyMap<string, number> {
  const own = Object.values(record.layers).find((ids) => mayBeLayersOf(ids, config));
  return new Map(
    layers.map(({ digest, size }, at): [string, number] => {
      const id = own?.[at];
      if (id === undefined) return [digest, size];
      const known = store.layers.get(id);
      const unpacked = (known?.unpacked === true ? known : store.layers.made(id)?.record)?.sizeBytes ?? 0;
      return [id, unpacked > 0 ? unpacked : size];
    }),
  );
}

/** Can these be the layers of an image with this config? Those of steps are known to the record alone. */
export function mayBeLayersOf(ids: readonly LayerId[], config: ImageConfig): boolean {
  const diffIds = config.rootfs?.diff_ids ?? [];
  const isOf = (id: LayerId, at: number): boolean => id === `d-${diffIds[at]?.slice("sha256:".length)}`;
  return ids.length === diffIds.length && ids.every((id, at) => !isBaseLayer(id) || isOf(id, at));
}

function sumOf(sizes: ReadonlyMap<string, number>): number {
  return [...sizes.values()].reduce((sum, size) => sum + size, 0);
}

function readDocument(store: Store, digest: Digest): Record<string, unknown> {
  if (!store.content.has(digest))
    throw new BuildError("STORE_CORRUPT", `${digest} is missing in the local store`, {
      hint: "build or pull the image again",
    });
  try {
    const value: unknown = JSON.parse(
      new TextDecoder().decode(store.content.read(digest, DOCUMENT_MAX_BYTES)),
    );
    if (typeof value === "object" && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new BuildError("IMAGE_INVALID", `${digest} is not a JSON document`);
}

/** "linux/arm64" of a config. */
export function platformOf(config: ImageConfig): string {
  return formatPlatform({
    os: config.os,
    architecture: config.architecture,
    ...(config.variant ? { variant: config.variant } : {}),
  });
}
