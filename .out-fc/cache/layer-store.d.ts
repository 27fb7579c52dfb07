import type { LayerId } from "../solver/graph/request.ts";
import type { LayerStore, Records } from "./store.ts";
export interface LayerDirs extends LayerStore {
    /** Takes a layer's directory out of sight at once: into active/, from where the keeper removes it. null: none was there. */
    retire(id: LayerId): string | null;
    /** Puts a retired directory back, unless there is another by now. */
    restore(id: LayerId, retired: string): void;
    /** The same for any other directory of the store whose parent is ours. */
    discard(dir: string): string | null;
    /** Ids of directories that have no record and were not made in this boot: left over from a power cut. */
    orphans(): LayerId[];
}
export interface LayerStoreOptions {
    readonly layers: string;
    readonly active: string;
    readonly records: Records;
    readonly owner: {
        readonly id: string;
        readonly boot: string;
    };
    /** Names in `active` that belong to dead processes. */
    readonly left: readonly string[];
}
export declare const LAYER_SPACE = "layer";
export declare function openLayerStore(options: LayerStoreOptions): LayerDirs;
