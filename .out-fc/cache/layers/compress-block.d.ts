export interface BlockCodec {
    /** deflate: raw, ends at a sync flush. zstd: one frame. */
    readonly kind: "deflate" | "zstd";
    readonly level: number;
}
/** The compressed block. `dictionary`: the bytes before it (deflate only). */
export declare function compressBlock(codec: BlockCodec, data: Uint8Array, dictionary: Uint8Array | null): Promise<Uint8Array>;
