import type { FileJob, FileOutcome } from "../keeper/messages.ts";
import { type IdMode } from "./place.ts";
/** Runs the job; blocks its thread. Throws BuildError: CONTEXT_PATH_MISSING, COPY_FAILED, USER_UNKNOWN, STORE_FULL,
 *  ARCHIVE_INVALID, CONTEXT_CHANGED. What a failed job leaves in `upper` is for the caller to drop. */
export declare function runFileJob(job: FileJob, idMode: IdMode): Promise<FileOutcome>;
