// load and import: images between the local image store and archives, without the keeper.

import { closeSync, mkdtempSync, openSync, type WriteStream } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { openGiven, writeAll } from "../../cache/outside.ts";
import { IMAGE_SPACE } from "../../cache/image-record.ts";
import { type ArchivedImage, takeArchive } from "../../cache/registry/image-archive.ts";
import { MEDIA_TYPES } from "../../cache/registry/documents.ts";
import { makeImage } from "../../exporters/image.ts";
import { type Digest, digestOf } from "../../solver/graph/digest.ts";
import { BuildError, redactUrl } from "../../solver/graph/error.ts";
import { asStep, type Emit } from "../../solver/graph/event.ts";
import { formatPlatform, type Platform, type SourceOp } from "../../solver/graph/op.ts";
import type { ContainerConfig, ImageConfig, LayerId } from "../../solver/graph/request.ts";
import type { Session } from "../../solver/graph/session.ts";
import type { OpenTransport } from "../../worker/sources/http.ts";
import { keepNameless } from "./local-images.ts";
import type { ImageRecord, Lease, Store } from "../../cache/contract.ts";

export interface ArchiveOptions {
  readonly signal: AbortSignal;
  readonly emit: Emit;
}

/** Where an archive is; a path is absolute. */
export type ArchiveSource =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "stream"; readonly stream: Readable };

/** The file of an http(s) address. */
export interface RemoteFile {
  readonly kind: "remote";
  readonly url: string;
  readonly transport: OpenTransport;
  readonly session: Session;
}

/** The name or ID of a loaded image. */
export type Loaded = { readonly name: string } | { readonly id: Digest };

/** Loads all images of an archive under their names, or by ID if they have none; `name` is for an archive with one image. In order.
 *  Throws IMAGE_INVALID, DIGEST_MISMATCH, ARCHIVE_INVALID, LIMIT_EXCEEDED, CONTEXT_MISSING. */
export async function loadArchive(
  store: Store,
  source: ArchiveSource,
  name: string | null,
  { signal, emit }: ArchiveOptions,
): Promise<readonly Loaded[]> {
  const shown = source.kind === "file" ? source.path : "standard input";
  return await shownAs(`loading ${shown}`, { emit, signal }, async (vertex) => {
    await using lease = store.lease();
    const path = await plainFile(store, source, signal);
    const images = await takeArchive(path, store, {
      signal,
      lease,
      onBytes: (layer, current, total) =>
        emit({
          kind: "bytes",
          vertex,
          label: `loading layer ${layer}`,
          atMs: Date.now(),
          current,
          total,
          done: current === total,
        }),
    }).catch((error: unknown) => {
      throw renamed(error, path, shown);
    });
    if (images.length === 0) throw new BuildError("IMAGE_INVALID", `${shown} contains no image`);
    if (name !== null && images.length > 1)
      throw new BuildError(
        "IMAGE_INVALID",
        `${shown} contains ${images.length} images, which cannot share one name`,
        {
          hint: "omit the name: they keep their own names, or are loaded by ID",
        },
      );
    const loaded: Loaded[] = [];
    for (const image of images) {
      const names = name === null ? image.names : [name];
      loaded.push(...keepImage(store, lease, image, names, names[0] ?? shown));
    }
    await store.records.commit(); // before the lease ends
    return loaded;
  });
}

/** Keeps an image whose blobs are in the content store, held by the lease, under its names, or by ID if there are none. `shown`: what its
 *  layers are said to be of. The caller commits. */
export function keepImage(
  store: Store,
  lease: Lease,
  { target, platforms }: Pick<ArchivedImage, "target" | "platforms">,
  names: readonly string[],
  shown: string,
): readonly Loaded[] {
  const layers: Record<string, readonly LayerId[]> = {};
  for (const { platform, diffIds } of platforms) {
    layers[formatPlatform(platform)] = diffIds.map((diffId, index) => {
      const id = store.layers.idOf(diffId);
      lease.addLayers([id]);
      const description = store.layers.get(id)?.description || `layer ${index + 1} of ${shown}`;
      store.layers.update(id, { diffId, description });
      return id;
    });
  }
  return nameAll(store, { target, createdAtMs: Date.now(), layers }, names);
}

