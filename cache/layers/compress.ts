// Compression whose bytes depend only on the input and the level: not on threads, timing or the sizes of chunks.
//
// The input comes in blocks, which are compressed independently and in parallel. gzip: one member of raw deflate
// blocks joined at sync flushes (RFC 1951 3.2.4), each with the 32 KiB before it as its dictionary, as in pigz. zstd:
// one frame per block (RFC 8878 3.1: frames may follow one another). Blocks that an earlier blob has are taken from there.

import { availableParallelism } from "node:os";
import { promisify } from "node:util";
import { constants, crc32, deflateRaw } from "node:zlib";
import { BuildError } from "../../solver/graph/error.ts";
import type { TableForm } from "./chunk-table.ts";
import { type BlockCodec, COMPRESSORS, compressBlock } from "./compress-block.ts";
import { GZIP_HEADER } from "./compress-frames.ts";
import { nativeZstd } from "./compress-native.ts";
import { openThreads } from "./compress-pool.ts";
import type { BlockLedger } from "./earlier-blocks.ts";
import { levelFault, usualLevel } from "./levels.ts";

export interface CompressOptions {
  readonly compression: "gzip" | "zstd" | "uncompressed";
  /** null: 6 for gzip, 3 for zstd. */
  readonly level: number | null;
  /** Use a compressor that is part of this package, so that bytes are equal for every Node, library and CPU. */
  readonly pinned: boolean;
  /** Blocks in work at once; undefined: as many as there are processors. */
  readonly threads?: number;
  /** Where equal blocks may be had (gzip and zstd). */
  readonly ledger?: BlockLedger;
}

/** Bytes of one block at most. gzip: 1 MiB, 0.1 % larger than one stream. zstd: 4 MiB, a frame of its own. */
export const BLOCK_BYTES: Readonly<Record<CompressOptions["compression"], number>> = {
  gzip: 1 << 20,
  zstd: 4 << 20,
  uncompressed: 1 << 20,
};

/** Compressed form of a sequence of blocks of at most BLOCK_BYTES. Blocks are read while later ones are made, so each must be a buffer
 *  of its own. Throws OUTPUT_INVALID for levels that do not exist. */
export async function* compressBlocks(
  blocks: Iterable<Buffer>,
  options: CompressOptions,
): AsyncGenerator<Uint8Array> {
  switch (options.compression) {
    case "uncompressed":
      yield* blocks;
      return;
    case "gzip":
      yield* gzip(blocks, levelOf("gzip", options.level), options);
      return;
    case "zstd":
      yield* zstd(blocks, levelOf("zstd", options.level), options);
      return;
  }
}

/** What compresses blocks, with the versions that its bytes depend on. */
export async function compressorName({ compression, pinned }: CompressOptions): Promise<string> {
  if (compression !== "gzip" && compression !== "zstd") return compression;
  if (pinned) return COMPRESSORS[compression];
  if (compression === "gzip") return `zlib@${process.versions.zlib} ${process.arch}`;
  return (await nativeZstd())?.version ?? COMPRESSORS.zstd;
}

/** What is before the first block. */
export function headerBytes(compression: CompressOptions["compression"]): number {
  return compression === "gzip" ? GZIP_HEADER.length : 0;
}

/** The level that is used. Throws OUTPUT_INVALID when it does not exist. */
export function levelOf(compression: "gzip" | "zstd" | TableForm, wanted: number | null): number {
  const level = wanted ?? usualLevel(compression) ?? 0;
  const fault = levelFault(compression, level);
  if (fault !== null) throw new BuildError("OUTPUT_INVALID", fault);
  return level;
}

const deflateRawAsync = promisify<Buffer, object, Buffer>(deflateRaw);
/** A last deflate block that holds nothing. */
const DEFLATE_END = Buffer.of(0x03, 0x00);
const WINDOW_BYTES = 32 * 1024;

