import { type Digest } from "../../solver/graph/digest.ts";
import { type CompressOptions } from "./compress.ts";
export interface PackRequest {
    readonly dir: string;
    readonly out: string | null;
    readonly compression: CompressOptions["compression"];
    readonly level: number | null;
    readonly epochSeconds: number | null;
    /** Bytes equal on every machine at the price of speed: see CompressOptions. */
    readonly pinned?: boolean;
}
export interface Packed {
    readonly diffId: Digest;
    readonly tarBytes: number;
    readonly digest: Digest | null;
    readonly size: number | null;
}
/** Packs `dir`. `note` is told what cannot be said in a layer and was left out (sockets, names of whiteouts). The
 *  directory must not change meanwhile. Throws OUTPUT_INVALID (compression), CONTEXT_CHANGED (a file changed), SysError. */
export declare function packLayer(job: PackRequest, note?: (message: string) => void): Promise<Packed>;
/** A layer that exists as a blob, in another compression: the tar in it, and so its diffId, stays as it is. `out` is
 *  written over. Throws ARCHIVE_INVALID, OUTPUT_INVALID, SysError. */
export declare function recompressLayer(job: Omit<PackRequest, "dir"> & {
    readonly blob: string;
    readonly out: string;
}): Promise<Packed>;
