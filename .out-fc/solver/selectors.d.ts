import type { Op } from "./graph/op.ts";
import type { Selector } from "../worker/keeper/messages.ts";
/** All of a tree: for live files, which have no other name than their content. */
export declare const WHOLE: readonly Selector[];
/** For each of `inputCount` inputs: what the op reads of it, or null when the input counts as a whole, by identity. */
export declare function readsOf(op: Op, inputCount: number): readonly (readonly Selector[] | null)[];
