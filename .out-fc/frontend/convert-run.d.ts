import type { Instruction } from "./instruction.ts";
import { type Conversion, type StageState } from "./stage-state.ts";
import type { Step } from "./stages.ts";
type Run = Extract<Instruction, {
    kind: "run";
}>;
/** Adds the step of a RUN. Throws MOUNT_INVALID, STAGE_UNKNOWN, DOCKERFILE_SYNTAX. */
export declare function convertRun(conversion: Conversion, state: StageState, run: Run, step: Step): void;
export declare function workdirOf(state: StageState): string;
/** Words in front of a command in shell form. */
export declare function shellOf(state: StageState): readonly string[];
export {};
