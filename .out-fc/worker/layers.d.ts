import type { Digest } from "../solver/graph/digest.ts";
import type { CallContext, LayerId } from "../solver/graph/request.ts";
import type { RemoteBlob, Store } from "../cache/store.ts";
import type { Keeper } from "./keeper/keeper.ts";
/** Fetches a blob into the content store, verified; once over all processes that want it. */
export type FetchBlob = (remote: RemoteBlob, options: {
    readonly signal: AbortSignal;
    readonly onBytes: (current: number, total: number) => void;
}) => Promise<void>;
export interface Unpacker {
    /** Directories of the layers, oldest first, all unpacked. vertex: the step that shows the transfer. */
    directories(layers: readonly LayerId[], vertex: Digest, context: CallContext): Promise<string[]>;
    /** A blob of the layer in the content store, fetched if it is elsewhere. */
    blob(layer: LayerId, vertex: Digest | null, context: CallContext): Promise<Digest>;
}
/** Opens the unpacker. */
export declare function openUnpacker(store: Store, keeper: () => Keeper, fetch: FetchBlob): Unpacker;
