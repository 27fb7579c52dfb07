import type { EngineParts } from "./engine.ts";
import type { BuildReport, BuildRequest, EngineBuildOptions } from "./config.ts";
/** Builds what was asked. Throws BuildError for what the user is to be told; everything started has ended by then. */
export declare function runBuild(parts: EngineParts, asked: BuildRequest, options: EngineBuildOptions): Promise<BuildReport>;