export interface ImportOptions extends ArchiveOptions {
  readonly platform: Platform;
  readonly message: string;
  /** Of the image. */
  readonly config: ContainerConfig;
}

/** Creates an image of one layer from the tar of a root file system; null: without a name. Returns the ID. Throws ARCHIVE_INVALID,
 *  LIMIT_EXCEEDED, CONTEXT_MISSING, SOURCE_FAILED. */
export async function importRootfs(
  store: Store,
  source: ArchiveSource | RemoteFile,
  name: string | null,
  { signal, emit, platform, message, config: container }: ImportOptions,
): Promise<Digest> {
  const shown = source.kind === "file" ? source.path : source.kind === "stream" ? "-" : redactUrl(source.url);
  return await shownAs(`importing ${shown}`, { emit, signal }, async () => {
    await using lease = store.lease();
    const file: ArchiveSource =
      source.kind === "remote"
        ? { kind: "file", path: await downloaded(store, source, lease, { signal, emit }) }
        : source;
    const path = await plainFile(store, file, signal);
    const { isArchive, tarChecker } = await import("../../cache/layers/archive.ts");
    const fd = openGiven(path);
    const isTar = await isArchive(fd).finally(() => closeSync(fd));
    if (!isTar) throw new BuildError("ARCHIVE_INVALID", `${shown} is not the tar of a root file system`);
    await using ingest = store.content.ingest();
    const checker = tarChecker();
    await copyPlain(path, signal, (chunk) => {
      checker.push(chunk);
      ingest.write(chunk);
    });
    checker.finish();
    const { digest: diffId, size } = ingest.commit({});
    lease.addBlobs([diffId]);
    const id = store.layers.idOf(diffId);
    lease.addLayers([id]);
    store.layers.update(id, { diffId, description: `imported from ${shown}` });

    const created = new Date().toISOString();
    const config: ImageConfig = {
      created,
      os: platform.os,
      architecture: platform.architecture,
      ...(platform.variant === undefined ? {} : { variant: platform.variant }),
      config: container,
      history: [{ created, comment: message }],
      rootfs: { type: "layers", diff_ids: [diffId] },
    };
    const descriptor = { mediaType: MEDIA_TYPES.ociLayer, digest: diffId, size };
    const made = makeImage(
      { platform, layers: [id], config },
      [{ descriptor, diffId, createdAtMs: null, description: "" }],
      { ociTypes: true, annotations: [], epochSeconds: null },
    );
    for (const { bytes, descriptor: one } of [made.config, made.manifest]) {
      lease.addBlobs([one.digest]);
      store.content.put(bytes);
    }
    const { mediaType, digest, size: bytes } = made.manifest.descriptor;
    const target = { mediaType, digest, size: bytes };
    const layers = { [formatPlatform(platform)]: [id] };
    nameAll(store, { target, createdAtMs: Date.now(), layers }, name === null ? [] : [name]);
    await store.records.commit(); // before the lease ends
    return made.config.descriptor.digest;
  });
}

/** Under each of the names, or under its ID if there is none. */
function nameAll(
  store: Store,
  record: Omit<ImageRecord, "name">,
  names: readonly string[],
): readonly Loaded[] {
  if (names.length === 0) return [{ id: keepNameless(store, record) }];
  store.records.batch(
    names.map((name) => ({
      space: IMAGE_SPACE,
      key: name,
      value: { ...record, name } satisfies ImageRecord,
    })),
  );
  return names.map((name) => ({ name }));
}

async function shownAs<T>(
  name: string,
  { emit, signal }: ArchiveOptions,
  work: (vertex: Digest) => Promise<T>,
): Promise<T> {
  const vertex = digestOf(name);
  emit({ kind: "vertex", vertex, name, inputs: [], at: [] });
  emit({ kind: "started", vertex, atMs: Date.now() });
  return await asStep({ vertex, emit, signal, nowMs: Date.now }, () => work(vertex));
}

