// Writes OCI layouts: as a tar or a directory, for type=oci and, with Docker's manifest.json, type=docker.
// image-spec image-layout.md; member order, modes and annotations as containerd's images/archive/exporter.go.

import { closeSync } from "node:fs";
import { Readable } from "node:stream";
import {
  isBlobIn,
  openDirectory,
  openDirectoryIn,
  readIn,
  writeAll,
  writeWholeIn,
} from "../cache/outside.ts";
import { parseReference } from "../cache/registry/reference.ts";
import { blobPath, IMAGE_NAME, problemWith, REF_NAME } from "../cache/registry/layout.ts";
import { whileLocked } from "../cache/registry/layout-lock.ts";
import { MANIFEST_MAX_BYTES, MEDIA_TYPES, parseDocument } from "../cache/registry/documents.ts";
import { pullLayer } from "../cache/registry/image.ts";
import { type Digest, hexOf } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { Descriptor } from "../solver/graph/request.ts";
import type { WritableBlobs } from "../solver/graph/session.ts";
import { type DockerEntry, dockerEntries, dockerManifest, loadToDocker, type NamedImage } from "./docker.ts";
import { type Assembled, blobBytes, layersOf } from "./assembled.ts";
import { makeOutputDirectory, outputError, writeOutput, writeTo } from "./file-output.ts";
import { encodeGoJson } from "./go-json.ts";
import { type Document, encodeDescriptor } from "./image.ts";
import type { ArchiveOutput } from "./output-grammar.ts";
import { counted, during, lineOf } from "./shown.ts";
import { checkBlobs } from "./whole.ts";
import { isAttestation } from "./stored.ts";
import { type TarDirectory, type TarFile, tarBytes } from "./tar-bytes.ts";
import type { ExportDeps, OutputContext } from "./contract.ts";

const CREATED = "org.opencontainers.image.created";
const LAYOUT_FILE: Uint8Array = Buffer.from('{"imageLayoutVersion":"1.0.0"}');

/**
 * Writes one archive. Returns what the loading program said when there is no destination, else null. Throws OUTPUT_FAILED,
 * OUTPUT_INVALID, REGISTRY_* for layers that have to be fetched first.
 */
export async function exportArchive(
  assembled: Assembled,
  output: ArchiveOutput,
  deps: ExportDeps,
  context: OutputContext,
): Promise<string | null> {
  const { signal } = context;
  if (output.tar && output.dest === null) return await loadImage(assembled, output, deps, context);
  await fetchRemotes(assembled, deps, context);
  const image: NamedImage = { assembled, names: output.image.names };
  const isDocker = output.format === "docker";
  if (!output.tar) {
    if (output.dest?.kind === "client") {
      const blobs = deps.client?.layout?.(output.dest.name);
      if (blobs === undefined)
        throw new BuildError("OUTPUT_INVALID", "the client takes no image layouts as directories");
      if (assembled.referrers !== undefined)
        throw new BuildError(
          "OUTPUT_INVALID",
          "attestations=referrers is not supported for layouts that the client writes",
          { hint: "use tar=true" },
        );
      await during(context, "copying blobs", () => sendBlobs(blobs, assembled, deps, signal));
      return null;
    }
    if (output.dest === null) throw new Error("a layout directory needs a path");
    const { path } = output.dest;
    await during(context, "writing layout", () => writeDirectory(path, image, isDocker, deps, signal));
    return null;
  }
  const { dest } = output;
  if (dest === null) throw new Error("an archive needs a place");
  // What a pipe has read cannot be restarted.
  if (dest.kind === "client")
    await checkBlobs(
      layersOf(assembled).map(({ digest }) => digest),
      deps.store,
      signal,
    );
  return await during(context, "sending tarball", async (report) => {
    const data = counted(tarBytes(members([image], isDocker, deps, signal)), report);
    await writeOutput(dest, data, { signal, client: deps.client, about: responseOf(assembled, image.names) });
    return null;
  });
}

/** Less is sent faster than it is asked for. */
const WORTH_ASKING_BYTES = 4 << 20;

/** Pipes an image into docker or podman, without layers that docker has; those that are elsewhere are not fetched either. Returns what the
 *  program said. Throws as exportArchive. */
