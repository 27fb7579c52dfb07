// The door of the worker: runs one op. Contracts first; openWorker() below.

import { type Claims, openClaims } from "../cache/claims.ts";
import { pullBlob, pullLayer } from "../cache/registry/image.ts";
import type { Transport } from "../cache/registry/transport.ts";
import type { StepResources, Vertex } from "../solver/graph/definition.ts";
import { type Digest, digestOf, parseDigest } from "../solver/graph/digest.ts";
import { BuildError, printable } from "../solver/graph/error.ts";
import type { DiffOp, ExecOp, FileOp, MergeOp, Platform, SourceOp } from "../solver/graph/op.ts";
import {
  type CallContext,
  type Entitlement,
  type LayerId,
  type Result,
  SCRATCH,
} from "../solver/graph/request.ts";
import { stackLayers } from "../solver/graph/stack.ts";
import type { Keeper } from "./keeper/keeper.ts";
import type { FileJob, OtherNetwork, Selector, Tree } from "./keeper/messages.ts";
import type { Cgroups, StepCgroup } from "./cgroup.ts";
import { type ResourceLimits, withOwnLimits } from "./cgroup-limits.ts";
import { onPlatform } from "./emulation.ts";
import { openFinisher } from "./finish.ts";
import { type CacheClaims, type MergeLayers, openUnpacker, type Unpacker } from "./layers.ts";
import { processBound } from "./process-bound.ts";
import type { ContainerDeps } from "./ops/container.ts";
import type { StepConditions } from "./step-conditions.ts";
import { type ExecDeps, runExecOp } from "./ops/exec.ts";
import type { RestoreMount } from "./ops/exec-mounts.ts";
import { withFailedAction } from "./ops/file-failed.ts";
import { readsInput, runsOf } from "./ops/file-runs.ts";
import {
  type ImageSource,
  imageDigest,
  layersDigest,
  openImageSource,
  type ResolveMode,
} from "./sources/image.ts";
import { openLocalSource } from "./sources/local.ts";
import type { Registry } from "../cache/registry/contract.ts";
import type { AdmitImage, Container, EarlierLayers, Pin, RunOutcome, Worker } from "./contract.ts";
import type { Store } from "../cache/contract.ts";

export type { Unpacker } from "./layers.ts";

/** What the layers of a step are called, and which they may stand for: see Worker.run. */
interface StepLayers {
  readonly name: string;
  readonly earlier: EarlierLayers;
}

export interface WorkerOptions {
  readonly store: Store;
  /** Starts the keeper with the first call; networkAhead as in startKeeper. */
  readonly keeper: (networkAhead?: boolean) => Keeper;
  readonly registry: () => Promise<Registry>;
  /** For downloads by URL. */
  readonly transport: () => Promise<Transport>;
  /** Proxies and certificate authorities as variables for git. */
  readonly gitVariables: () => Promise<Readonly<Record<string, string>>>;
  readonly entitlements: ReadonlySet<Entitlement>;
  readonly resolveMode: ResolveMode;
  /** Asked about each image that is loaded; left out: all of them may be. */
  readonly admitImage?: AdmitImage;
  readonly resolvConf: (network: ExecOp["network"]) => string;
  /** Where steps are that are to have the usual network; omitted: in networks of their own. */
  readonly network?: ExecOp["network"];
  readonly defaultPlatform: Platform;
  /** Resource limits of each step; omitted: no limits. */
  readonly limits?: ResourceLimits | null;
  /** For all requests to this worker: once aborted, disposing does not wait for optional work. */
  readonly signal: AbortSignal;
  /** Omitted: no imported caches. */
  readonly cacheClaims?: CacheClaims;
  /** See ExecDeps; omitted: cache mounts start empty. */
  readonly restoreMount?: RestoreMount;
  /** See ExecDeps; omitted: false. */
  readonly keepsFailed?: boolean;
  /** See ExecDeps; omitted: nothing. */
  readonly conditions?: StepConditions | null;
}

export interface LocalWorker extends Worker {
  readonly images: ImageSource;
  /** Claims of the images loaded with `images`, and added ones. */
  readonly claims: Claims;
  readonly unpacker: Unpacker;
  /** A cgroup with the limits of the options, below `parent`: Cgroups.step() of cgroup.ts. */
  cgroup(parent: string, context: CallContext): Promise<StepCgroup | null>;
  /** Opens a container with the mounts of an exec op: ops/container.ts. `path`: PATH of its processes. */
  openContainer(
    op: ExecOp,
    inputs: readonly Result[],
    context: CallContext,
    path?: string,
  ): Promise<Container>;
  /** Reports once that a step used a network other than the usual one. */
  tellNetwork(found: OtherNetwork, step: string, context: CallContext): void;
}

