// Location of a build cache: a repository of a registry, or a directory (an OCI layout, as in BuildKit's type=local); object
// stores are in object-place.ts.

import { closeSync, fstatSync } from "node:fs";
import { type Digest, digestOf, hexOf } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import { refusalOf } from "../disk-fault.ts";
import {
  makeDirectories,
  openDirectory,
  openDirectoryIn,
  readIn,
  isBlobIn,
  unlinkIn,
  writeAll,
  writeWholeIn,
} from "../outside.ts";
import { MANIFEST_MAX_BYTES, MEDIA_TYPES, parseDocument } from "../registry/documents.ts";
import { remoteBytes } from "../registry/image.ts";
import { blobPath, openInLayout, problemWith, REF_NAME } from "../registry/layout.ts";
import { formatReference, formatRepository, type Reference } from "../registry/reference.ts";
import type { Fetched, Registry, SignalOptions } from "../registry/contract.ts";
import type { RemoteBlob } from "../contract.ts";

/** One cache in its place. Errors are those of the registry, or OUTPUT_FAILED, IMAGE_INVALID, DIGEST_MISMATCH for directories. */
export interface CachePlace {
  /** For messages: docker.io/user/app:cache, /path/to/dir. */
  readonly name: string;
  /** What RemoteBlob.from says of its blobs. */
  readonly from: string;
  /** So many blobs may be sent in parallel; not set: as many as the exporter likes. */
  readonly uploadsAtOnce?: number;
  /** Other places that are read along, after this one, and never written (GitHub Actions: scopes of other branches). */
  readonly fallbacks?: readonly CachePlace[];
  /** What its name stands for; null: nothing is there. */
  manifest(options: SignalOptions): Promise<Fetched | null>;
  /** A manifest by its digest, out of an index. */
  child(descriptor: Descriptor, options: SignalOptions): Promise<Uint8Array>;
  /** A blob as a whole, verified. Throws LIMIT_EXCEEDED. */
  blob(descriptor: Descriptor, maxBytes: number, options: SignalOptions): Promise<Uint8Array>;
  /** Makes a blob be there; true: its bytes were sent. `mountFrom`: where else it is, as RemoteBlob.from. */
  putBlob(
    descriptor: Descriptor,
    open: () => AsyncIterable<Uint8Array>,
    options: SignalOptions & { readonly mountFrom: readonly string[] },
  ): Promise<boolean>;
  /** Makes the name stand for this manifest, whose blobs are all there. */
  putManifest(bytes: Uint8Array, mediaType: string, options: SignalOptions): Promise<Descriptor>;
}

/** A cache behind a reference. */
export function registryPlace(registry: Registry, reference: Reference): CachePlace {
  const from = formatRepository(reference);
  return {
    name: formatReference(reference),
    from,
    manifest: (options) => orNull(registry.manifest(reference, options), "REGISTRY_NOT_FOUND"),
    async child(descriptor, options) {
      return (await registry.manifest({ ...reference, tag: null, digest: descriptor.digest }, options)).bytes;
    },
    blob: (descriptor, maxBytes, { signal }) =>
      collect(
        registry.blob(reference, descriptor, { signal }),
        descriptor,
        maxBytes,
        formatReference(reference),
      ),
    async putBlob(descriptor, open, { signal, mountFrom }) {
      const host = `${reference.host}/`;
      const own = mountFrom
        .filter((other) => other.startsWith(host))
        .map((other) => other.slice(host.length));
      return (
        (await registry.uploadBlob(reference, descriptor, open, { signal, mountFrom: own })) === "uploaded"
      );
    },
    async putManifest(bytes, mediaType, options) {
      const digest = digestOf(bytes);
      await registry.putManifest(
        reference,
        reference.digest ?? reference.tag ?? "latest",
        bytes,
        mediaType,
        options,
      );
      return { mediaType, digest, size: bytes.length };
    },
  };
}

