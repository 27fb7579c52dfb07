// Merge and diff on lists of layers: a result is just such a list, so most of them need no work.

import type { DiffOp, MergeOp } from "./op.ts";
import { type Result, SCRATCH } from "./request.ts";

/** The result of a merge or diff over the results of its inputs, or null when files must be examined. */
export function stackLayers(op: MergeOp | DiffOp, inputs: readonly Result[]): Result | null {
  const at = (input: number | null): Result | null => (input === null ? SCRATCH : (inputs[input] ?? null));
  if (op.kind === "merge") {
    const results = op.inputs.map(at);
    // A layer that comes twice stays twice: the image has it twice, with a line of history each. Who mounts it takes
    // the upper one, which hides the other.
    return results.every((result) => result?.kind === "layers")
      ? { kind: "layers", layers: results.flatMap((result) => result.layers) }
      : null;
  }
  const [lower, upper] = [at(op.lower), at(op.upper)];
  if (lower?.kind !== "layers" || upper?.kind !== "layers") return null;
  if (!lower.layers.every((id, index) => upper.layers[index] === id)) return null;
  return { kind: "layers", layers: upper.layers.slice(lower.layers.length) };
}
