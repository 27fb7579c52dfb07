// What the frontend is given: Dockerfile and ignore files read from where they are, flags as FrontendOptions.

import { basename, dirname, join } from "node:path";
import type { FrontendOptions } from "../../frontend/frontend.ts";
import { gitContext } from "../../frontend/git-ref.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import { BuildError, redactUrl } from "../../solver/graph/error.ts";
import type { Emit } from "../../solver/graph/event.ts";
import type { SourceOp } from "../../solver/graph/op.ts";
import { hostPlatform } from "../../solver/graph/platform.ts";
import type { Session } from "../../solver/graph/request.ts";
import { MAIN_DIRECTORY } from "./defaults.ts";
import type { BuildRequest } from "./request.ts";
import { readContextFile, readUserFile } from "./context-files.ts";

interface NamedFile {
  readonly name: string;
  readonly data: Uint8Array;
}

/** Reads a file out of the main context, when that has to be fetched first. */
export type ReadRemote = (path: string) => Promise<Uint8Array | null>;

/** Name of the one file that a context behind an http(s) address is when it is no archive: dockerui, context.go. */
export const HTTP_CONTEXT_FILE = "context";

/** The main context as a source. Throws USAGE for an address of a repository that makes no sense. */
export function contextSource({ context, buildArgs }: BuildRequest): SourceOp {
  if (context.kind !== "remote") return { kind: "source", identifier: "local://context", attrs: {} };
  const git = gitContext(context.url, buildArgs);
  if (git !== null) return git;
  if (!/^https?:/.test(context.url)) {
    throw new BuildError("USAGE", `invalid git context ${redactUrl(context.url)}`);
  }
  return { kind: "source", identifier: context.url, attrs: { "http.filename": HTTP_CONTEXT_FILE } };
}

/** Reads what is needed and checks what the frontend cannot know. Throws DOCKERFILE_MISSING, USAGE. */
export async function frontendOptions(
  request: BuildRequest,
  session: Session,
  source: SourceOp,
  readRemote: ReadRemote,
  emit: Emit,
): Promise<FrontendOptions> {
  // What comes out of a context that is fetched is no step of its own: the fetch is one.
  const isRemote = request.context.kind === "remote";
  const definition = `build definition from ${dockerfileName(request)}`;
  const dockerfile = await shown(
    isRemote && request.dockerfile.kind !== "bytes" ? null : emit,
    definition,
    "dockerfile",
    () => readDockerfile(request, session, readRemote),
  );
  // Ignore files are for directories only.
  const isDirectory = request.context.kind === "directory";
  const dockerignore = await shown(isDirectory ? emit : null, ".dockerignore", "context", () =>
    readIgnore(request, session, dockerfile),
  );
  return {
    dockerfile,
    dockerignore,
    namedIgnores: await readNamedIgnores(request, session),
    context: source,
    ...(request.context.kind === "remote" ? { contextName: request.context.url } : {}),
    target: request.target,
    buildArgs: request.buildArgs,
    labels: request.labels,
    platforms: request.platforms,
    ...(request.contextMode === null ? {} : { contextMode: request.contextMode }),
    buildPlatform: hostPlatform(),
    namedContexts: request.buildContexts,
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

function dockerfileName({ dockerfile }: BuildRequest): string {
  return dockerfile.kind === "path" ? basename(dockerfile.path) : "Dockerfile";
}

async function readDockerfile(
  request: BuildRequest,
  session: Session,
  readRemote: ReadRemote,
): Promise<NamedFile> {
  const { dockerfile, context } = request;
  if (dockerfile.kind === "bytes") return { name: "Dockerfile", data: dockerfile.data };
  const asked = dockerfile.kind === "path" ? dockerfile.path : "Dockerfile";
  const read = (path: string): Promise<Uint8Array | null> => {
    if (context.kind === "remote") return readRemote(path);
    const dir = session.directory(MAIN_DIRECTORY);
    return dockerfile.kind === "path" ? readNamed(request, dir, path) : readContextFile(dir, path);
  };
  // "dockerfile" is one too, in any directory.
  const lower = basename(asked) === "Dockerfile" ? [join(dirname(asked), "dockerfile")] : [];
  for (const path of [asked, ...lower]) {
    const data = await read(path);
    if (data !== null) return { name: basename(path), data };
  }
  throw missing(asked);
}

/** -f: a path of this machine beside a directory, else one in the context. */
function readNamed({ context }: BuildRequest, dir: string, path: string): Promise<Uint8Array | null> {
  return context.kind === "directory" ? readUserFile(path, dir) : readContextFile(dir, path);
}

function missing(path: string): BuildError {
  return new BuildError(
    "DOCKERFILE_MISSING",
    `failed to read dockerfile: open ${path}: no such file or directory`,
    {
      hint: "name it with -f, or start the build in the directory that has it",
    },
  );
}

/** An ignore file says what a client leaves out when it sends a directory; what comes as a whole (an archive, a repository) is taken
 *  as a whole: dockerui, config.go. */
async function readIgnore(
  request: BuildRequest,
  session: Session,
  dockerfile: NamedFile,
): Promise<NamedFile | null> {
  if (request.context.kind !== "directory") return null;
  const own = `${dockerfile.name}.dockerignore`;
  const dir = session.directory(MAIN_DIRECTORY);
  if (request.dockerfile.kind === "path") {
    const data = await readNamed(request, dir, `${request.dockerfile.path}.dockerignore`);
    if (data !== null) return { name: own, data };
  }
  for (const name of request.dockerfile.kind === "default" ? [own, ".dockerignore"] : [".dockerignore"]) {
    const data = await readContextFile(dir, name);
    if (data !== null) return { name, data };
  }
  return null;
}

async function readNamedIgnores(
  request: BuildRequest,
  session: Session,
): Promise<ReadonlyMap<string, NamedFile>> {
  const ignores = new Map<string, NamedFile>();
  for (const value of request.buildContexts.values()) {
    if (!value.startsWith("local:")) continue;
    const name = value.slice(6);
    const data = await readContextFile(session.directory(name), ".dockerignore");
    if (data !== null) ignores.set(name, { name: ".dockerignore", data });
  }
  return ignores;
}
