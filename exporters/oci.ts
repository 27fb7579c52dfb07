// Writes OCI layouts as a tar, for type=oci and, with Docker's manifest.json, type=docker; as directories: layout-directory.ts.
// image-spec image-layout.md; member order, modes and annotations as containerd's images/archive/exporter.go.

import { Readable } from "node:stream";
import { blobPath } from "../cache/registry/layout.ts";
import { pullLayer } from "../cache/registry/image.ts";
import type { Digest } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { Descriptor } from "../solver/graph/request.ts";
import type { WritableBlobs } from "../solver/graph/session.ts";
import { type Assembled, blobBytes, layersOf } from "./assembled.ts";
import type { ExportDeps, OutputContext } from "./contract.ts";
import {
  type DockerEntry,
  dockerEntries,
  dockerImage,
  dockerManifest,
  loadToDocker,
  type NamedImage,
} from "./docker.ts";
import { writeOutput } from "./file-output.ts";
import { encodeGoJson } from "./go-json.ts";
import { type Document, encodeDescriptor } from "./image.ts";
import { writeDirectory } from "./layout-directory.ts";
import { documentsOf, indexEntries, indexJson, LAYOUT_FILE } from "./layout-entries.ts";
import type { ArchiveOutput } from "./output-grammar.ts";
import { counted, during, lineOf } from "./shown.ts";
import { type TarDirectory, type TarFile, tarBytes } from "./tar-bytes.ts";
import { checkBlobs } from "./whole.ts";

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
  const layers = dockerImage(assembled)?.layers ?? [];
  const bytes = layers.reduce((sum, { descriptor }) => sum + descriptor.size, 0);
  if (docker !== "docker" || bytes < WORTH_ASKING_BYTES) return new Set();
  const { layersInDocker } = await import("./docker-present.ts");
  const count = await layersInDocker(
    layers.map(({ diffId }) => diffId),
    { docker, env: deps.env, signal },
  );
  const present = new Set(layers.slice(0, count).map(({ descriptor }) => descriptor.digest));
  for (const { descriptor } of layers.slice(count)) present.delete(descriptor.digest); // at another place it is another layer
  return present;
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
