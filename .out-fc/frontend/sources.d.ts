import type { Input } from "../solver/graph/definition.ts";
import { type Platform } from "../solver/graph/op.ts";
import type { ImageConfig } from "../solver/graph/request.ts";
import type { FrontendOptions } from "./frontend.ts";
import { type Conversion } from "./stage-state.ts";
import { type Stage } from "./stages.ts";
/** What a stage starts with. */
export interface Base {
    readonly image: ImageConfig;
    readonly platform: Platform;
    /** Files, given the name the step is to have; null: none. Called once, when the stage is converted. */
    source(name: (text: string) => string): Input | null;
}
/** Whether a named context is given for a name on a platform. */
export declare function hasContext(options: FrontendOptions, name: string, platform: Platform): boolean;
/** Finds what a stage starts with. Throws IMAGE_UNKNOWN, REFERENCE_INVALID and what the host throws. */
export declare function resolveBase(conversion: Conversion, stage: Stage): Promise<Base>;
/** A directory of the asker, less what its ignore file says. */
export declare function localSource(name: string, ignore: Uint8Array | null): Parameters<Conversion["graph"]["add"]>[0];
/** BUILDKIT_CONTEXT_KEEP_GIT_DIR */
export declare function keepsGitDir(buildArgs: ReadonlyMap<string, string>): boolean;
/** The main context as a vertex. */
export declare function mainContext(conversion: Pick<Conversion, "options" | "graph" | "buildArgs">): Input | null;
