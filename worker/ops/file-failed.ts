// What a file step that failed left: its inputs, and the layer as the action found it that failed.

import { type BuildError, type StepLeft, withLeft } from "../../solver/graph/error.ts";
import type { FileOp } from "../../solver/graph/op.ts";
import type { LayerId, Result } from "../../solver/graph/request.ts";
import type { FileRun } from "./file-runs.ts";

/** A step at the run that failed. */
export interface FailedRun {
  readonly op: FileOp;
  readonly runs: readonly FileRun[];
  readonly run: FileRun;
  readonly inputs: readonly Result[];
  /** The inputs, then what the runs before made. */
  readonly results: readonly Result[];
  /** Makes what the run wrote a layer; gives all of the result. */
  readonly finish: () => Promise<readonly LayerId[]>;
}

/** The error with what the step left; as it is where that cannot be kept. */
export async function withFailedAction(
  error: BuildError,
  { op, runs, run, inputs, results, finish }: FailedRun,
  layersOf: (result: Result) => Promise<readonly LayerId[]>,
): Promise<BuildError> {
  const index = run.at[error.left?.subject?.index ?? -1];
  if (index === undefined) return error;
  try {
    const before = await Promise.all(inputs.map(layersOf));
    const mounts: (readonly LayerId[] | null)[] = op.actions.map(() => null);
    const left = await finish();
    mounts[index] = left;
    const action = op.actions[index];
    const from = action?.kind === "copy" ? (action.from ?? -1) - inputs.length : -1;
    if (from >= 0) {
      const made = runs.findIndex(({ at }) => at.includes(from));
      const result = results[inputs.length + made];
      mounts[from] = runs[made] === run || result === undefined ? left : await layersOf(result);
    }
    const found: StepLeft = { inputs: before, mounts, subject: { kind: "file", index } };
    return withLeft(error, found);
  } catch {
    return error; // a full disk, a keeper that is gone: the step's own error is what counts
  }
}
