// The door of the solver: decides what of a definition must run, and has it run.

import type { Input } from "./graph/definition.ts";
import type { CallContext, Result, SolveRequest } from "./graph/request.ts";
import { openFlights } from "./flight.ts";
import { loadJob } from "./job.ts";
import type { Made, Means } from "./making.ts";
import { openResultRecords } from "./records.ts";
import { type OnResult, runJob } from "./scheduler.ts";

export type { Limits, Means } from "./making.ts";
export type { OnResult } from "./scheduler.ts";

/** Results in the order of the roots asked for. Their layers are held against collection until it is disposed. */
export interface Solution extends AsyncDisposable {
  readonly results: readonly Result[];
}

export interface SolveOptions {
  readonly onResult?: OnResult;
}

export interface Solver {
  /**
   * Solves several roots of one definition side by side (one for each platform; mergeDefinitions() makes one of many).
   * Builds that run at the same time share equal steps. Throws the first BuildError of a step, with `vertex` and `at`,
   * or `signal.reason`, in both cases after all it had started has stopped.
   */
  solve(
    request: SolveRequest,
    roots: readonly Input[],
    context: CallContext,
    options?: SolveOptions,
  ): Promise<Solution>;
}

/** A solver over one worker and one store, which it does not dispose. `limits` is asked for when the first step has to
 *  run (a build that hits everything does not load the queues), and must give the same queues each time. */
export function openSolver(means: Means): Solver {
  const flights = openFlights<Made>();
  let jobs = 0;
  return {
    async solve(request, roots, context, options = {}) {
      context.signal.throwIfAborted();
      const job = loadJob(request, roots);
      const records = openResultRecords(means.store, means.nowMs);
      jobs += 1;
      try {
        const results = await runJob(job, context, {
          means,
          flights,
          records,
          name: `job ${jobs}`,
          onResult: options.onResult ?? null,
        });
        return { results, [Symbol.asyncDispose]: () => records[Symbol.asyncDispose]() };
      } catch (error) {
        await records[Symbol.asyncDispose]();
        throw error;
      }
    },
  };
}
