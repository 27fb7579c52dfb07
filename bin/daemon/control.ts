// Control: builds, their progress, sessions, workers, and the disk space of the store.

import { create } from "@bufbuild/protobuf";
import { setMaxListeners } from "node:events";
import type { Engine } from "../engine/contract.ts";
import type { EngineBuildOptions } from "../engine/request.ts";
import type { Bridge, BridgeResult } from "../engine/bridge-contract.ts";
import { prune, usage } from "../../cache/collect.ts";
import { parseFilters, RECORD_TYPES } from "../../cache/prune-filter.ts";
import type { UsageEntry } from "../../cache/usage-entry.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { hostPlatform } from "../../solver/graph/platform.ts";
import type { BuildTrace, Tracing } from "../otlp.ts";
import { dialHttp2 } from "../wire/connection.ts";
import {
  DiskUsageRequestSchema,
  DiskUsageResponseSchema,
  InfoRequestSchema,
  InfoResponseSchema,
  ListWorkersRequestSchema,
  ListWorkersResponseSchema,
  PruneRequestSchema,
  type SolveRequest,
  SolveRequestSchema,
  SolveResponseSchema,
  StatusRequestSchema,
  StatusResponseSchema,
  type UsageRecord,
  UsageRecordSchema,
} from "../wire/messages/moby/buildkit/v1/control_pb.ts";
import { type WorkerRecord } from "../wire/messages/moby/buildkit/v1/types/worker_pb.ts";
import { type Call, type Handlers, streaming, unary } from "../wire/server.ts";
import { CODE, RpcError } from "../wire/status.ts";
import { clockHeader, timestamp } from "../wire/timestamp.ts";
import { openTunnel } from "../wire/tunnel.ts";
import type { Build, Builds } from "./builds.ts";
import { statusOf } from "./errors.ts";
import { exportableOf } from "./exportable.ts";
import type { History } from "./history.ts";
import { type EndedBuild, endedBuild, frontendName, type LoggedBuild } from "./metering.ts";
import { openRemoteSession } from "./remote-session.ts";
import { healthChecksOf } from "./session-health.ts";
import type { Sessions } from "./sessions.ts";
import { unlessAborted } from "../../solver/graph/scope.ts";
import { epochOf, exportersOf, termsOf } from "./build-request.ts";
import { bareResult, metadataOf } from "./results.ts";
import { findOutputs } from "./session-exporter.ts";
import { verifierOf } from "./policy-session.ts";
import { remember, solveCall } from "./solve.ts";
import { versionOf } from "./worker-record.ts";

const SERVICE = "/moby.buildkit.v1.Control";
const SESSION = "x-docker-expose-session";
const ID_MAX_CHARS = 256;

export interface ControlDeps {
  readonly engine: Engine;
  /** Entitlements that builds may be granted. */
  readonly allowed: ReadonlySet<string>;
  readonly builds: Builds;
  readonly sessions: Sessions;
  readonly history: History;
  /** Told of each build that begins, and ends; what it came to is counted for who calls `build`. */
  readonly began: (build: LoggedBuild) => void;
  readonly ended: (build: LoggedBuild, outcome: () => EndedBuild) => void;
  /** null: builds are not traced. */
  readonly tracing: Tracing | null;
  readonly version: string;
  readonly workers: () => readonly WorkerRecord[];
  /** Who is at the other end of a call's connection. */
  readonly peerOf: (call: Call) => string;
}

