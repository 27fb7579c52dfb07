import type { Platform } from "../solver/graph/op.ts";
import type { ContainerConfig, ImageConfig } from "../solver/graph/request.ts";
/** FROM scratch. */
export declare function emptyImage(platform: Platform): ImageConfig;
/** A base image as read from its config; `isEmpty`: it has no layers at all. */
export interface BaseImage {
    readonly image: ImageConfig;
    readonly isEmpty: boolean;
}
/** Config bytes of a base image, checked; fields we do not know are dropped, as is `created`. Throws IMAGE_INVALID. */
export declare function readBaseImage(data: Uint8Array, name: string): BaseImage;
/** A copy for a stage to change. */
export declare function cloneImage(image: ImageConfig): ImageConfig;
/** Sets a variable at its place, or at the end. */
export declare function setImageEnv(config: ContainerConfig, key: string, value: string): void;
/** PATH is always set, but for Windows, which has its own. */
export declare function ensurePath(image: ImageConfig): void;
/** One line of history. withLayer: the step makes a layer. created null: the exporter takes the time of the layer, so that
 *  a cached build gives the same image again. */
export declare function addHistory(image: ImageConfig, createdBy: string, withLayer: boolean, created: string | null): void;
/** RFC 3339 as Go prints it: no fraction of a second where it is zero. */
export declare function formatTime(ms: number): string;
/** The config as it leaves the frontend: fields in the order of the spec, maps sorted, empty ones left out. */
export declare function finishImage(image: ImageConfig, platform: Platform | null, created: string | null): ImageConfig;
/** Of an image, in normal form: arm64/v8 is arm64. */
export declare function platformOf(image: ImageConfig): Platform;
