// Where a build cache lies: a repository of a registry, or a directory (an OCI layout, as BuildKit's type=local has it); object
// stores are in object-place.ts.

import { randomBytes } from "node:crypto";
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { type Digest, digestOf, hexOf } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import type { Fetched, Registry, SignalOptions } from "../registry/client.ts";
import { MANIFEST_MAX_BYTES, MEDIA_TYPES, parseDocument } from "../registry/documents.ts";
import { remoteBytes } from "../registry/image.ts";
import { REF_NAME } from "../registry/layout.ts";
import { formatReference, formatRepository, type Reference } from "../registry/reference.ts";
import type { RemoteBlob } from "../store.ts";

/** One cache in its place. Errors are those of the registry, or OUTPUT_FAILED, IMAGE_INVALID, DIGEST_MISMATCH for directories. */
export interface CachePlace {
  /** For messages: docker.io/user/app:cache, /path/to/dir. */
  readonly name: string;
  /** What RemoteBlob.from says of its blobs. */
  readonly from: string;
  /** So many blobs may be sent side by side; not set: as many as the exporter likes. */
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
  const fileOf = (blob: Digest): string => join(path, "blobs", "sha256", hexOf(blob));

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
      const size = known?.size ?? statSync(fileOf(wanted), { throwIfNoEntry: false })?.size;
      if (size === undefined) return null;
      const descriptor = { mediaType: known?.mediaType ?? "", digest: wanted, size };
      const bytes = await read(descriptor, MANIFEST_MAX_BYTES, { signal });
      const { mediaType } = parseDocument(bytes, null, path);
      return { bytes, descriptor: { ...descriptor, mediaType } };
    },
    child: (descriptor, options) => read(descriptor, MANIFEST_MAX_BYTES, options),
    blob: read,
    async putBlob(descriptor, open, { signal }) {
      const file = fileOf(descriptor.digest);
      if (statSync(file, { throwIfNoEntry: false })?.size === descriptor.size) return false;
      await written(path, async () => {
        mkdirSync(join(path, "blobs", "sha256"), { recursive: true });
        await writeWhole(file, open(), signal);
      });
      return true;
    },
    async putManifest(bytes, mediaType, { signal }) {
      const descriptor = { mediaType, digest: digestOf(bytes), size: bytes.length };
      await written(path, async () => {
        const before = entries(path);
        mkdirSync(join(path, "blobs", "sha256"), { recursive: true });
        await writeWhole(fileOf(descriptor.digest), once(bytes), signal);
        await writeWhole(
          join(path, "oci-layout"),
          once(Buffer.from('{"imageLayoutVersion":"1.0.0"}')),
          signal,
        );
        const kept = before.filter((entry) => entry.annotations?.[REF_NAME] !== tag);
        const manifests = [...kept, { ...descriptor, annotations: { [REF_NAME]: tag } }];
        const index = { schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests };
        await writeWhole(join(path, "index.json"), once(Buffer.from(JSON.stringify(index))), signal);
        const replaced = before.filter((entry) => entry.annotations?.[REF_NAME] === tag);
        removeUnused(path, replaced, manifests);
      });
      return descriptor;
    },
  };
}

const NO_REGISTRY = null as unknown as Registry;

/** The blob is fetched from where it lies. */
export function remoteIn(place: CachePlace, descriptor: Descriptor): RemoteBlob {
  return { descriptor, from: place.from };
}

/** Entries of index.json; none when there is none. */
function entries(path: string): readonly Descriptor[] {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(join(path, "index.json"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw new BuildError(
      "IMAGE_INVALID",
      `cannot read the build cache in ${path}: ${(error as Error).message}`,
      { cause: error },
    );
  }
  const index = parseDocument(bytes, null, path);
  return index.kind === "index" ? index.manifests : [];
}

/** What only the replaced manifests led to. Blobs that others put there, or that any manifest still names, stay. */
function removeUnused(path: string, replaced: readonly Descriptor[], current: readonly Descriptor[]): void {
  const used = new Set<string>();
  for (const entry of current) for (const digest of namedBy(path, entry)) used.add(digest);
  for (const entry of replaced) {
    for (const digest of namedBy(path, entry)) {
      if (!used.has(digest)) rmSync(join(path, "blobs", "sha256", hexOf(digest)), { force: true });
    }
  }
}

function namedBy(path: string, entry: Descriptor, depth = 0): readonly Digest[] {
  try {
    const document = parseDocument(
      readFileSync(join(path, "blobs", "sha256", hexOf(entry.digest))),
      null,
      path,
    );
    const below = document.kind === "index" ? document.manifests : [document.config, ...document.layers];
    const isTree = document.kind === "index" && depth < 3;
    return [entry.digest, ...below.flatMap((one) => (isTree ? namedBy(path, one, depth + 1) : [one.digest]))];
  } catch {
    return [entry.digest]; // a layer or config inside an index, or a manifest that is gone: it leads nowhere
  }
}

async function written(path: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (cause) {
    if (cause instanceof BuildError || (cause as NodeJS.ErrnoException).code === undefined) throw cause;
    throw new BuildError(
      "OUTPUT_FAILED",
      `cannot write the build cache to ${path}: ${(cause as Error).message}`,
      { cause },
    );
  }
}

/** Under another name first: who reads meanwhile sees the old file or the new one. */
async function writeWhole(file: string, data: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
  const draft = `${file}.${randomBytes(8).toString("hex")}.part`;
  try {
    const fd = openSync(draft, "wx", 0o644);
    try {
      for await (const chunk of data) {
        signal.throwIfAborted();
        for (let done = 0; done < chunk.length; ) done += writeSync(fd, chunk, done, chunk.length - done);
      }
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(draft, file);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

async function collect(
  data: AsyncIterable<Uint8Array>,
  descriptor: Descriptor,
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
