import type { FileOutcome, MaterializeJob, ReadJob } from "../keeper/messages.ts";
import { type IdMode } from "./place.ts";
/** Copies the subtree at the job's selector into `upper`, an empty directory; the directory itself gets its owner, mode
 *  and times. A selected file is placed in it under its own name. The digest is that of selectDigest with a "subtree"
 *  selector, null unless the tree is live. Throws CONTEXT_PATH_MISSING, COPY_FAILED, STORE_FULL. */
export declare function materialize(job: MaterializeJob, idMode: IdMode): FileOutcome;
/** A file inside stacked layers: in-root, regular, never blocking; null when there is none. Throws LIMIT_EXCEEDED when it
 *  is larger than maxBytes. */
export declare function readInRoot(job: ReadJob): Uint8Array | null;