async function loadImage(
  assembled: Assembled,
  output: ArchiveOutput,
  deps: ExportDeps,
  context: OutputContext,
): Promise<string> {
  const { signal } = context;
  const send = async (present: ReadonlySet<Digest>): Promise<string> => {
    await fetchRemotes(assembled, deps, context, present);
    const sent = layersOf(assembled).flatMap(({ digest }) => (present.has(digest) ? [] : [digest]));
    // What a program has read cannot be restarted.
    await checkBlobs(sent, deps.store, signal);
    const files = members(
      [{ assembled, names: output.image.names }],
      output.format === "docker",
      deps,
      signal,
      present,
    );
    return await during(context, "sending tarball", (report) =>
      loadToDocker(counted(tarBytes(files), report), { commands: deps.loaders, env: deps.env, signal }),
    );
  };
  const present = await presentLayers(assembled, deps, signal);
  if (present.size === 0) return await send(present);
  try {
    return await send(present);
  } catch (error) {
    if (!(error instanceof BuildError && error.code === "OUTPUT_FAILED")) throw error;
    return await send(new Set()); // an image that had the layers may be gone meanwhile
  }
}

async function presentLayers(
  assembled: Assembled,
  deps: ExportDeps,
  signal: AbortSignal,
): Promise<ReadonlySet<Digest>> {
  const [docker] = deps.loaders[0] ?? [];
  const [image, ...more] = assembled.images.filter(({ manifest }) => !isAttestation(manifest.descriptor));
  const layers = image?.layers ?? [];
  const bytes = layers.reduce((sum, { descriptor }) => sum + descriptor.size, 0);
  if (docker !== "docker" || more.length > 0 || bytes < WORTH_ASKING_BYTES) return new Set();
  const { layersInDocker } = await import("./docker-present.ts");
  const count = await layersInDocker(
    layers.map(({ diffId }) => diffId),
    { docker, env: deps.env, signal },
  );
  const present = new Set(layers.slice(0, count).map(({ descriptor }) => descriptor.digest));
  for (const { descriptor } of layers.slice(count)) present.delete(descriptor.digest); // at another place it is another layer
  return present;
}

/** BuildKit's words for what has been made, which its exporters tell a client first. */
function responseOf({ top, isIndex, images }: Assembled, names: readonly string[]): Record<string, string> {
  const { descriptor } = top;
  const config = isIndex ? undefined : images[0]?.config.descriptor.digest;
  return {
    "containerimage.digest": descriptor.digest,
    "containerimage.descriptor": Buffer.from(encodeGoJson(encodeDescriptor(descriptor))).toString("base64"),
    ...(config === undefined ? {} : { "containerimage.config.digest": config }),
    ...(names.length === 0 ? {} : { "image.name": names.join(",") }),
  };
}

/** Writes several images into one archive, with docker's manifest.json. Throws as exportArchive. */
export async function exportTogether(
  all: readonly NamedImage[],
  dest: NonNullable<ArchiveOutput["dest"]>,
  deps: ExportDeps,
  context: OutputContext,
): Promise<void> {
  const { signal } = context;
  for (const { assembled } of all) await fetchRemotes(assembled, deps, context);
  if (dest.kind === "client") {
    const digests = all.flatMap(({ assembled }) => layersOf(assembled).map(({ digest }) => digest));
    await checkBlobs(digests, deps.store, signal);
  }
  await during(context, "sending tarball", (report) =>
    writeOutput(dest, counted(tarBytes(members(all, true, deps, signal)), report), {
      signal,
      client: deps.client,
    }),
  );
}

/** Side by side: the tar is written one member after another. */
async function fetchRemotes(
  assembled: Assembled,
  deps: ExportDeps,
  context: OutputContext,
  unneeded: ReadonlySet<Digest> = new Set(),
): Promise<void> {
  await Promise.all(
    [...assembled.remotes.values()]
      .filter(({ descriptor: { digest } }) => !unneeded.has(digest) && !deps.store.content.has(digest))
      .map(async (remote) => {
        const { digest, size } = remote.descriptor;
        const line = lineOf(context, digest);
        const onBytes = (current: number): void => line.report(current, size);
        const { signal } = context;
        await pullLayer(remote, deps.store, await deps.registry(), { signal, onBytes });
        line.end(size, size);
      }),
  );
}