/** A cache in a directory, under a tag; reading may name a digest instead. */
export function directoryPlace(path: string, tag: string, digest: Digest | null): CachePlace {
  const from = `oci-layout:${path}`;
  const read = (blob: Descriptor, maxBytes: number, { signal }: SignalOptions): Promise<Uint8Array> =>
    // Bytes of a directory need no registry: remoteBytes() asks it for other places only.
    collect(remoteBytes({ descriptor: blob, from }, NO_REGISTRY, { signal }), blob, maxBytes, path);

  return {
    name: path,
    from,
    async manifest({ signal }) {
      const known = entries(path).find((entry) =>
        digest === null ? entry.annotations?.[REF_NAME] === tag : entry.digest === digest,
      );
      const wanted = known?.digest ?? digest;
      if (wanted === null) return null;
      const size = known?.size ?? sizeOf(path, wanted);
      if (size === null) return null;
      const descriptor = { mediaType: known?.mediaType ?? "", digest: wanted, size };
      const bytes = await read(descriptor, MANIFEST_MAX_BYTES, { signal });
      const { mediaType } = parseDocument(bytes, null, path);
      return { bytes, descriptor: { ...descriptor, mediaType } };
    },
    child: (descriptor, options) => read(descriptor, MANIFEST_MAX_BYTES, options),
    blob: read,
    async putBlob(descriptor, open, { signal }) {
      return await written(path, ({ blobs }) => putFile(blobs, descriptor, open, signal));
    },
    async putManifest(bytes, mediaType, { signal }) {
      const descriptor = { mediaType, digest: digestOf(bytes), size: bytes.length };
      await written(path, async ({ top, blobs }) => {
        const before = entriesIn(top, path);
        await writeWholeIn(blobs, hexOf(descriptor.digest), (fd) => writeAll(fd, bytes), FILE_MODE);
        signal.throwIfAborted();
        await writeWholeIn(top, "oci-layout", (fd) => writeAll(fd, LAYOUT_FILE), FILE_MODE);
        const kept = before.filter((entry) => entry.annotations?.[REF_NAME] !== tag);
        const manifests = [...kept, { ...descriptor, annotations: { [REF_NAME]: tag } }];
        const index = { schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests };
        const text = Buffer.from(JSON.stringify(index));
        await writeWholeIn(top, "index.json", (fd) => writeAll(fd, text), FILE_MODE);
        const replaced = before.filter((entry) => entry.annotations?.[REF_NAME] === tag);
        removeUnused(blobs, path, replaced, manifests);
      });
      return descriptor;
    },
  };
}

const FILE_MODE = 0o644;
const LAYOUT_FILE: Uint8Array = Buffer.from('{"imageLayoutVersion":"1.0.0"}');

/** A directory and its blobs, opened for writing. */
interface OpenDirectory {
  readonly top: number;
  readonly blobs: number;
}

