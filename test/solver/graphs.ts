// Functions to define arithmetic graphs, and one call to solve them.

import PQueue from "p-queue";
import type { Definition, Input, Vertex, VertexNote } from "../../solver/graph/definition.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import type { ProgressEvent } from "../../solver/graph/event.ts";
import { makeVertex } from "../../solver/graph/llb.ts";
import type { Attrs, ExecMount, ExecOp, FileAction, Platform } from "../../solver/graph/op.ts";
import type { CallContext } from "../../solver/graph/request.ts";
import type { Session } from "../../solver/graph/session.ts";
import { openSharing, openSolver, type Limits, type OnResult, type Solver } from "../../solver/solver.ts";
import { openMemoryStore } from "../support/memory-store.ts";
import { type Arithmetic, type Numbers, openArithmetic } from "../support/arithmetic.ts";
import { NO_SESSION } from "../support/session.ts";
import type { Store } from "../../cache/contract.ts";

export const EXEC: ExecOp = {
  ...{
    kind: "exec",
    args: [],
    env: [],
    cwd: "/",
    user: "",
    proxyEnv: null,
    extraHosts: [],
    hostname: "",
    ulimits: [],
  },
  ...{
    cgroupParent: "",
    validExitCodes: [],
    mounts: [],
    network: "sandbox",
    security: "sandbox",
    secretEnv: [],
    devices: [],
  },
};

export const COPY: FileAction & { kind: "copy" } = {
  ...{
    kind: "copy",
    from: 0,
    base: null,
    output: 0,
    src: "/",
    dest: "/",
    owner: null,
    mode: null,
    modeStr: "",
  },
  ...{
    followSymlink: false,
    dirCopyContents: true,
    attemptUnpack: false,
    createDestPath: true,
    allowWildcard: true,
  },
  ...{ allowEmptyWildcard: true, timestampNs: null, includePatterns: [], excludePatterns: [] },
  ...{ alwaysReplaceExistingDestPaths: false, requiredPaths: [] },
};

export interface SumExtras {
  readonly mounts?: readonly Input[];
  /** Of the op, in place of those that all sums have. */
  readonly fields?: Partial<ExecOp>;
}

/** A graph as it is written down. */
export interface Graph {
  source(identifier: string, attrs?: Attrs): Input;
  /** Writes at `where` the sum of `amount` and all files of root and mounts. */
  sum(name: string, amount: number, where: string, root: Input | null, more?: SumExtras): Input;
  file(path: string, number: number, base: Input | null): Input;
  copy(from: Input, src: string, dest: string, base: Input | null, platform?: Platform): Input;
  merge(...inputs: Input[]): Input;
  diff(lower: Input, upper: Input): Input;
  note(input: Input, note: Partial<VertexNote>): void;
  definition(): Definition;
}

export function openDraft(): Graph {
  const vertices = new Map<Digest, Vertex>();
  const notes = new Map<Digest, VertexNote>();
  const add = (vertex: Vertex): Input => {
    vertices.set(vertex.digest, vertex);
    return { vertex: vertex.digest, output: 0 };
  };
  const present = (inputs: readonly (Input | null)[]): Input[] => inputs.filter((input) => input !== null);
  return {
    source: (identifier, attrs = {}) => add(makeVertex({ kind: "source", identifier, attrs }, null, [])),
    sum(name, amount, where, root, { mounts = [], fields = {} } = {}) {
      const inputs = present([root, ...mounts]);
      const first = root === null ? 0 : 1;
      const bind = (
        input: number | null,
        target: string,
        readonly: boolean,
        output: number | null,
      ): ExecMount => ({
        ...{ kind: "bind", selector: "/", input, target, readonly, output },
      });
      const all = [
        bind(root === null ? null : 0, "/", false, 0),
        ...mounts.map((_, index) => bind(first + index, `/mnt/${index}`, true, null)),
      ];
      const args = ["sum", name, String(amount), where];
      return add(makeVertex({ ...EXEC, args, mounts: all, ...fields }, null, inputs));
    },
    file(path, number, base) {
      const data = new TextEncoder().encode(String(number));
      const action: FileAction = {
        ...{ kind: "mkfile", path, mode: 0o644, data, owner: null, timestampNs: null },
        ...{ base: base === null ? null : 0, output: 0 },
      };
      return add(makeVertex({ kind: "file", actions: [action] }, null, present([base])));
    },
    copy(from, src, dest, base, platform) {
      const action = { ...COPY, src, dest, base: base === null ? null : 1 };
      return add(makeVertex({ kind: "file", actions: [action] }, platform ?? null, present([from, base])));
    },
    merge: (...inputs) =>
      add(makeVertex({ kind: "merge", inputs: inputs.map((_, index) => index) }, null, inputs)),
    diff: (lower, upper) => add(makeVertex({ kind: "diff", lower: 0, upper: 1 }, null, [lower, upper])),
    note(input, note) {
      notes.set(input.vertex, { name: "", ignoreCache: false, at: [], group: null, ...note });
    },
    definition: () => ({ vertices, notes, root: null }),
  };
}

export function contextOf(
  events: ProgressEvent[] = [],
  signal?: AbortSignal,
  session: Session = NO_SESSION,
): CallContext {
  return { signal: signal ?? new AbortController().signal, session, emit: (event) => events.push(event) };
}

export interface Lab {
  readonly store: Store;
  readonly worker: Arithmetic;
  readonly solver: Solver;
  /** A build of several graphs, beside others. */
  openBuild(): Solver;
  /** Solves, gives the numbers of the first root and lets the results go. */
  solve(graph: Graph, roots: Input | readonly Input[], options?: LabOptions): Promise<Numbers>;
}
export interface LabOptions {
  readonly noCache?: boolean;
  readonly context?: CallContext;
  readonly onResult?: OnResult;
}

/** A solver over a calculating worker; several labs may share a store. */
export function openLab(store: Store = openMemoryStore(), nowMs: () => number = Date.now, width = 2): Lab {
  const worker = openArithmetic(store);
  let queues: Limits | null = null;
  const limits = async (): Promise<Limits> => {
    queues ??= {
      exec: new PQueue({ concurrency: width }),
      file: new PQueue({ concurrency: width }),
      source: new PQueue({ concurrency: width }),
    };
    return queues;
  };
  const sharing = openSharing();
  // A solver is one build.
  const openBuild = (): Solver => openSolver({ worker, store, limits, nowMs }, sharing);
  const solver: Solver = {
    async solve(...asked) {
      const build = openBuild();
      try {
        return await build.solve(...asked);
      } finally {
        build.close();
      }
    },
    accept: () => {},
    close: () => {},
  };
  return {
    ...{ store, worker, solver, openBuild },
    async solve(graph, roots, options = {}) {
      const all = Array.isArray(roots) ? (roots as readonly Input[]) : [roots as Input];
      const request = { definition: graph.definition(), noCache: options.noCache ?? false };
      await using solution = await solver.solve(request, all, options.context ?? contextOf(), {
        ...(options.onResult === undefined ? {} : { onResult: options.onResult }),
      });
      const [first] = solution.results;
      return first === undefined ? {} : worker.read(first);
    },
  };
}

/** Names and counts of what ran since the last call. */
export function ran(lab: Lab): Record<string, number> {
  const runs = Object.fromEntries(lab.worker.runs);
  lab.worker.runs.clear();
  return runs;
}