/** Adds an image whose blobs are there to the index of a layout. Throws OUTPUT_INVALID, OUTPUT_FAILED. */
export async function addToLayout(
  path: string,
  descriptor: Descriptor,
  names: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const entries = namedEntries(descriptor, { ...descriptor.annotations }, names);
  await writeIntoLayout(path, async () => ({ documents: [], entries }), signal);
}

/** What is added to a layout: documents, and then entries of its index, in place of those of the same name. */
export interface LayoutAddition {
  readonly documents: readonly Document[];
  readonly entries: readonly Descriptor[];
}

/** Adds to a layout that is there. `added` is asked while nobody else writes to it; null: nothing is added. Throws OUTPUT_INVALID,
 *  OUTPUT_FAILED, and what `added` throws. */
export async function writeIntoLayout(
  path: string,
  added: () => Promise<LayoutAddition | null>,
  signal: AbortSignal,
): Promise<void> {
  const top = openDirectory(path);
  const write = async (): Promise<void> => {
    const addition = await added();
    if (addition === null) return;
    if (addition.documents.length > 0) {
      const blobs = openDirectoryIn(top, "blobs/sha256", { make: true });
      try {
        for (const { bytes, descriptor } of addition.documents)
          await writeWholeIn(blobs, hexOf(descriptor.digest), (fd) => writeAll(fd, bytes));
      } finally {
        closeSync(blobs);
      }
    }
    const index = indexJson(mergeEntries(top, path, addition.entries));
    signal.throwIfAborted();
    await writeWholeIn(top, "oci-layout", (fd) => writeAll(fd, LAYOUT_FILE));
    await writeWholeIn(top, "index.json", (fd) => writeAll(fd, index));
  };
  try {
    await whileLocked(top, path, write, signal);
  } catch (error) {
    throw outputError(error, path, signal);
  } finally {
    closeSync(top);
  }
}

