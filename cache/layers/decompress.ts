// Decompresses a file: gzip, zstd, bzip2, xz, or none, detected by the first bytes.
//
// Bytes are passed to a callback as they are produced, so a small input that expands a million times is never in memory as a whole.

import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { createRequire } from "node:module";
import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { BuildError } from "../../solver/graph/error.ts";
import type { Arrival } from "./arrival.ts";
import { readZstdFile } from "./decompress-zstd.ts";

export type CompressionKind = "none" | "gzip" | "zstd" | "bzip2" | "xz";

/** Takes the next plain bytes, valid during the call only; false: enough, no more are wanted. */
export type Sink = (chunk: Buffer) => boolean;

/** How compressed bytes look at their start. moby, pkg/archive (DetectCompression); RFC 8878 for zstd. */
export function detectCompression(head: Uint8Array): CompressionKind {
  const startsWith = (...magic: number[]) => magic.every((byte, i) => head[i] === byte);
  if (startsWith(0x1f, 0x8b, 0x08)) return "gzip";
  if (startsWith(0x28, 0xb5, 0x2f, 0xfd)) return "zstd";
  // A skippable frame may come first: 0x184D2A50 to 5F, little-endian.
  if (startsWith(head[0] ?? 0, 0x2a, 0x4d, 0x18) && ((head[0] ?? 0) & 0xf0) === 0x50) return "zstd";
  if (startsWith(0x42, 0x5a, 0x68)) return "bzip2";
  if (startsWith(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00)) return "xz";
  return "none";
}

/** Reads a whole file (from its start, whatever the descriptor's position) through the decompression it needs.
 *  `source` is a path or a descriptor that stays open; `arrival`: it is still being written. Throws ARCHIVE_INVALID for damaged or cut off
 *  data. */
export async function readDecompressed(
  source: string | number,
  sink: Sink,
  arrival: Arrival | null = null,
): Promise<CompressionKind> {
  const fd = typeof source === "number" ? source : openSync(source, "r");
  try {
    const head = Buffer.alloc(8);
    await arrival?.until(head.length);
    const kind = detectCompression(head.subarray(0, readSync(fd, head, 0, head.length, 0)));
    try {
      await decompressor(kind)(fd, sink, arrival);
    } catch (error) {
      throw error instanceof Failure ? damaged(kind, error.cause) : error;
    }
    return kind;
  } finally {
    if (fd !== source) closeSync(fd);
  }
}

/** The function that takes a file of one kind apart. */
export function decompressor(
  kind: CompressionKind,
): (fd: number, sink: Sink, arrival?: Arrival | null) => Promise<void> {
  switch (kind) {
    case "none":
      return readPlain;
    case "gzip":
      return readGzip;
    case "zstd":
      return readZstd;
    case "bzip2":
      return readBzip2;
    case "xz":
      return readXz;
  }
}

/** An error of a decompressor, told apart from those of the sink. */
class Failure extends Error {}

function damaged(kind: CompressionKind, cause: unknown): BuildError {
  const why = cause instanceof Error && cause.message !== "" ? `: ${cause.message}` : "";
  return new BuildError("ARCHIVE_INVALID", `the ${kind} data is damaged or truncated${why}`, { cause });
}

/** 256 KiB: gunzip 1.2x over 64 KiB on a 140 MB layer, no gain beyond. */
const READ_BYTES = 256 * 1024;

function* chunksOf(fd: number, size: number, reuse: boolean): Generator<Buffer> {
  let buffer = Buffer.allocUnsafeSlow(size);
  for (let position = 0; ; ) {
    const count = readSync(fd, buffer, 0, size, position);
    if (count === 0) return;
    position += count;
    yield buffer.subarray(0, count);
    if (!reuse) buffer = Buffer.allocUnsafeSlow(size);
  }
}

/** The same of a file that is being written. */
async function* arrivingChunks(
  fd: number,
  size: number,
  reuse: boolean,
  { until }: Arrival,
): AsyncGenerator<Buffer, void, undefined> {
  await until(size);
  let position = 0;
  for (const chunk of chunksOf(fd, size, reuse)) {
    yield chunk;
    position += chunk.length;
    await until(position + size); // before the next is read
  }
}

async function readPlain(fd: number, sink: Sink, arrival: Arrival | null = null): Promise<void> {
  const chunks =
    arrival === null ? chunksOf(fd, READ_BYTES, true) : arrivingChunks(fd, READ_BYTES, true, arrival);
  for await (const chunk of chunks) if (!sink(chunk)) return;
}

