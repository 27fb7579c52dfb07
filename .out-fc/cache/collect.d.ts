import { type Digest } from "../solver/graph/digest.ts";
import type { LayerId } from "../solver/graph/request.ts";
import type { OpenStore } from "./store.ts";
/** One line of `du`. */
export interface UsageEntry {
    readonly id: string;
    readonly kind: "layer" | "blob" | "cache-mount" | "record";
    readonly sizeBytes: number;
    /** More than one record or image leads to it. */
    readonly shared: boolean;
    readonly inUse: boolean;
    readonly reclaimable: boolean;
    readonly lastUsedMs: number;
    readonly description: string;
}
export interface PruneOptions {
    /** Also takes what can be had again at little cost: unpacked layers of images whose blobs are here, digests of contexts, and
     *  what was set aside as damaged. */
    readonly all: boolean;
    /** Stops as soon as the store is not larger; null: takes all there is to take. */
    readonly keepBytes: number | null;
    /** Spares what was used within this time; null: spares nothing. */
    readonly olderThanMs: number | null;
    /** All must hold: "field=value", "field!=value", "field~=expression", "field". See prune-filter.ts. */
    readonly filters: readonly string[];
    readonly signal: AbortSignal;
}
export interface PruneOutcome {
    readonly removedLayers: readonly LayerId[];
    readonly removedBlobs: readonly Digest[];
    /** Everything that went, as it was. */
    readonly removed: readonly UsageEntry[];
    readonly freedBytes: number;
    /** For the keeper's RemoveJob; out of sight already. */
    readonly directories: readonly string[];
}
/** Everything in the store, least recently used first. */
export declare function usage(store: OpenStore): Promise<UsageEntry[]>;
/** Removes cache nobody uses. Throws USAGE for a filter it does not know. */
export declare function prune(store: OpenStore, options: PruneOptions): Promise<PruneOutcome>;
