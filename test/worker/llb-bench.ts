// Definitions as clients send them, solved for real: from bytes, through solver and worker, in a sandbox and with a store of their own.

import assert from "node:assert/strict";
import PQueue from "p-queue";
import type { Registry } from "../../cache/registry/contract.ts";
import type { Transport } from "../../cache/registry/transport.ts";
import type { Store } from "../../cache/contract.ts";
import { openStore } from "../../cache/store.ts";
import type { Input, VertexNote } from "../../solver/graph/definition.ts";
import { type GraphBuilder, openGraph } from "../../solver/graph/llb.ts";
import { decodeDefinition, encodeDefinition } from "../../solver/graph/llb-definition.ts";
import type { CopyAction, ExecMount, ExecOp, FileAction, Op, Platform } from "../../solver/graph/op.ts";
import { hostPlatform } from "../../solver/graph/platform.ts";
import type { CallContext, Entitlement, Result } from "../../solver/graph/request.ts";
import type { Session } from "../../solver/graph/session.ts";
import { openSolver } from "../../solver/solver.ts";
import { openWorker } from "../../worker/worker.ts";
import { EXEC } from "../solver/any-op.ts";
import { NO_SESSION } from "../support/session.ts";
import { temporaryDir } from "../support/store.ts";
import { openSandboxUnderTest, type SandboxUnderTest } from "./sandbox-fixture.ts";

export interface Solved {
  readonly result: Result;
  /** What the steps wrote. */
  readonly log: string;
  /** Names of the steps that ran. */
  readonly ran: readonly string[];
}

export interface SolveWith {
  readonly session?: Partial<Session>;
  readonly entitlements?: readonly Entitlement[];
  readonly caps?: ReadonlySet<string>;
  readonly registry?: () => Promise<Registry>;
  readonly transport?: () => Promise<Transport>;
}

export interface LlbBench extends AsyncDisposable {
  readonly sandbox: SandboxUnderTest;
  readonly store: Store;
  /** Solves for what `make` gives. */
  solve(make: (graph: Draft) => Input, options?: SolveWith): Promise<Solved>;
  /** The same with a definition in its bytes. */
  solveBytes(bytes: Uint8Array, options?: SolveWith): Promise<Solved>;
  /** The bytes of a definition. */
  encode(make: (graph: Draft) => Input): Uint8Array;
  /** What a shell script says of a result, which is at /in. */
  look(make: (graph: Draft) => Input, script: string, options?: SolveWith): Promise<string>;
}

/** A definition that is being made. */
export interface Draft {
  add(op: Op, inputs?: readonly Input[], note?: Partial<VertexNote>, platform?: Platform | null): Input;
  /** A root file system with busybox. */
  base(): Input;
  /** A shell script on a root file system; `inputs` are those of the mounts, from 1 on. The result is output 0. */
  sh(script: string, more?: Partial<ExecOp>, inputs?: readonly Input[], note?: Partial<VertexNote>): Input;
  /** A command with nothing set. */
  readonly exec: ExecOp;
  /** A file step; each action may leave out what is usual. */
  file(inputs: readonly Input[], ...actions: readonly FileAction[]): Input;
}

export const ROOT: ExecMount = {
  ...{ kind: "bind", input: 0, selector: "", target: "/", readonly: false, output: 0 },
};

/** A mount of an input that nothing is kept of. */
export function bind(input: number | null, target: string, more: object = {}): ExecMount {
  return { kind: "bind", input, selector: "", target, readonly: true, output: null, ...more } as ExecMount;
}

const MADE = { owner: null, timestampNs: null, output: 0 } as const;
export const mkfile = (path: string, text: string, more: object = {}): FileAction =>
  ({
    ...MADE,
    kind: "mkfile",
    base: null,
    path,
    mode: 0o644,
    data: Buffer.from(text),
    ...more,
  }) as FileAction;
export const mkdir = (path: string, more: object = {}): FileAction =>
  ({ ...MADE, kind: "mkdir", base: null, path, mode: 0o755, makeParents: false, ...more }) as FileAction;
export const symlink = (path: string, target: string, more: object = {}): FileAction =>
  ({ ...MADE, kind: "symlink", base: null, path, target, ...more }) as FileAction;
export const rm = (path: string, more: object = {}): FileAction =>
  ({
    ...{ kind: "rm", base: null, output: 0, path, allowNotFound: false, allowWildcard: false },
    ...more,
  }) as FileAction;
