import type { Store } from "../../cache/store.ts";
import type { LayerId } from "../../solver/graph/request.ts";
export interface MemoryStore extends Store {
    /** Writes so far, by space; several at once count once. */
    readonly writes: {
        readonly spaces: readonly string[];
    }[];
    /** Layers that leases hold now. */
    held(): ReadonlySet<LayerId>;
    /** Takes a layer away, as collection would. */
    forget(id: LayerId): void;
}
/** A fresh, empty store. */
export declare function openMemoryStore(): MemoryStore;
