// The main context of a build, as far as it has to be fetched, unpacked or looked at before there is a graph.

import { randomBytes } from "node:crypto";
import { mkdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { onDisk } from "../../cache/disk-fault.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import type { Definition } from "../../solver/graph/definition.ts";
import { BuildError, redactUrl } from "../../solver/graph/error.ts";
import { openGraph } from "../../solver/graph/llb.ts";
import type { SourceOp } from "../../solver/graph/op.ts";
import type { CallContext } from "../../solver/graph/request.ts";
import type { Session } from "../../solver/graph/session.ts";
import { cleanUpSignal } from "../../solver/graph/scope.ts";
import { DOCKERFILE_MAX_BYTES } from "./context-files.ts";
import { contextSource, HTTP_CONTEXT_FILE } from "./frontend-options.ts";
import type { EngineParts } from "./parts.ts";
import { MAIN_DIRECTORY } from "./defaults.ts";
import type { BuildRequest, EngineBuildOptions } from "./request.ts";
import type { SourceGate } from "./source-gate.ts";

/** For a Dockerfile from a URL, all of it. */
const DOCKERFILE_TOTAL_MS = 60_000;

/** For what is fetched before there is a graph. */
export interface FetchOptions extends EngineBuildOptions {
  readonly gate: SourceGate | null;
  /** Told what was downloaded. */
  readonly onDownload: (url: string, digest: Digest) => Promise<void>;
}

/** A Dockerfile behind an http URL as its bytes. Throws SOURCE_FAILED, SOURCE_DENIED, LIMIT_EXCEEDED. */
export async function fetchHttpDockerfile(
  parts: EngineParts,
  request: BuildRequest,
  options: FetchOptions,
): Promise<BuildRequest> {
  const { dockerfile, session } = request;
  if (dockerfile.kind !== "remote") return request;
  const { downloadHttp } = await import("../../worker/sources/http.ts");
  const { store, transport } = parts;
  const source = await passed({ kind: "source", identifier: dockerfile.url, attrs: {} }, options);
  const limit = AbortSignal.timeout(DOCKERFILE_TOTAL_MS);
  const context = { emit: options.emit, session, signal: AbortSignal.any([options.signal, limit]) };
  try {
    const { digest } = await downloadHttp(source, store, context, transport, DOCKERFILE_MAX_BYTES);
    await options.onDownload(dockerfile.url, digest);
    const data = store.content.read(digest, DOCKERFILE_MAX_BYTES);
    return { ...request, dockerfile: { kind: "bytes", data } };
  } catch (cause) {
    options.signal.throwIfAborted();
    const why = limit.aborted
      ? `not finished within ${DOCKERFILE_TOTAL_MS / 1000} s`
      : cause instanceof Error
        ? cause.message
        : String(cause);
    const code = cause instanceof BuildError ? cause.code : "SOURCE_FAILED";
    throw new BuildError(code, `failed to read dockerfile ${redactUrl(dockerfile.url)}: ${why}`, { cause });
  }
}

/** A context behind an http URL is either a tar or just a Dockerfile, as BuildKit decides by its content. */
export async function fetchHttpContext(
  parts: EngineParts,
  request: BuildRequest,
  options: FetchOptions,
): Promise<BuildRequest> {
  if (request.context.kind === "upload") {
    const { address: identifier } = request.context;
    await passed({ kind: "source", identifier, attrs: {} }, options);
    const { receive } = await import("../../worker/sources/receive.ts");
    const { DOWNLOAD_MAX_BYTES } = await import("../../worker/sources/http.ts");
    const address = "the build context";
    const sent = request.context.open(options);
    const digest = await receive(sent, parts.store, { address, maxBytes: DOWNLOAD_MAX_BYTES });
    await options.onDownload(identifier, digest);
    return await unpackedContext(parts, request, digest, null);
  }
  if (request.context.kind !== "remote") return request;
  const written = contextSource(request);
  if ("definition" in written || written.identifier.startsWith("git://")) return request;
  const source = await passed(written, options);
  const { downloadHttp } = await import("../../worker/sources/http.ts");
  const context = { ...options, session: request.session };
  const { digest, modifiedSeconds } = await downloadHttp(source, parts.store, context, parts.transport);
  await options.onDownload(source.identifier, digest);
  return await unpackedContext(parts, request, digest, modifiedSeconds);
}

/** A download as the policies of the build have it. Throws SOURCE_DENIED. */
async function passed(asked: SourceOp, { gate, signal }: FetchOptions): Promise<SourceOp> {
  const source = (await gate?.source(asked, null, { signal })) ?? asked;
  if (!/^https?:/.test(source.identifier))
    throw new BuildError(
      "USAGE",
      `a policy converts ${asked.identifier} to ${source.identifier}, which is no download`,
    );
  return source;
}

async function unpackedContext(
  parts: EngineParts,
  request: BuildRequest,
  digest: Digest,
  modifiedSeconds: number | null,
): Promise<BuildRequest> {
  const { isArchive } = await import("../../cache/layers/archive.ts");
  const path = parts.store.content.path(digest);
  if (await isArchive(path)) {
    const { context } = request;
    const below = "subdirectory" in context ? { subdirectory: context.subdirectory ?? "" } : {};
    return { ...request, context: { kind: "archive", path, modifiedSeconds, ...below } };
  }
  const data = parts.store.content.read(digest, DOCKERFILE_MAX_BYTES);
  const { dockerfile } = request; // one of this machine stays what it is
  return {
    ...request,
    context: { kind: "file", data, modifiedSeconds },
    dockerfile: dockerfile.kind === "bytes" ? dockerfile : { kind: "bytes", data },
  };
}

/** A context that came through standard input, or none at all, is a directory of the store for this build. */
export async function sessionWithContext(parts: EngineParts, request: BuildRequest): Promise<Session> {
  const { context, session } = request;
  if (context.kind !== "archive" && context.kind !== "file" && context.kind !== "empty") return session;
  const dir = join(parts.store.tempDir(), `context-${randomBytes(6).toString("hex")}`);
  onDisk("making a directory for the context", parts.store.dir, () => mkdirSync(dir, { mode: 0o700 }));
  parts.use({ [Symbol.asyncDispose]: () => removeContext(parts, dir) });
  let root = dir;
  if (context.kind === "archive") {
    const { extractContext, directoryOf } = await import("./context-archive.ts");
    await extractContext(context.path, dir);
    root = directoryOf(dir, context.subdirectory ?? "");
  }
  if (context.kind === "file") {
    const file = join(dir, HTTP_CONTEXT_FILE);
    writeFileSync(file, context.data, { mode: 0o600 });
    utimesSync(file, context.modifiedSeconds ?? 0, context.modifiedSeconds ?? 0); // as of all that comes by http(s)
  }
  return {
    ...session,
    files: async (name) => (name === MAIN_DIRECTORY ? { kind: "here", path: root } : session.files(name)),
  };
}

async function removeContext({ keeper }: EngineParts, dir: string): Promise<void> {
  try {
    rmSync(dir, { recursive: true, force: true });
  } catch {
    // Deeper than a path of ours can say, or closed by its modes.
    const signal = cleanUpSignal(AbortSignal.abort());
    await keeper()
      .run({ kind: "remove", paths: [dir] }, { signal })
      .catch(() => {}); // goes with the store's temporary files
  }
}

/** The main context alone, as something to be solved. */
export function sourceGraph(source: SourceOp, { context }: BuildRequest): Definition {
  const graph = openGraph();
  const note = {
    name: `[internal] load git source ${redactUrl(context.kind === "remote" ? context.url : source.identifier)}`,
    ignoreCache: false,
    at: [],
    group: null,
  };
  return graph.definition(graph.add(source, null, [], note));
}

/** The file of a client's directory alone. */
export function dockerfileGraph(directory: string, path: string): Definition {
  const graph = openGraph();
  const attrs = { "local.followpaths": JSON.stringify([path]) };
  const source: SourceOp = { kind: "source", identifier: `local://${directory}`, attrs };
  const name = `[internal] load build definition from ${basename(path)}`;
  return graph.definition(graph.add(source, null, [], { name, ignoreCache: false, at: [], group: null }));
}

/** Time of a source in seconds; null: it has none. */
export async function sourceTime(
  source: SourceOp,
  { context: main }: BuildRequest,
  { store, transport, gitVariables }: EngineParts,
  context: CallContext,
): Promise<number | null> {
  const { identifier } = source;
  if (identifier.startsWith("git://")) {
    const { gitTime } = await import("../../worker/sources/git.ts");
    return gitTime(source, store, { ...context, variables: gitVariables });
  }
  const { newestMember } = await import("../../cache/layers/archive.ts");
  if (identifier === "local://context") {
    if (main.kind === "archive") return main.modifiedSeconds ?? newestMember(main.path);
    return main.kind === "file" ? main.modifiedSeconds : null;
  }
  if (!/^https?:/.test(identifier)) return null;
  const { downloadHttp } = await import("../../worker/sources/http.ts");
  const { digest, modifiedSeconds } = await downloadHttp(source, store, context, transport);
  return modifiedSeconds ?? newestMember(store.content.path(digest));
}
