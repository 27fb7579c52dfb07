import type { FrontendHost, FrontendOptions } from "./frontend.ts";
import { type StageTable } from "./stages.ts";
/** The time all that is made here gets, or null: that of the build. Throws USAGE. */
export declare function readEpoch(text: string, options: FrontendOptions, host: FrontendHost, table: StageTable, signal: AbortSignal): Promise<number | null>;
