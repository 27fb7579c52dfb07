import type { BlockCodec } from "./compress-block.ts";
export interface BlockTask {
    readonly codec: BlockCodec;
    readonly data: Uint8Array;
    readonly dictionary: Uint8Array | null;
}
export type BlockAnswer = {
    readonly result: Uint8Array;
} | {
    readonly message: string;
};
export interface CompressThreads {
    /** Compresses a block in some thread; its bytes are copied. */
    run(codec: BlockCodec, data: Uint8Array, dictionary: Uint8Array | null): Promise<Uint8Array>;
    /** Ends the threads; what still runs is dropped. */
    close(): Promise<void>;
}
/** Opens `count` threads; each is started when there is work for it. */
export declare function openThreads(count: number): CompressThreads;
