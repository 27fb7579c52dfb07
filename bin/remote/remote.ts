// A build that runs somewhere else: on tsbuildd or on BuildKit's buildkitd. The door of this room.

import type { ClientHttp2Session } from "node:http2";
import type { OpenStore } from "../../cache/store.ts";
import { checkOutputs } from "../../exporters/exporter.ts";
import { checkDestinations } from "../../exporters/writable.ts";
import { type Digest, isDigest } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Emit } from "../../solver/graph/event.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import { Scope, unlessAborted } from "../../solver/graph/scope.ts";
import type { BuildReport, BuildRequest, SourceText } from "../engine/request.ts";
import type { Environment } from "../engine/config.ts";
import type { StatusResponse } from "../wire/messages/moby/buildkit/v1/control_pb.ts";
import { dialHttp2 } from "../wire/connection.ts";
import { CODE, RpcError } from "../wire/status.ts";
import type { BuilderAddress } from "./address.ts";
import { callAnswer, requestId } from "./answer.ts";
import {
  type BuilderInfo,
  builderInfo,
  capabilities,
  isOurs,
  solve,
  statusOf,
  subrequest,
} from "./control.ts";
import { type Connection, dialBuilder, REACH_WITHIN_MS, unreachable } from "./dial.ts";
import { buildFailure } from "./failure.ts";
import { openHearing, watchConnection } from "./liveness.ts";
import { type Plan, planBuild } from "./plan.ts";
import { openRemoteProgress, type RemoteProgress } from "./progress.ts";
import { contentHandlers } from "./serve-content.ts";
import { filesHandler, outputsHandler } from "./serve-files.ts";
import { tokenHandlers } from "./serve-token.ts";
import { uploadHandler, userHandlers } from "./serve-user.ts";
import { newId, serveSession, type SessionServer } from "./session-server.ts";
import { policyField } from "./source-policy.ts";
import { type Attributes, unsupported, withRewrittenTimes } from "./solve-request.ts";

export interface RemoteDeps {
  readonly address: BuilderAddress;
  readonly env: Environment;
  /** Names the user's directories between builds, for builders that keep copies of them. */
  readonly sharedKey: string;
  /** Of this user, and told to nobody: for keys by which builders know the same user again. */
  readonly tokenSecret: string;
  /** A private directory, removed by who owns it. */
  readonly tempDir: () => string;
  /** The image store of this machine, opened when something goes into it. */
  readonly store: () => Promise<OpenStore>;
  readonly signal: AbortSignal;
  readonly emit: Emit;
  readonly onSource: (source: SourceText) => void;
}

/** For the last words about a build that has ended. */
const STATUS_END_MS = 3_000;
/** The same for one that was cancelled. */
const CANCEL_END_MS = 800;

/** An open connection to a builder that answers. */
export interface Builder {
  readonly http: ClientHttp2Session;
  readonly connection: Connection;
  readonly info: BuilderInfo;
}

/** Connects to a builder, and asks who it is. Throws BUILDER_UNREACHABLE. */
export async function reachBuilder(
  address: BuilderAddress,
  { env, signal, scope }: { readonly env: Environment; readonly signal: AbortSignal; readonly scope: Scope },
): Promise<Builder> {
  const connection = scope.use(await dialBuilder(address, { env, signal }));
  const http = dialHttp2(connection.stream);
  scope.use({
    async [Symbol.asyncDispose]() {
      http.destroy();
    },
  });
  const late = AbortSignal.timeout(REACH_WITHIN_MS);
  try {
    const asked = builderInfo(http, { signal: AbortSignal.any([signal, late]) });
    return { http, connection, info: await unlessAborted(asked, AbortSignal.any([signal, late])) };
  } catch (error) {
    signal.throwIfAborted();
    const cause = late.aborted ? new Error(`no answer within ${REACH_WITHIN_MS / 1000} s`) : error;
    throw unreachable(address, cause, { complaint: connection.complaint(), wasReached: false });
  }
}

