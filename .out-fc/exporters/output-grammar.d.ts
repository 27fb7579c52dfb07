import { type Annotation } from "./annotations.ts";
export type LayerCompression = "gzip" | "zstd" | "uncompressed";
export type Destination = {
    readonly kind: "path";
    readonly path: string;
} | {
    readonly kind: "stdout";
};
/** How an image is made, the same for all outputs that hold one. */
export interface ImageOptions {
    /** Full names: docker.io/library/app:latest. */
    readonly names: readonly string[];
    /** false: Docker's media types. */
    readonly ociTypes: boolean;
    readonly compression: LayerCompression;
    /** Was `compression` or its level asked for? */
    readonly compressionChosen: boolean;
    readonly compressionLevel: number | null;
    /** Also layers of the base image get this compression. */
    readonly forceCompression: boolean;
    /** Times in new layers are at most SOURCE_DATE_EPOCH. */
    readonly rewriteTimestamp: boolean;
    /** Overrides SOURCE_DATE_EPOCH of the build; null: the build's. */
    readonly epochSeconds: number | null;
    readonly annotations: readonly Annotation[];
}
export interface ImageOutput {
    readonly kind: "image";
    readonly image: ImageOptions;
    readonly push: boolean;
    readonly pushByDigest: boolean;
    readonly insecure: boolean;
    readonly store: boolean;
    readonly unpack: boolean;
    readonly nameCanonical: boolean;
    readonly danglingNamePrefix: string | null;
}
export interface ArchiveOutput {
    readonly kind: "archive";
    readonly format: "oci" | "docker";
    readonly image: ImageOptions;
    /** null: handed to `docker load` (only docker). */
    readonly dest: Destination | null;
    readonly tar: boolean;
}
export interface FilesOutput {
    readonly kind: "files";
    readonly form: "directory" | "tar";
    readonly dest: Destination;
    /** Folders linux_amd64 … ; null: only with several platforms. */
    readonly platformSplit: boolean | null;
    readonly epochSeconds: number | null;
}
export interface NoOutput {
    readonly kind: "cacheonly";
}
export type Output = ImageOutput | ArchiveOutput | FilesOutput | NoOutput;
/**
 * Reads one --output. A plain PATH is type=local, "-" is a tar on standard output. Paths stay as written. Throws OUTPUT_INVALID,
 * REFERENCE_INVALID.
 */
export declare function parseOutput(text: string): Output;
