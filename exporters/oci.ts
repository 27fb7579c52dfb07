// OCI layouts, written: as a tar or a directory, for type=oci and, with Docker's manifest.json, type=docker.
// image-spec image-layout.md; member order, modes and annotations as containerd's images/archive/exporter.go.

import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseReference } from "../cache/registry/reference.ts";
import { IMAGE_NAME, REF_NAME } from "../cache/registry/layout.ts";
import { MEDIA_TYPES, parseDocument } from "../cache/registry/documents.ts";
import { pullLayer } from "../cache/registry/image.ts";
import { hexOf } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { Descriptor } from "../solver/graph/request.ts";
import { dockerManifest, loadToDocker } from "./docker.ts";
import { type Assembled, blobBytes, layersOf } from "./assembled.ts";
import type { ExportContext, ExportDeps } from "./exporter.ts";
import { makeOutputDirectory, writeFileWhole, writeOutput } from "./file-output.ts";
import { encodeGoJson } from "./go-json.ts";
import { type Document, encodeDescriptor } from "./image.ts";
import type { ArchiveOutput } from "./output-grammar.ts";
import { type TarDirectory, type TarFile, tarBytes } from "./tar-bytes.ts";

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
  context: ExportContext,
): Promise<string | null> {
  const { signal } = context;
  // Fetched side by side; the tar is written one member after another.
  await Promise.all(
    [...assembled.remotes.values()]
      .filter(({ descriptor }) => !deps.store.content.has(descriptor.digest))
      .map(async (remote) => pullLayer(remote, deps.store, await deps.registry(), { signal })),
  );
  const entries = indexEntries(assembled, output.image.names);
  if (!output.tar) {
    if (output.dest?.kind !== "path") throw new Error("a layout directory needs a path");
    await writeDirectory(assembled, output, output.dest.path, entries, deps, signal);
    return null;
  }
  const data = tarBytes(members(assembled, output, entries, deps, signal));
  if (output.dest === null)
    return await loadToDocker(data, { commands: deps.loaders, env: deps.env, signal });
  await writeOutput(output.dest, data, { signal, stdout: deps.stdout });
  return null;
}

/** Entries of index.json: one for each name, or one without a name. */
function indexEntries(assembled: Assembled, names: readonly string[]): readonly Descriptor[] {
  const { descriptor } = assembled.top;
  const base = { ...descriptor.annotations, [CREATED]: assembled.created };
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
    [...documents, assembled.top].map((document) => [document.descriptor.digest, document]),
  );
  return [...all.values()];
}

// containerd sorts its members by name.
function members(
  assembled: Assembled,
  output: ArchiveOutput,
  entries: readonly Descriptor[],
  deps: ExportDeps,
  signal: AbortSignal,
): readonly (TarFile | TarDirectory)[] {
  const blobs: TarFile[] = [
    ...documentsOf(assembled).map(
      ({ bytes, descriptor }): TarFile => ({
        kind: "file",
        name: blobName(descriptor),
        size: bytes.length,
        data: bytes,
      }),
    ),
    ...layersOf(assembled).map(
      (descriptor): TarFile => ({
        kind: "file",
        name: blobName(descriptor),
        size: descriptor.size,
        data: () => blobBytes(assembled, descriptor, deps, signal),
      }),
    ),
  ];
  const file = (name: string, bytes: Uint8Array): TarFile => ({
    kind: "file",
    name,
    size: bytes.length,
    data: bytes,
  });
  return [
    { kind: "directory", name: "blobs/" },
    { kind: "directory", name: "blobs/sha256/" },
    ...blobs.sort((a, b) => (a.name < b.name ? -1 : 1)),
    file("index.json", indexJson(entries)),
    ...(output.format === "docker"
      ? [file("manifest.json", dockerManifest(assembled, output.image.names))]
      : []),
    file("oci-layout", LAYOUT_FILE),
  ];
}

function blobName(descriptor: Descriptor): string {
  return `blobs/sha256/${hexOf(descriptor.digest)}`;
}

// A layout that is there already gets the image added: blobs first, the index last and at once.
async function writeDirectory(
  assembled: Assembled,
  output: ArchiveOutput,
  path: string,
  entries: readonly Descriptor[],
  deps: ExportDeps,
  signal: AbortSignal,
): Promise<void> {
  await makeOutputDirectory(path);
  const blobs = join(path, "blobs", "sha256");
  try {
    mkdirSync(blobs, { recursive: true });
  } catch (cause) {
    throw new BuildError("OUTPUT_FAILED", `cannot write ${path}: ${(cause as Error).message}`, { cause });
  }
  for (const descriptor of layersOf(assembled)) {
    const target = join(blobs, hexOf(descriptor.digest));
    if (sizeOf(target) === descriptor.size) continue;
    await writeOutput({ kind: "path", path: target }, blobBytes(assembled, descriptor, deps, signal), {
      signal,
      stdout: null,
    });
  }
  const put = (file: string, bytes: Uint8Array) =>
    writeFileWhole(file, signal, async (temporary) =>
      writeFileSync(temporary, bytes, { flag: "wx", flush: true }),
    );
  for (const { bytes, descriptor } of documentsOf(assembled))
    await put(join(blobs, hexOf(descriptor.digest)), bytes);
  await put(join(path, "oci-layout"), LAYOUT_FILE);
  if (output.format === "docker")
    await put(join(path, "manifest.json"), dockerManifest(assembled, output.image.names));
  await put(join(path, "index.json"), indexJson(mergeEntries(path, entries)));
}

/** Entries of the layout that is there, without those that the new ones replace: of the same name, or unnamed of the same digest. */
function mergeEntries(path: string, entries: readonly Descriptor[]): readonly Descriptor[] {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(join(path, "index.json"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return entries;
    throw error;
  }
  const document = parseDocument(bytes, null, `the OCI layout ${path}`);
  if (document.kind !== "index")
    throw new BuildError("OUTPUT_INVALID", `${path}/index.json is not the index of an OCI layout`);
  const keyOf = ({ digest, annotations }: Descriptor) =>
    annotations?.[IMAGE_NAME] ?? annotations?.[REF_NAME] ?? digest;
  const replaced = new Set(entries.map(keyOf));
  return [...document.manifests.filter((entry) => !replaced.has(keyOf(entry))), ...entries];
}

function sizeOf(path: string): number | null {
  return statSync(path, { throwIfNoEntry: false })?.size ?? null;
}