/** Builds what was asked on a builder. Throws BuildError as an engine's build does, BUILDER_UNREACHABLE, signal.reason. */
export async function buildRemotely(request: BuildRequest, deps: RemoteDeps): Promise<BuildReport> {
  const { signal, address, env } = deps;
  const isIndex = request.platforms.length > 1;
  if (request.call.name === "build") {
    const wanted = request.tags.length > 0 ? withNames(request) : request.outputs;
    checkOutputs(wanted, { isIndex, client: request.session.outputs });
    checkDestinations(request.outputs);
  }
  const plan = await planBuild(request, deps);
  await using scope = new Scope(null);
  const builder = await reachBuilder(address, { env, signal, scope });
  const id = newId();
  const ref = newId();
  const hearing = openHearing();
  const session = serveSession(builder.http, handlersOf(request, plan, deps), {
    ...{ id, signal },
    sharedKey: deps.sharedKey,
    heard: () => hearing.heard(),
  });
  scope.use(session);
  await checkLimits(request, builder, id, signal);
  const progress = openRemoteProgress(deps.emit, deps.onSource);
  const ended = new AbortController();
  const lost = watchConnection(builder.http, {
    hearing,
    hasFailed: () => progress.failure() !== null,
    signal: ended.signal,
  });
  const watched = follow(builder.http, ref, (part) => {
    hearing.heard();
    progress.take(part);
  });
  try {
    const attributes = { ...plan.attributes, "sharedkey:localdir:context": deps.sharedKey };
    const exporters =
      request.reproducible && !isOurs(builder.info) ? plan.exporters.map(withRewrittenTimes) : plan.exporters;
    const { http } = builder;
    const outcome = run(request, { ...plan, exporters }, { ref, id, attributes, http, signal });
    outcome.catch(() => {}); // where the connection is lost first
    const { report, response } = await Promise.race([outcome, lost]);
    await watched.end(STATUS_END_MS);
    await nameWritten(plan, response, signal);
    return report;
  } catch (error) {
    await watched.end(signal.aborted ? CANCEL_END_MS : STATUS_END_MS);
    signal.throwIfAborted();
    throw failureOf(error, { session, progress, builder, deps });
  } finally {
    ended.abort();
    watched.stop();
    progress.end({ isCancelled: signal.aborted });
  }
}

/** The names that outputs will have, for what is checked of them beforehand. */
function withNames({ outputs, tags }: BuildRequest): BuildRequest["outputs"] {
  return outputs.map((output) =>
    output.kind === "image" || output.kind === "archive"
      ? { ...output, image: { ...output.image, names: tags, writtenNames: tags.join(",") } }
      : output,
  );
}

function handlersOf(
  request: BuildRequest,
  { directories, layouts, sinks, upload }: Plan,
  { env, tokenSecret: secret }: RemoteDeps,
) {
  return [
    ...userHandlers(request.session),
    ...tokenHandlers(request.session, { env, secret }),
    ["/moby.filesync.v1.FileSync/DiffCopy", filesHandler(directories)] as const,
    ["/moby.filesync.v1.FileSend/DiffCopy", outputsHandler(sinks)] as const,
    ...contentHandlers(layouts),
    ...(upload === null ? [] : [uploadHandler(upload.file, upload.urlPath)]),
  ];
}

/** Builders ignore attributes they do not know; limits that nobody keeps are none. */
async function checkLimits(
  { limits }: BuildRequest,
  { http, info }: Builder,
  Session: string,
  signal: AbortSignal,
) {
  if (limits === null || isOurs(info)) return;
  const hint = "the builder is not tsbuildd";
  if (limits.pids !== null) throw unsupported("--pids-limit", hint);
  const known = await capabilities(http, { Ref: newId(), Session }, { signal });
  if (!known.has("exec.meta.linux.resources"))
    throw unsupported(
      "a limit of memory or CPU (--memory, --cpu-quota and their like)",
      `its version is ${info.version}`,
    );
}

interface Running {
  readonly ref: string;
  readonly id: string;
  readonly attributes: Attributes;
  readonly http: ClientHttp2Session;
  readonly signal: AbortSignal;
}

