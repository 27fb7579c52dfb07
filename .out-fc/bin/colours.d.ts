import type { Environment } from "./config.ts";
import type { Colours } from "./progress-tty.ts";
/** SGR parameters by meaning, or null for a terminal without colours. BUILDKIT_COLORS: "run=green:error=255,0,0". */
export declare function colourTable(env: Environment): Colours | null;
