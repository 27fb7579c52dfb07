// What the frontend is given: Dockerfile and ignore files read from where they are, flags as FrontendOptions.

import { basename, dirname, join } from "node:path";
import type { HeldDirectory } from "../../cache/synced-files.ts";
import { gitContext } from "../../frontend/git-ref.ts";
import type { Definition } from "../../solver/graph/definition.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import { BuildError, printable, redactUrl } from "../../solver/graph/error.ts";
import type { Emit } from "../../solver/graph/event.ts";
import type { SourceOp } from "../../solver/graph/op.ts";
import { hostPlatform } from "../../solver/graph/platform.ts";
import { unlessAborted } from "../../solver/graph/scope.ts";
import type { Session } from "../../solver/graph/session.ts";
import { MAIN_DIRECTORY } from "./defaults.ts";
import type { BuildRequest } from "./request.ts";
import { readContextFile, readUserFile } from "./context-files.ts";
import type { Store } from "../../cache/contract.ts";
import type { FrontendInput, FrontendOptions } from "../../frontend/contract.ts";

interface NamedFile {
  readonly name: string;
  readonly data: Uint8Array;
}

/** Reads a file out of a graph's result. */
export type ReadInput = (definition: Definition, path: string) => Promise<Uint8Array | null>;

/** Name of the one file that a context behind an http(s) address is when it is no archive: dockerui, context.go. */
export const HTTP_CONTEXT_FILE = "context";

/** The main context as a source. Throws USAGE for an address of a repository that makes no sense. */
export function contextSource({ context, buildArgs, inputs }: BuildRequest): SourceOp | FrontendInput {
  if (context.kind === "input") return inputOf(context.name, inputs);
  if (context.kind !== "remote") return { kind: "source", identifier: "local://context", attrs: {} };
  const git = gitContext(context.url, buildArgs);
  if (git !== null) return git;
  if (!/^https?:/.test(context.url)) {
    throw new BuildError("USAGE", `invalid git context ${redactUrl(context.url)}`);
  }
  return { kind: "source", identifier: context.url, attrs: { "http.filename": HTTP_CONTEXT_FILE } };
}

function inputOf(name: string, inputs: BuildRequest["inputs"]): FrontendInput {
  const input = inputs.get(name);
  if (input === undefined) throw new BuildError("USAGE", `there is no input named ${printable(name)}`);
  return input;
}

/** What reading a request's files takes. */
export interface Reading {
  readonly session: Session;
  readonly store: Store;
  readonly readInput: ReadInput;
  /** The main context as a graph, where it is no directory of the session. */
  readonly main: () => Definition;
  readonly emit: Emit;
  readonly signal: AbortSignal;
}

/** Reads what is needed and checks what the frontend cannot know. Throws DOCKERFILE_MISSING, USAGE. */
export async function frontendOptions(
  request: BuildRequest,
  source: SourceOp | FrontendInput,
  reading: Reading,
): Promise<FrontendOptions> {
  const { emit } = reading;
  await using main = isElsewhere(request) ? null : await mainDirectory(request, reading);
  await using beside =
    request.dockerfile.kind === "client"
      ? await clientDirectory(request.dockerfile.name, dockerfileFiles(request), reading)
      : null;
  const read = readerOf(request, { main: main?.path ?? null, beside: beside?.path ?? null }, reading);
  // What comes out of a context that is fetched is no step of its own: the fetch is one.
  const isRemote = isElsewhere(request);
  const definition = `build definition from ${dockerfileName(request)}`;
  const dockerfile = await shown(
    isRemote && request.dockerfile.kind !== "bytes" ? null : emit,
    definition,
    "dockerfile",
    () => readDockerfile(request, read),
  );
  // Ignore files are for directories only.
  const isDirectory = request.context.kind === "directory" || request.context.kind === "client";
  const dockerignore = await shown(isDirectory ? emit : null, ".dockerignore", "context", async () =>
    isDirectory ? await readIgnore(request, dockerfile, read) : null,
  );
  return {
    dockerfile,
    dockerignore,
    namedIgnores: await readNamedIgnores(request, reading),
    context: source,
    ...(request.context.kind === "remote" ? { contextName: request.context.url } : {}),
    target: request.target,
    buildArgs: request.buildArgs,
    labels: request.labels,
    platforms: request.platforms,
    ...(request.contextMode === null ? {} : { contextMode: request.contextMode }),
    buildPlatform: hostPlatform(),
    namedContexts: request.buildContexts,
    inputs: request.inputs,
    noCache: request.noCache,
    noCacheFilter: request.noCacheFilter,
    extraHosts: request.extraHosts,
    network: request.network,
    shmSizeBytes: request.shmSizeBytes,
    ulimits: request.ulimits,
    cgroupParent: request.cgroupParent,
    hostname: null,
    sourceDateEpoch: request.reproducible ? 0 : null,
  };
}

/** Reading one file as a step, as BuildKit has it; what it gave, if anything, is a line with its bytes. */
async function shown<T extends NamedFile | null>(
  emit: Emit | null,
  what: string,
  kind: "dockerfile" | "context",
  read: () => Promise<T>,
): Promise<T> {
  if (emit === null) return await read();
  const name = `[internal] load ${what}`;
  const vertex = digestOf(name);
  emit({ kind: "vertex", vertex, name, inputs: [], at: [] });
  emit({ kind: "started", vertex, atMs: Date.now() });
  try {
    const file = await read();
    const label = `transferring ${kind}:`;
    const bytes = file?.data.length ?? 0;
    if (file !== null)
      emit({ kind: "bytes", vertex, label, atMs: Date.now(), current: bytes, total: null, done: true });
    return file;
  } finally {
    // As in BuildKit a file that is missing is an error of the build, not of this step.
    emit({ kind: "done", vertex, atMs: Date.now() });
  }
}