async function run(
  request: BuildRequest,
  plan: Plan,
  { ref, id, attributes, http, signal }: Running,
): Promise<{ readonly report: BuildReport; readonly response: Readonly<Record<string, string>> }> {
  const { name } = request.call;
  const policy = policyField(request.sourcePolicies);
  if (name !== "build") {
    const asked = { ...attributes, requestid: requestId(name) };
    const metadata = await subrequest(http, { Ref: ref, Session: id, ...policy }, asked, { signal });
    return { report: { ...reportOf({}), answer: callAnswer(name, metadata["result.json"]) }, response: {} };
  }
  const exporters = plan.exporters.map((one) => ({
    ...one,
    $typeName: "moby.buildkit.v1.Exporter" as const,
  }));
  const entries = (list: Plan["cacheImports"]) =>
    list.map((one) => ({ ...one, $typeName: "moby.buildkit.v1.CacheOptionsEntry" as const }));
  const response = await solve(
    http,
    {
      Ref: ref,
      Session: id,
      ...policy,
      Frontend: "dockerfile.v0",
      FrontendAttrs: { ...attributes },
      Entitlements: [...request.allow],
      Exporters: exporters.map((one) => ({ ...one, Attrs: { ...one.Attrs } })),
      // For daemons that know of one exporter only.
      ExporterDeprecated: exporters[0]?.Type ?? "",
      ExporterAttrsDeprecated: { ...exporters[0]?.Attrs },
      Cache: {
        $typeName: "moby.buildkit.v1.CacheOptions",
        ExportRefDeprecated: "",
        ImportRefsDeprecated: [],
        ExportAttrsDeprecated: {},
        Exports: entries(plan.cacheExports).map((one) => ({ ...one, Attrs: { ...one.Attrs } })),
        Imports: entries(plan.cacheImports).map((one) => ({ ...one, Attrs: { ...one.Attrs } })),
      },
    },
    { signal },
  );
  return { report: reportOf(response), response };
}

/** Exporters' responses are texts; objects among them are base64 of JSON. */
function reportOf(response: Readonly<Record<string, string>>): BuildReport {
  const metadata = Object.fromEntries(
    Object.entries(response)
      .filter(([name]) => name !== "cache.manifest")
      .map(([name, value]) => [name, decoded(value)]),
  );
  const digestIn = (name: string): Digest | null => {
    const text = response[name];
    return text !== undefined && isDigest(text) ? text : null;
  };
  const descriptor = metadata["containerimage.descriptor"];
  return {
    imageDigest: digestIn("containerimage.digest"),
    configDigest: digestIn("containerimage.config.digest"),
    descriptor: typeof descriptor === "object" && descriptor !== null ? (descriptor as Descriptor) : null,
    outputs: [],
    names: response["image.name"]?.split(",").filter((name) => name !== "") ?? [],
    metadata,
    answer: null,
  };
}

function decoded(value: string): unknown {
  if (!/^(?:e|W)[A-Za-z0-9+/]*=*$/.test(value)) return value; // "{" and "[" in base64 begin so
  try {
    const json: unknown = JSON.parse(Buffer.from(value, "base64").toString("utf8"));
    return typeof json === "object" && json !== null ? json : value;
  } catch {
    return value;
  }
}

/** Progress until the end of the build. */
function follow(http: ClientHttp2Session, ref: string, take: (part: StatusResponse) => void) {
  const controller = new AbortController();
  const all = (async () => {
    for await (const part of statusOf(http, ref, { signal: controller.signal })) take(part);
  })().catch(() => {}); // the outcome of the build says more
  return {
    /** Waits for the end, but no longer than that. */
    async end(withinMs: number): Promise<void> {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, withinMs);
      });
      await Promise.race([all, late]);
      clearTimeout(timer);
    },
    stop: () => controller.abort(new Error("the build has ended")),
  };
}

/** Names in the indexes of layouts for what the builder has written into them. */
async function nameWritten(
  plan: Plan,
  response: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<void> {
  const { writtenLayout, writtenCaches } = plan;
  if (writtenLayout === null && writtenCaches.length === 0) return;
  const { nameCache, nameImage } = await import("./written-layout.ts");
  if (writtenLayout !== null) await nameImage(writtenLayout, response, signal);
  for (const cache of writtenCaches) await nameCache(cache, response, signal);
}

interface FailureParts {
  readonly session: SessionServer;
  readonly progress: RemoteProgress;
  readonly builder: Builder;
  readonly deps: RemoteDeps;
}

function failureOf(error: unknown, { session, progress, builder, deps }: FailureParts): unknown {
  // What failed here is known better than the builder can tell.
  const own = session.failure();
  if (own !== null) return own;
  if (!(error instanceof RpcError)) return error;
  const { stepOf, failure } = progress;
  if (error.code !== CODE.UNAVAILABLE || error.details.length > 0)
    return buildFailure(error, { onSource: deps.onSource, stepOf, isOurs: isOurs(builder.info) });
  const told = failure();
  if (told !== null) return new BuildError("EXEC_FAILED", told.message, { vertex: told.step, cause: error });
  return unreachable(deps.address, error, { complaint: builder.connection.complaint(), wasReached: true });
}
