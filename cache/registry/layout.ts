// Reads OCI image layouts: a directory, or a tar of one. image-spec image-layout.md

import { createHash } from "node:crypto";
import { closeSync, fstatSync, readSync } from "node:fs";
import { type Digest, hexOf, parseDigest } from "../../solver/graph/digest.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import { openGiven, openRegularIn, readAll } from "../outside.ts";
import { type Index, MANIFEST_MAX_BYTES, parseDocument } from "./documents.ts";
import { type Extent, type Members, readExactly, tarMembers } from "./tar-members.ts";
import type { TransferOptions } from "./contract.ts";

export interface Layout {
  readonly index: Index;
  /** The image under a name: a tag, a whole image name or a digest. null: the only one, else "latest". Throws IMAGE_UNKNOWN. */
  find(name: string | null): Descriptor | { readonly digest: Digest; readonly mediaType: null };
  /** Bytes of a blob, verified when the last chunk is over. Throws IMAGE_UNKNOWN when it is not there, DIGEST_MISMATCH. */
  blob(descriptor: Pick<Descriptor, "digest" | "size">, options: TransferOptions): AsyncIterable<Uint8Array>;
}

export const REF_NAME = "org.opencontainers.image.ref.name";
export const IMAGE_NAME = "io.containerd.image.name";
const CHUNK_BYTES = 1 << 20;

/** Reads the index of a layout. Throws CONTEXT_MISSING when nothing is there, IMAGE_INVALID when it is no layout. The path is
 *  the user's; names in it are never followed when they are links. */
export function openLayout(path: string): Layout {
  const { extents, indexBytes } = inLayout(path, (fd, isDirectory) => {
    if (isDirectory) return { extents: null, indexBytes: readIndex(fd, path) };
    const members = readTarMembers(fd, path);
    return { extents: members, indexBytes: readExtent(fd, path, members.find("index.json")) };
  });
  const parsed = parseDocument(indexBytes, null, `oci-layout ${path}`);
  if (parsed.kind !== "index") throw notLayout(path, "its index.json is not an index");
  const index = parsed;

  return {
    index,
    find(name) {
      const found = findIn(index, name);
      if (found !== null) return found;
      if (name?.startsWith("sha256:")) return { digest: parseDigest(name), mediaType: null };
      const names = index.manifests.flatMap(({ annotations }) => annotations?.[REF_NAME] ?? []);
      throw new BuildError(
        "IMAGE_UNKNOWN",
        `no image ${JSON.stringify(name ?? "latest")} in the OCI layout ${path}`,
        {
          hint:
            names.length > 0
              ? `it has ${printable([...new Set(names)].join(", "), 200)}`
              : "use a digest: oci-layout://PATH@sha256:…",
        },
      );
    },
    blob: (descriptor, options) => readBlob(path, extents, descriptor, options),
  };
}

function findIn(index: Index, name: string | null): Descriptor | null {
  if (name === null) {
    const images = index.manifests.filter((one) => !isAttached(one));
    const only = new Set(images.map(({ digest }) => digest));
    if (only.size === 1) return images[0] ?? null;
  }
  const wanted = name ?? "latest";
  const fits = ({ digest, annotations }: Descriptor) =>
    digest === wanted || annotations?.[REF_NAME] === wanted || annotations?.[IMAGE_NAME] === wanted;
  return index.manifests.find(fits) ?? null;
}

/** What is said of an image is none: artifacts, and what cosign and the referrers tag schema name after the digest of the image. */
function isAttached({ artifactType, annotations }: Descriptor): boolean {
  return artifactType !== undefined || isAttachedTag(annotations?.[REF_NAME] ?? "");
}

/** Tags for what is said about an image: cosign's, and the list of referrers. */
export function isAttachedTag(tag: string): boolean {
  return /^sha256-[0-9a-f]{64}(?:\.(?:sig|att|sbom))?$/.test(tag);
}

