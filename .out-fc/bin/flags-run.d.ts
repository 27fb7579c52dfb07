import type { CommandFlags, ParsedFlags } from "./args.ts";
import type { Environment, RunRequest } from "./config.ts";
export declare const RUN_FLAGS: CommandFlags;
/** Reads and checks the flags. Throws USAGE, and MOUNT_INVALID for mounts that cannot be. */
export declare function readRunFlags(flags: ParsedFlags, env: Environment, cwd: string): Promise<RunRequest>;
