import type { LayerSource } from "../exporters/exporter.ts";
import type { Store } from "../cache/store.ts";
import type { LayerId } from "../solver/graph/request.ts";
import type { Keeper } from "../worker/keeper/keeper.ts";
export interface LayerSourceDeps {
    readonly store: Store;
    readonly keeper: () => Keeper;
    /** Path of a blob of a base layer, in the content store. */
    readonly fetch: (id: LayerId, signal: AbortSignal) => Promise<string>;
    /** Makes sure the layer's directory is there (unpacks a base layer). */
    readonly unpack: (id: LayerId, signal: AbortSignal) => Promise<string>;
    /** Bytes must not depend on this machine's zlib: --reproducible. */
    readonly pinnedCompressor: boolean;
}
/** Opens the source. Equal calls at one time share one packing. */
export declare function openLayerSource(deps: LayerSourceDeps): LayerSource;
