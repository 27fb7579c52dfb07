// Compresses pieces of a tar each on its own, so that a reader may fetch and unpack one without the others: zstd frames (RFC 8878) or
// gzip members (RFC 1952). Files are small, and a visit to a pool of threads for each would take longer than its work: so the pieces of
// some MiB are compressed in one go, which also digests the contents of files in them.

import { hash } from "node:crypto";
import { crc32, deflateRawSync } from "node:zlib";
import { nativeZstdFrames } from "./compress-native.ts";
import { Crc64 } from "./crc64.ts";

export interface FrameCodec {
  readonly kind: "gzip" | "zstd";
  readonly level: number;
  /** See CompressOptions. */
  readonly pinned: boolean;
}

/** Bytes that become one frame. */
export interface Piece {
  readonly length: number;
  /** How many of them, from the first on, are content of a file. */
  readonly payload: number;
  /** Is the CRC-64 of that content wanted, too? */
  readonly crc: boolean;
}

export interface FramesTask {
  readonly codec: FrameCodec;
  /** The pieces, one after the other. */
  readonly data: Uint8Array;
  readonly pieces: readonly Piece[];
}

export interface Frames {
  /** The frames, one after the other. */
  readonly data: Uint8Array;
  readonly lengths: readonly number[];
  /** Of each piece's content; null: it has none. */
  readonly digests: readonly (string | null)[];
  /** CRC-64 in base64 where it was wanted. */
  readonly crcs: readonly (string | null)[];
}

/** Compresses each piece; the result has a buffer of its own. */
export async function compressFrames({ codec, data, pieces }: FramesTask): Promise<Frames> {
  const compress = await compressorOf(codec);
  let all = Buffer.allocUnsafeSlow(data.length + (data.length >> 6) + pieces.length * FRAME_HEAD_BYTES);
  let filled = 0;
  const lengths: number[] = [];
  const digests: (string | null)[] = [];
  const crcs: (string | null)[] = [];
  let at = 0;
  for (const { length, payload, crc } of pieces) {
    const content = payload === 0 ? null : data.subarray(at, at + payload);
    digests.push(content === null ? null : hash("sha256", content, "hex"));
    crcs.push(content !== null && crc ? new Crc64().update(content).digest().toString("base64") : null);
    const frame = compress(data.subarray(at, at + length));
    if (filled + frame.length > all.length) {
      const larger = Buffer.allocUnsafeSlow((filled + frame.length) * 2);
      larger.set(all.subarray(0, filled));
      all = larger;
    }
    all.set(frame, filled);
    filled += frame.length;
    lengths.push(frame.length);
    at += length;
  }
  return { data: all.subarray(0, filled), lengths, digests, crcs };
}
/** What a frame that gains nothing has more than its content, about. */
const FRAME_HEAD_BYTES = 64;

/** What makes a frame; it is valid until the next one is made. */
async function compressorOf({ kind, level, pinned }: FrameCodec): Promise<(data: Uint8Array) => Uint8Array> {
  if (kind === "gzip") {
    const deflate = pinned
      ? await pinnedDeflate(level)
      : (data: Uint8Array) => deflateRawSync(data, { level });
    return (data) => Buffer.concat([GZIP_HEADER, deflate(data), gzipTrailer(data)]);
  }
  const native = pinned ? null : await nativeZstdFrames();
  if (native !== null) return (data) => native(data, level);
  const { default: zstd } = await import("@foxglove/wasm-zstd");
  await zstd.isLoaded;
  return (data) => zstd.compress(data, level);
}

async function pinnedDeflate(level: number): Promise<(data: Uint8Array) => Uint8Array> {
  const { deflateRaw } = await import("pako");
  return (data) => deflateRaw(data, { level: level as 6 });
}

/** RFC 1952: magic, deflate, no flags, no time, no extra flags, system unknown. */
export const GZIP_HEADER: Buffer = Buffer.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255);

function gzipTrailer(data: Uint8Array): Buffer {
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32LE(crc32(data), 0);
  trailer.writeUInt32LE(data.length, 4);
  return trailer;
}
