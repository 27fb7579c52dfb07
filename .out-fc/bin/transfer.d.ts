import type { CommandContext } from "./commands.ts";
import type { Engine, EngineTransferOptions } from "./config.ts";
import type { ProgressMode } from "./config.ts";
import type { Descriptor } from "../solver/graph/request.ts";
/** Runs one transfer; prints errors in the form of a failed step. Returns null when it failed. */
export declare function transfer(mode: ProgressMode, context: CommandContext, work: (engine: Engine, options: EngineTransferOptions) => Promise<Descriptor>): Promise<Descriptor | null>;
