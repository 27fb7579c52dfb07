import type { Platform } from "../../solver/graph/op.ts";
import type { Descriptor, ImageConfig } from "../../solver/graph/request.ts";
/** image-spec media-types.md, and Docker's schema 2 equivalents. */
export declare const MEDIA_TYPES: {
    readonly ociManifest: "application/vnd.oci.image.manifest.v1+json";
    readonly ociIndex: "application/vnd.oci.image.index.v1+json";
    readonly ociConfig: "application/vnd.oci.image.config.v1+json";
    readonly ociLayer: "application/vnd.oci.image.layer.v1.tar";
    readonly dockerManifest: "application/vnd.docker.distribution.manifest.v2+json";
    readonly dockerIndex: "application/vnd.docker.distribution.manifest.list.v2+json";
    readonly dockerConfig: "application/vnd.docker.container.image.v1+json";
    readonly dockerLayer: "application/vnd.docker.image.rootfs.diff.tar";
};
/** distribution spec, "Pulling manifests": registries may refuse more, so nothing larger is in use. */
export declare const MANIFEST_MAX_BYTES: number;
/** Configs hold history and labels; moby's limit is 8 MiB. */
export declare const CONFIG_MAX_BYTES: number;
export interface Manifest {
    readonly kind: "manifest";
    readonly mediaType: string;
    readonly config: Descriptor;
    readonly layers: readonly Descriptor[];
    readonly annotations: Readonly<Record<string, string>>;
}
export interface Index {
    readonly kind: "index";
    readonly mediaType: string;
    readonly manifests: readonly Descriptor[];
    readonly annotations: Readonly<Record<string, string>>;
}
export declare function isManifestType(mediaType: string): boolean;
export declare function isIndexType(mediaType: string): boolean;
/**
 * Reads a manifest or index. It must be exactly one of the two, and its shape, its own `mediaType` and the stated
 * type (content type or descriptor; null: nothing was stated) must agree. Throws IMAGE_INVALID; `name` is for messages.
 */
export declare function parseDocument(bytes: Uint8Array, statedType: string | null, name: string): Manifest | Index;
/**
 * Reads an image config of which `layerCount` layers are known to exist. Checked: os, architecture, rootfs, history and the
 * types of all fields that are used. Throws IMAGE_INVALID. The value is for reading; what is stored are the bytes.
 */
export declare function parseConfig(bytes: Uint8Array, layerCount: number | null, name: string): ImageConfig & {
    readonly rootfs: {
        readonly diff_ids: string[];
    };
};
/** The platform an image config states. */
export declare function platformOfConfig(config: ImageConfig): Platform;