const COPIED: CopyAction = {
  ...{
    src: "/",
    dest: "/",
    owner: null,
    mode: null,
    modeStr: "",
    followSymlink: false,
    dirCopyContents: false,
  },
  ...{ attemptUnpack: false, createDestPath: false, allowWildcard: false, allowEmptyWildcard: false },
  ...{ timestampNs: null, includePatterns: [], excludePatterns: [], alwaysReplaceExistingDestPaths: false },
  requiredPaths: [],
};
export const copy = (from: number | null, src: string, dest: string, more: object = {}): FileAction =>
  ({ ...COPIED, kind: "copy", base: null, output: 0, from, src, dest, ...more }) as FileAction;

function draft(graph: GraphBuilder): Draft {
  const add: Draft["add"] = (op, inputs = [], note = {}, platform = null) =>
    graph.add(op, platform, inputs, { name: "", ignoreCache: false, at: [], group: null, ...note });
  const base: Draft["base"] = () => {
    const live = add({ kind: "source", identifier: "local://base", attrs: {} }, [], { name: "busybox" });
    const action = copy(0, "/", "/", { dirCopyContents: true, output: 0 });
    return add({ kind: "file", actions: [action] }, [live], { name: "base" });
  };
  return {
    add,
    base,
    sh: (script, more = {}, inputs = [], note = {}) =>
      add(
        {
          ...EXEC,
          args: ["/bin/sh", "-c", script],
          env: ["PATH=/bin"],
          network: "none",
          mounts: [ROOT],
          ...more,
        },
        [base(), ...inputs],
        { name: script, ...note },
      ),
    exec: { ...EXEC, network: "none" },
    file: (inputs, ...actions) => add({ kind: "file", actions }, inputs),
  };
}

/** Opens a bench; steps run as they do for this user. */
export async function openLlbBench(): Promise<LlbBench> {
  const sandbox = await openSandboxUnderTest();
  const temp = temporaryDir();
  const store = await openStore(temp.at("store"));
  const queue = new PQueue({ concurrency: 4 });

  const solveBytes: LlbBench["solveBytes"] = async (bytes, options = {}) => {
    const definition = decodeDefinition(bytes, options.caps === undefined ? {} : { caps: options.caps });
    const { root } = definition;
    assert.ok(root !== null);
    const { signal } = new AbortController();
    const ran: string[] = [];
    const log: Uint8Array[] = [];
    const names = new Map<string, string>();
    const files: Session["files"] = async (name) =>
      name === "base"
        ? { kind: "here", path: sandbox.base }
        : (options.session?.files ?? NO_SESSION.files)(name);
    const context: CallContext = {
      signal,
      session: { ...NO_SESSION, ...options.session, files },
      emit: (event) => {
        if (event.kind === "vertex") names.set(event.vertex, event.name);
        if (event.kind === "started") ran.push(names.get(event.vertex) ?? "");
        if (event.kind === "log") log.push(event.data);
      },
    };
    await using worker = openWorker({
      store,
      keeper: () => sandbox.keeper,
      registry: options.registry ?? (() => Promise.reject(new Error("no registry"))),
      transport: options.transport ?? (() => Promise.reject(new Error("no downloads"))),
      gitVariables: async () => ({}),
      entitlements: new Set(options.entitlements),
      resolveMode: "default",
      resolvConf: () => "",
      defaultPlatform: hostPlatform(),
      signal,
    });
    const limits = async () => ({ exec: queue, file: queue, source: queue });
    const solver = openSolver({ worker, store, limits, nowMs: Date.now });
    await using solution = await solver.solve({ definition, noCache: false }, [root], context);
    const [result] = solution.results;
    assert.ok(result !== undefined);
    return { result, ran, log: Buffer.concat(log).toString() };
  };

  const encode: LlbBench["encode"] = (make) => {
    const graph = openGraph();
    return encodeDefinition(graph.definition(make(draft(graph))));
  };

  return {
    sandbox,
    store,
    encode,
    solveBytes,
    solve: (make, options) => solveBytes(encode(make), options),
    async look(make, script, options) {
      const bytes = encode((graph) =>
        graph.sh(script, { mounts: [ROOT, bind(1, "/in")] }, [make(graph)], { ignoreCache: true }),
      );
      return (await solveBytes(bytes, options)).log;
    },
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]();
      await sandbox[Symbol.asyncDispose]();
      temp[Symbol.dispose]();
    },
  };
}

/** The error of work that must fail: its code and its words. */
export async function failure(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    assert.ok(error instanceof Error);
    return `${(error as { code?: string }).code ?? ""}: ${error.message}`;
  }
  return "nothing failed";
}
