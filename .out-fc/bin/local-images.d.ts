import type { ImageRecord, Store } from "../cache/store.ts";
import { type Digest } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { Descriptor, ImageConfig } from "../solver/graph/request.ts";
/** Space of the records that holds ImageRecord by normalized name. */
export declare const IMAGES = "image";
/** docker.io/library/app:latest for "app". Throws REFERENCE_INVALID. */
export declare function normalizeName(text: string): string;
/** "app", "latest" and the digest of a normalized name, as users write them; null where it has none. */
export declare function splitName(name: string): {
    repository: string;
    tag: string | null;
    digest: Digest | null;
};
/** One image of one platform inside a name. */
export interface LocalManifest {
    readonly descriptor: Descriptor;
    readonly layers: readonly Descriptor[];
    readonly configDescriptor: Descriptor;
    readonly config: ImageConfig;
}
export interface LocalImage {
    readonly record: ImageRecord;
    /** Config digest of a single image, digest of an index: what docker calls the image ID. */
    readonly id: Digest;
    /** Those present here, in the order of the index. */
    readonly manifests: readonly LocalManifest[];
    /** Bytes on disk of the unpacked layers where that is known, else of the compressed ones. */
    readonly sizeBytes: number;
}
/** All names, the newest image first. A record whose documents are gone or broken is left out and told to `onBroken`. */
export declare function listImages(store: Store, onBroken: (name: string, error: BuildError) => void): LocalImage[];
/** The image of a name, or of an ID or digest (whole, or at least 4 digits when only one image has them). Throws IMAGE_UNKNOWN. */
export declare function findImage(store: Store, text: string): LocalImage;
/** Names of one image: all records with its target. */
export declare function namesOf(store: Store, target: Digest): string[];
/** Reads the documents of a record. Throws IMAGE_INVALID, STORE_CORRUPT. */
export declare function readImage(store: Store, record: ImageRecord): LocalImage;
/** "linux/arm64" of a config. */
export declare function platformOf(config: ImageConfig): string;
