export type CompressionKind = "none" | "gzip" | "zstd" | "bzip2" | "xz";
/** Takes the next plain bytes, valid during the call only; false: enough, no more are wanted. */
export type Sink = (chunk: Buffer) => boolean;
/** How compressed bytes look at their start. moby, pkg/archive (DetectCompression); RFC 8878 for zstd. */
export declare function detectCompression(head: Uint8Array): CompressionKind;
/** Reads a whole file (from its start, whatever the descriptor's position) through the decompression it needs.
 *  `source` is a path or a descriptor that stays open. Throws ARCHIVE_INVALID for damaged or cut off data. */
export declare function readDecompressed(source: string | number, sink: Sink): Promise<CompressionKind>;
/** The function that takes a file of one kind apart. */
export declare function decompressor(kind: CompressionKind): (fd: number, sink: Sink) => Promise<void>;
