import { type Digest } from "../../solver/graph/digest.ts";
import { type Platform } from "../../solver/graph/op.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import type { Lease, RemoteBlob, Store } from "../store.ts";
import type { Registry, SignalOptions, TransferOptions } from "./client.ts";
import { type Index, type Manifest } from "./documents.ts";
import { type Reference } from "./reference.ts";
export interface LoadedImage {
    /** Of the manifest or index the reference stands for: what pins it. */
    readonly digest: Digest;
    readonly manifestDescriptor: Descriptor;
    readonly manifest: Manifest;
    /** As received; its digest is manifest.config.digest. */
    readonly configBytes: Uint8Array;
    /** Where the layers can be fetched from, oldest first. */
    readonly layers: readonly RemoteBlob[];
}
export interface LoadOptions extends SignalOptions {
    /** Holds what is stored. Without one the caller's store must not be collected meanwhile. */
    readonly lease?: Lease;
}
/**
 * The manifest of an index that fits a platform best, in containerd's order; of equals the first. null: none fits.
 * An entry without a platform never fits here; `loadImage` looks into its config.
 */
export declare function selectManifest(index: Index, platform: Platform): Descriptor | null;
/**
 * Resolves a reference and stores the manifest and config for a platform. A tag costs one HEAD request when the
 * content is here, a digest nothing. Throws REGISTRY_*, IMAGE_INVALID, PLATFORM_UNSUPPORTED.
 */
export declare function loadImage(registry: Registry, store: Pick<Store, "content">, reference: Reference, platform: Platform, { signal, lease }: LoadOptions): Promise<LoadedImage>;
/**
 * As `loadImage`, from an OCI layout: a directory or an uncompressed tar. `name` is a tag (org.opencontainers.image.ref.name
 * or a full image name), a digest, or null for the only image in it, else "latest". Throws IMAGE_UNKNOWN, IMAGE_INVALID,
 * PLATFORM_UNSUPPORTED, CONTEXT_MISSING when the path is not there.
 */
export declare function loadLayout(path: string, name: string | null, store: Pick<Store, "content">, platform: Platform, { signal, lease }: LoadOptions): Promise<LoadedImage>;
/**
 * Fetches a blob into the content store and returns when it is there, verified. Several at once, also of other processes, cost
 * one transfer. Throws as `Registry.blob` or `Layout.blob`.
 */
export declare function pullLayer(remote: RemoteBlob, store: Pick<Store, "content" | "exclusively">, registry: Registry, options: TransferOptions): Promise<void>;
/** Bytes of a blob from where it is, verified when the last chunk is over. */
export declare function remoteBytes(remote: RemoteBlob, registry: Registry, options: TransferOptions): AsyncIterable<Uint8Array>;