async function readGzip(fd: number, sink: Sink, arrival: Arrival | null = null): Promise<void> {
  // Inflating runs in libuv's pool while this thread works on the chunk before.
  const chunks =
    arrival === null ? chunksOf(fd, READ_BYTES, false) : arrivingChunks(fd, READ_BYTES, false, arrival);
  const input = Readable.from(chunks, { objectMode: false });
  const gunzip = createGunzip({ chunkSize: READ_BYTES });
  input.on("error", (error) => gunzip.destroy(error));
  input.pipe(gunzip); // both ends are destroyed below; pipeline() would hide which side failed
  await drain(gunzip, sink, () => input.destroy());
}

async function drain(plain: AsyncIterable<Uint8Array>, sink: Sink, done: () => void): Promise<void> {
  const iterator = plain[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await iterator.next().catch((cause: unknown) => {
        throw new Failure("", { cause });
      });
      if (next.done === true) return;
      const { buffer, byteOffset, byteLength } = next.value;
      if (!sink(Buffer.from(buffer, byteOffset, byteLength))) return;
    }
  } finally {
    await iterator.return?.();
    done();
  }
}

function readZstd(fd: number, sink: Sink, arrival: Arrival | null = null): Promise<void> {
  return readZstdFile(fd, sink, (cause) => new Failure("", { cause }), arrival);
}

/** The block decoder inside unbzip2-stream. Its own stream form unpacks all blocks it holds in one go. */
interface Bzip2Blocks {
  header(bits: unknown): number;
  /** Calls `emit` for each byte; null at the end of a stream, else the running checksum. */
  decompress(
    bits: unknown,
    emit: (byte: number) => void,
    work: Int32Array,
    size: number,
    crc: number,
  ): number | null;
}

async function readBzip2(fd: number, sink: Sink, arrival: Arrival | null = null): Promise<void> {
  await arrival?.until(Number.POSITIVE_INFINITY);
  const require = createRequire(import.meta.url);
  const blocks = require("unbzip2-stream/lib/bzip2") as Bzip2Blocks;
  const bitIterator = require("unbzip2-stream/lib/bit_iterator") as (next: () => Buffer) => BitReader;
  const chunks = chunksOf(fd, READ_BYTES, true);
  const total = fstatSync(fd).size;
  const bits = bitIterator(() => {
    const next = chunks.next();
    if (next.done === true) throw new Error("it is truncated");
    return next.value;
  });
  const out = Buffer.allocUnsafeSlow(READ_BYTES);
  let filled = 0;
  let wanted = true;
  let thrown: { error: unknown } | null = null;
  const flush = () => {
    try {
      if (wanted) wanted = sink(out.subarray(0, filled));
    } catch (error) {
      thrown = { error };
      wanted = false;
    }
    filled = 0;
  };
  const emit = (byte: number) => {
    out[filled++] = byte;
    if (filled === out.length) flush();
  };
  try {
    // Streams may follow one another (pbzip2). bytesRead counts a byte when its first bit is taken.
    while (wanted && bits.bytesRead < total) {
      const size = 100_000 * blocks.header(bits);
      const work = new Int32Array(size);
      let crc: number | null = 0;
      while (wanted && crc !== null) crc = blocks.decompress(bits, emit, work, size, crc);
    }
  } catch (cause) {
    throw new Failure("", { cause });
  }
  if (wanted && filled > 0) flush();
  if (thrown !== null) throw (thrown as { error: unknown }).error;
}
type BitReader = ((count: number | null) => number) & { readonly bytesRead: number };

const ENDED = { done: true, value: undefined } as const;

async function readXz(fd: number, sink: Sink, arrival: Arrival | null = null): Promise<void> {
  await arrival?.until(Number.POSITIVE_INFINITY);
  const { default: xz } = await import("xz-decompress"); // CommonJS: its names are not seen one by one
  const chunks = chunksOf(fd, READ_BYTES, false);
  const input = new ReadableStream<Uint8Array>({
    pull(controller) {
      const next = chunks.next();
      if (next.done === true) controller.close();
      else controller.enqueue(next.value);
    },
  });
  const reader = new xz.XzReadableStream(input).getReader();
  const iterator = {
    next: () => reader.read(),
    // At the end of the data the package frees what it has, and it fails when it is told to do so again while its last
    // chunk has not been read.
    return: () =>
      reader.cancel().then(
        () => ENDED,
        () => ENDED,
      ),
  };
  const plain = { [Symbol.asyncIterator]: () => iterator } as AsyncIterable<Uint8Array>;
  await drain(plain, sink, () => chunks.return(undefined));
}
