// One build as its frontends see it: BuildKit's LLBBridge. The Dockerfile frontend of this process and those of clients use the same functions.

import type { CacheFrom } from "./cache-location.ts";
import type { Definition, Input } from "../../solver/graph/definition.ts";
import { type Digest, digestOf } from "../../solver/graph/digest.ts";
import { BuildError, type StepLeft } from "../../solver/graph/error.ts";
import type { Emit, ProgressEvent } from "../../solver/graph/event.ts";
import type { SourceOp } from "../../solver/graph/op.ts";
import { hostPlatform } from "../../solver/graph/platform.ts";
import type { CallContext, LayerId, Result } from "../../solver/graph/request.ts";
import type { Session } from "../../solver/graph/session.ts";
import { type Origins, openSolver } from "../../solver/solver.ts";
import { type LocalWorker, openWorker } from "../../worker/worker.ts";
import { dropForcedMounts } from "./forced-mounts.ts";
import { fetchHttpContext, fetchHttpDockerfile, sessionWithContext } from "./build-context.ts";
import { solveAndExport } from "./build-result.ts";
import { callFrontend, type OnImage, resolveShown } from "./dockerfile.ts";
import { resolvConfOf } from "./host-network.ts";
import type { EngineParts, OpenBuild } from "./parts.ts";
import {
  type Bridge,
  type BuildTerms,
  type EngineBuildOptions,
  EMPTY_REPORT,
  type FailedStep,
  NO_WORDS,
  type Ref,
  type ResolveOptions,
  type SourceMetadata,
} from "./request.ts";
import type { GovernedGraph, SourceGate } from "./source-gate.ts";
import type { SourcePolicy } from "./source-policy.ts";
import type { Lease } from "../../cache/contract.ts";
import type { Registry } from "../../cache/registry/contract.ts";

/** How a result is solved. */
interface Behind {
  readonly build: OpenBuild;
  readonly noCache: boolean;
}

