import type { ExecJob, ExecOutcome } from "../keeper/messages.ts";
import { type stepProgram } from "./step-program.ts";
/** Judges the status bytes of a launcher that is gone. Throws EXEC_FAILED and SANDBOX_UNAVAILABLE. */
export declare function outcomeOf(status: Buffer, describe: ReturnType<typeof stepProgram>["describe"], job: ExecJob, singleId: boolean): ExecOutcome;
