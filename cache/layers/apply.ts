// Unpacks a layer blob to a directory in overlay upper form, independent of the layers below it. [thread of the keeper]

import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { type Digest, digestFromHex } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { close, fchmod, openat } from "../../worker/sys/file.ts";
import { type Arrival, arrivalOf } from "./arrival.ts";
import { type CompressionKind, detectCompression, readDecompressed } from "./decompress.ts";
import { treeWriter } from "./entry.ts";
import { noteImplied } from "./implied.ts";
import { idMapKind } from "./ids.ts";
import { setOwner } from "./owner.ts";
import { tarReader } from "./tar.ts";
import { AT, O } from "../../worker/sys/constants.ts";

/** Uncompressed size of one layer or archive. */
export const TAR_MAX_BYTES: number = 1024 ** 4;
/** From this size on a layer may not grow more than TAR_MAX_RATIO times: what deflate can do at most is 1032. */
export const TAR_RATIO_FREE_BYTES: number = 16 * 1024 ** 3;
export const TAR_MAX_RATIO = 1100;

/** What tells a compression. */
const HEAD_BYTES = 8;

export interface ApplyRequest {
  readonly blob: string;
  readonly mediaType: string;
  readonly diffId: Digest | null;
  readonly dir: string;
  /** The blob is still being written, as `path`, and will have so many bytes; once it is verified it is there as `blob`. Before that, what
   *  is made of it is not to be believed. */
  readonly arriving?: { readonly path: string; readonly sizeBytes: number };
}
export interface Applied {
  readonly diffId: Digest;
  /** Bytes of the plain tar. */
  readonly tarBytes: number;
  /** Of the blob, as its bytes say. */
  readonly compression: CompressionKind;
  readonly sizeBytes: number;
  readonly entries: number;
}

/** Unpacks a layer blob into `dir`, an empty directory of ours in a place of its own (a note may be put next to it, see
 *  implied.ts), and returns the digest of its tar and what it holds.
 *  `note` is told what had to be left out. Throws DIGEST_MISMATCH when the tar is not `diffId`, IMAGE_INVALID for what a
 *  layer must not hold, ARCHIVE_INVALID for damaged data, LIMIT_EXCEEDED; `dir` is then to be removed. */
export async function applyLayer(
  job: ApplyRequest,
  note: (message: string) => void = () => {},
): Promise<Applied> {
  const blob = openBlob(job);
  const root = openat(AT.FDCWD, job.dir, O.RDONLY | O.DIRECTORY | O.NOFOLLOW);
  const idMap = idMapKind();
  const writer = treeWriter(root, { form: "layer", idMap, note });
  try {
    const arrival = job.arriving === undefined ? null : arrivalOf(blob, job.arriving.sizeBytes);
    await arrival?.until(HEAD_BYTES);
    checkMediaType(blob, job.mediaType);
    // Without an entry for it the root directory is as an empty image has it.
    setOwner(root, "", 0, 0, { singleId: false });
    fchmod(root, 0o755);
    const reader = tarReader(writer);
    const plain = await readPlain(blob, (chunk) => reader.push(chunk), arrival);
    reader.finish();
    writer.finish();
    if (job.diffId !== null && job.diffId !== plain.diffId) {
      throw new BuildError(
        "DIGEST_MISMATCH",
        `the layer has diff ID ${plain.diffId}, but the image config says ${job.diffId}`,
      );
    }
    noteImplied(job.dir, writer.implied);
    return { ...plain, sizeBytes: writer.sizeBytes, entries: writer.entries };
  } finally {
    writer.close();
    close(root);
    closeSync(blob);
  }
}

function openBlob({ blob, arriving }: ApplyRequest): number {
  try {
    return openSync(arriving?.path ?? blob, "r");
  } catch (error) {
    if (arriving === undefined || (error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    return openSync(blob, "r"); // it has been renamed meanwhile
  }
}

type Plain = Pick<Applied, "diffId" | "tarBytes" | "compression">;

/** What a blob holds, without unpacking it. Throws ARCHIVE_INVALID, LIMIT_EXCEEDED. */
export async function plainDigest(path: string): Promise<Plain> {
  const blob = openSync(path, "r");
  try {
    return await readPlain(blob, () => {});
  } finally {
    closeSync(blob);
  }
}

/** Gives the plain bytes of a blob to `take`, and says what they are. */
async function readPlain(
  blob: number,
  take: (chunk: Uint8Array) => void,
  arrival: Arrival | null = null,
): Promise<Plain> {
  const hash = createHash("sha256");
  const limit = sizeLimit(arrival?.sizeBytes ?? fstatSync(blob).size);
  let tarBytes = 0;
  const look = (chunk: Buffer): boolean => {
    hash.update(chunk);
    tarBytes += chunk.length;
    limit(chunk.length);
    take(chunk);
    return true;
  };
  const compression = await readDecompressed(blob, look, arrival);
  return { diffId: digestFromHex(hash.digest("hex")), tarBytes, compression };
}

/** Counts plain bytes; throws LIMIT_EXCEEDED when they are too many for so few compressed ones. */
export function sizeLimit(compressedBytes: number): (count: number) => void {
  let total = 0;
  return (count) => {
    total += count;
    if (total > TAR_MAX_BYTES || (total > TAR_RATIO_FREE_BYTES && total > compressedBytes * TAR_MAX_RATIO)) {
      throw new BuildError(
        "LIMIT_EXCEEDED",
        `the archive contains more than ${Math.floor(total / 1024 ** 3)} GiB`,
      );
    }
  };
}

/** Only what the image specifications name is unpacked. The bytes say which it is: registries hold layers whose media
 *  type is wrong, and containerd trusts the bytes as well. */
function checkMediaType(blob: number, mediaType: string): void {
  const head = Buffer.alloc(HEAD_BYTES);
  const kind: CompressionKind = detectCompression(head.subarray(0, readSync(blob, head, 0, head.length, 0)));
  if (kind === "bzip2" || kind === "xz") {
    throw new BuildError(
      "IMAGE_INVALID",
      `a layer with media type ${JSON.stringify(mediaType)} is compressed with ${kind}`,
    );
  }
}