/** Opens the bridge of a build; what it opens belongs to `parts`. */
export function openBridge(parts: EngineParts, terms: BuildTerms, options: EngineBuildOptions): Bridge {
  const { emit, signal } = options;
  const builds = new Map<string, Promise<OpenBuild>>();
  const behind = new WeakMap<Ref, Behind>();
  const solved = new WeakMap<Ref, Promise<Result>>();
  const failed = new WeakMap<BuildError, FailedStep>();
  /** Of what failed steps left. */
  let leases: Lease | null = null;
  const told = openTold(emit);
  /** Graphs that are solved in place of others. */
  const convertedGraphs = new Set<Definition>();
  const gates = new Map<string, Promise<SourceGate>>();
  const forced = new Set<Digest>();
  /** For provenance; null: nobody asks for any. */
  const seen =
    terms.attestations === null && options.onProvenance === undefined
      ? null
      : import("./provenance-seen.ts").then(({ openSeen }) => openSeen(Date.now()));
  const lock = terms.lock;
  const lockOf = lock === null ? null : import("./lock.ts").then(({ openBuildLock }) => openBuildLock(lock));
  const onImage: OnImage = async (source, ...found) => {
    const noted = await lockOf;
    (await seen)?.image(noted?.asAsked(source) ?? source, ...found);
    noted?.image(source, ...found);
  };
  const contextOf = ({ session }: OpenBuild): CallContext => ({ signal, session, emit: told.emit });

  /** What sources have to pass; null: nothing is said of any. `more`: policies beside those of the build. */
  function gateOf(more: readonly SourcePolicy[]): Promise<SourceGate | null> {
    const policies = [...terms.sourcePolicies, ...more];
    const { verifySource: verify } = terms;
    if (policies.length === 0 && verify === null && lock === null) return Promise.resolve(null);
    const key = JSON.stringify(more);
    const known =
      gates.get(key) ??
      import("./source-gate.ts").then(async ({ openSourceGate }) =>
        openSourceGate(policies, { verify, describe, lock: await lockOf }),
      );
    gates.set(key, known);
    return known;
  }

  async function govern(
    gate: SourceGate,
    definition: Definition,
    roots: readonly Input[],
  ): Promise<GovernedGraph> {
    const governed = await gate.graph(definition, roots, { signal });
    if (governed.definition !== definition && !convertedGraphs.has(governed.definition)) {
      convertedGraphs.add(governed.definition);
      options.onConverted?.(governed.definition);
    }
    return governed;
  }

  /** Graphs of the same session, caches and policies are solved by the same solver. */
  function buildOf(
    session: Session,
    cacheFrom: readonly CacheFrom[],
    pull: boolean,
    policies: readonly SourcePolicy[] = [],
  ): Promise<OpenBuild> {
    const open = async (): Promise<OpenBuild> => {
      const gate = await gateOf(policies);
      const means: SolvedWith = { session, cacheFrom, pull, gate };
      return await openBuild(
        parts,
        terms,
        means,
        options,
        gate === null ? null : (...graph) => govern(gate, ...graph),
      );
    };
    if (session !== terms.session) return open();
    const key = JSON.stringify([cacheFrom, pull, policies]);
    const known = builds.get(key);
    if (known !== undefined) return known;
    const opened = open();
    builds.set(key, opened);
    opened.catch(() => builds.delete(key)); // told to who asked
    return opened;
  }

  function refOf(definition: Definition, how: Behind): Ref {
    const ref: Ref = { definition };
    behind.set(ref, how);
    return ref;
  }

  function howOf(ref: Ref): Behind {
    const how = behind.get(ref);
    if (how === undefined) throw new Error("a result of another bridge");
    return how;
  }

  /** The result behind a ref, made once and kept until the build ends. */
  function resultOf(ref: Ref): Promise<Result> {
    const known = solved.get(ref);
    if (known !== undefined) return known;
    const { root } = ref.definition;
    const work = async (): Promise<Result> => {
      if (root === null) return { kind: "layers", layers: [] };
      const { build, noCache } = howOf(ref);
      return await persistently([build], contextOf(build), async (context) => {
        const request = { definition: ref.definition, noCache };
        await dropForcedMounts(parts, ref.definition, noCache, { known: forced, signal });
        const solution = parts.use(await build.solver.solve(request, [root], context));
        (await seen)?.others.push(solution.origins());
        await noteLocked(solution.origins());
        const [result] = solution.results;
        if (result === undefined) throw new Error("the solver gave no result");
        told.over();
        return result;
      });
    };
    const result = work();
    solved.set(ref, result);
    // Told to who asked; the next may have more luck.
    result.catch((error: unknown) => {
      solved.delete(ref);
      if (error instanceof BuildError && error.left !== null) keepLeft(ref, error, error.left);
    });
    return result;
  }

  /** Holds what the build was told is there until it ends. */
  function leaseOf(): Lease {
    leases ??= parts.use(parts.store.lease());
    return leases;
  }

  /** What a failed step left becomes results of this build. */
  function keepLeft(ref: Ref, error: BuildError, left: StepLeft): void {
    const how = howOf(ref);
    const lease = leaseOf();
    const kept = (layers: readonly string[] | null): Ref | null => {
      if (layers === null) return null;
      const found = layers as readonly LayerId[];
      lease.addLayers(found);
      const one = refOf({ vertices: new Map(), notes: new Map(), root: null }, how);
      solved.set(one, Promise.resolve({ kind: "layers", layers: found }));
      return one;
    };
    const graphs = [ref.definition, ...convertedGraphs];
    failed.set(error, {
      vertex: graphs.map(({ vertices }) => vertices.get(error.vertex as Digest)).find(Boolean) ?? null,
      inputs: left.inputs.map(kept),
      mounts: left.mounts.map(kept),
      subject: left.subject,
    });
  }

  /** What a source stands for now, whatever policies say. */
  async function describe(
    { identifier, attrs, kind }: SourceOp,
    { platform, name, gitObjects, resolveMode }: ResolveOptions,
  ): Promise<SourceMetadata> {
    const { store } = parts;
    const mode = resolveMode === "" ? (attrs["image.resolvemode"] ?? "") : resolveMode;
    const build = await buildOf(terms.session, [], mode === "pull");
    const context = contextOf(build);
    const source: SourceOp = {
      kind,
      identifier,
      attrs: mode === "" ? attrs : { ...attrs, "image.resolvemode": mode },
    };
    switch (identifier.split("://", 1)[0]) {
      case "docker-image":
      case "oci-layout": {
        const resolving = { platform: platform ?? hostPlatform(), name, context };
        return { kind: "image", image: await resolveShown(build, source, resolving) };
      }
      case "git": {
        const { describeGit } = await import("../../worker/sources/git.ts");
        const gitContext = { ...context, variables: parts.gitVariables };
        return { kind: "git", git: await describeGit(source, store, gitContext, { objects: gitObjects }) };
      }
      case "http":
      case "https": {
        const { downloadHttp } = await import("../../worker/sources/http.ts");
        const file = await downloadHttp(source, store, context, parts.transport);
        // A client that was told its digest builds on this file, whatever is pruned or served meanwhile.
        leaseOf().addBlobs([file.digest]);
        return { kind: "http", ...file };
      }
      default:
        return { kind: "other" };
    }
  }

  /** What a solved graph was made of. */
  async function noteLocked(origins: Origins): Promise<void> {
    const noted = await lockOf;
    if (noted !== null) (await import("./lock-graph.ts")).noteOrigins(noted, origins);
  }

  async function tellLocked(): Promise<void> {
    const noted = await lockOf;
    if (noted !== null) options.onLocked?.(noted.used());
  }

  /** Resolves the sources of graphs that no frontend has resolved. No step runs. */
  async function resolveOnly(graphs: readonly Definition[]): Promise<void> {
    const [gate, { resolveSources }] = [await gateOf([]), await import("./lock-graph.ts")];
    for (const graph of graphs)
      await resolveSources((await gate?.graph(graph, [], { signal }))?.definition ?? graph, noteFound);
  }

  /** What a source stands for, noted for provenance and lock as far as it is known to be of the build. */
  async function noteFound(source: SourceOp, question: ResolveOptions): Promise<SourceMetadata> {
    const found = await describe(source, question);
    // What policies ask about is not a part of the build yet.
    if (found.kind === "image") await onImage(source, question.platform ?? hostPlatform(), found.image);
    if (found.kind === "git") (await lockOf)?.material(source, null, found.git.commit);
    if (found.kind === "http") (await lockOf)?.material(source, null, found.digest);
    return found;
  }

  /** The layers of a result, unpacked. */
  async function unpacked(
    ref: Ref,
  ): Promise<{ readonly layers: readonly LayerId[]; readonly dirs: string[] }> {
    const result = await resultOf(ref);
    const { build } = howOf(ref);
    const context = contextOf(build);
    const layers = await build.worker.layersOf(result, context);
    const vertex = ref.definition.root?.vertex ?? digestOf("scratch");
    return { layers, dirs: await build.worker.unpacker.directories(layers, vertex, context) };
  }

  return {
    async dockerfile(asked) {
      const gate = await gateOf([]);
      const onDownload = async (url: string, digest: Digest): Promise<void> => {
        (await seen)?.http.push({ url, digest });
        (await lockOf)?.url(url, digest);
      };
      const written = await fetchHttpDockerfile(parts, asked, { ...options, gate, onDownload });
      const request = await fetchHttpContext(parts, written, { ...options, gate, onDownload });
      (await seen)?.directories(asked, { isFetched: request !== written });
      const session = await sessionWithContext(parts, request);
      const isBuild = request.call.name === "build";
      const build = await buildOf(session, isBuild ? request.cacheFrom : [], request.pull);
      for (const { definition } of request.inputs.values()) build.solver.accept(definition);
      const outcome = await callFrontend(build, request, contextOf(build), { ...options, onImage });
      if (outcome.kind === "answer") return outcome;
      const { converted, trace, onExported } = outcome;
      const images = converted.images.map(({ definition, ...image }) => ({
        ...image,
        ref: refOf(definition, { build, noCache: request.noCache }),
      }));
      const { multiPlatform, sourceDateEpoch } = converted;
      const call = (await seen)?.call("dockerfile.v0", asked.frontendArgs, converted.declared.names) ?? null;
      const result = { images, multiPlatform, words: NO_WORDS, sourceDateEpoch, trace, onExported, call };
      return { kind: "result", result };
    },
    async define(definition, { cacheFrom, sourcePolicies }) {
      const build = await buildOf(terms.session, cacheFrom, false, sourcePolicies);
      return refOf(definition, { build, noCache: false });
    },
    async evaluate(ref) {
      await resultOf(ref);
    },
    async look(ref, path, question) {
      const { dirs } = await unpacked(ref);
      await parts.keeper().begins();
      return await parts
        .keeper()
        .run({ kind: "look", tree: { kind: "layers", dirs }, path, question }, { signal });
    },
    async openContainer({ op, inputs, path }) {
      const build = await buildOf(terms.session, [], false);
      const layers = await Promise.all(inputs.map(async (ref) => (await unpacked(ref)).layers));
      const results = layers.map((one): Result => ({ kind: "layers", layers: one }));
      // An empty result is none: a cache mount is not one that was begun with it.
      const mounts = op.mounts.map((mount) =>
        "input" in mount && mount.input !== null && layers[mount.input]?.length === 0
          ? { ...mount, input: null }
          : mount,
      );
      const { worker } = build;
      return parts.use(
        await worker.openContainer({ ...op, mounts }, results, contextOf(build), path ?? undefined),
      );
    },
    failureOf: (error) => (error instanceof BuildError ? (failed.get(error) ?? null) : null),
    async resolveSource(asked, { sourcePolicies = [], ...question }) {
      const gate = await gateOf(sourcePolicies);
      const source = (await gate?.source(asked, question.platform, { signal })) ?? asked;
      return { source, found: await noteFound(source, question) };
    },
    async export(result, { outputs } = { outputs: [] }) {
      const images = result.images.map(({ ref, ...image }) => ({
        ...image,
        ...howOf(ref),
        definition: ref.definition,
      }));
      if (lock?.mode === "update") {
        await resolveOnly(images.map(({ definition }) => definition));
        await tellLocked();
        return EMPTY_REPORT;
      }
      const first = images[0]?.build ?? (await buildOf(terms.session, [], false));
      const all = [...new Set([first, ...images.map(({ build }) => build)])];
      for (const { definition, noCache } of images)
        await dropForcedMounts(parts, definition, noCache, { known: forced, signal });
      const { onProvenance = null } = options;
      const attesting = seen === null ? null : { seen: await seen, onProvenance };
      const report = await persistently(all, contextOf(first), (context) =>
        solveAndExport(first, { ...result, images, outputs, attesting, onOrigins: noteLocked }, context),
      );
      result.onExported?.();
      await tellLocked();
      return report;
    },
  };
}

