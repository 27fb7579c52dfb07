export interface CompressOptions {
    readonly compression: "gzip" | "zstd" | "estargz" | "uncompressed";
    /** null: 6 for gzip, 3 for zstd. */
    readonly level: number | null;
    /** Use a compressor that is part of this package, so that bytes are equal for every Node and CPU. zstd always is. */
    readonly pinned: boolean;
    /** Blocks in work at once; undefined: as many as there are processors. */
    readonly threads?: number;
}
/** Bytes of one block. gzip: 1 MiB, 0.1 % larger than one stream. zstd: 4 MiB, a frame of its own. */
export declare const BLOCK_BYTES: Readonly<Record<CompressOptions["compression"], number>>;
/** Compressed form of a sequence of blocks of exactly BLOCK_BYTES (the last may be shorter). Blocks are read while
 *  later ones are made, so each must be a buffer of its own. Throws OUTPUT_INVALID for estargz and levels that do not
 *  exist. */
export declare function compressBlocks(blocks: Iterable<Buffer>, options: CompressOptions): AsyncGenerator<Uint8Array>;
