import { type Digest } from "../solver/graph/digest.ts";
import type { LayerId } from "../solver/graph/request.ts";
import type { UsageEntry } from "./collect.ts";
import type { LayerRecord, OpenStore } from "./store.ts";
export interface Survey {
    readonly entries: readonly UsageEntry[];
    readonly layers: ReadonlyMap<LayerId, LayerRecord>;
    readonly blobs: ReadonlySet<Digest>;
    /** In use by images only, but their blobs are here: the unpacked directory can be made again. */
    readonly repackable: ReadonlySet<string>;
    /** Entry id of a cache mount → its path. */
    readonly mountPaths: ReadonlyMap<string, string>;
}
export declare function survey(store: OpenStore): Promise<Survey>;