/** The context is made by steps, and no directory of the session. */
function isElsewhere({ context }: BuildRequest): boolean {
  return context.kind === "remote" || context.kind === "input";
}

function dockerfileName({ dockerfile }: BuildRequest): string {
  return "path" in dockerfile ? basename(dockerfile.path) : "Dockerfile";
}

/** Reads a file of the main context, or one that -f names. null: there is none. */
interface FileReader {
  context(path: string): Promise<Uint8Array | null>;
  /** -f: a path of this machine beside a directory, else one in the context. */
  named(path: string): Promise<Uint8Array | null>;
}

/** `beside`: the directory of the Dockerfile, where it has one of its own. */
function readerOf(
  request: BuildRequest,
  { main, beside }: { readonly main: string | null; readonly beside: string | null },
  { readInput, main: mainGraph }: Pick<Reading, "readInput" | "main">,
): FileReader {
  const { context, dockerfile, inputs } = request;
  const inContext = async (path: string): Promise<Uint8Array | null> => {
    if (isElsewhere(request)) return await readInput(mainGraph(), path);
    return main === null ? null : await readContextFile(main, path);
  };
  return {
    context: inContext,
    named(path) {
      if (beside !== null) return readContextFile(beside, path);
      if (dockerfile.kind === "input") return readInput(inputOf(dockerfile.name, inputs).definition, path);
      return context.kind === "directory" && main !== null ? readUserFile(path, main) : inContext(path);
    },
  };
}

/** The main context with the files of it that may be read; null: the client has none, which matters only to a build that uses it. */
async function mainDirectory(request: BuildRequest, reading: Reading): Promise<HeldDirectory | null> {
  const { kind } = request.dockerfile;
  try {
    return await clientDirectory(MAIN_DIRECTORY, wantedFiles(request), reading);
  } catch (error) {
    const isNeeded = kind === "default" || kind === "path" || kind === "remote";
    if (!isNeeded && error instanceof BuildError && error.code === "CONTEXT_MISSING") return null;
    throw error;
  }
}

/** Where the session's directory is on this machine, with at least these files in it. */
async function clientDirectory(
  name: string,
  follow: readonly string[],
  { session, store, signal }: Reading,
): Promise<HeldDirectory> {
  const files = await unlessAborted(session.files(name), signal);
  if (files.kind === "here") return { path: files.path, [Symbol.asyncDispose]: async () => {} };
  const { syncFiles } = await import("../../cache/synced-files.ts");
  const rules = { includes: [], excludes: [], follow };
  return await syncFiles(files, { name, ...rules }, store, { signal, onBytes: () => {} });
}

/** The paths that may be read of the main context before there is a graph. */
function wantedFiles(request: BuildRequest): string[] {
  const { kind } = request.dockerfile;
  const files = kind === "bytes" || kind === "client" || kind === "input" ? [] : dockerfileFiles(request);
  return [...files, ".dockerignore"];
}

/** Where a Dockerfile may be, with the ignore file of its own. */
function dockerfileFiles(request: BuildRequest): string[] {
  return dockerfilePaths(request).flatMap((path) => [path, `${path}.dockerignore`]);
}

/** "dockerfile" is one too, in any directory. */
function dockerfilePaths({ dockerfile }: BuildRequest): string[] {
  const asked = "path" in dockerfile ? dockerfile.path : "Dockerfile";
  return basename(asked) === "Dockerfile" ? [asked, join(dirname(asked), "dockerfile")] : [asked];
}

async function readDockerfile(request: BuildRequest, read: FileReader): Promise<NamedFile> {
  const { dockerfile } = request;
  if (dockerfile.kind === "bytes") return { name: "Dockerfile", data: dockerfile.data };
  const paths = dockerfilePaths(request);
  for (const path of paths) {
    const data = "path" in dockerfile ? await read.named(path) : await read.context(path);
    if (data !== null) return { name: basename(path), data };
  }
  throw missing(paths[0] ?? "");
}

function missing(path: string): BuildError {
  return new BuildError(
    "DOCKERFILE_MISSING",
    `failed to read dockerfile: open ${path}: no such file or directory`,
    {
      hint: "pass its path with -f, or use the directory that contains it as the context",
    },
  );
}

/** An ignore file says what a client leaves out when it sends a directory; what comes as a whole (an archive, a repository) is taken
 *  as a whole: dockerui, config.go. */
async function readIgnore(
  request: BuildRequest,
  dockerfile: NamedFile,
  read: FileReader,
): Promise<NamedFile | null> {
  const own = `${dockerfile.name}.dockerignore`;
  if ("path" in request.dockerfile) {
    const data = await read.named(`${request.dockerfile.path}.dockerignore`);
    if (data !== null) return { name: own, data };
  }
  for (const name of request.dockerfile.kind === "default" ? [own, ".dockerignore"] : [".dockerignore"]) {
    const data = await read.context(name);
    if (data !== null) return { name, data };
  }
  return null;
}

async function readNamedIgnores(
  request: BuildRequest,
  reading: Reading,
): Promise<ReadonlyMap<string, NamedFile>> {
  const ignores = new Map<string, NamedFile>();
  for (const value of request.buildContexts.values()) {
    if (!value.startsWith("local:")) continue;
    const name = value.slice(6);
    await using directory = await clientDirectory(name, [".dockerignore"], reading);
    const data = await readContextFile(directory.path, ".dockerignore");
    if (data !== null) ignores.set(name, { name: ".dockerignore", data });
  }
  return ignores;
}
