import { type Conversion, type StageState } from "./stage-state.ts";
import { type Stage, type StageTable } from "./stages.ts";
/** Converts what `target` needs; the states of all these stages are in `conversion.states`. Throws BuildError. */
export declare function convertStages(conversion: Conversion, table: StageTable, target: Stage): Promise<StageState>;
