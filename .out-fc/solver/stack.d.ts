import type { DiffOp, MergeOp } from "./graph/op.ts";
import { type Result } from "./graph/request.ts";
/** The result of a merge or diff over the results of its inputs, or null when files must be looked at. */
export declare function stackLayers(op: MergeOp | DiffOp, inputs: readonly Result[]): Result | null;
