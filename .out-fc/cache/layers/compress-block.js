// One block through a compressor that comes with this package (zlib in JavaScript, zstd in WebAssembly): equal bytes on
// every CPU and Node version.
/** The compressed block. `dictionary`: the bytes before it (deflate only). */
export async function compressBlock(codec, data, dictionary) {
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
                level: codec.level,
                chunkSize: 256 * 1024,
                ...(dictionary !== null && { dictionary }),
            });
            const parts = [];
            stream.onData = (part) => {
                parts.push(part);
            };
            stream.push(data, Z_SYNC_FLUSH);
            if (stream.err !== 0)
                throw new Error(`deflate: ${stream.msg}`);
            return Buffer.concat(parts);
        }
    }
}
//# sourceMappingURL=compress-block.js.map