export function controlHandlers(deps: ControlDeps): Handlers {
  const { engine, builds, sessions, history, version, workers } = deps;
  return new Map([
    ...history.handlers,
    [
      `${SERVICE}/ListWorkers`,
      unary(ListWorkersRequestSchema, ListWorkersResponseSchema, async () =>
        create(ListWorkersResponseSchema, { record: [...workers()] }),
      ),
    ],
    [
      `${SERVICE}/Info`,
      unary(InfoRequestSchema, InfoResponseSchema, async () =>
        create(InfoResponseSchema, { buildkitVersion: versionOf(version) }),
      ),
    ],
    [`${SERVICE}/Session`, (call: Call) => serveSession(call, deps)],
    [
      `${SERVICE}/Solve`,
      unary(SolveRequestSchema, SolveResponseSchema, async (request, call) => {
        const session = request.Session === "" ? null : await sessions.get(request.Session, call.signal);
        const ends = session === null ? [call.signal] : [call.signal, session.gone];
        const signal = AbortSignal.any(ends);
        setMaxListeners(0, signal); // all that goes on in the build
        const build = builds.begin(request, session, signal);
        const recording = history.begin(request, build.status);
        const beganMs = performance.now();
        const logged = { name: request.Ref, peer: deps.peerOf(call) };
        const asked = frontendName(request.Frontend, request.FrontendAttrs);
        if (!request.Internal) deps.began({ ...logged, frontend: asked });
        const trace = traceOf(request, call, deps);
        let response: Record<string, string> = {};
        let failure: RpcError | null = null;
        try {
          response = await solve(build, deps, trace);
          // The client ends its session with this call, though other builds of it may still read files through it: linked targets of bake.
          await session?.quiet(signal);
        } catch (error) {
          failure = build.signal.aborted
            ? new RpcError(CODE.CANCELLED, "context canceled")
            : statusOf(error, build);
        }
        build.status.end();
        trace?.end({ error: failure?.message ?? "", cancelled: failure?.code === CODE.CANCELLED });
        if (!request.Internal)
          deps.ended({ ...logged, frontend: build.frontend ?? asked }, () =>
            endedBuild(failure, beganMs, build.status.kept()),
          );
        try {
          const { exported, provenance } = build;
          await recording?.complete({ response, exported, provenance, error: failure });
        } finally {
          builds.end(build);
        }
        if (failure !== null) throw failure;
        return create(SolveResponseSchema, { ExporterResponse: response });
      }),
    ],
    [
      `${SERVICE}/Status`,
      streaming(StatusRequestSchema, StatusResponseSchema, async ({ Ref }, send, call) => {
        call.begin(clockHeader());
        const logs = builds.isHere(Ref) ? null : await history.logs(Ref);
        const parts = logs ?? (await builds.statusOf(Ref, call.signal)).read(call.signal);
        for await (const part of parts) await send(part);
      }),
    ],
    [
      `${SERVICE}/DiskUsage`,
      unary(DiskUsageRequestSchema, DiskUsageResponseSchema, async ({ filter }) => {
        const matches = await matcherOf(filter);
        const entries = (await usage(engine.store, engine.measure)).filter(isCache);
        return create(DiskUsageResponseSchema, { record: entries.filter(matches).map(recordOf) });
      }),
    ],
    [
      `${SERVICE}/Prune`,
      streaming(PruneRequestSchema, UsageRecordSchema, async (request, send, call) => {
        const matches = await matcherOf(request.filter);
        const keep = request.reservedSpace > 0n ? request.reservedSpace : request.maxUsedSpace;
        const options = {
          all: request.all,
          keepBytes: keep > 0n ? Number(keep) : null,
          olderThanMs: request.keepDuration > 0n ? Number(request.keepDuration / 1_000_000n) : null,
          filters: [],
          matches,
          measure: engine.measure,
          signal: call.signal,
        };
        const { removed, directories } = await prune(engine.store, options);
        await engine.removeDirectories(directories, { signal: call.signal, emit: () => {} });
        for (const entry of removed.filter(isCache)) await send(recordOf(entry));
      }),
    ],
  ]);
}

/** In the trace that the client says it is in. */
function traceOf(
  { Ref, Frontend, FrontendAttrs, Internal }: SolveRequest,
  call: Call,
  { tracing }: ControlDeps,
): BuildTrace | null {
  if (tracing === null || Internal) return null;
  const { target = "" } = FrontendAttrs;
  const attributes = {
    "tsbuild.ref": Ref,
    ...(Frontend === "" ? {} : { "tsbuild.frontend": Frontend }),
    ...(target === "" ? {} : { "tsbuild.target": target }),
  };
  const [traceparent] = call.header("traceparent");
  const [tracestate] = call.header("tracestate");
  return tracing.build(attributes, { traceparent, tracestate });
}

/** Drives the build to its end. Returns what its exporters say. */
async function solve(
  build: Build,
  { engine, allowed, sessions }: ControlDeps,
  trace: BuildTrace | null,
): Promise<Record<string, string>> {
  const { request, status, signal } = build;
  const { SourcePolicySession: judge } = request;
  const terms = {
    ...termsOf(request, build.session, allowed),
    verifySource: judge === "" ? null : verifierOf((until) => sessions.get(judge, until)),
  };
  const options: EngineBuildOptions = {
    signal,
    emit(event) {
      status.event(event);
      trace?.event(event);
    },
    onSource(source) {
      build.source = source;
      status.source(source);
    },
    keepsFailed: isDriven(request),
    onConverted: (graph) => remember(build, graph),
    ...(request.Internal
      ? {}
      : {
          onProvenance(make) {
            build.provenance = make;
          },
        }),
  };
  return await engine.drive(terms, options, async (bridge) => {
    build.opened(bridge);
    const solved = isDriven(request) ? await returned(build, bridge) : await asked(build, bridge);
    if (solved.kind === "answer")
      return Object.fromEntries(
        [...solved.metadata].map(([name, value]) => [name, Buffer.from(value).toString()]),
      );
    if (solved.result === null) return {};
    const more = request.EnableSessionExporter
      ? await findOutputs(
          build,
          bridge,
          solved.result,
          solved.metadata ?? Object.fromEntries(metadataOf(solved.result)),
        )
      : [];
    const { metadata, outputs } = await bridge.export(solved.result, { outputs: more });
    // Who is told of an image finds it, also from another process, and after this one was killed.
    await engine.store.records.commit();
    // Without exporters the terms have an output that makes nothing.
    build.exported = exportersOf(request).length === 0 ? outputs.slice(1) : outputs;
    const response = { ...responseOf(metadata), ...solved.result.words.response };
    if (request.EnableSessionExporter) await build.session?.finalizeExport(response, { signal });
    return response;
  });
}

