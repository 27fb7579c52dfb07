// The door of the solver: decides which vertices of a definition must run, and runs them.

import type { ChainStep } from "../cache/remote-cache/chain.ts";
import { chainOf, materialsOf, resultsOf } from "./chain.ts";
import type { Definition, Input } from "./graph/definition.ts";
import type { Digest } from "./graph/digest.ts";
import type { CallContext, Result, SolveRequest } from "./graph/request.ts";
import { type Flights, openFlights } from "./flight.ts";
import { loadJob } from "./job.ts";
import type { Made, Means } from "./making.ts";
import { openResultRecords } from "./records.ts";
import { type DoneOnce, type OnResult, runJob } from "./scheduler.ts";
import { traceJob } from "./trace.ts";
import { keepTrace, type TraceRequest } from "./traces.ts";

export type { Limits, Means } from "./making.ts";
export type { OnResult } from "./scheduler.ts";
export type { ExplainedBuild, TraceRequest } from "./traces.ts";

/** Results in the order of the requested roots. Their layers are leased until it is disposed. */
export interface Solution extends AsyncDisposable {
  readonly results: readonly Result[];
  /** All results of the build with their keys, for the export of caches. Valid until it is disposed. */
  readonly chain: () => readonly ChainStep[];
  /** What the roots are made of, for provenance. */
  readonly origins: () => Origins;
}

/** What results were made of. */
export interface Origins {
  /** The graph as it was solved: sources are those that policies let pass. */
  readonly definition: Definition;
  readonly roots: readonly Input[];
  /** What a root that was asked for is called in this graph. */
  readonly rootOf: (asked: Input) => Input;
  /** Source vertex → manifest digest, digest of a file, or git commit it stood for; local directories have none. */
  readonly materials: ReadonlyMap<Digest, string>;
  /** Results of steps, by vertex and output, as far as they are known. Valid until the solution is disposed. */
  readonly results: () => ReadonlyMap<Digest, readonly (Result | null)[]>;
}

export interface SolveOptions {
  readonly onResult?: OnResult;
  /** Compares the build with earlier ones and stores it; omitted: the build is not recorded for --explain. */
  readonly trace?: TraceRequest;
}

/** The graphs of one build. */
export interface Solver {
  /**
   * Solves several roots of one definition in parallel (one per platform; mergeDefinitions() combines several).
   * Concurrent builds share equal steps; a step that is forced runs once for all graphs of this solver, until one of them fails. Throws the
   * first BuildError of a step, with `vertex` and `at`, or `signal.reason`, in both cases after everything it started has stopped.
   */
  solve(
    request: SolveRequest,
    roots: readonly Input[],
    context: CallContext,
    options?: SolveOptions,
  ): Promise<Solution>;
  /** Takes a graph that another build made as an input: what that one ran of its forced steps is used while it is open. */
  accept(definition: Definition): void;
  /** The build is over. */
  close(): void;
}

/** Running work, shared by all builds of a process. */
export interface Sharing {
  readonly flights: Flights<Made>;
  readonly open: Set<{ readonly once: DoneOnce; readonly terms: string }>;
  /** A new one each time. */
  readonly nextJob: () => string;
}

/** With no running work. */
export function openSharing(): Sharing {
  let jobs = 0;
  return { flights: openFlights(), open: new Set(), nextJob: () => `job ${++jobs}` };
}

/** The solver of a build; it does not dispose its worker and store. `limits` is called when the first step has to
 *  run (a fully cached build does not load the queues), and must return the same queues each time. */
export function openSolver(means: Means, sharing: Sharing = openSharing()): Solver {
  const once: DoneOnce = { forced: new Map(), foreign: new Set(), pins: new Map(), nested: 0 };
  const name = sharing.nextJob();
  const own = { once, terms: means.terms ?? "" };
  sharing.open.add(own);
  return {
    accept(definition) {
      for (const digest of definition.vertices.keys()) once.foreign.add(digest);
    },
    close: () => void sharing.open.delete(own),
    async solve(asked, askedRoots, context, options = {}) {
      context.signal.throwIfAborted();
      const governed = await means.govern?.(asked.definition, askedRoots, context);
      const { definition, roots } = governed ?? { definition: asked.definition, roots: askedRoots };
      const request = { ...asked, definition };
      const job = loadJob(request, roots);
      const records = openResultRecords(means.store, means.nowMs, means.imports);
      const keepIt = (): void => {
        if (options.trace === undefined) return;
        const build = keepTrace(
          means.store.records,
          options.trace,
          traceJob(job, request.noCache),
          means.nowMs(),
        );
        options.trace.onExplained?.(build);
      };
      try {
        const results = await runJob(job, context, {
          means,
          flights: sharing.flights,
          records,
          once,
          open: sharing.open,
          name,
          onResult: options.onResult ?? null,
          noCache: request.noCache,
          within: [],
        });
        // The caller's next task (packing layers) is mostly waiting: the comparison runs meanwhile.
        const explained = later(keepIt);
        return {
          results,
          chain: () => chainOf(job, records),
          origins: () => ({
            ...{ definition, roots, materials: materialsOf(job) },
            rootOf: (root) => roots[askedRoots.findIndex((one) => isSameInput(one, root))] ?? root,
            results: () => resultsOf(job, records),
          }),
          async [Symbol.asyncDispose]() {
            try {
              explained();
            } finally {
              await records[Symbol.asyncDispose]();
            }
          },
        };
      } catch (error) {
        await records[Symbol.asyncDispose]();
        // What was made may be what was wrong.
        once.forced.clear();
        once.pins.clear();
        if (!context.signal.aborted) keepIt();
        throw error;
      }
    },
  };
}

function isSameInput(a: Input, b: Input): boolean {
  return a.vertex === b.vertex && a.output === b.output;
}

const LATER_MS = 20;

/** Runs it later, or when the returned function is called, which also rethrows its error. */
function later(work: () => void): () => void {
  let outcome: { readonly error: unknown } | null = null;
  let isDone = false;
  const once = (): void => {
    if (isDone) return;
    isDone = true;
    clearTimeout(timer);
    try {
      work();
    } catch (error) {
      outcome = { error };
    }
  };
  const timer = setTimeout(once, LATER_MS);
  return () => {
    once();
    if (outcome !== null) throw outcome.error;
  };
}
