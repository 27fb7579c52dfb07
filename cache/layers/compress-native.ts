// zstd by what the machine has: Node's own (22.15 and newer), else the system's library. Their bytes depend on their version, so
// results that are to be equal everywhere are made by compress-block.ts.

import * as zlib from "node:zlib";
import type { Zstd } from "../../worker/sys/libzstd.ts";

/** What Node 20's types do not know. nodejs.org, zlib.zstdCompress(). */
interface NodeZstd {
  readonly zstdCompress?: (
    data: Uint8Array,
    options: { readonly params: Readonly<Record<number, number>>; readonly pledgedSrcSize: number },
    done: (error: Error | null, result: Buffer) => void,
  ) => void;
  readonly zstdCompressSync?: (
    data: Uint8Array,
    options: { readonly params: Readonly<Record<number, number>>; readonly pledgedSrcSize: number },
  ) => Buffer;
  readonly constants: { readonly ZSTD_c_compressionLevel?: number };
}

let known: Promise<Zstd | null> | undefined;

/** null: the machine has no zstd. */
export function nativeZstd(): Promise<Zstd | null> {
  known ??= (async () => {
    const { zstdCompress, zstdCompressSync, constants } = zlib as unknown as NodeZstd;
    const level = constants.ZSTD_c_compressionLevel;
    if (zstdCompress === undefined || zstdCompressSync === undefined || level === undefined) {
      const { openLibzstd } = await import("../../worker/sys/libzstd.ts");
      return openLibzstd();
    }
    return {
      version: `zstd@${process.versions["zstd"]} ${process.arch}`,
      compress: (data, value) =>
        new Promise((resolve, reject) => {
          zstdCompress(data, { params: { [level]: value }, pledgedSrcSize: data.length }, (error, result) =>
            error === null ? resolve(result) : reject(error),
          );
        }),
      compressSync: (data, value) =>
        zstdCompressSync(data, { params: { [level]: value }, pledgedSrcSize: data.length }),
    };
  })();
  return known;
}

let knownSync: Promise<Zstd["compressSync"] | null> | undefined;

/** For many small frames: the library keeps what it needs from one to the next, which Node's zstd sets up for each. null: the machine
 *  has no zstd. */
export function nativeZstdFrames(): Promise<Zstd["compressSync"] | null> {
  knownSync ??= (async () => {
    const { openLibzstd } = await import("../../worker/sys/libzstd.ts");
    return (openLibzstd() ?? (await nativeZstd()))?.compressSync ?? null;
  })();
  return knownSync;
}
