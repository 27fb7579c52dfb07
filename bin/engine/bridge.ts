// One build as its frontends see it: BuildKit's LLBBridge. The Dockerfile frontend of this process and those of clients use the same functions.

import type { CacheFrom } from "./cache-location.ts";
import type { Definition, Input } from "../../solver/graph/definition.ts";
import { type Digest, digestOf } from "../../solver/graph/digest.ts";
import { BuildError, type StepLeft } from "../../solver/graph/error.ts";
import type { SourceOp } from "../../solver/graph/op.ts";
import { hostPlatform } from "../../solver/graph/platform.ts";
import type { CallContext, LayerId, Result } from "../../solver/graph/request.ts";
import type { Session } from "../../solver/graph/session.ts";
import type { Origins } from "../../solver/solver.ts";
import { dropForcedMounts } from "./forced-mounts.ts";
import { fetchHttpContext, fetchHttpDockerfile, sessionWithContext } from "./build-context.ts";
import { openAttested } from "./attested.ts";
import { solveAndExport } from "./build-result.ts";
import type { SolvedBy } from "./export-request.ts";
import { callFrontend, type OnImage, resolveShown } from "./dockerfile.ts";
import { persistently } from "./lost-layers.ts";
import { openBuild, type SolvedWith } from "./open-build.ts";
import type { EngineParts, OpenBuild } from "./parts.ts";
import { type BuildTerms, type EngineBuildOptions, EMPTY_REPORT } from "./request.ts";
import { type Bridge, type FailedStep, NO_WORDS, type Ref } from "./bridge-contract.ts";
import type { LookAnswer, TreeQuestion } from "../../worker/keeper/messages.ts";
import type { ResolveOptions, SourceMetadata } from "./source-metadata.ts";
import type { GovernedGraph, SourceGate } from "./source-gate.ts";
import type { SourcePolicy } from "./source-policy.ts";
import { openTold } from "./told-once.ts";
import type { Lease } from "../../cache/contract.ts";

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

  async function look(ref: Ref, path: string, question: TreeQuestion): Promise<LookAnswer> {
    const { dirs } = await unpacked(ref);
    await parts.keeper().begins();
    return await parts
      .keeper()
      .run({ kind: "look", tree: { kind: "layers", dirs }, path, question }, { signal });
  }

  const resolveSource: Bridge["resolveSource"] = async (asked, { sourcePolicies = [], ...question }) => {
    const gate = await gateOf(sourcePolicies);
    const source = (await gate?.source(asked, question.platform, { signal })) ?? asked;
    return { source, found: await noteFound(source, question) };
  };

  const attested = openAttested(terms.attestations, { resolveSource, look, emit });

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
      if (isBuild) await attested.prepare(request.pull); // a scanner that is not there fails the build before its first step
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
    look,
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
    resolveSource,
    async export(result, { outputs } = { outputs: [] }) {
      if (lock?.mode === "update") {
        await resolveOnly(result.images.map(({ ref }) => ref.definition));
        await tellLocked();
        return EMPTY_REPORT;
      }
      const images: SolvedBy[] = [];
      for (const image of result.images) {
        const { ref, scans = [], platform, config, baseHistory } = image;
        const how = howOf(ref);
        const attestations = await attested.byFrontend(image, how.build, contextOf(how.build));
        images.push({
          platform,
          config,
          baseHistory,
          definition: ref.definition,
          scans,
          attestations,
          ...how,
        });
      }
      const first = images[0]?.build ?? (await buildOf(terms.session, [], false));
      const all = [...new Set([first, ...images.map(({ build }) => build)])];
      for (const { definition, noCache } of images)
        await dropForcedMounts(parts, definition, noCache, { known: forced, signal });
      const { onProvenance = null } = options;
      const attesting = seen === null ? null : { seen: await seen, onProvenance };
      const scanning = await attested.scanning(images);
      const request = { ...result, images, outputs, attesting, scanning, onOrigins: noteLocked };
      const report = await persistently(all, contextOf(first), (context) =>
        solveAndExport(first, request, context),
      );
      result.onExported?.();
      await tellLocked();
      return report;
    },
  };
}
