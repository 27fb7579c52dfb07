import type { Input } from "./graph/definition.ts";
import type { CallContext, Result, SolveRequest } from "./graph/request.ts";
import type { Means } from "./making.ts";
import { type OnResult } from "./scheduler.ts";
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
    solve(request: SolveRequest, roots: readonly Input[], context: CallContext, options?: SolveOptions): Promise<Solution>;
}
/** A solver over one worker and one store, which it does not dispose. `limits` is asked for when the first step has to
 *  run (a build that hits everything does not load the queues), and must give the same queues each time. */
export declare function openSolver(means: Means): Solver;
