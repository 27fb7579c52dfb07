import { type Content } from "../../cache/path-hash.ts";
import type { TreeReader } from "../../cache/tree.ts";
import type { Entry } from "../../cache/tree-select.ts";
import { type IdMode, type Look } from "./place.ts";
/** Copies one regular file into a fresh descriptor and closes it. Hashes what it copies when the source is live. */
export declare function copyFile(source: TreeReader, entry: Entry, to: number, look: Omit<Look, "xattrs">, idMode: IdMode): Content;
/** Content of a file that is not copied. */
export declare function readContent(source: TreeReader, entry: Entry): Content;
