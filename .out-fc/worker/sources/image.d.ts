import { type Digest } from "../../solver/graph/digest.ts";
import type { Attrs, Platform } from "../../solver/graph/op.ts";
import type { LayerId } from "../../solver/graph/request.ts";
import type { Store } from "../../cache/store.ts";
import type { Registry } from "../../cache/registry/client.ts";
export interface SourceImage {
    readonly digest: Digest;
    readonly config: Uint8Array;
    readonly layers: readonly LayerId[];
}
export interface ImageSource {
    /** identifier: docker-image://REF or oci-layout://PATH[:tag][@digest]. Records the layers; fetches no layer. */
    load(identifier: string, attrs: Attrs, platform: Platform, options: {
        readonly signal: AbortSignal;
    }): Promise<SourceImage>;
}
/** resolveMode: "default" takes a name of the local image store before the registry, "pull" always asks the registry. */
export declare function openImageSource(store: Store, registry: () => Promise<Registry>, resolveMode: "default" | "pull"): ImageSource;
/** What pins a set of layers that has no digest of its own. */
export declare function layersDigest(layers: readonly LayerId[]): Digest;