/** true: written; false: it is there. What is no regular file counts as not there, and is replaced. */
async function putFile(
  blobs: number,
  blob: Descriptor,
  open: () => AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<boolean> {
  const name = hexOf(blob.digest);
  if (await isBlobIn(blobs, name, blob, signal)) return false;
  const fill = async (fd: number): Promise<void> => {
    for await (const chunk of open()) {
      signal.throwIfAborted();
      writeAll(fd, chunk);
    }
  };
  await writeWholeIn(blobs, name, fill, FILE_MODE);
  return true;
}

const NO_REGISTRY = null as unknown as Registry;

/** The blob is fetched from where it lies. */
export function remoteIn(place: CachePlace, descriptor: Descriptor): RemoteBlob {
  return { descriptor, from: place.from };
}

/** Entries of index.json; none when there is none, or no directory. */
function entries(path: string): readonly Descriptor[] {
  let top: number;
  try {
    top = openDirectory(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw unreadable(path, error);
  }
  try {
    return entriesIn(top, path);
  } finally {
    closeSync(top);
  }
}

function entriesIn(top: number, path: string): readonly Descriptor[] {
  let bytes: Uint8Array | null;
  try {
    bytes = readIn(top, "index.json", MANIFEST_MAX_BYTES);
  } catch (error) {
    throw unreadable(path, error);
  }
  if (bytes === null) return [];
  const index = parseDocument(bytes, null, path);
  return index.kind === "index" ? index.manifests : [];
}

function unreadable(path: string, cause: unknown): BuildError {
  const problem = problemWith("index.json", cause);
  return new BuildError("IMAGE_INVALID", `cannot read the build cache in ${path}: ${problem}`, { cause });
}

/** Bytes of a blob that is there; null: it is not. */
function sizeOf(path: string, digest: Digest): number | null {
  const fd = openInLayout(path, blobPath(digest));
  if (fd === null) return null;
  try {
    return fstatSync(fd).size;
  } finally {
    closeSync(fd);
  }
}

/** What only the replaced manifests led to. Blobs that others put there, or that any manifest still names, stay. */
function removeUnused(
  blobs: number,
  path: string,
  replaced: readonly Descriptor[],
  current: readonly Descriptor[],
): void {
  const used = new Set<string>();
  for (const entry of current) for (const digest of namedBy(blobs, path, entry)) used.add(digest);
  for (const entry of replaced) {
    for (const digest of namedBy(blobs, path, entry)) {
      if (!used.has(digest)) unlinkIn(blobs, hexOf(digest));
    }
  }
}

function namedBy(blobs: number, path: string, entry: Descriptor, depth = 0): readonly Digest[] {
  try {
    const bytes = readIn(blobs, hexOf(entry.digest), MANIFEST_MAX_BYTES);
    if (bytes === null) return [entry.digest];
    const document = parseDocument(bytes, null, path);
    const below = document.kind === "index" ? document.manifests : [document.config, ...document.layers];
    const isTree = document.kind === "index" && depth < 3;
    return [
      entry.digest,
      ...below.flatMap((one) => (isTree ? namedBy(blobs, path, one, depth + 1) : [one.digest])),
    ];
  } catch {
    return [entry.digest]; // a layer or config inside an index: it leads nowhere
  }
}

/** Opens the directory for writing, made with its parents when it is not there. What has its name is the user's; in it no link
 *  is followed. */
async function written<T>(path: string, work: (opened: OpenDirectory) => Promise<T>): Promise<T> {
  const fds: number[] = [];
  try {
    makeDirectories(path);
    const top = openDirectory(path);
    fds.push(top);
    const blobs = openDirectoryIn(top, "blobs/sha256", { make: true });
    fds.push(blobs);
    return await work({ top, blobs });
  } catch (cause) {
    if (cause instanceof BuildError || (cause as NodeJS.ErrnoException).code === undefined) throw cause;
    const refusal = refusalOf(cause, "output", path);
    if (refusal !== null) {
      const { words, hint } = refusal;
      throw new BuildError("OUTPUT_FAILED", `cannot write the build cache to ${path}: ${words}`, {
        cause,
        hint,
      });
    }
    const problem = fds.length === 1 ? problemWith("blobs/sha256", cause) : (cause as Error).message;
    throw new BuildError("OUTPUT_FAILED", `cannot write the build cache to ${path}: ${problem}`, { cause });
  } finally {
    for (const fd of fds) closeSync(fd);
  }
}

/** All bytes of a blob. name: for messages. Throws LIMIT_EXCEEDED, and what `data` does. */
export async function collect(
  data: AsyncIterable<Uint8Array>,
  descriptor: Pick<Descriptor, "digest" | "size">,
  maxBytes: number,
  name: string,
): Promise<Uint8Array> {
  if (descriptor.size > maxBytes) {
    throw new BuildError(
      "LIMIT_EXCEEDED",
      `${name}: ${descriptor.digest} has ${descriptor.size} bytes, more than ${maxBytes}`,
    );
  }
  const chunks: Uint8Array[] = [];
  for await (const chunk of data) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function orNull<T>(answer: Promise<T>, code: BuildError["code"]): Promise<T | null> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof BuildError && error.code === code) return null;
    throw error;
  }
}
