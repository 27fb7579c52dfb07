import type { TreeReader } from "../../cache/tree.ts";
import type { Match } from "../../cache/tree-select.ts";
import { type Look, type Place } from "./place.ts";
/** Unpacks a file of the source into a directory (a resolved path of the place) if it is an archive; else false, and
 *  nothing has changed. The directory is made, with `made` as its look; members have the owners and times they state.
 *  Throws ARCHIVE_INVALID, LIMIT_EXCEEDED. */
export declare function unpackMatch(source: TreeReader, match: Match, place: Place, directory: string, made: Omit<Look, "xattrs">): Promise<boolean>;
