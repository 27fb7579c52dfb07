import { type TreeReader, type TreeStat } from "./tree.ts";
/** in: chosen. way: a directory that only leads to something chosen. out: not there. */
export type Standing = "in" | "way" | "out";
export interface TreeFilter {
    /** `path` is relative to the tree. */
    standing(path: string, stat: TreeStat): Standing;
}
/** Rules on paths relative to `base`; the base itself is always in. */
export declare function makeFilter(tree: Pick<TreeReader, "children">, base: string, includes: readonly string[], excludes: readonly string[]): TreeFilter;
/** A tree as its rules show it; `hiddenBy` tells the rule. */
export declare function filterTree(tree: TreeReader, rules: {
    readonly includes: readonly string[];
    readonly excludes: readonly string[];
}): TreeReader;