async function* readBlob(
  path: string,
  extents: Members | null,
  { digest, size }: Pick<Descriptor, "digest" | "size">,
  { signal, onBytes }: TransferOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const name = blobPath(digest);
  const extent = extents?.find(name) ?? null;
  let fd: number | null = null;
  try {
    if (extents === null) fd = openInLayout(path, name);
    else if (extent !== null) fd = openLayoutFile(path).fd;
    if (fd === null) throw new BuildError("IMAGE_UNKNOWN", `${digest} is not in the OCI layout ${path}`);
    const hash = createHash("sha256");
    const from = extent?.offset ?? 0;
    const total = extent?.size ?? fstatSync(fd).size;
    if (total > size) throw mismatch(path, digest);
    for (let at = 0; at < total; ) {
      signal.throwIfAborted();
      const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, total - at));
      const count = readSync(fd, buffer, 0, buffer.length, from + at);
      if (count === 0) break;
      const chunk = buffer.subarray(0, count);
      hash.update(chunk);
      at += count;
      onBytes?.(at, total);
      yield chunk;
    }
    if (hash.digest("hex") !== hexOf(digest)) throw mismatch(path, digest);
  } finally {
    if (fd !== null) closeSync(fd);
  }
}

/** Name of a blob in a layout. image-layout.md, "Blobs" */
export function blobPath(digest: Digest): string {
  return `blobs/sha256/${hexOf(digest)}`;
}

/** Descriptor of a regular file of a layout directory, reached without links; null: it is not there. Throws IMAGE_INVALID. */
export function openInLayout(path: string, name: string): number | null {
  return inLayout(path, (directory, isDirectory) => {
    if (!isDirectory) throw notLayout(path, "it is not a directory");
    try {
      return openRegularIn(directory, name);
    } catch (cause) {
      throw notLayout(path, problemWith(name, cause), cause);
    }
  });
}

/** Why a name of a layout was not opened. open(2) says ELOOP for a link, and ENOTDIR for one in place of a directory. */
export function problemWith(name: string, cause: unknown): string {
  const { code } = cause as { readonly code?: string };
  if (code === "ELOOP") return `${name} in it is a link`;
  if (code === "ENOTDIR") return `${name}: is a link or a file, but must be a directory`;
  if (code === "FILE_INVALID") return `${name} in it is not a regular file`;
  if (code === "LIMIT_EXCEEDED") return `its ${name} is too large`;
  if (code === "EACCES") return `${name}: permission denied`;
  return (cause as Error).message;
}

function inLayout<T>(path: string, work: (fd: number, isDirectory: boolean) => T): T {
  const { fd, isDirectory } = openLayoutFile(path);
  try {
    return work(fd, isDirectory);
  } finally {
    closeSync(fd);
  }
}

function openLayoutFile(path: string): { readonly fd: number; readonly isDirectory: boolean } {
  let fd: number;
  try {
    fd = openGiven(path);
  } catch (cause) {
    // ENXIO: a socket, open(2).
    if ((cause as NodeJS.ErrnoException).code === "ENXIO")
      throw notLayout(path, "neither a directory nor a file", cause);
    throw new BuildError("CONTEXT_MISSING", `there is no OCI layout at ${path}`, { cause });
  }
  const stat = fstatSync(fd);
  if (stat.isDirectory() || stat.isFile()) return { fd, isDirectory: stat.isDirectory() };
  closeSync(fd);
  throw notLayout(path, "neither a directory nor a file");
}

function readIndex(directory: number, path: string): Uint8Array {
  let fd: number | null = null;
  try {
    fd = openRegularIn(directory, "index.json");
    if (fd !== null) return readAll(fd, MANIFEST_MAX_BYTES, "index.json");
  } catch (cause) {
    throw notLayout(path, problemWith("index.json", cause), cause);
  } finally {
    if (fd !== null) closeSync(fd);
  }
  throw notLayout(path, "it has no index.json");
}

function readExtent(fd: number, path: string, extent: Extent | null): Buffer {
  if (extent === null) throw notLayout(path, "it has no index.json");
  if (extent.size > MANIFEST_MAX_BYTES) throw notLayout(path, "its index.json is too large");
  try {
    return readExactly(fd, extent);
  } catch (cause) {
    throw cause instanceof BuildError ? notLayout(path, cause.message, cause) : cause;
  }
}

/** Places of the members, so that a blob is read straight out of the tar. */
function readTarMembers(fd: number, path: string): Members {
  try {
    return tarMembers(fd);
  } catch (cause) {
    if (!(cause instanceof BuildError) || cause.code !== "ARCHIVE_INVALID") throw cause;
    throw notLayout(path, cause.message, cause);
  }
}

function mismatch(layout: string, digest: Digest): BuildError {
  return new BuildError(
    "DIGEST_MISMATCH",
    `the content of ${digest} in the OCI layout ${layout} does not match its digest`,
  );
}

function notLayout(path: string, problem: string, cause?: unknown): BuildError {
  return new BuildError("IMAGE_INVALID", `${path} is not an OCI layout: ${problem}`, { cause });
}
