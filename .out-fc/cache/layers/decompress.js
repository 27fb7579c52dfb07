// Compressed bytes of a file to plain ones: gzip, zstd, bzip2, xz, or none, told apart by their first bytes.
//
// Bytes are handed on by a callback while they appear, so a small input that grows a million times never lies in memory.
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { createRequire } from "node:module";
import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { BuildError } from "../../solver/graph/error.js";
import { readZstdFile } from "./decompress-zstd.js";
/** How compressed bytes look at their start. moby, pkg/archive (DetectCompression); RFC 8878 for zstd. */
export function detectCompression(head) {
    const startsWith = (...magic) => magic.every((byte, i) => head[i] === byte);
    if (startsWith(0x1f, 0x8b, 0x08))
        return "gzip";
    if (startsWith(0x28, 0xb5, 0x2f, 0xfd))
        return "zstd";
    // A skippable frame may come first: 0x184D2A50 to 5F, little-endian.
    if (startsWith(head[0] ?? 0, 0x2a, 0x4d, 0x18) && ((head[0] ?? 0) & 0xf0) === 0x50)
        return "zstd";
    if (startsWith(0x42, 0x5a, 0x68))
        return "bzip2";
    if (startsWith(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00))
        return "xz";
    return "none";
}
/** Reads a whole file (from its start, whatever the descriptor's position) through the decompression it needs.
 *  `source` is a path or a descriptor that stays open. Throws ARCHIVE_INVALID for damaged or cut off data. */
export async function readDecompressed(source, sink) {
    const fd = typeof source === "number" ? source : openSync(source, "r");
    try {
        const head = Buffer.alloc(8);
        const kind = detectCompression(head.subarray(0, readSync(fd, head, 0, head.length, 0)));
        try {
            await decompressor(kind)(fd, sink);
        }
        catch (error) {
            throw error instanceof Failure ? damaged(kind, error.cause) : error;
        }
        return kind;
    }
    finally {
        if (fd !== source)
            closeSync(fd);
    }
}
/** The function that takes a file of one kind apart. */
export function decompressor(kind) {
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
class Failure extends Error {
}
function damaged(kind, cause) {
    const why = cause instanceof Error && cause.message !== "" ? `: ${cause.message}` : "";
    return new BuildError("ARCHIVE_INVALID", `the ${kind} data is damaged or cut off${why}`, { cause });
}
/** 256 KiB: gunzip 1.2x over 64 KiB on a 140 MB layer, no gain beyond. */
const READ_BYTES = 256 * 1024;
function* chunksOf(fd, size, reuse) {
    let buffer = Buffer.allocUnsafeSlow(size);
    for (let position = 0;;) {
        const count = readSync(fd, buffer, 0, size, position);
        if (count === 0)
            return;
        position += count;
        yield buffer.subarray(0, count);
        if (!reuse)
            buffer = Buffer.allocUnsafeSlow(size);
    }
}
async function readPlain(fd, sink) {
    for (const chunk of chunksOf(fd, READ_BYTES, true))
        if (!sink(chunk))
            return;
}
async function readGzip(fd, sink) {
    // Inflating runs in libuv's pool while this thread works on the chunk before.
    const input = Readable.from(chunksOf(fd, READ_BYTES, false), { objectMode: false });
    const gunzip = createGunzip({ chunkSize: READ_BYTES });
    input.on("error", (error) => gunzip.destroy(error));
    input.pipe(gunzip); // both ends are destroyed below; pipeline() would hide which side failed
    await drain(gunzip, sink, () => input.destroy());
}
async function drain(plain, sink, done) {
    const iterator = plain[Symbol.asyncIterator]();
    try {
        for (;;) {
            const next = await iterator.next().catch((cause) => {
                throw new Failure("", { cause });
            });
            if (next.done === true)
                return;
            const { buffer, byteOffset, byteLength } = next.value;
            if (!sink(Buffer.from(buffer, byteOffset, byteLength)))
                return;
        }
    }
    finally {
        await iterator.return?.();
        done();
    }
}
function readZstd(fd, sink) {
    return readZstdFile(fd, sink, (cause) => new Failure("", { cause }));
}
async function readBzip2(fd, sink) {
    const require = createRequire(import.meta.url);
    const blocks = require("unbzip2-stream/lib/bzip2");
    const bitIterator = require("unbzip2-stream/lib/bit_iterator");
    const chunks = chunksOf(fd, READ_BYTES, true);
    const total = fstatSync(fd).size;
    const bits = bitIterator(() => {
        const next = chunks.next();
        if (next.done === true)
            throw new Error("it ends too early");
        return next.value;
    });
    const out = Buffer.allocUnsafeSlow(READ_BYTES);
    let filled = 0;
    let wanted = true;
    let thrown = null;
    const flush = () => {
        try {
            if (wanted)
                wanted = sink(out.subarray(0, filled));
        }
        catch (error) {
            thrown = { error };
            wanted = false;
        }
        filled = 0;
    };
    const emit = (byte) => {
        out[filled++] = byte;
        if (filled === out.length)
            flush();
    };
    try {
        // Streams may follow one another (pbzip2). bytesRead counts a byte when its first bit is taken.
        while (wanted && bits.bytesRead < total) {
            const size = 100_000 * blocks.header(bits);
            const work = new Int32Array(size);
            let crc = 0;
            while (wanted && crc !== null)
                crc = blocks.decompress(bits, emit, work, size, crc);
        }
    }
    catch (cause) {
        throw new Failure("", { cause });
    }
    if (wanted && filled > 0)
        flush();
    if (thrown !== null)
        throw thrown.error;
}
async function readXz(fd, sink) {
    const { default: xz } = await import("xz-decompress"); // CommonJS: its names are not seen one by one
    const chunks = chunksOf(fd, READ_BYTES, false);
    const input = new ReadableStream({
        pull(controller) {
            const next = chunks.next();
            if (next.done === true)
                controller.close();
            else
                controller.enqueue(next.value);
        },
    });
    await drain(new xz.XzReadableStream(input), sink, () => chunks.return(undefined));
}
//# sourceMappingURL=decompress.js.map