import { type TreeReader } from "../../cache/tree.ts";
import { type Match } from "../../cache/tree-select.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import type { CopyAction } from "../../solver/graph/op.ts";
import { type Owner } from "./owner.ts";
import { type IdMode, type Look, type Place } from "./place.ts";
export interface CopyContext {
    readonly source: TreeReader;
    readonly place: Place;
    readonly owner: Owner | null;
    readonly idMode: IdMode;
    /** Time of directories that have no counterpart in the source, when the action gives none; null: now. */
    readonly madeTimeNs: bigint | null;
    /** Unpacks the match into the directory (a resolved path of the place) when it is an archive; false when it is not. */
    readonly unpack: (match: Match, directory: string, made: Omit<Look, "xattrs">) => Promise<boolean>;
}
/** Runs one copy action. Returns the digest of what was read when the source is live (the form of selectDigest's parts),
 *  else null. Throws CONTEXT_PATH_MISSING, COPY_FAILED. */
export declare function runCopy(action: CopyAction, context: CopyContext): Promise<Digest | null>;
/** Copies what is below a directory of the source, or one file, into a directory or file of the place as it is. For the
 *  digest see runCopy. */
export declare function copySubtree(match: Match, target: string, context: Pick<CopyContext, "source" | "place" | "idMode">): Digest | null;
