import { type Digest } from "../../solver/graph/digest.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import type { TransferOptions } from "./client.ts";
import { type Index } from "./documents.ts";
export interface Layout {
    readonly index: Index;
    /** The image under a name: a tag, a whole image name or a digest. null: the only one, else "latest". Throws IMAGE_UNKNOWN. */
    find(name: string | null): Descriptor | {
        readonly digest: Digest;
        readonly mediaType: null;
    };
    /** Bytes of a blob, verified when the last chunk is over. Throws IMAGE_UNKNOWN when it is not there, DIGEST_MISMATCH. */
    blob(descriptor: Pick<Descriptor, "digest" | "size">, options: TransferOptions): AsyncIterable<Uint8Array>;
}
export declare const REF_NAME = "org.opencontainers.image.ref.name";
export declare const IMAGE_NAME = "io.containerd.image.name";
/** Reads the index of a layout. Throws CONTEXT_MISSING when nothing is there, IMAGE_INVALID when it is no layout. */
export declare function openLayout(path: string): Layout;
