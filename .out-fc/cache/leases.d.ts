import type { Digest } from "../solver/graph/digest.ts";
import type { LayerId } from "../solver/graph/request.ts";
import type { Owner } from "./owner.ts";
import type { Lease } from "./store.ts";
export interface Pinned {
    readonly layers: ReadonlySet<LayerId>;
    readonly blobs: ReadonlySet<Digest>;
}
export interface Leases {
    lease(): Lease;
    /** What live owners hold now, this process included. */
    pinned(): Promise<Pinned>;
    /** Ends all leases of this store. */
    close(): void;
}
/** `dir` exists. The file is made with the first lease. */
export declare function openLeases(dir: string, owner: Owner): Leases;