/** The client drives the build through the gateway, and returns one of its results. */
function isDriven({ Frontend, Definition }: SolveRequest): boolean {
  return Frontend === "" && Definition === undefined; // an empty graph is one: nothing on scratch
}

type Outcome =
  /** `metadata`: what a client said of it; left out: what this process says. */
  | {
      readonly kind: "images";
      readonly result: BridgeResult | null;
      readonly metadata?: Readonly<Record<string, Uint8Array>>;
    }
  | { readonly kind: "answer"; readonly metadata: ReadonlyMap<string, Uint8Array> };

async function asked(build: Build, bridge: Bridge): Promise<Outcome> {
  const { request } = build;
  const solved = await solveCall(build, bridge, {
    definition: request.Definition,
    frontend: request.Frontend,
    options: request.FrontendAttrs,
    inputs: request.FrontendInputs,
    imports: request.Cache?.Imports ?? [],
    sourcePolicies: [],
  });
  if (solved.kind === "returned")
    return { kind: "images", ...(await exportableOf(build, bridge, solved.result)) };
  if (solved.kind !== "ref") return solved;
  return { kind: "images", result: bareResult(solved.ref, hostPlatform(), epochOf(request)) };
}

async function returned(build: Build, bridge: Bridge): Promise<Outcome> {
  return {
    kind: "images",
    ...(await exportableOf(build, bridge, await unlessAborted(build.returned, build.signal))),
  };
}

/** Exporter responses are texts: objects in base64, as BuildKit has them. */
function responseOf(metadata: Readonly<Record<string, unknown>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(metadata).map(([name, value]) => [
      name,
      typeof value === "string" ? value : Buffer.from(JSON.stringify(value)).toString("base64"),
    ]),
  );
}

async function serveSession(call: Call, { sessions, engine, peerOf }: ControlDeps): Promise<void> {
  const one = (name: string): string => call.header(`${SESSION}-${name}`)[0] ?? "";
  const id = one("uuid");
  if (id === "" || id.length > ID_MAX_CHARS)
    throw new RpcError(CODE.INVALID_ARGUMENT, "the session has no id");
  call.begin(); // clients wait for it before they serve anything
  const tunnel = openTunnel(call, { onEnd: () => {} });
  tunnel.on("error", () => {}); // the client is gone
  const session = openRemoteSession(dialHttp2(tunnel), {
    id,
    sharedKey: one("sharedkey"),
    // One header each; a joined list comes from clients whose library joins them.
    methods: call.header(`${SESSION}-grpc-method`).flatMap((text) => text.split(/,\s*/)),
    peer: peerOf(call),
    tempDir: () => engine.store.tempDir(),
    find: (other, signal) => sessions.get(other, signal),
    health: healthChecksOf(call.header("x-buildkit-session-health-custom-timeout")[0]),
  });
  try {
    sessions.add(session);
    await new Promise<void>((resolve) => {
      session.gone.addEventListener("abort", () => resolve(), { once: true });
      tunnel.once("close", () => resolve());
      tunnel.once("end", () => resolve());
      if (call.signal.aborted) resolve();
      else call.signal.addEventListener("abort", () => resolve(), { once: true });
    });
  } finally {
    sessions.remove(session);
    session[Symbol.dispose]();
    tunnel.destroy();
  }
}

/** What clients are told of. The store's own books (durations of steps, the history…) are no cache that a prune could take, and BuildKit does
 *  not count them either. */
function isCache({ kind, id, reclaimable }: UsageEntry): boolean {
  return kind !== "record" || (reclaimable && id.includes(":"));
}

/** An empty text matches everything; several are alternatives. */
async function matcherOf(filters: readonly string[]): Promise<(entry: UsageEntry) => boolean> {
  try {
    const texts = filters.filter((text) => text !== "");
    const tests = await Promise.all(texts.map((text) => parseFilters([text])));
    return (entry) => tests.length === 0 || tests.some((test) => test(entry));
  } catch (error) {
    if (error instanceof BuildError) throw new RpcError(CODE.INVALID_ARGUMENT, error.message, [], error);
    throw error;
  }
}

function recordOf(entry: UsageEntry): UsageRecord {
  return create(UsageRecordSchema, {
    ID: entry.id,
    Mutable: entry.kind === "cache-mount" || entry.kind === "source",
    InUse: entry.inUse,
    Size: BigInt(entry.sizeBytes),
    Description: entry.description,
    RecordType: RECORD_TYPES[entry.kind],
    Shared: entry.shared,
    CreatedAt: timestamp(entry.lastUsedMs),
    LastUsedAt: timestamp(entry.lastUsedMs),
    UsageCount: 1n,
  });
}
