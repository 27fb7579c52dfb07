// One build: frontend, solver, exporters, in the order of "The walk" in ARCHITECTURE.md.

import type { Definition } from "../../solver/graph/definition.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Emit, ProgressEvent } from "../../solver/graph/event.ts";
import { hostPlatform } from "../../solver/graph/platform.ts";
import type { CallContext, LayerId } from "../../solver/graph/request.ts";
import { openSolver } from "../../solver/solver.ts";
import { openWorker } from "../../worker/worker.ts";
import {
  fetchHttpContext,
  fetchHttpDockerfile,
  sessionWithContext,
  sourceGraph,
  sourceTime,
} from "./build-context.ts";
import { EMPTY_REPORT, solveAndExport } from "./build-result.ts";
import { contextSource, frontendOptions } from "./frontend-options.ts";
import { resolvConfOf } from "./host-network.ts";
import type { EngineParts, OpenBuild } from "./parts.ts";
import type { BuildReport, BuildRequest, EngineBuildOptions } from "./request.ts";
import { traceOf } from "./trace-request.ts";
import type { FrontendHost, FrontendOptions } from "../../frontend/contract.ts";

/** Builds what was asked. Throws BuildError for what the user is to be told; everything started has ended by then, but for steps that other
 *  builds wait for. */
