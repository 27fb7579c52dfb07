// Compresses one block with a compressor that is part of this package (zlib in JavaScript, zstd in WebAssembly): equal bytes on
// every CPU and Node version.

export interface BlockCodec {
  /** deflate: raw, ends at a sync flush. zstd: one frame. */
  readonly kind: "deflate" | "zstd";
  readonly level: number;
}

/** Packages whose bytes are a promise, with their versions: blobs made with another one are others. */
export const COMPRESSORS = { gzip: "pako@3.0.3", zstd: "@foxglove/wasm-zstd@1.0.1" } as const;

/** The compressed block. `dictionary`: the bytes before it (deflate only). */
export async function compressBlock(
  codec: BlockCodec,
  data: Uint8Array,
  dictionary: Uint8Array | null,
): Promise<Uint8Array> {
  switch (codec.kind) {
    case "zstd": {
      const { default: zstd } = await import("@foxglove/wasm-zstd");
      await zstd.isLoaded;
      return zstd.compress(data, codec.level);
    }
    case "deflate": {
      const { Deflate, Z_SYNC_FLUSH } = await import("pako");
      const stream = new Deflate({
        raw: true,
        level: codec.level as 6,
        chunkSize: 256 * 1024,
        ...(dictionary !== null && { dictionary }),
      });
      const parts: Uint8Array[] = [];
      stream.onData = (part: Uint8Array | string) => {
        parts.push(part as Uint8Array);
      };
      stream.push(data, Z_SYNC_FLUSH);
      if (stream.err !== 0) throw new Error(`deflate: ${stream.msg}`);
      return Buffer.concat(parts);
    }
  }
}
