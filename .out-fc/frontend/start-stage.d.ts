import { type Base } from "./sources.ts";
import { type Conversion, type StageState } from "./stage-state.ts";
import { type Stage, type StageTable } from "./stages.ts";
/** Finds the bases of all stages that are needed, at once; triggers in them may make more stages needed. */
export declare function resolveBases(conversion: Conversion, table: StageTable, target: Stage): Promise<ReadonlyMap<Stage, Base>>;
/** All results in order; the first failure (in order) is thrown after every promise has settled. */
export declare function settleAll<T>(work: readonly Promise<T>[]): Promise<readonly T[]>;
/** The state a stage starts with, from its base image or the stage below; it is in `conversion.states` from now on. */
export declare function startStage(conversion: Conversion, stage: Stage, base: Base | null, totalSteps: number): StageState;
/** Absolute paths stay as written, relative ones are joined and cleaned, as BuildKit has it. */
export declare function workdirIn(current: string | null, path: string): string;
