// The door of the worker: makes one op happen. Contracts first; openWorker() below.

import { pullLayer } from "../cache/registry/image.ts";
import type { Registry } from "../cache/registry/client.ts";
import type { Store } from "../cache/store.ts";
import type { Vertex } from "../solver/graph/definition.ts";
import { type Digest, digestOf, parseDigest } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { DiffOp, ExecOp, FileOp, MergeOp, Platform, SourceOp } from "../solver/graph/op.ts";
import {
  type CallContext,
  type Entitlement,
  type LayerId,
  type Result,
  SCRATCH,
  type Session,
} from "../solver/graph/request.ts";
import { stackLayers } from "../solver/graph/stack.ts";
import type { Keeper } from "./keeper/keeper.ts";
import type { Selector, Tree } from "./keeper/messages.ts";
import type { Cgroups, StepCgroup } from "./cgroup.ts";
import type { ResourceLimits } from "./cgroup-limits.ts";
import { onPlatform } from "./emulation.ts";
import { openFinisher } from "./finish.ts";
import { openUnpacker, type Unpacker } from "./layers.ts";
import { type ExecDeps, type RestoreMount, runExecOp } from "./ops/exec.ts";
import { type ImageSource, layersDigest, openImageSource } from "./sources/image.ts";
import { openLocalSource } from "./sources/local.ts";

/** What a source stands for right now. */
export interface Pin {
  /** Names the content: manifest digest, commit, digest of downloaded bytes. null: only its files can tell (a local directory). */
  readonly digest: Digest | null;
  /** The result when it can be had without work (an image's layers before they are fetched, a live directory). */
  readonly result: Result | null;
}

export interface Worker extends AsyncDisposable {
  pin(op: SourceOp, platform: Platform | null, vertex: Digest, context: CallContext): Promise<Pin>;
  /** Digest of what the selectors pick out of a result; the paths an op really reads. */
  contentDigest(result: Result, selectors: readonly Selector[], context: CallContext): Promise<Digest>;
  /** Runs the op; one Result per output. `name` is how people know the step. `readDigest`: what was really read from live files,
   *  when it differs from what the key said. `earlier`: for each output, layers this step made before (held by the caller): one
   *  that the new layer equals but for its times stands in the result for it. */
  run(
    vertex: Vertex,
    inputs: readonly Result[],
    context: CallContext,
    name: string,
    earlier: EarlierLayers,
  ): Promise<RunOutcome>;
  /** Likely to be needed soon: starts the keeper ahead. `connected`: and a network for its steps. Resolves when it begins. */
  warm(connected: boolean): Promise<void>;
}
/** By output, newest first. */
export type EarlierLayers = readonly (readonly LayerId[])[];
export interface RunOutcome {
  readonly outputs: readonly (Result | null)[];
  /** For ops that read live files: digest (as contentDigest gives) of what was read; null: no live files. */
  readonly readDigest: Digest | null;
}

export interface WorkerOptions {
  readonly store: Store;
  /** Starts the keeper with the first call; networkAhead as in startKeeper. */
  readonly keeper: (networkAhead?: boolean) => Keeper;
  readonly registry: () => Promise<Registry>;
  readonly entitlements: ReadonlySet<Entitlement>;
  /** "pull": names of the local image store do not answer for the registry. */
  readonly resolveMode: "default" | "pull";
  readonly resolvConf: (network: ExecOp["network"]) => string;
  /** Where there is nothing better, steps with the default network get this. */
  readonly defaultNetwork: () => "sandbox" | "host";
  readonly defaultPlatform: Platform;
  /** What each step may use at most; left out: no limits. */
  readonly limits?: ResourceLimits | null;
  /** Of all that this worker is asked: once aborted, disposing waits for nothing that could be left out. */
  readonly signal: AbortSignal;
  /** See ExecDeps; left out: cache mounts begin empty. */
  readonly restoreMount?: RestoreMount;
}

export interface LocalWorker extends Worker {
  readonly images: ImageSource;
  readonly unpacker: Unpacker;
  /** The layers a result stands for; files of the asker become one. */
  layersOf(result: Result, context: CallContext): Promise<readonly LayerId[]>;
  /** A cgroup with the limits of the options, below `parent`: Cgroups.step() of cgroup.ts. */
  cgroup(parent: string, context: CallContext): Promise<StepCgroup | null>;
}

