import { type Digest } from "../solver/graph/digest.ts";
import type { Platform } from "../solver/graph/op.ts";
import type { BuiltImage, Descriptor } from "../solver/graph/request.ts";
import { type Annotation } from "./annotations.ts";
/** One layer as it goes into an image. */
export interface ImageLayer {
    readonly descriptor: Descriptor;
    readonly diffId: Digest;
    readonly createdAtMs: number | null;
    /** What made it, for a history that has no entry for it. */
    readonly description: string;
}
export interface MakeOptions {
    readonly ociTypes: boolean;
    readonly annotations: readonly Annotation[];
    /** SOURCE_DATE_EPOCH: no time in the config is later. null: times stay. */
    readonly epochSeconds: number | null;
}
/** A document with its descriptor. */
export interface Document {
    readonly bytes: Uint8Array;
    readonly descriptor: Descriptor;
}
export interface MadeImage {
    readonly platform: Platform;
    readonly config: Document;
    readonly manifest: Document;
    readonly layers: readonly ImageLayer[];
    /** The config's `created`, or null. */
    readonly created: string | null;
}
/** Makes config and manifest of one platform. The descriptor has the platform and its annotations. */
export declare function makeImage(image: BuiltImage, layers: readonly ImageLayer[], options: MakeOptions): MadeImage;
/** Makes the index of a multi-platform image, manifests in the order given. */
export declare function makeIndex(images: readonly MadeImage[], options: MakeOptions): Document;
/** A descriptor in the field order of ocispec.Descriptor. */
export declare function encodeDescriptor(descriptor: Descriptor): Record<string, unknown>;
