import type { CommandFlags } from "./args.ts";
export declare const BUILD_FLAGS: CommandFlags;
