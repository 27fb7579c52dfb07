import { type Digest } from "../../solver/graph/digest.ts";
/** Uncompressed size of one layer or archive. */
export declare const TAR_MAX_BYTES: number;
/** From this size on a layer may not grow more than TAR_MAX_RATIO times: what deflate can do at most is 1032. */
export declare const TAR_RATIO_FREE_BYTES: number;
export declare const TAR_MAX_RATIO = 1100;
export interface ApplyRequest {
    readonly blob: string;
    readonly mediaType: string;
    readonly diffId: Digest | null;
    readonly dir: string;
}
export interface Applied {
    readonly diffId: Digest;
    readonly sizeBytes: number;
    readonly entries: number;
}
/** Unpacks a layer blob into `dir`, an empty directory of ours, and returns the digest of its tar and what it holds.
 *  `note` is told what had to be left out. Throws DIGEST_MISMATCH when the tar is not `diffId`, IMAGE_INVALID for what a
 *  layer must not hold, ARCHIVE_INVALID for damaged data, LIMIT_EXCEEDED; `dir` is then to be removed. */
export declare function applyLayer(job: ApplyRequest, note?: (message: string) => void): Promise<Applied>;
/** Counts plain bytes; throws LIMIT_EXCEEDED when they are too many for so few compressed ones. */
export declare function sizeLimit(compressedBytes: number): (count: number) => void;