export async function runBuild(
  parts: EngineParts,
  asked: BuildRequest,
  options: EngineBuildOptions,
): Promise<BuildReport> {
  const written = await fetchHttpDockerfile(parts, asked, options);
  const request = await fetchHttpContext(parts, written, options);
  const session = await sessionWithContext(parts, request);
  const context: CallContext = { signal: options.signal, session, emit: options.emit };
  const useRegistry = (): ReturnType<EngineParts["registry"]> => parts.registry(session);
  const caches =
    request.cacheFrom.length + request.cacheTo.length > 0 ? await import("./build-caches.ts") : null;
  const imports = (await caches?.openBuildImports(parts, request, useRegistry, options.emit)) ?? null;
  if (imports !== null) parts.use(imports);
  const { network = "sandbox" } = parts.config;
  const worker = parts.use(
    openWorker({
      store: parts.store,
      keeper: parts.keeper,
      registry: useRegistry,
      transport: parts.transport,
      gitVariables: parts.gitVariables,
      entitlements: new Set(request.allow),
      resolveMode: request.pull ? "pull" : "default",
      resolvConf: resolvConfOf(parts.config.dns ?? null),
      network,
      defaultPlatform: hostPlatform(),
      limits: request.limits,
      signal: options.signal,
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
      ...{ worker, store, limits, hold, nowMs: Date.now, terms: termsOf(request) },
      ...(imports === null ? {} : { imports }),
    },
    parts.sharing,
  );
  const build: OpenBuild = { parts, request, worker, solver, registry: useRegistry, imports };
  const frontend = await import("../../frontend/frontend.ts");
  const host = frontendHost(build, context);
  const source = contextSource(request);
  const readRemote = async (path: string): Promise<Uint8Array | null> => {
    return host.readFile(sourceGraph(source, request), path, { signal: options.signal });
  };
  const { emit, signal } = options;
  const frontendRequest = await frontendOptions(request, source, {
    session,
    store,
    readRemote,
    emit,
    signal,
  });
  const text = {
    file: frontendRequest.dockerfile.name,
    text: new TextDecoder().decode(frontendRequest.dockerfile.data),
  };
  options.onSource(text);
  // A Dockerfile (or argument) that was never built successfully here certainly has a step to run: the keeper starts while
  // base images are resolved. Otherwise the solver decides whether it is needed.
  const wish = digestOf(
    JSON.stringify([text.text, request.target, [...request.buildArgs], request.platforms]),
  );
  if (request.call.name === "build" && (request.noCache || parts.store.records.get("built", wish) === null))
    await worker.warm(
      request.network === "default" && network === "sandbox" && /^[\t ]*RUN\b/im.test(text.text),
    );

  const note = (message: string): void => options.emit({ kind: "note", message });
  if (request.call.name !== "build") {
    return {
      ...EMPTY_REPORT,
      answer: await answerCall(
        frontend,
        request.call.name,
        { options: frontendRequest, host, source: text },
        { signal: options.signal, note },
      ),
    };
  }
  const converted = await frontend.convert(frontendRequest, host, {
    signal: options.signal,
    note,
    onWarnings(warnings) {
      for (const { rule, detail, description, url, at } of warnings)
        options.emit({ kind: "warning", rule, message: detail, detail: description, url, at: [at] });
    },
  });
  await options.onConverted?.(converted);
  const trace = traceOf(request, converted.declared, options);
  const attempt = (context: CallContext): Promise<BuildReport> =>
    withLostLayersMade(context, (context) => solveAndExport(build, converted, trace, context));
  const report = await (caches === null
    ? attempt(context)
    : caches.withoutBrokenCaches(imports, context, attempt));
  if (parts.store.records.get("built", wish) === null) parts.store.records.put("built", wish, 1);
  return report;
}

/** What must be equal for concurrent builds to share a running step. */
function termsOf({ ociRuntime, limits, allow }: BuildRequest): string {
  return JSON.stringify([ociRuntime, limits, [...allow].sort()]);
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

/** What a frontend is asked about. */
interface Question {
  readonly options: FrontendOptions;
  readonly host: FrontendHost;
  /** The Dockerfile of `options` as text. */
  readonly source: { readonly file: string; readonly text: string };
}

async function answerCall(
  frontend: typeof import("../../frontend/frontend.ts"),
  name: BuildRequest["call"]["name"],
  { options, host, source }: Question,
  call: { readonly signal: AbortSignal; readonly note: (message: string) => void },
): Promise<NonNullable<BuildReport["answer"]>> {
  switch (name) {
    case "check":
      return { kind: "check", result: await frontend.check(options, host, call) };
    case "outline":
      return { kind: "outline", outline: await frontend.outline(options, host, call), source };
    case "targets":
      return { kind: "targets", targets: await frontend.targets(options, host, call), source };
    case "build":
      throw new Error("a build is no call");
  }
}

function frontendHost(build: OpenBuild, context: CallContext): FrontendHost {
  const { parts, request, worker } = build;
  return {
    async resolveImage(identifier, attrs, platform, { signal, vertexName }) {
      const vertex = digestOf(`resolve ${identifier}`);
      const at = (kind: "started" | "done"): void => context.emit({ kind, vertex, atMs: Date.now() });
      context.emit({ kind: "vertex", vertex, name: vertexName, inputs: [], at: [] });
      at("started");
      try {
        const image = await worker.images.load(identifier, attrs, platform, { signal });
        at("done");
        return { digest: image.digest, config: image.config, isPrivate: image.isPrivate };
      } catch (error) {
        if (error instanceof BuildError) context.emit({ kind: "failed", vertex, atMs: Date.now(), error });
        throw error;
      }
    },
    sourceTime: (source) => sourceTime(source, request, parts, context),
    async readFile(source, path) {
      const layers = await solveLayers(build, source, context);
      const vertex = source.root?.vertex;
      if (vertex === undefined) return null;
      const dirs = await worker.unpacker.directories(layers, vertex, context);
      return parts.keeper().run({ kind: "read", dirs, path, maxBytes: 16 << 20 }, context);
    },
  };
}

async function solveLayers(
  { solver, worker }: OpenBuild,
  definition: Definition,
  context: CallContext,
): Promise<readonly LayerId[]> {
  if (definition.root === null) return [];
  await using solution = await solver.solve({ definition, noCache: false }, [definition.root], context);
  const [result] = solution.results;
  return result === undefined ? [] : await worker.layersOf(result, context);
}
