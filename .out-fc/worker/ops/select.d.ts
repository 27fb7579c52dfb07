import type { Digest } from "../../solver/graph/digest.ts";
import type { SelectJob } from "../keeper/messages.ts";
/** Digest of what the selectors pick. Throws CONTEXT_PATH_MISSING, COPY_FAILED. */
export declare function runSelectJob(job: SelectJob): Digest;
