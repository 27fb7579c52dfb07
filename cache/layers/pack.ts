// Packs an overlay upper directory as a layer: tar, diffId, compressed blob and its digest in one pass. [thread of the keeper]
//
// Reproducible byte for byte: entries sorted by bytes, whole seconds, no user names, headers as written by Go's
// archive/tar (tar-write.ts). The same tree gives the same diffId everywhere.

import { createHash, type Hash } from "node:crypto";
import { closeSync, openSync, readSync, unlinkSync, writeSync } from "node:fs";
import { type Digest, digestFromHex } from "../../solver/graph/digest.ts";
import { close, openat } from "../../worker/sys/file.ts";
import { ESTARGZ } from "../table-annotations.ts";
import type { TableForm } from "./chunk-table.ts";
import type { Tail } from "./chunked.ts";
import {
  BLOCK_BYTES,
  type CompressOptions,
  compressBlocks,
  compressorName,
  headerBytes,
  levelOf,
} from "./compress.ts";
import { type CompressionKind, readDecompressed } from "./decompress.ts";
import { type BlockIndex, type EarlierBlob, EarlierBlocks } from "./earlier-blocks.ts";
import { treeTar } from "./tree-tar.ts";
import { AT, O } from "../../worker/sys/constants.ts";

export interface PackRequest {
  readonly dir: string;
  readonly out: string | null;
  readonly compression: CompressOptions["compression"] | TableForm;
  readonly level: number | null;
  readonly epochSeconds: number | null;
  /** Bytes equal on every machine at the price of speed: see CompressOptions. */
  readonly pinned?: boolean;
  /** Blobs of layers that may be much like this one, in the same format and level; omitted: no blocks are looked up or remembered. */
  readonly earlier?: readonly EarlierBlob[];
  /** The directory was made by a keeper with one id, and this one has several. */
  readonly oneId?: boolean;
}
export interface Packed {
  readonly diffId: Digest;
  readonly tarBytes: number;
  readonly digest: Digest | null;
  readonly size: number | null;
  /** Of a blob in eStargz or zstd:chunked. */
  readonly table?: LayerTable;
  /** For later blobs; omitted where it is not worth it, or no earlier ones were given. */
  readonly blocks?: BlockIndex;
}
/** The table of contents at the end of a blob, or why it has none: then it is one of plain gzip or zstd. */
export type LayerTable =
  | {
      readonly kind: "table";
      /** Of the layer's descriptor. */
      readonly annotations: Readonly<Record<string, string>>;
      /** What decompressing the blob yields. In eStargz it is more than the layer's tar, which `diffId` is of. */
      readonly diffId: Digest;
    }
  | { readonly kind: "none"; readonly why: string };
export interface Recompressed extends Packed {
  /** Of the blob that was read, as its bytes say. */
  readonly compression: CompressionKind;
}

/** Packs `dir`. `note` is told what cannot be said in a layer and was left out (sockets, names of whiteouts). The
 *  directory must not change meanwhile. Throws OUTPUT_INVALID (compression), CONTEXT_CHANGED (a file changed), SysError. */
export async function packLayer(
  job: PackRequest,
  note: (message: string) => void = () => {},
): Promise<Packed> {
  const root = openat(AT.FDCWD, job.dir, O.RDONLY | O.DIRECTORY | O.NOFOLLOW);
  try {
    const tarHash = createHash("sha256");
    let tarBytes = 0;
    const blocks = treeTar(root, {
      form: "layer",
      epochSeconds: job.epochSeconds,
      blockBytes: blockBytesOf(job),
      // Where the bytes are a promise, so is where blocks end.
      cutAtMembers: job.earlier !== undefined && job.pinned !== true,
      // Compression reads blocks later, so each needs memory of its own; to be hashed or cut to pieces one is enough.
      reuse: job.out === null || job.compression === "uncompressed" || isChunked(job.compression),
      note,
      oneId: job.oneId === true,
    });
    const counted = function* (): Generator<Buffer> {
      for (const block of blocks) {
        tarHash.update(block);
        tarBytes += block.length;
        yield block;
      }
    };
    if (job.out === null) {
      for (const _ of counted());
      return { diffId: digestFromHex(tarHash.digest("hex")), tarBytes, digest: null, size: null };
    }
    const written = await writeBlob(job.out, counted(), job);
    return { ...outcomeOf(written, tarHash, tarBytes), tarBytes };
  } finally {
    close(root);
  }
}

/** A layer that exists as a blob, in another compression: the tar in it, and so its diffId, stays unchanged. `out` is
 *  written over. Throws ARCHIVE_INVALID, OUTPUT_INVALID, SysError. */
