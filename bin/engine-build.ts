// One build: frontend, solver, exporters, in the order of ARCHITECTURE's walk.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Converted, FrontendHost, FrontendOptions } from "../frontend/frontend.ts";
import type { ExportOutcome } from "../exporters/exporter.ts";
import type { ImageOptions, Output } from "../exporters/output-grammar.ts";
import type { ImportedResults } from "../cache/remote-cache/imports.ts";
import type { Definition, Input } from "../solver/graph/definition.ts";
import { mergeDefinitions } from "../solver/graph/definition.ts";
import { digestOf, type Digest } from "../solver/graph/digest.ts";
import { BuildError, redactUrl } from "../solver/graph/error.ts";
import type { BuiltImage, CallContext, LayerId, Result, Session } from "../solver/graph/request.ts";
import { openGraph } from "../solver/graph/llb.ts";
import type { SourceOp } from "../solver/graph/op.ts";
import { hostPlatform } from "../solver/graph/platform.ts";
import { openSolver, type Solver, type TraceRequest } from "../solver/solver.ts";
import { type LocalWorker, openWorker } from "../worker/worker.ts";
import type { EngineParts } from "./engine.ts";
import type { BuildReport, BuildRequest, EngineBuildOptions } from "./config.ts";
import { contextSource, frontendOptions, gitAddress, sourceDateEpoch } from "./engine-source.ts";
import { resolvConfFor } from "./host-network.ts";
import { openLayerSource } from "./layer-source.ts";
import { normalizeName } from "./local-images.ts";
import { traceOf } from "./trace-request.ts";

/** Builds what was asked. Throws BuildError for what the user is to be told; everything started has ended by then. */
export async function runBuild(
  parts: EngineParts,
  asked: BuildRequest,
  options: EngineBuildOptions,
): Promise<BuildReport> {
  const request = await fetchHttpContext(parts, asked, options);
  const session = await sessionWithContext(parts, request);
  const context: CallContext = { signal: options.signal, session, emit: options.emit };
  let registry: ReturnType<EngineParts["registry"]> | null = null;
  const useRegistry = (): ReturnType<EngineParts["registry"]> => (registry ??= parts.registry(session));
  const caches =
    request.cacheFrom.length + request.cacheTo.length > 0 ? await import("./engine-cache.ts") : null;
  await using imports = (await caches?.openBuildImports(parts, request, useRegistry, options.emit)) ?? null;
  await using worker = openWorker({
    store: parts.store,
    keeper: parts.keeper,
    registry: useRegistry,
    entitlements: new Set(request.allow),
    resolveMode: request.pull ? "pull" : "default",
    resolvConf: resolvConfFor,
    defaultNetwork: parts.defaultNetwork,
    defaultPlatform: hostPlatform(),
    limits: request.limits,
    signal: options.signal,
    ...(caches === null || imports === null
      ? {}
      : { restoreMount: caches.mountRestorer(parts, imports, useRegistry) }),
  });
  const solver = openSolver({
    worker,
    store: parts.store,
    limits: parts.limits,
    nowMs: Date.now,
    ...(imports === null ? {} : { imports }),
  });
  const frontend = await import("../frontend/frontend.ts");
  const host = frontendHost(parts, worker, solver, context);
  const source = contextSource(request);
  const readRemote = async (path: string): Promise<Uint8Array | null> => {
    return host.readFile(sourceGraph(source), path, { signal: options.signal });
  };
  const epochSeconds = await epochOf(request, source, () => readRemote(".tsbuild-fetch"), parts, context);
  const frontendRequest = await frontendOptions(request, session, source, readRemote, epochSeconds);
  const text = {
    file: frontendRequest.dockerfile.name,
    text: new TextDecoder().decode(frontendRequest.dockerfile.data),
  };
  options.onSource(text);
  // A Dockerfile (or argument) that was never built to its end here surely has a step to run: the keeper starts while the
  // base images are looked up. One that was is left to the solver, which finds out without it.
  const wish = digestOf(
    JSON.stringify([text.text, request.target, [...request.buildArgs], request.platforms]),
  );
  if (request.call.name === "build" && (request.noCache || parts.store.records.get("built", wish) === null))
    await worker.warm(request.network === "default" && /^[\t ]*RUN\b/im.test(text.text));

  const note = (message: string): void => options.emit({ kind: "note", message });
  if (request.call.name !== "build") {
    return {
      ...EMPTY_REPORT,
      answer: await answerCall(frontend, request, frontendRequest, host, text, {
        signal: options.signal,
        note,
      }),
    };
  }
  const converted = await frontend.convert(frontendRequest, host, { signal: options.signal, note });
  const attempt = (context: CallContext): Promise<BuildReport> =>
    solveAndExport(
      parts,
      worker,
      solver,
      converted,
      request,
      frontendRequest.sourceDateEpoch,
      context,
      useRegistry,
      traceOf(request, text.text, options),
      imports,
    );
  const report = await (caches === null
    ? attempt(context)
    : caches.withoutBrokenCaches(imports, context, attempt));
  if (parts.store.records.get("built", wish) === null) parts.store.records.put("built", wish, 1);
  for (const warning of converted.warnings) {
    options.emit({
      kind: "warning",
      rule: warning.rule,
      message: warning.detail,
      detail: warning.description,
      url: warning.url,
      at: [warning.at],
    });
  }
  return report;
}