/** The worker of this machine. Disposing it does not end the keeper, which belongs to its creator. */
export function openWorker(options: WorkerOptions): LocalWorker {
  const { store, keeper } = options;
  const claims = openClaims();
  const images = openImageSource(
    store,
    options.registry,
    options.resolveMode,
    claims,
    options.admitImage ?? null,
  );
  const local = openLocalSource(store);
  // New layers are leased from before they are visible until the worker closes; by then the records that refer to them exist.
  const lease = store.lease();
  const finisher = openFinisher(store, keeper, lease, options.signal);
  const merge: MergeLayers = (layers, dirs, context) => {
    const key = digestOf(JSON.stringify(["tsbuild.merged.v1", layers]));
    const work = async (): Promise<LayerId> => {
      const known = store.records.get<LayerId>("materialized", key);
      if (known !== null) lease.addLayers([known]);
      if (known !== null && store.layers.get(known)?.unpacked === true) return known;
      await using active = store.layers.prepare();
      const tree: Tree = { kind: "layers", dirs };
      await keeper().run({ kind: "materialize", tree, selector: "/", upper: active.upper }, context);
      const id = await finisher.finish(active, [], `${layers.length} layers as one`, context);
      store.records.put("materialized", key, id);
      return id;
    };
    return store.exclusively(`merge ${key}`, work, { signal: context.signal });
  };
  const unpacker = openUnpacker({
    store,
    keeper,
    claims,
    merge,
    cacheClaims: options.cacheClaims ?? null,
    hold: (layers) => lease.addLayers(layers),
    fetch: async (remote, transfer) => {
      const own = images.blob(remote, transfer);
      if (own === null) await pullLayer(remote, store, await options.registry(), transfer);
      else await pullBlob(remote.descriptor, store, () => own, transfer);
    },
  });

  const limited = new Map<string, Cgroups>();
  const cgroup = async (
    parent: string,
    { emit }: CallContext,
    own: StepResources | null = null,
  ): Promise<StepCgroup | null> => {
    const limits = withOwnLimits(options.limits ?? null, own);
    if (limits === null && parent === "") return null;
    const { openCgroups } = await import("./cgroup.ts");
    const key = JSON.stringify(limits);
    const cgroups =
      limited.get(key) ??
      openCgroups({
        limits,
        warn: (message, detail) => emit({ kind: "warning", rule: "", message, detail, url: "", at: [] }),
      });
    limited.set(key, cgroups);
    return cgroups.step(parent);
  };

  let toldNetwork: OtherNetwork["kind"] | null = null;
  /** Once per build: the same applies to all its steps. The host's network is never used without a warning (E5). */
  const tellNetwork = ({ kind, why }: OtherNetwork, step: string, { emit }: CallContext): void => {
    if (toldNetwork === kind) return;
    toldNetwork = kind;
    if (kind === "forwarded") {
      emit({ kind: "note", message: `tsbuild forwards step connections itself: ${why}` });
      return;
    }
    const message = `${firstLine(step)}: the step used the host's network: ${why}`;
    const detail = "So did all other steps of this build that do not set --network.";
    emit({ kind: "warning", rule: "", message, detail, url: "", at: [] });
  };

  /** Live files of the client as a layer, for mounts: created once per content. */
  const materialized = async (
    files: Extract<Result, { kind: "files" }>,
    context: CallContext,
  ): Promise<readonly LayerId[]> => {
    const selector: Selector = { kind: "subtree", path: "/" };
    const digest = await local.digest(files, [selector], context);
    return store.exclusively(
      `materialize ${digest}`,
      async () => {
        const known = store.records.get<LayerId>("materialized", digest);
        if (known !== null && store.layers.get(known)?.unpacked === true) return [known];
        await using active = store.layers.prepare();
        const outcome = await keeper().run(
          {
            kind: "materialize",
            tree: treeOfFiles(files),
            selector: "/",
            upper: active.upper,
          },
          { signal: context.signal },
        );
        const id = await finisher.finish(active, [], `files of ${files.name}`, context);
        // If files changed meanwhile, the content differs: the record has what was actually read.
        store.records.put("materialized", outcome.readDigest ?? digest, id);
        return [id];
      },
      { signal: context.signal, sparesWork: true },
    );
  };

  const layersOf = async (result: Result, context: CallContext): Promise<readonly LayerId[]> =>
    result.kind === "layers" ? result.layers : materialized(result, context);
  const directories = async (result: Result, vertex: Digest, context: CallContext): Promise<string[]> =>
    unpacker.directories(await layersOf(result, context), vertex, context);
  const treeOf = async (result: Result, vertex: Digest, context: CallContext): Promise<Tree> =>
    result.kind === "files"
      ? treeOfFiles(result)
      : { kind: "layers", dirs: await directories(result, vertex, context) };

  const runFile = async (
    vertex: Vertex,
    op: FileOp,
    inputs: readonly Result[],
    { name, earlier }: StepLayers,
    context: CallContext,
  ): Promise<RunOutcome> => {
    const outputs: (Result | null)[] = [];
    const results: Result[] = [...inputs]; // and of the runs so far
    const read: (Digest | null)[] = [];
    const runs = runsOf(op.actions, inputs.length);
    for (const run of runs) {
      const { actions, base, output } = run;
      const [baseLayers, trees] = await Promise.all([
        base === null ? [] : layersOf(results[base] as Result, context),
        Promise.all(
          results.map(async (input, index) =>
            readsInput(actions, index) ? treeOf(input, vertex.digest, context) : null,
          ),
        ),
      ]);
      const dirs = await unpacker.directories(baseLayers, vertex.digest, context);
      await using active = store.layers.prepare();
      const job: FileJob = {
        kind: "file",
        base: dirs,
        upper: active.upper,
        work: active.work,
        inputs: trees,
        actions,
        times: { epochSeconds: null },
      };
      const outcome = await keeper()
        .run(job, { signal: context.signal })
        .catch(async (error: unknown) => {
          if (options.keepsFailed !== true || !(error instanceof BuildError) || context.signal.aborted)
            throw error;
          const finish = async (): Promise<readonly LayerId[]> => [
            ...baseLayers,
            await finisher.finish(active, [], name, context),
          ];
          throw await withFailedAction(error, { op, runs, run, inputs, results, finish }, (input) =>
            layersOf(input, context),
          );
        });
      for (const message of outcome.notes ?? []) context.emit({ kind: "note", message });
      const id = await finisher.finish(active, output === null ? [] : (earlier[output] ?? []), name, context);
      const result: Result = { kind: "layers", layers: [...baseLayers, id] };
      results.push(result);
      if (output !== null) outputs[output] = result;
      read.push(outcome.readDigest);
    }
    // What several runs read together has no digest of its own here.
    return {
      outputs: Array.from(outputs, (one) => one ?? null),
      readDigest: read.length === 1 ? (read[0] ?? null) : null,
    };
  };

  /** The solver handles what needs only lists of layers; here are live files of the client, or results with no common base. */
  const runLayers = async (
    vertex: Vertex,
    op: MergeOp | DiffOp,
    inputs: readonly Result[],
    { name, earlier }: StepLayers,
    context: CallContext,
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
    const job = { kind: "diff", from: from ?? [], to: to ?? [], upper, work } as const;
    await keeper().run(job, { signal: context.signal });
    const id = await finisher.finish(active, earlier[0] ?? [], name, context);
    return { outputs: [{ kind: "layers", layers: [id] }], readDigest: null };
  };

  /** What steps and containers are made with. */
  const containerDeps = (
    op: ExecOp,
    vertex: Digest,
    context: CallContext,
    resources: StepResources | null,
  ): ContainerDeps => ({
    store,
    keeper,
    entitlements: options.entitlements,
    otherNetwork: (found, step) => tellNetwork(found, step, context),
    resolvConf: options.resolvConf,
    usualNetwork: options.network ?? "sandbox",
    directories: (input) => directories(input, vertex, context),
    layersOf: (input) => layersOf(input, context),
    cgroup: (parent) => cgroup(parent, context, resources),
    processes: processBound(options.limits?.pids ?? null, op.ulimits),
    ...(options.restoreMount === undefined ? {} : { restoreMount: options.restoreMount }),
  });

  const pinSource = async (
    op: SourceOp,
    platform: Platform | null,
    vertex: Digest,
    context: CallContext,
    paths: readonly string[] | null,
  ): Promise<Pin> => {
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
        return {
          digest: imageDigest(image.layers, store),
          result: { kind: "layers", layers: image.layers },
          material: image.isPrivate ? null : image.digest,
        };
      }
      case "docker-image+blob":
      case "oci-layout+blob":
        return (await import("./sources/blob.ts")).pinBlob(op, context, {
          store,
          registry: options.registry,
          keeper,
        });
      case "local":
        return { digest: null, result: await local.result(op, vertex, context, paths), material: null };
      case "http":
      case "https":
        return (await import("./sources/http.ts")).pinHttp(op, store, context, options.transport);
      case "git":
        return (await import("./sources/git.ts")).pinGit(op, vertex, store, {
          ...context,
          variables: options.gitVariables,
        });
      default:
        throw new BuildError(
          "SOURCE_FAILED",
          `sources of the kind "${printable(scheme, 100)}" are not supported`,
        );
    }
  };

  const runSource = async (op: SourceOp, context: CallContext): Promise<RunOutcome> => {
    return { outputs: [{ kind: "layers", layers: [await fetchSource(op, context)] }], readDigest: null };
  };
  const fetchSource = async (op: SourceOp, context: CallContext): Promise<LayerId> => {
    const { transport, registry, gitVariables: variables } = options;
    if (op.identifier.startsWith("git://"))
      return (await import("./sources/git.ts")).fetchGit(op, store, { ...context, variables });
    if (/^https?:/.test(op.identifier))
      return (await import("./sources/http.ts")).fetchHttp(op, store, context, { transport, keeper });
    return (await import("./sources/blob.ts")).fetchBlob(op, context, { store, registry, keeper });
  };

  return {
    images,
    claims,
    unpacker,
    layersOf,
    cgroup,
    tellNetwork,
    async openContainer(op, inputs, context, path) {
      const { openContainer } = await import("./ops/container.ts");
      const vertex = digestOf(JSON.stringify(op.mounts));
      const deps = containerDeps(op, vertex, context, null);
      return await openContainer(op, inputs, deps, { ...context, path, vertex });
    },
    pin: pinSource,
    async contentDigest(result, selectors, context, told) {
      if (result.kind === "files")
        return local.digest(result, selectors, { signal: context.signal, ...told });
      const vertex = layersDigest(result.layers);
      // Layers are immutable, so the digest of a selection never changes.
      const key = digestOf(JSON.stringify([result.layers, selectors]));
      const known = store.records.get<Digest>("selection", key);
      if (known !== null) return known;
      const dirs = await unpacker.directories(result.layers, vertex, context);
      const digest = parseDigest(
        await keeper().run(
          { kind: "select", tree: { kind: "layers", dirs }, selectors },
          { signal: context.signal },
        ),
      );
      store.records.put("selection", key, digest);
      return digest;
    },
    async readFile(result, path, { maxBytes, vertex }, context) {
      const dirs = await directories(result, vertex, context);
      return keeper().run({ kind: "read", dirs, path, maxBytes }, { signal: context.signal });
    },
    async run(vertex, inputs, context, { name, resources }, earlier) {
      const { op } = vertex;
      switch (op.kind) {
        case "file":
          return runFile(vertex, op, inputs, { name, earlier }, context);
        case "exec": {
          const deps: ExecDeps = {
            ...containerDeps(op, vertex.digest, context, resources),
            keepsFailed: options.keepsFailed ?? false,
            conditions: options.conditions ?? null,
            finish: (active, output) =>
              finisher.finish(active, earlier[output] ?? [], op.args.join(" "), context),
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
          return runLayers(vertex, op, inputs, { name, earlier }, context);
        case "passthrough":
          return { outputs: op.outputs.map((input) => inputs[input] ?? null), readDigest: null };
        case "build":
          throw new Error("a definition in a file is built by the solver");
      }
    },
    warm(connected) {
      return keeper(connected).begins();
    },
    async [Symbol.asyncDispose]() {
      await local[Symbol.asyncDispose]();
      await finisher[Symbol.asyncDispose]();
      for (const cgroups of [...limited.values()].reverse()) await cgroups[Symbol.asyncDispose]();
      await lease[Symbol.asyncDispose]();
    },
  };
}

/** The start of a command, for messages. */
function firstLine(command: string): string {
  const [line = ""] = command.split("\n");
  return line.length > 60 ? `${line.slice(0, 60)}…` : line;
}

function treeOfFiles(files: Extract<Result, { kind: "files" }>): Tree {
  return {
    kind: "files",
    root: files.root,
    excludes: files.excludes,
    includes: files.includes,
    ...(files.gitModes === true ? { gitModes: true } : {}),
  };
}