/** The worker of this machine. Disposing it does not end the keeper, which belongs to who made it. */
export function openWorker(options: WorkerOptions): LocalWorker {
  const { store, keeper } = options;
  const images = openImageSource(store, options.registry, options.resolveMode);
  const local = openLocalSource(store);
  // New layers are held from before they are visible until the worker closes; by then the records that name them exist.
  const lease = store.lease();
  const finisher = openFinisher(store, keeper, lease, options.signal);
  const unpacker = openUnpacker(store, keeper, async (remote, transfer) =>
    pullLayer(remote, store, await options.registry(), transfer),
  );

  let limited: Cgroups | null = null;
  const cgroup = async (parent: string, { emit }: CallContext): Promise<StepCgroup | null> => {
    const limits = options.limits ?? null;
    if (limits === null && parent === "") return null;
    const { openCgroups } = await import("./cgroup.ts");
    limited ??= openCgroups({
      limits,
      warn: (message, detail) => emit({ kind: "warning", rule: "", message, detail, url: "", at: [] }),
    });
    return limited.step(parent);
  };

  /** Files of the asker as a layer, for mounts: made once per content. */
  const materialized = async (
    files: Extract<Result, { kind: "files" }>,
    context: CallContext,
  ): Promise<readonly LayerId[]> => {
    const selector: Selector = { kind: "subtree", path: "/" };
    const digest = await local.digest(files, [selector], context.session, context);
    return store.exclusively(
      `materialize ${digest}`,
      async () => {
        const known = store.records.get<LayerId>("materialized", digest);
        if (known !== null && store.layers.get(known)?.unpacked === true) return [known];
        await using active = store.layers.prepare();
        const outcome = await keeper().run({
          kind: "materialize",
          tree: treeOfFiles(files, context.session),
          selector: "/",
          upper: active.upper,
        });
        const id = await finisher.finish(active, [], `files of ${files.name}`, context);
        // Files that changed meanwhile are another content: the record says what was really read.
        store.records.put("materialized", outcome.readDigest ?? digest, id);
        return [id];
      },
      { signal: context.signal },
    );
  };

  const layersOf = async (result: Result, context: CallContext): Promise<readonly LayerId[]> =>
    result.kind === "layers" ? result.layers : materialized(result, context);
  const directories = async (result: Result, vertex: Digest, context: CallContext): Promise<string[]> =>
    unpacker.directories(await layersOf(result, context), vertex, context);
  const treeOf = async (result: Result, vertex: Digest, context: CallContext): Promise<Tree> =>
    result.kind === "files"
      ? treeOfFiles(result, context.session)
      : { kind: "layers", dirs: await directories(result, vertex, context) };

  const runFile = async (
    vertex: Vertex,
    op: FileOp,
    inputs: readonly Result[],
    context: CallContext,
    name: string,
    earlier: EarlierLayers,
  ): Promise<RunOutcome> => {
    const first = op.actions[0];
    const last = op.actions.at(-1);
    if (first === undefined || last === undefined) throw new Error("a file op without actions");
    op.actions.forEach((action, index) => {
      const chained = index === 0 || action.base === inputs.length + index - 1;
      if (!chained || (action.output !== null && action !== last)) {
        throw new BuildError("SOURCE_FAILED", "a file op whose actions are not one chain is not supported");
      }
    });
    const base = first.base === null ? null : inputs[first.base];
    const [baseLayers, trees] = await Promise.all([
      base === null || base === undefined ? [] : layersOf(base, context),
      Promise.all(
        inputs.map(async (input, index) =>
          usesInput(op, index) ? treeOf(input, vertex.digest, context) : null,
        ),
      ),
    ]);
    const dirs = await unpacker.directories(baseLayers, vertex.digest, context);
    await using active = store.layers.prepare();
    const outcome = await keeper().run({
      kind: "file",
      base: dirs,
      upper: active.upper,
      work: active.work,
      inputs: trees,
      actions: op.actions,
      times: { epochSeconds: null },
    });
    context.signal.throwIfAborted();
    for (const message of outcome.notes ?? []) context.emit({ kind: "note", message });
    const output = last.output ?? 0;
    const id = await finisher.finish(active, earlier[output] ?? [], name, context);
    const outputs: (Result | null)[] = [];
    outputs[output] = { kind: "layers", layers: [...baseLayers, id] };
    return { outputs, readDigest: outcome.readDigest };
  };

  /** The solver does what can be done on lists of layers alone; what comes here holds files of the asker or strangers. */
  const runLayers = async (
    vertex: Vertex,
    op: MergeOp | DiffOp,
    inputs: readonly Result[],
    context: CallContext,
    name: string,
    earlier: EarlierLayers,
  ): Promise<RunOutcome> => {
    const listed = await Promise.all(
      inputs.map(
        async (input): Promise<Result> => ({ kind: "layers", layers: await layersOf(input, context) }),
      ),
    );
    const stacked = stackLayers(op, listed);
    if (stacked !== null) return { outputs: [stacked], readDigest: null };
    if (op.kind === "merge") throw new Error("lists of layers were not stacked");
    const [from, to] = await Promise.all(
      [op.lower, op.upper].map(async (index) => {
        const input = index === null ? SCRATCH : listed[index];
        return input === undefined ? [] : directories(input, vertex.digest, context);
      }),
    );
    await using active = store.layers.prepare();
    const { upper, work } = active;
    await keeper().run({ kind: "diff", from: from ?? [], to: to ?? [], upper, work });
    const id = await finisher.finish(active, earlier[0] ?? [], name, context);
    return { outputs: [{ kind: "layers", layers: [id] }], readDigest: null };
  };

  const pinSource = async (op: SourceOp, platform: Platform | null, context: CallContext): Promise<Pin> => {
    const scheme = op.identifier.slice(0, op.identifier.indexOf("://"));
    switch (scheme) {
      case "docker-image":
      case "oci-layout": {
        const image = await images.load(
          op.identifier,
          op.attrs,
          platform ?? options.defaultPlatform,
          context,
        );
        return { digest: layersDigest(image.layers), result: { kind: "layers", layers: image.layers } };
      }
      case "local":
        return { digest: null, result: local.result(op, context.session) };
      case "http":
      case "https":
        return (await import("./sources/http.ts")).pinHttp(op, store, context);
      case "git":
        return (await import("./sources/git.ts")).pinGit(op, store, context);
      default:
        throw new BuildError("SOURCE_FAILED", `sources of the kind "${scheme}" are not supported`);
    }
  };

  const runSource = async (op: SourceOp, context: CallContext): Promise<RunOutcome> => {
    const scheme = op.identifier.slice(0, op.identifier.indexOf("://"));
    const layer =
      scheme === "git"
        ? await (await import("./sources/git.ts")).fetchGit(op, store, context)
        : await (await import("./sources/http.ts")).fetchHttp(op, store, context);
    return { outputs: [{ kind: "layers", layers: [layer] }], readDigest: null };
  };

  return {
    images,
    unpacker,
    layersOf,
    cgroup,
    pin: (op, platform, _vertex, context) => pinSource(op, platform, context),
    async contentDigest(result, selectors, context) {
      if (result.kind === "files") return local.digest(result, selectors, context.session, context);
      const vertex = layersDigest(result.layers);
      // What layers hold never changes, so what was picked out of them once is known for ever.
      const key = digestOf(JSON.stringify([result.layers, selectors]));
      const known = store.records.get<Digest>("selection", key);
      if (known !== null) return known;
      const dirs = await unpacker.directories(result.layers, vertex, context);
      const digest = parseDigest(
        await keeper().run({ kind: "select", tree: { kind: "layers", dirs }, selectors }),
      );
      store.records.put("selection", key, digest);
      return digest;
    },
    async run(vertex, inputs, context, name, earlier) {
      const { op } = vertex;
      switch (op.kind) {
        case "file":
          return runFile(vertex, op, inputs, context, name, earlier);
        case "exec": {
          const network = op.network === "sandbox" ? options.defaultNetwork() : op.network;
          const deps: ExecDeps = {
            store,
            keeper,
            entitlements: options.entitlements,
            network,
            resolvConf: options.resolvConf,
            directories: (input) => directories(input, vertex.digest, context),
            layersOf: (input) => layersOf(input, context),
            finish: (active, output) =>
              finisher.finish(active, earlier[output] ?? [], op.args.join(" "), context),
            cgroup: (parent) => cgroup(parent, context),
            ...(options.restoreMount === undefined ? {} : { restoreMount: options.restoreMount }),
          };
          const outputs = await onPlatform(vertex.platform, options.defaultPlatform, () =>
            runExecOp(vertex, op, inputs, deps, context),
          );
          return { outputs, readDigest: null };
        }
        case "source":
          return runSource(op, context);
        case "merge":
        case "diff":
          return runLayers(vertex, op, inputs, context, name, earlier);
        case "build":
          throw new BuildError("SOURCE_FAILED", `this ${op.kind} step is not supported`);
      }
    },
    warm(connected) {
      return keeper(connected && options.defaultNetwork() === "sandbox").begins();
    },
    async [Symbol.asyncDispose]() {
      local.flush();
      await finisher[Symbol.asyncDispose]();
      await limited?.[Symbol.asyncDispose]();
      await lease[Symbol.asyncDispose]();
    },
  };
}

function treeOfFiles(files: Extract<Result, { kind: "files" }>, session: Session): Tree {
  return {
    kind: "files",
    root: session.directory(files.name),
    excludes: files.excludes,
    includes: files.includes,
    ...(files.gitModes === true ? { gitModes: true } : {}),
  };
}

/** Is the input read by an action, other than as the base of the first? */
function usesInput(op: FileOp, index: number): boolean {
  return op.actions.some((action) => {
    const owner = "owner" in action ? action.owner : null;
    const names = [owner?.user, owner?.group].some((one) => one?.kind === "name" && one.input === index);
    return names || (action.kind === "copy" && action.from === index);
  });
}