/** A downloaded URL as a file of the store; known ones are revalidated. */
async function downloaded(
  store: Store,
  { url, transport, session }: RemoteFile,
  lease: Lease,
  options: ArchiveOptions,
): Promise<string> {
  const { downloadWhole } = await import("../../worker/sources/http.ts");
  const op: SourceOp = { kind: "source", identifier: url, attrs: {} };
  const digest = await downloadWhole(op, store, { ...options, session }, transport);
  lease.addBlobs([digest]);
  return store.content.path(digest);
}

/** An archive as an uncompressed file: itself, or a temporary one, deleted with the store. Throws CONTEXT_MISSING, ARCHIVE_INVALID. */
export function plainArchive(store: Store, path: string, signal: AbortSignal): Promise<string> {
  return plainFile(store, { kind: "file", path }, signal);
}

/** The archive as an uncompressed file: itself, or a temporary one, deleted with the store. */
export async function plainFile(store: Store, source: ArchiveSource, signal: AbortSignal): Promise<string> {
  let path: string;
  if (source.kind === "file") ({ path } = source);
  else {
    path = join(store.tempDir(), "archive");
    await copyInput(source.stream, path, signal);
  }
  if ((await compressionOf(path)) === "none") return path;
  const plain = join(mkdtempSync(join(store.tempDir(), "archive-")), "archive.tar");
  const fd = openSync(plain, "wx", 0o600);
  try {
    await copyPlain(path, signal, (chunk) => writeAll(fd, chunk));
  } finally {
    closeSync(fd);
  }
  return plain;
}

async function copyInput(input: Readable, path: string, signal: AbortSignal): Promise<void> {
  const [{ pipeline }, { createWriteStream }] = await Promise.all([
    import("node:stream/promises"),
    import("node:fs"),
  ]);
  const file: WriteStream = createWriteStream(path, { flags: "wx", mode: 0o600 });
  await pipeline(input, file, { signal });
}

/** "none" also if it is not a file: reading it fails later. Throws CONTEXT_MISSING. */
export async function compressionOf(path: string): Promise<string> {
  const [{ detectCompression }, { fstatSync, readSync }] = await Promise.all([
    import("../../cache/layers/decompress.ts"),
    import("node:fs"),
  ]);
  let fd: number;
  try {
    fd = openGiven(path);
  } catch (cause) {
    throw new BuildError("CONTEXT_MISSING", `cannot open ${path}: ${(cause as Error).message}`, { cause });
  }
  try {
    if (!fstatSync(fd).isFile()) return "none";
    const head = Buffer.alloc(8);
    return detectCompression(head.subarray(0, readSync(fd, head, 0, head.length, 0)));
  } finally {
    closeSync(fd);
  }
}

/** Reads a file without its compression, within a limit of what it may expand to. */
export async function copyPlain(
  path: string,
  signal: AbortSignal,
  write: (chunk: Buffer) => void,
): Promise<void> {
  const [{ readDecompressed }, { sizeLimit }, { fstatSync }] = await Promise.all([
    import("../../cache/layers/decompress.ts"),
    import("../../cache/layers/apply.ts"),
    import("node:fs"),
  ]);
  const fd = openGiven(path);
  try {
    const limit = sizeLimit(fstatSync(fd).size);
    await readDecompressed(fd, (chunk) => {
      limit(chunk.length);
      write(chunk);
      return !signal.aborted;
    });
    signal.throwIfAborted();
  } finally {
    closeSync(fd);
  }
}

/** Replaces the path of a temporary file by what the user gave. */
function renamed(error: unknown, path: string, shown: string): unknown {
  if (!(error instanceof BuildError) || path === shown || !error.message.includes(path)) return error;
  return new BuildError(error.code, error.message.replaceAll(path, shown), {
    cause: error,
    hint: error.hint,
  });
}