async function* gzip(
  blocks: Iterable<Buffer>,
  level: number,
  options: CompressOptions,
): AsyncGenerator<Uint8Array> {
  yield GZIP_HEADER;
  let crc = 0;
  let length = 0;
  let before: Buffer | null = null;
  const work = function* (): Generator<Work> {
    for (const data of blocks) {
      crc = crc32(data, crc);
      length = (length + data.length) % 0x1_0000_0000;
      yield { data, dictionary: before };
      before = data.subarray(-WINDOW_BYTES);
    }
  };
  if (options.pinned) {
    yield* inThreads(work(), { kind: "deflate", level }, options);
  } else {
    // libuv's pool does the work: 1.9 times one thread on two processors, without threads of our own. One output
    // chunk a block, so that a block is one visit to the pool.
    yield* inOrder(work(), options, ({ data, dictionary }) =>
      deflateRawAsync(data, {
        level,
        chunkSize: data.length + (data.length >> 8) + 1024,
        finishFlush: constants.Z_SYNC_FLUSH,
        ...(dictionary !== null && { dictionary }),
      }),
    );
  }
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32LE(crc, 0);
  trailer.writeUInt32LE(length, 4);
  yield Buffer.concat([DEFLATE_END, trailer]);
}

async function* zstd(
  blocks: Iterable<Buffer>,
  level: number,
  options: CompressOptions,
): AsyncGenerator<Uint8Array> {
  const work = function* (): Generator<Work> {
    let any = false;
    for (const data of blocks) {
      any = true;
      yield { data, dictionary: null };
    }
    if (!any) yield { data: Buffer.alloc(0), dictionary: null }; // no frame at all is no zstd file
  };
  const native = options.pinned ? null : await nativeZstd();
  if (native === null) yield* inThreads(work(), { kind: "zstd", level }, options);
  else yield* inOrder(work(), options, ({ data }) => native.compress(data, level));
}

interface Work {
  readonly data: Buffer;
  readonly dictionary: Buffer | null;
}

/** Threads are started when a second block appears: most layers have one, and a start takes 40 ms. */
async function* inThreads(
  work: Iterator<Work>,
  codec: BlockCodec,
  options: CompressOptions,
): AsyncGenerator<Uint8Array> {
  const first = work.next();
  if (first.done === true) return;
  const second = work.next();
  if (second.done === true) {
    yield await compressBlock(codec, first.value.data, first.value.dictionary);
    return;
  }
  const all = function* (): Generator<Work> {
    yield first.value;
    yield second.value;
    for (;;) {
      const next = work.next();
      if (next.done === true) return;
      yield next.value;
    }
  };
  const threads = openThreads(options.threads ?? availableParallelism());
  try {
    yield* inOrder(all(), options, ({ data, dictionary }) => threads.run(codec, data, dictionary));
  } finally {
    await threads.close();
  }
}

/** Results in the order of the inputs, with a few more in work than can run, so that nothing waits for the reader. */
async function* inOrder(
  inputs: Iterable<Work>,
  options: CompressOptions,
  run: (input: Work) => Promise<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const { ledger, threads = availableParallelism() } = options;
  // With names, which are made first, as many again are on their way.
  const depth = ledger === undefined ? threads + 1 : 2 * threads + 2;
  const running: Promise<Uint8Array>[] = [];
  const names: Promise<string>[] = [];
  const next = async (): Promise<Uint8Array> => {
    const compressed = await (running.shift() as Promise<Uint8Array>);
    const name = await names.shift();
    if (name !== undefined) ledger?.add(name, compressed);
    return compressed;
  };
  let before: Promise<string> | null = null;
  try {
    for (const input of inputs) {
      let result: Promise<Uint8Array>;
      if (ledger === undefined) result = run(input);
      else {
        const digest = ledger.digest(input.data);
        const name = nameOf(ledger, digest, input.dictionary === null ? null : before);
        before = digest;
        names.push(name);
        result = name.then((known) => ledger.find(known) ?? run(input));
      }
      // It may fail before its turn to be awaited: a rejection that nobody handles ends the process.
      result.catch(() => {});
      running.push(result);
      if (running.length > depth) yield await next();
    }
    while (running.length > 0) yield await next();
  } finally {
    await Promise.allSettled(running); // of a reader that left, or behind a failure
  }
}

async function nameOf(
  ledger: BlockLedger,
  digest: Promise<string>,
  before: Promise<string> | null,
): Promise<string> {
  const [own, other] = await Promise.all([digest, before]);
  return ledger.name(own, other);
}