/** Entries of index.json: one for each name, or one without a name; and one for each artifact about it, as ORAS has them. */
function indexEntries(assembled: Assembled, names: readonly string[]): readonly Descriptor[] {
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

function namedEntries(
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

function indexJson(entries: readonly Descriptor[]): Uint8Array {
  return encodeGoJson({
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.ociIndex,
    manifests: entries.map(encodeDescriptor),
  });
}

/** Documents of the image that are blobs of the layout. */
function documentsOf(assembled: Assembled): readonly Document[] {
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

/** What is in an archive of one image. */
export interface ArchiveContent {
  /** Of index.json. */
  readonly entry: Descriptor;
  readonly documents: readonly Document[];
  readonly blobs: readonly { readonly descriptor: Descriptor; readonly data: TarFile["data"] }[];
  /** Of docker's manifest.json; null: there is none. */
  readonly docker: DockerEntry | null;
}

/** The tar of a layout with one image. */
export function archiveOf({ entry, documents, blobs, docker }: ArchiveContent): AsyncIterable<Uint8Array> {
  const files = new Map<string, TarFile>();
  for (const { descriptor, data } of blobs)
    files.set(blobPath(descriptor.digest), fileOf(blobPath(descriptor.digest), descriptor.size, data));
  for (const { bytes, descriptor } of documents)
    files.set(blobPath(descriptor.digest), fileOf(blobPath(descriptor.digest), bytes.length, bytes));
  return tarBytes(layoutMembers(files, [entry], docker === null ? null : dockerEntries([docker])));
}

function fileOf(name: string, size: number, data: TarFile["data"]): TarFile {
  return { kind: "file", name, size, data };
}

// containerd sorts its members by name.
function layoutMembers(
  blobs: ReadonlyMap<string, TarFile>,
  entries: readonly Descriptor[],
  docker: Uint8Array | null,
): readonly (TarFile | TarDirectory)[] {
  const file = (name: string, bytes: Uint8Array): TarFile => fileOf(name, bytes.length, bytes);
  return [
    { kind: "directory", name: "blobs/" },
    { kind: "directory", name: "blobs/sha256/" },
    ...[...blobs.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
    file("index.json", indexJson(entries)),
    ...(docker === null ? [] : [file("manifest.json", docker)]),
    file("oci-layout", LAYOUT_FILE),
  ];
}

function members(
  all: readonly NamedImage[],
  isDocker: boolean,
  deps: ExportDeps,
  signal: AbortSignal,
  leftOut: ReadonlySet<Digest> = new Set(),
): readonly (TarFile | TarDirectory)[] {
  const blobs = new Map<string, TarFile>(); // images may share some
  const add = ({ digest, size }: Descriptor, data: TarFile["data"]): void =>
    void blobs.set(blobPath(digest), fileOf(blobPath(digest), size, data));
  for (const { assembled } of all) {
    for (const { bytes, descriptor } of documentsOf(assembled)) add(descriptor, bytes);
    for (const layer of layersOf(assembled))
      if (!leftOut.has(layer.digest)) add(layer, () => blobBytes(assembled, layer, deps, signal));
  }
  const entries = all.flatMap(({ assembled, names }) => indexEntries(assembled, names));
  return layoutMembers(blobs, entries, isDocker ? dockerManifest(all) : null);
}

/** To a client that writes the index of the layout itself. */
async function sendBlobs(
  blobs: WritableBlobs,
  assembled: Assembled,
  deps: ExportDeps,
  signal: AbortSignal,
): Promise<void> {
  for (const layer of layersOf(assembled))
    await blobs.write(layer, () => blobBytes(assembled, layer, deps, signal), { signal });
  for (const { bytes, descriptor } of documentsOf(assembled))
    await blobs.write(descriptor, () => Readable.from([bytes]), { signal });
}

// A layout that is there already gets the image added: blobs first, the index last and at once. The directory is the user's, what
// is in it may be anybody's: everything is looked up below its descriptor, and no link is followed (threat model P1, P4).
async function writeDirectory(
  path: string,
  image: NamedImage,
  isDocker: boolean,
  deps: ExportDeps,
  signal: AbortSignal,
): Promise<void> {
  const { assembled, names } = image;
  const entries = indexEntries(assembled, names);
  makeOutputDirectory(path);
  const fds: number[] = [];
  try {
    const top = openDirectory(path);
    fds.push(top);
    const blobs = openDirectoryIn(top, "blobs/sha256", { make: true });
    fds.push(blobs);
    const put = async (directory: number, name: string, bytes: Uint8Array): Promise<void> => {
      signal.throwIfAborted();
      await writeWholeIn(directory, name, (fd) => writeAll(fd, bytes));
    };
    for (const descriptor of layersOf(assembled)) {
      const name = hexOf(descriptor.digest);
      if (await isBlobIn(blobs, name, descriptor, signal)) continue;
      await writeWholeIn(blobs, name, (fd) =>
        writeTo(fd, blobBytes(assembled, descriptor, deps, signal), signal),
      );
    }
    for (const { bytes, descriptor } of documentsOf(assembled))
      await put(blobs, hexOf(descriptor.digest), bytes);
    await put(top, "oci-layout", LAYOUT_FILE);
    if (isDocker) await put(top, "manifest.json", dockerManifest([image]));
    const index = (): Promise<void> => put(top, "index.json", indexJson(mergeEntries(top, path, entries)));
    await whileLocked(top, path, index, signal);
  } catch (error) {
    if (fds.length === 1 && (error as NodeJS.ErrnoException).code === "ENOTDIR") {
      const problem = problemWith("blobs/sha256", error);
      throw new BuildError("OUTPUT_FAILED", `cannot write ${path}: ${problem}`, { cause: error });
    }
    throw outputError(error, path, signal);
  } finally {
    for (const fd of fds) closeSync(fd);
  }
}

/** Entries of the layout that is there, without those that the new ones replace: of the same name, or unnamed of the same digest. */
function mergeEntries(top: number, path: string, entries: readonly Descriptor[]): readonly Descriptor[] {
  let bytes: Uint8Array | null;
  try {
    bytes = readIn(top, "index.json", MANIFEST_MAX_BYTES);
  } catch (cause) {
    throw new BuildError(
      "OUTPUT_INVALID",
      `cannot add to the OCI layout ${path}: ${problemWith("index.json", cause)}`,
      {
        cause,
      },
    );
  }
  if (bytes === null) return entries;
  const document = parseDocument(bytes, null, `the OCI layout ${path}`);
  if (document.kind !== "index")
    throw new BuildError("OUTPUT_INVALID", `${path}/index.json is not the index of an OCI layout`);
  const keyOf = ({ digest, annotations }: Descriptor) =>
    annotations?.[IMAGE_NAME] ?? annotations?.[REF_NAME] ?? digest;
  const replaced = new Set(entries.map(keyOf));
  return [...document.manifests.filter((entry) => !replaced.has(keyOf(entry))), ...entries];
}