/** What the graphs have in common that are solved together. */
interface SolvedWith {
  readonly session: Session;
  readonly cacheFrom: readonly CacheFrom[];
  readonly pull: boolean;
  readonly gate: SourceGate | null;
}

/** Worker and solver for the graphs of a session that import the same caches. */
async function openBuild(
  parts: EngineParts,
  terms: BuildTerms,
  { session, cacheFrom, pull, gate }: SolvedWith,
  { emit, signal, keepsFailed = false }: EngineBuildOptions,
  govern: ((definition: Definition, roots: readonly Input[]) => Promise<GovernedGraph>) | null,
): Promise<OpenBuild> {
  const useRegistry = (): ReturnType<EngineParts["registry"]> => parts.registry(terms.session);
  const caches = cacheFrom.length + terms.cacheTo.length > 0 ? await import("./build-caches.ts") : null;
  const imports = (await caches?.openBuildImports(parts, cacheFrom, useRegistry, emit)) ?? null;
  if (imports !== null) parts.use(imports);
  const { signaturePolicy = null } = terms;
  const signatures = signaturePolicy === null ? null : await import("./signature-policy.ts");
  const worker = parts.use(
    openWorker({
      store: parts.store,
      keeper: parts.keeper,
      registry: useRegistry,
      transport: parts.transport,
      gitVariables: parts.gitVariables,
      entitlements: new Set(terms.allow),
      resolveMode: pull ? "pull" : "default",
      resolvConf: resolvConfOf(parts.config.dns ?? null),
      network: parts.config.network ?? "sandbox",
      defaultPlatform: hostPlatform(),
      limits: terms.limits,
      signal,
      keepsFailed,
      ...(signatures === null || signaturePolicy === null
        ? {}
        : { admitImage: signatures.openSignatureGate(signaturePolicy, useRegistry) }),
      conditions: parts.config.stepConditions ?? null,
      ...(caches === null || imports === null
        ? {}
        : {
            cacheClaims: (layer, call) => imports.claims(layer, call),
            restoreMount: caches.mountRestorer(parts, imports, useRegistry),
          }),
    }),
  );
  const { store, limits, hold } = parts;
  const solver = openSolver(
    {
      ...{ worker, store, limits, hold, nowMs: Date.now, terms: sharedBy(terms, keepsFailed) },
      ...(imports === null ? {} : { imports }),
      ...(govern === null ? {} : { govern }),
    },
    parts.sharing,
  );
  parts.use({ [Symbol.asyncDispose]: async () => solver.close() });
  const registry = (): Promise<Registry> => useRegistry().then((opened) => withClientBlobs(opened, worker));
  return { parts, terms, session, worker, solver, registry, imports, gate };
}

