import { type Copy } from "./copy-flags.ts";
import { type Conversion, type StageState } from "./stage-state.ts";
import type { Step } from "./stages.ts";
/** Adds the step of a COPY or ADD. Throws STAGE_UNKNOWN, DOCKERFILE_SYNTAX, USAGE. */
export declare function convertCopy(conversion: Conversion, state: StageState, copy: Copy, step: Step): void;