/** The main context alone, as something to be solved. */
function sourceGraph(source: SourceOp): Definition {
  const graph = openGraph();
  const note = {
    name: `[internal] load remote build context ${redactUrl(source.identifier)}`,
    ignoreCache: false,
    at: [],
    group: null,
  };
  return graph.definition(graph.add(source, null, [], note));
}

/** SOURCE_DATE_EPOCH in seconds: a number, "context" for the time of a git commit, 0 for --reproducible without one. */
async function epochOf(
  request: BuildRequest,
  source: SourceOp,
  fetch: () => Promise<unknown>,
  parts: EngineParts,
  context: CallContext,
): Promise<number | null> {
  if (request.sourceDateEpoch !== "context") return sourceDateEpoch(request);
  if (!source.identifier.startsWith("git://")) {
    throw new BuildError(
      "USAGE",
      "SOURCE_DATE_EPOCH=context needs a build context that has a time: a git repository",
    );
  }
  await fetch();
  const { gitTime } = await import("../worker/sources/git.ts");
  return gitTime(source, parts.store, context);
}

const EMPTY_REPORT: BuildReport = {
  imageDigest: null,
  configDigest: null,
  descriptor: null,
  names: [],
  metadata: {},
  answer: null,
};

async function answerCall(
  frontend: typeof import("../frontend/frontend.ts"),
  request: BuildRequest,
  options: FrontendOptions,
  host: FrontendHost,
  source: { readonly file: string; readonly text: string },
  call: { readonly signal: AbortSignal; readonly note: (message: string) => void },
): Promise<NonNullable<BuildReport["answer"]>> {
  switch (request.call.name) {
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

/** A context behind an http URL is either a tar or just a Dockerfile, as BuildKit decides by its content. */
async function fetchHttpContext(
  parts: EngineParts,
  request: BuildRequest,
  options: EngineBuildOptions,
): Promise<BuildRequest> {
  if (request.context.kind !== "remote" || gitAddress(request.context.url) !== null) return request;
  const [{ downloadHttp }, { isArchive }] = await Promise.all([
    import("../worker/sources/http.ts"),
    import("../cache/layers/archive.ts"),
  ]);
  const digest = await downloadHttp(contextSource(request), parts.store, {
    ...options,
    session: request.session,
  });
  const path = parts.store.content.path(digest);
  if (await isArchive(path)) return { ...request, context: { kind: "archive", path } };
  const data = parts.store.content.read(digest, 16 << 20);
  return { ...request, context: { kind: "empty" }, dockerfile: { kind: "bytes", data } };
}

/** A context that came through standard input, or none at all, is a directory of the store for this build. */
async function sessionWithContext(parts: EngineParts, request: BuildRequest): Promise<Session> {
  const { context, session } = request;
  if (context.kind !== "empty" && context.kind !== "archive") return session;
  const dir = join(
    parts.store.tempDir(),
    `context-${digestOf(`${process.pid} ${performance.now()}`).slice(7, 19)}`,
  );
  mkdirSync(dir, { mode: 0o700 });
  if (context.kind === "archive") {
    const { extractContext } = await import("./context-archive.ts");
    await extractContext(context.path, dir);
  }
  return {
    directory: (name) => (name === "context" ? dir : session.directory(name)),
    secret: (id) => session.secret(id),
    sshSocket: (id) => session.sshSocket(id),
    credentials: (hostName) => session.credentials(hostName),
  };
}

function frontendHost(
  parts: EngineParts,
  worker: LocalWorker,
  solver: Solver,
  context: CallContext,
): FrontendHost {
  return {
    async resolveImage(identifier, attrs, platform, { signal, vertexName }) {
      const vertex = digestOf(`resolve ${identifier}`);
      const at = (kind: "started" | "done"): void => context.emit({ kind, vertex, atMs: Date.now() });
      context.emit({ kind: "vertex", vertex, name: vertexName, inputs: [], at: [] });
      at("started");
      try {
        const image = await worker.images.load(identifier, attrs, platform, { signal });
        at("done");
        return { digest: image.digest, config: image.config };
      } catch (error) {
        if (error instanceof BuildError) context.emit({ kind: "failed", vertex, atMs: Date.now(), error });
        throw error;
      }
    },
    async readFile(source, path) {
      const layers = await solveLayers(solver, worker, source, context);
      const vertex = source.root?.vertex;
      if (vertex === undefined) return null;
      const dirs = await worker.unpacker.directories(layers, vertex, context);
      return parts.keeper().run({ kind: "read", dirs, path, maxBytes: 16 << 20 });
    },
  };
}

async function solveLayers(
  solver: Solver,
  worker: LocalWorker,
  definition: Definition,
  context: CallContext,
): Promise<readonly LayerId[]> {
  if (definition.root === null) return [];
  await using solution = await solver.solve({ definition, noCache: false }, [definition.root], context);
  const [result] = solution.results;
  return result === undefined ? [] : await worker.layersOf(result, context);
}

async function solveAndExport(
  parts: EngineParts,
  worker: LocalWorker,
  solver: Solver,
  converted: Converted,
  request: BuildRequest,
  // Not the one a Dockerfile gives as a default: that is no wish of the user for the times of the base's history.
  epochSeconds: number | null,
  context: CallContext,
  registry: () => ReturnType<EngineParts["registry"]>,
  trace: TraceRequest,
  imports: ImportedResults | null,
): Promise<BuildReport> {
  const { store } = parts;
  const outputs = await outputsOf(request, epochSeconds);
  const layers = openLayerSource({
    store,
    keeper: parts.keeper,
    fetch: async (id, signal) =>
      store.content.path(await worker.unpacker.blob(id, null, { ...context, signal })),
    unpack: async (id, signal) => {
      const [dir] = await worker.unpacker.directories([id], digestOf(`unpack ${id}`), { ...context, signal });
      if (dir === undefined) throw new Error("no directory");
      return dir;
    },
    pinnedCompressor: request.reproducible,
  });

  const roots: Input[] = converted.images.flatMap(({ definition }) =>
    definition.root === null ? [] : [definition.root],
  );
  const { checkOutputs, runOutputs } = await import("../exporters/exporter.ts");
  const stdout = process.stdout.isTTY ? null : process.stdout;
  checkOutputs(outputs, { isIndex: converted.multiPlatform || converted.images.length > 1, stdout });
  const definition = mergeDefinitions(converted.images.map((image) => image.definition));
  const caches =
    request.cacheFrom.length + request.cacheTo.length > 0 ? await import("./engine-cache.ts") : null;
  const { keeper, objects } = parts;
  const cacheParts = { store, keeper, objects, layers, registry, imports };
  await using early = (await caches?.openEarlyExports(request, cacheParts, context.signal)) ?? null;
  await using solution = await solver.solve({ definition, noCache: request.noCache }, roots, context, {
    trace,
    ...(early === null
      ? {}
      : { onResult: (_, result, isCached) => (isCached ? undefined : early.offer(result)) }),
  });
  const results = [...solution.results];
  const built: BuiltImage[] = [];
  for (const image of converted.images) {
    const result: Result | undefined =
      image.definition.root === null ? { kind: "layers", layers: [] } : results.shift();
    if (result === undefined) throw new Error("the solver gave fewer results than roots");
    built.push({
      platform: image.platform,
      layers: await worker.layersOf(result, context),
      config: image.config,
    });
  }
  const images =
    (await caches?.withInlineCaches(built, solution, request, cacheParts, context.signal)) ?? built;
  const vertex = digestOf(`export ${request.tags.join(",")}`);
  let report: BuildReport;
  context.emit({
    kind: "vertex",
    vertex,
    name: exportName(outputs),
    inputs: roots.map((root) => root.vertex),
    at: [],
  });
  context.emit({ kind: "started", vertex, atMs: Date.now() });
  try {
    if (outputs.some((output) => output.kind === "image" && output.store)) {
      const fetch = (id: LayerId, signal: AbortSignal) =>
        worker.unpacker.blob(id, vertex, { ...context, signal });
      await caches?.fetchBorrowed(images, cacheParts, fetch, context.signal);
    }
    const outcomes = await runOutputs(
      images,
      outputs,
      {
        store,
        layers,
        registry,
        files: async ({ trees, form, dest, epochSeconds: clamp }, { signal }) => {
          const ready = await Promise.all(
            trees.map(async ({ layers: ids, folder }) => ({
              folder,
              dirs: await worker.unpacker.directories(ids, vertex, { ...context, signal }),
            })),
          );
          await parts.keeper().run({ kind: "export", trees: ready, form, dest, epochSeconds: clamp });
        },
        stdout,
        loaders: [
          ["docker", "load"],
          ["podman", "load"],
        ],
        env: parts.config.env,
      },
      {
        signal: context.signal,
        emit: context.emit,
        vertex,
        multiPlatform: converted.multiPlatform,
        epochSeconds,
        nowMs: Date.now,
      },
    );
    context.emit({ kind: "done", vertex, atMs: Date.now() });
    report = reportOf(outcomes);
  } catch (error) {
    if (error instanceof BuildError) context.emit({ kind: "failed", vertex, atMs: Date.now(), error });
    throw error;
  }
  await caches?.exportCaches(images, solution, definition, request, cacheParts, early, context);
  return report;
}

/** What was asked for with -o, else the local image store; with the names, annotations and times of the other flags. */
async function outputsOf(request: BuildRequest, epochSeconds: number | null): Promise<readonly Output[]> {
  const { parseOutput } = await import("../exporters/output-grammar.ts");
  const names = request.tags.map(normalizeName);
  const complete = (image: ImageOptions): ImageOptions => ({
    ...image,
    names: image.names.length > 0 ? image.names : names,
    annotations: [...image.annotations, ...request.annotations],
    ...(request.reproducible
      ? { rewriteTimestamp: true, epochSeconds: image.epochSeconds ?? epochSeconds }
      : {}),
  });
  const outputs = request.outputs.length > 0 ? request.outputs : [parseOutput("type=image")];
  return outputs.map((output) => {
    if (output.kind === "image" || output.kind === "archive")
      return { ...output, image: complete(output.image) };
    return output.kind === "files" && request.reproducible
      ? { ...output, epochSeconds: output.epochSeconds ?? epochSeconds }
      : output;
  });
}

function exportName(outputs: readonly Output[]): string {
  const names = new Set(
    outputs.map((output) => {
      if (output.kind === "archive") return `exporting to ${output.format} image format`;
      if (output.kind === "files")
        return `exporting to client ${output.form === "tar" ? "tarball" : "directory"}`;
      return "exporting to image";
    }),
  );
  const [name = "exporting to image", ...more] = names;
  return more.length === 0 ? name : "exporting to image";
}

function reportOf(outcomes: readonly ExportOutcome[]): BuildReport {
  const image = outcomes.find((outcome) => outcome.descriptor !== null);
  if (image === undefined || image.descriptor === null) return EMPTY_REPORT;
  const names = [...new Set(outcomes.flatMap((outcome) => outcome.names))];
  const digest: Digest = image.descriptor.digest;
  return {
    imageDigest: digest,
    configDigest: image.configDigest,
    descriptor: image.descriptor,
    names,
    metadata: {
      ...(image.configDigest === null ? {} : { "containerimage.config.digest": image.configDigest }),
      "containerimage.descriptor": image.descriptor,
      "containerimage.digest": digest,
      ...(names.length > 0 ? { "image.name": names.join(",") } : {}),
    },
    answer: null,
  };
}