/** Exporters fetch layers that no step has needed yet: those of a client's layouts come from the client, not from a registry. */
function withClientBlobs(registry: Registry, { images }: LocalWorker): Registry {
  return {
    ...registry,
    elsewhere: (from, descriptor, options) =>
      images.blob({ from, descriptor }, options) ?? registry.elsewhere?.(from, descriptor, options) ?? null,
  };
}

/** What must be equal for concurrent builds to share a running step. */
function sharedBy({ ociRuntime, limits, allow }: BuildTerms, keepsFailed: boolean): string {
  return JSON.stringify([ociRuntime, limits, [...allow].sort(), keepsFailed]);
}

/** Once a graph has been solved, others that contain the same steps do not tell of them again. */
interface Told {
  readonly emit: Emit;
  /** What has ended is not told again from now on. */
  over(): void;
}

function openTold(emit: Emit): Told {
  const ended = new Set<string>();
  const quiet = new Set<string>();
  return {
    emit(event) {
      const isStep =
        event.kind === "vertex" ||
        event.kind === "started" ||
        event.kind === "looking" ||
        event.kind === "cached" ||
        event.kind === "done";
      if (isStep && quiet.has(event.vertex)) return;
      if (event.kind === "done" || event.kind === "cached") ended.add(event.vertex);
      emit(event);
    },
    over() {
      for (const vertex of ended) quiet.add(vertex);
    },
  };
}

