import { type SourceRange } from "../solver/graph/error.ts";
import type { Platform } from "../solver/graph/op.ts";
import { type Arg, type From, type FromOptions } from "./from-line.ts";
import type { Instruction, ParsedDockerfile } from "./instruction.ts";
/** The image that has nothing in it. */
export declare const SCRATCH_NAME = "scratch";
/** An instruction of a stage and the stages it takes files from: of a COPY one, of a RUN one for each mount. */
export interface Step {
    readonly instruction: Instruction;
    readonly sources: readonly (Stage | null)[];
    readonly isTrigger: boolean;
}
/** A stage of the file, or an image or context that is only named by --from. */
export interface Stage {
    readonly at: SourceRange;
    readonly name: string | null;
    readonly description: string;
    /** How its steps are shown; "" where there is only this one. */
    label: string;
    readonly baseName: string;
    readonly platform: Platform | null;
    readonly base: Stage | null;
    steps: readonly Step[];
    /** Stages copied from, and where. */
    readonly needs: Map<Stage, SourceRange>;
    /** False for what is only named by --from. */
    readonly isListed: boolean;
    /** A named context stands in its place: its instructions do not run, and what they need is not needed. */
    readonly isReplaced: boolean;
    /** Global arguments that FROM used. */
    readonly usedArgs: ReadonlySet<string>;
}
/** Names the stages of one file. */
export interface StageTable {
    readonly stages: readonly Stage[];
    byName(name: string): Stage | null;
    /** Adds triggers of its base in front of a stage's steps. True when a stage is needed that was not needed before. */
    addTriggers(stage: Stage, triggers: readonly Instruction[]): boolean;
}
/** What there is before the first FROM, and the stages as written. */
export declare function splitStages(parsed: ParsedDockerfile): {
    readonly globals: readonly Arg[];
    readonly stages: readonly {
        readonly from: From;
        readonly instructions: readonly Instruction[];
    }[];
};
export interface PlanOptions extends FromOptions {
    /** Whether a named context is given for a stage; platform null: that of the target. */
    isReplaced(name: string, platform: Platform | null): boolean;
}
/** Reads all FROM lines and what copies from where. Throws for names that cannot be. */
export declare function planStages(written: ReturnType<typeof splitStages>["stages"], options: PlanOptions): StageTable;
/** The stage to build: the last, or the one named. Throws TARGET_UNKNOWN. */
export declare function findTarget(table: StageTable, target: string | null): Stage;
/** The stage and all it needs. */
export declare function reachableFrom(target: Stage): ReadonlySet<Stage>;
/** Throws DOCKERFILE_SYNTAX when stages need each other. */
export declare function checkCycles(table: StageTable): void;
