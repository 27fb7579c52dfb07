import type { Assembled } from "./assembled.ts";
/** Loaders in the order they are tried. */
export declare const LOADERS: readonly (readonly string[])[];
/** manifest.json of `docker save`: the paths of config and layers, and short names (null without one). */
export declare function dockerManifest(assembled: Assembled, names: readonly string[]): Uint8Array;
export interface LoadOptions {
    readonly commands: readonly (readonly string[])[];
    readonly env: Readonly<Record<string, string | undefined>>;
    readonly signal: AbortSignal;
}
/**
 * Pipes a docker tar into the first of the programs that exists, and returns what it printed. Throws OUTPUT_FAILED when none
 * exists or it fails. The program is ended when the build is cancelled.
 */
export declare function loadToDocker(data: AsyncIterable<Uint8Array>, options: LoadOptions): Promise<string>;
