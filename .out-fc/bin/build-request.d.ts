import type { ParsedFlags } from "./args.ts";
import type { BuildRequest, Environment } from "./config.ts";
/** All of a BuildRequest that the command line alone says; the directories are for the session. */
export interface BuildFlags extends Omit<BuildRequest, "context" | "dockerfile" | "outputs" | "session"> {
    readonly directories: ReadonlyMap<string, string>;
}
/** Reads and checks the flags. Throws USAGE. cwd: paths are relative to it. */
export declare function readBuildFlags(flags: ParsedFlags, env: Environment, cwd: string): Promise<BuildFlags>;
/** Name of the main context's directory in the session. */
export declare const MAIN_DIRECTORY = "context";