/** Runs `work`, again without imported caches that broke it, and again without each damaged blob. */
async function persistently<T>(
  builds: readonly OpenBuild[],
  context: CallContext,
  work: (context: CallContext) => Promise<T>,
): Promise<T> {
  let attempt = (context: CallContext): Promise<T> => withLostLayersMade(context, work);
  for (const { imports } of builds) {
    if (imports === null) continue;
    const inner = attempt;
    const { withoutBrokenCaches } = await import("./build-caches.ts");
    attempt = (context) => withoutBrokenCaches(imports, context, inner);
  }
  return await attempt(context);
}

/**
 * Runs `work`, and restarts it for each damaged blob without another source, a new one each time. Such a blob was
 * set aside, results that need it are no longer used, and the step that created it runs again (threat model R3).
 */
async function withLostLayersMade<T>(
  context: CallContext,
  work: (context: CallContext) => Promise<T>,
): Promise<T> {
  const met = new Set<string>();
  for (;;) {
    const held: ProgressEvent[] = [];
    const emit: Emit = (event) => {
      if (event.kind === "failed" && event.error.code === "STORE_CORRUPT") held.push(event);
      else context.emit(event);
    };
    try {
      return await work({ ...context, emit });
    } catch (error) {
      const isLoss = error instanceof BuildError && error.code === "STORE_CORRUPT" && !met.has(error.message);
      if (context.signal.aborted || !isLoss) {
        for (const event of held) context.emit(event);
        throw error;
      }
      met.add(error.message);
      context.emit({ kind: "note", message: `${error.message}; restarting the build without it` });
    }
  }
}