export async function recompressLayer(
  job: Omit<PackRequest, "dir"> & { readonly blob: string; readonly out: string },
): Promise<Recompressed> {
  const plain = `${job.out}.tar`;
  const fd = openSync(plain, "wx+", 0o600);
  try {
    unlinkSync(plain);
    const tarHash = createHash("sha256");
    let tarBytes = 0;
    const compression = await readDecompressed(job.blob, (chunk) => {
      for (let done = 0; done < chunk.length; ) done += writeSync(fd, chunk, done, chunk.length - done);
      tarHash.update(chunk);
      tarBytes += chunk.length;
      return true;
    });
    const written = await writeBlob(job.out, fileBlocks(fd, blockBytesOf(job)), job);
    return { compression, ...outcomeOf(written, tarHash, tarBytes), tarBytes };
  } finally {
    closeSync(fd);
  }
}

/** What became of a tar. */
function outcomeOf(
  { size, hex, blocks, tail }: Blob,
  tarHash: Hash,
  tarBytes: number,
): Omit<Packed, "tarBytes"> {
  const whole = tarHash.copy();
  const diffId = digestFromHex(tarHash.digest("hex"));
  return {
    diffId,
    digest: hex === null ? diffId : digestFromHex(hex),
    size,
    ...(blocks !== null && { blocks }),
    ...(tail !== null && { table: tableOf(tail, whole, tarBytes) }),
  };
}

function tableOf(tail: Tail, whole: Hash, tarBytes: number): LayerTable {
  if (tail.kind === "none") return tail;
  const { annotations, behind } = tail;
  const diffId = digestFromHex(whole.update(behind).digest("hex"));
  const isLonger = behind.length > 0;
  const bytes = isLonger ? { [ESTARGZ.uncompressedSize]: String(tarBytes + behind.length) } : {};
  return { kind: "table", annotations: { ...annotations, ...bytes }, diffId };
}

function isChunked(compression: PackRequest["compression"]): compression is TableForm {
  return compression === "estargz" || compression === "zstd:chunked";
}

function blockBytesOf({ compression }: Pick<PackRequest, "compression">): number {
  return isChunked(compression) ? BLOCK_BYTES.uncompressed : BLOCK_BYTES[compression];
}

function* fileBlocks(fd: number, blockBytes: number): Generator<Buffer> {
  for (let at = 0; ; ) {
    const block = Buffer.allocUnsafeSlow(blockBytes);
    let length = 0;
    while (length < blockBytes) {
      const read = readSync(fd, block, length, blockBytes - length, at + length);
      if (read === 0) break;
      length += read;
    }
    if (length > 0) yield block.subarray(0, length);
    if (length < blockBytes) return;
    at += length;
  }
}

interface Blob {
  readonly size: number;
  /** Of its digest; null: it is the tar itself. */
  readonly hex: string | null;
  readonly blocks: BlockIndex | null;
  readonly tail: Tail | null;
}

/** Writes the compressed blocks over the file. */
async function writeBlob(
  path: string,
  blocks: Iterable<Buffer>,
  job: Pick<PackRequest, "compression" | "level" | "pinned" | "earlier">,
): Promise<Blob> {
  const fd = openSync(path, "w", 0o600);
  try {
    let size = 0;
    const write = (chunk: Uint8Array) => {
      for (let done = 0; done < chunk.length; ) done += writeSync(fd, chunk, done, chunk.length - done);
      size += chunk.length;
    };
    const { compression, level, pinned = false, earlier } = job;
    if (compression === "uncompressed") {
      for (const block of blocks) write(block);
      return { size, hex: null, blocks: null, tail: null };
    }
    const hash = createHash("sha256");
    const take = (chunk: Uint8Array): void => {
      hash.update(chunk);
      write(chunk);
    };
    if (isChunked(compression)) {
      const { chunkedBlob } = await import("./chunked.ts");
      const chunks = chunkedBlob(blocks, {
        form: compression,
        level: levelOf(compression, level),
        pinned,
      });
      for (;;) {
        const next = await chunks.next();
        if (next.done === true) return { size, hex: hash.digest("hex"), blocks: null, tail: next.value };
        take(next.value);
      }
    }
    const options = { compression, level, pinned };
    using ledger =
      earlier === undefined
        ? null
        : new EarlierBlocks(await compressorName(options), headerBytes(compression), earlier);
    for await (const chunk of compressBlocks(blocks, { ...options, ...(ledger !== null && { ledger }) }))
      take(chunk);
    return { size, hex: hash.digest("hex"), blocks: ledger?.index() ?? null, tail: null };
  } finally {
    closeSync(fd);
  }
}
