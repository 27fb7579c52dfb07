// [keeper] The bytes of files: copied with or without hashing, holes preserved.

import { createHash } from "node:crypto";
import { ftruncateSync, readSync } from "node:fs";
import { type Content, readFully } from "../../cache/path-hash.ts";
import type { TreeReader } from "../../cache/tree.ts";
import { type Digest, digestFromHex, digestOf } from "../../solver/graph/digest.ts";
import { cloneContent } from "../sys/clone.ts";
import { close, fstat, lseek } from "../sys/file.ts";
import { fileXattrs } from "./fd-tree.ts";
import { dressFile, type IdMode, type Look, type Place, writeFully } from "./place.ts";

/** A regular file to be copied. Paths are byte strings, in the source and in the place. */
export interface FileCopy {
  readonly from: string;
  readonly to: string;
  /** Bytes it is known to hold; it may have changed since. */
  readonly size: number;
  readonly look: Omit<Look, "xattrs">;
}

/** Copies one regular file. Hashes what it copies when the source is live, else the content is "none". */
export function copyFile(
  source: Pick<TreeReader, "open" | "live">,
  place: Pick<Place, "createFile">,
  file: FileCopy,
  idMode: IdMode,
): Content {
  const to = place.createFile(file.to);
  try {
    const from = source.open(file.from);
    try {
      if (!source.live) {
        cloneContent(from, to);
        dressFile(to, { ...file.look, xattrs: fileXattrs(from) }, idMode);
        return { kind: "none" };
      }
      const { size, blocks } = fstat(from);
      // Fewer blocks than bytes: there are holes, and they stay.
      const content = transfer(from, to, size, blocks * 512 < size);
      dressFile(to, { ...file.look, xattrs: [] }, idMode);
      return { kind: "file", ...content };
    } finally {
      close(from);
    }
  } finally {
    close(to);
  }
}

/** Content of a file that is not copied. */
export function readContent(source: TreeReader, path: string): Content {
  const fd = source.open(path);
  try {
    return { kind: "file", ...transfer(fd, null, null, false) };
  } finally {
    close(fd);
  }
}

/** 1 MiB: larger ones measured no faster, and it holds most files whole. */
const BUFFER = Buffer.allocUnsafeSlow(1024 * 1024);
const ZEROS = Buffer.alloc(BUFFER.length);

/** Reads to the end, hashes, and writes when there is a target; sparse ones get no zero blocks. A file whose known
 *  size comes with the first call is not asked for more. */
function transfer(
  from: number,
  to: number | null,
  knownSize: number | null,
  isSparse: boolean,
): { digest: Digest; size: number } {
  let first = readSync(from, BUFFER);
  if (first !== knownSize || first === BUFFER.length) first += readFully(from, BUFFER.subarray(first));
  if (first < BUFFER.length && !isSparse) {
    const bytes = BUFFER.subarray(0, first);
    if (to !== null) writeFully(to, bytes);
    return { digest: digestOf(bytes), size: first };
  }
  const sha = createHash("sha256");
  let size = 0;
  for (let count = first; count > 0; count = readFully(from, BUFFER)) {
    const bytes = BUFFER.subarray(0, count);
    sha.update(bytes);
    if (to !== null) {
      if (isSparse && bytes.equals(ZEROS.subarray(0, count))) lseek(to, size + count, 0);
      else writeFully(to, bytes);
    }
    size += count;
  }
  if (to !== null && isSparse) ftruncateSync(to, size);
  return { digest: digestFromHex(sha.digest("hex")), size };
}
