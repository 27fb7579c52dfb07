// OCI layouts as directories. One that is there already gets the image added: blobs first, the index last and at once. The directory is the
// user's, what is in it may be anybody's: everything is looked up below its descriptor, and no link is followed (threat model P1, P4).

import { closeSync } from "node:fs";
import {
  isBlobIn,
  openDirectory,
  openDirectoryIn,
  readIn,
  writeAll,
  writeWholeIn,
} from "../cache/outside.ts";
import { MANIFEST_MAX_BYTES, parseDocument } from "../cache/registry/documents.ts";
import { IMAGE_NAME, problemWith, REF_NAME } from "../cache/registry/layout.ts";
import { whileLocked } from "../cache/registry/layout-lock.ts";
import { hexOf } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { Descriptor } from "../solver/graph/request.ts";
import { blobBytes, layersOf } from "./assembled.ts";
import type { ExportDeps } from "./contract.ts";
import { dockerManifest, type NamedImage } from "./docker.ts";
import { makeOutputDirectory, outputError, writeTo } from "./file-output.ts";
import type { Document } from "./image.ts";
import { documentsOf, indexEntries, indexJson, LAYOUT_FILE, namedEntries } from "./layout-entries.ts";

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

/** Writes an image into a layout, which is made where it is missing. Throws OUTPUT_INVALID, OUTPUT_FAILED. */
export async function writeDirectory(
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
