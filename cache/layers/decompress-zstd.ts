// zstd files. Frames that state their size, like ours, are unpacked one by one in WebAssembly (250 MB/s); the output of
// other compressors in streaming mode has one frame of unknown size and uses a streaming decoder in JavaScript (75 MB/s).
// Format: RFC 8878, section 3.1.1. The streaming decoder does not verify the content checksum; a layer is compared
// with its diffId anyway.

import { readSync } from "node:fs";
import type { Arrival } from "./arrival.ts";

/** Largest frame unpacked in one piece, both sides. */
const FRAME_MAX_BYTES = 8 << 20;
const STREAM_READ_BYTES = 64 * 1024;

interface Frame {
  readonly bytes: number;
  readonly contentBytes: number;
}

/** Unpacks the file from its start. `failed` turns an error of a decoder into the caller's; errors of `sink` pass
 *  through. `sink` returning false ends it. `arrival`: the file is still being written. */
export async function readZstdFile(
  fd: number,
  sink: (chunk: Buffer) => boolean,
  failed: (cause: unknown) => Error,
  arrival: Arrival | null = null,
): Promise<void> {
  let position = 0;
  for (;;) {
    await arrival?.until(position + FRAME_MAX_BYTES);
    const skipped = await skippableAt(fd, position, arrival);
    if (skipped !== null) {
      position += skipped;
      continue;
    }
    const frame = frameAt(fd, position);
    if (frame === "end") return;
    if (frame === null) break;
    const { default: zstd } = await import("@foxglove/wasm-zstd");
    await zstd.isLoaded;
    const packed = Buffer.allocUnsafe(frame.bytes);
    let plain: Buffer;
    try {
      if (readSync(fd, packed, 0, packed.length, position) !== packed.length)
        throw new Error("it is truncated");
      plain = zstd.decompress(packed, frame.contentBytes);
      if (plain.length !== frame.contentBytes)
        throw new Error("the size of a frame does not match its header");
    } catch (cause) {
      throw failed(cause);
    }
    position += frame.bytes;
    if (plain.length > 0 && !sink(plain)) return;
  }
  await stream(fd, position, sink, failed, arrival);
}

/** Bytes of a frame that holds nothing of the content, such as the tables of zstd:chunked; null: another one, or none, or cut off. */
async function skippableAt(fd: number, position: number, arrival: Arrival | null): Promise<number | null> {
  const head = Buffer.alloc(8);
  if (readSync(fd, head, 0, head.length, position) < head.length) return null;
  if (head.readUInt32LE(0) >>> 4 !== 0x184d2a5) return null;
  const bytes = head.length + head.readUInt32LE(4);
  await arrival?.until(position + bytes);
  return readSync(fd, head, 0, 1, position + bytes - 1) === 1 ? bytes : null;
}

/** The frame at a position if it is complete, small and of known content; null: not so; "end": nothing is there. */
function frameAt(fd: number, position: number): Frame | "end" | null {
  const head = Buffer.alloc(18);
  const length = readSync(fd, head, 0, head.length, position);
  if (length === 0) return "end";
  if (length < 9 || head.readUInt32LE(0) !== 0xfd2fb528) return null;
  const descriptor = head[4] as number;
  const single = (descriptor & 0x20) !== 0;
  const checksum = (descriptor & 0x04) !== 0;
  const dictionary = [0, 1, 2, 4][descriptor & 3] as number;
  const sizeBytes = [single ? 1 : 0, 2, 4, 8][descriptor >> 6] as number;
  if (sizeBytes === 0 || dictionary > 0) return null;
  const at = 5 + (single ? 0 : 1);
  if (at + sizeBytes > length) return null;
  // A field of two bytes counts from 256.
  const contentBytes =
    sizeBytes === 8
      ? Number(head.readBigUInt64LE(at))
      : head.readUIntLE(at, sizeBytes) + (sizeBytes === 2 ? 256 : 0);
  if (contentBytes > FRAME_MAX_BYTES) return null;
  let bytes = at + sizeBytes;
  // No block is larger than 128 KiB, so an honest frame of this size has no more of them than this.
  for (let blocks = 0; blocks < 1024 && bytes < FRAME_MAX_BYTES; blocks++) {
    if (readSync(fd, head, 0, 3, position + bytes) < 3) return null;
    const block = head.readUIntLE(0, 3);
    const rle = ((block >> 1) & 3) === 1;
    bytes += 3 + (rle ? 1 : block >> 3);
    if ((block & 1) === 1) return { bytes: bytes + (checksum ? 4 : 0), contentBytes };
  }
  return null;
}

async function stream(
  fd: number,
  start: number,
  sink: (chunk: Buffer) => boolean,
  failed: (cause: unknown) => Error,
  arrival: Arrival | null,
): Promise<void> {
  const { Decompress } = await import("fzstd");
  let wanted = true;
  let thrown: { readonly error: unknown } | null = null;
  const decoder = new Decompress((data) => {
    if (!wanted) return;
    try {
      wanted = sink(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    } catch (error) {
      wanted = false;
      thrown = { error };
    }
  });
  for (let position = start; ; ) {
    // It keeps what it is given, so each chunk is a buffer of its own.
    const chunk = Buffer.allocUnsafeSlow(STREAM_READ_BYTES);
    await arrival?.until(position + chunk.length);
    const count = readSync(fd, chunk, 0, chunk.length, position);
    position += count;
    try {
      decoder.push(chunk.subarray(0, count), count === 0);
    } catch (cause) {
      throw failed(cause);
    }
    const failure = thrown as { readonly error: unknown } | null;
    if (failure !== null) throw failure.error;
    if (!wanted || count === 0) return;
  }
}
