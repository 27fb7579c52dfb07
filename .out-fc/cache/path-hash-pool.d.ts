import type { Digest } from "../solver/graph/digest.ts";
import { type ErrorCode } from "../solver/graph/error.ts";
/** What a hashing thread is given, and what it says when it is done. */
export interface HashThreadData {
    readonly root: string;
    readonly paths: readonly string[];
    /** One shared counter: the next path nobody has taken yet. */
    readonly next: Int32Array;
}
export type HashThreadAnswer = {
    readonly hashed: readonly (readonly [index: number, digest: Digest, size: number])[];
} | {
    readonly failed: {
        readonly code: ErrorCode;
        readonly message: string;
        readonly hint: string | null;
    };
};
/** sha256 and size of files below `root`, in the order given; waits for its threads also when it is cancelled. Rejects
 *  with the error of the first file that cannot be read, or the signal's reason. */
export declare function hashOnThreads(root: string, files: readonly {
    readonly path: string;
    readonly size: number;
}[], signal: AbortSignal): Promise<{
    digest: Digest;
    size: number;
}[]>;
