// What the frontend is given: Dockerfile and ignore files read from where they are, flags as FrontendOptions.

import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { FrontendOptions } from "../frontend/frontend.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { SourceOp } from "../solver/graph/op.ts";
import { hostPlatform } from "../solver/graph/platform.ts";
import type { Session } from "../solver/graph/request.ts";
import type { BuildRequest } from "./config.ts";

/** The frontend refuses longer Dockerfiles; nothing longer is read. */
const DOCKERFILE_MAX_BYTES = 16 << 20;

interface NamedFile {
  readonly name: string;
  readonly data: Uint8Array;
}

/** Reads a file out of the main context, when that has to be fetched first. */
export type ReadRemote = (path: string) => Promise<Uint8Array | null>;

/** The main context as a source. */
export function contextSource(request: BuildRequest): SourceOp {
  const { context } = request;
  if (context.kind !== "remote") return { kind: "source", identifier: "local://context", attrs: {} };
  const url = context.url;
  const git = gitAddress(url);
  if (git !== null) return git;
  return { kind: "source", identifier: url, attrs: { "http.filename": "context" } };
}

/** A git context in any of the forms buildx takes, or null when the URL is a plain file. */
export function gitAddress(text: string): SourceOp | null {
  const hash = text.indexOf("#");
  let address = hash < 0 ? text : text.slice(0, hash);
  let fragment = hash < 0 ? "" : text.slice(hash + 1);
  const query = address.indexOf("?");
  const parameters = query < 0 ? new URLSearchParams() : new URLSearchParams(address.slice(query + 1));
  if (query >= 0) address = address.slice(0, query);
  const isGit =
    /^(?:git|ssh):\/\//.test(address) ||
    /^[a-zA-Z0-9_.-]+@[^/:]+:/.test(address) ||
    /^github\.com\//.test(address) ||
    (/^https?:\/\//.test(address) && /\.git$/.test(address));
  if (!isGit) return null;
  if (query >= 0) {
    const ref =
      parameters.get("ref") ?? parameters.get("tag") ?? parameters.get("branch") ?? parameters.get("commit");
    const subdir = parameters.get("subdir");
    if (fragment === "" && (ref !== null || subdir !== null))
      fragment = `${ref ?? ""}${subdir === null ? "" : `:${subdir}`}`;
  }
  if (address.startsWith("github.com/")) address = `https://${address}`;
  const plain = address.replace(/^[a-z]+:\/\//, "").replace(/^([^/@]+@[^/:]+):/, "$1/");
  const attrs: Record<string, string> = { "git.fullurl": address };
  if (parameters.get("keep-git-dir") === "true") attrs["git.keepgitdir"] = "true";
  const checksum = parameters.get("checksum") ?? parameters.get("commit");
  if (checksum !== null) attrs["git.checksum"] = checksum;
  return { kind: "source", identifier: `git://${plain}${fragment === "" ? "" : `#${fragment}`}`, attrs };
}

/** Reads what is needed and checks what the frontend cannot know. Throws DOCKERFILE_MISSING, USAGE. */
export async function frontendOptions(
  request: BuildRequest,
  session: Session,
  source: SourceOp,
  readRemote: ReadRemote,
  epochSeconds: number | null,
): Promise<FrontendOptions> {
  const dockerfile = await readDockerfile(request, session, readRemote);
  const dockerignore = await readIgnore(request, session, dockerfile, readRemote);
  return {
    dockerfile,
    dockerignore,
    namedIgnores: readNamedIgnores(request, session),
    context: source,
    target: request.target,
    buildArgs:
      request.sourceDateEpoch === "context"
        ? new Map([...request.buildArgs, ["SOURCE_DATE_EPOCH", String(epochSeconds)]])
        : request.buildArgs,
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
    sourceDateEpoch: epochSeconds,
  };
}

/** SOURCE_DATE_EPOCH in seconds; --reproducible without one is 0. Throws USAGE. */
export function sourceDateEpoch(request: BuildRequest): number | null {
  const text = request.sourceDateEpoch;
  if (text === null || text === "") return request.reproducible ? 0 : null;
  if (!/^-?\d{1,15}$/.test(text)) {
    throw new BuildError("USAGE", `invalid SOURCE_DATE_EPOCH: ${JSON.stringify(text)}`, {
      hint: "it is a number of seconds since 1970",
    });
  }
  return Number(text);
}

async function readDockerfile(
  request: BuildRequest,
  session: Session,
  readRemote: ReadRemote,
): Promise<NamedFile> {
  const { dockerfile, context } = request;
  if (dockerfile.kind === "bytes") return { name: "Dockerfile", data: dockerfile.data };
  if (context.kind === "remote") {
    const path = dockerfile.kind === "path" ? dockerfile.path : "Dockerfile";
    const data = await readRemote(path);
    if (data === null) throw missing(path);
    return { name: path.split("/").pop() ?? path, data };
  }
  if (dockerfile.kind === "path") {
    const path =
      context.kind === "directory" ? dockerfile.path : join(session.directory("context"), dockerfile.path);
    const data = readLimited(path);
    if (data === null) throw missing(path);
    return { name: path.split("/").pop() ?? path, data };
  }
  const dir = session.directory("context");
  for (const name of ["Dockerfile", "dockerfile"]) {
    const data = readLimited(join(dir, name));
    if (data !== null) return { name, data };
  }
  throw missing("Dockerfile");
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

async function readIgnore(
  request: BuildRequest,
  session: Session,
  dockerfile: NamedFile,
  readRemote: ReadRemote,
): Promise<NamedFile | null> {
  const own = `${dockerfile.name}.dockerignore`;
  if (request.context.kind === "remote") {
    for (const name of [own, ".dockerignore"]) {
      const data = await readRemote(name);
      if (data !== null) return { name, data };
    }
    return null;
  }
  if (request.dockerfile.kind === "path") {
    const data = readLimited(`${request.dockerfile.path}.dockerignore`);
    if (data !== null) return { name: own, data };
  }
  for (const name of request.dockerfile.kind === "default" ? [own, ".dockerignore"] : [".dockerignore"]) {
    const data = readLimited(join(session.directory("context"), name));
    if (data !== null) return { name, data };
  }
  return null;
}

function readNamedIgnores(request: BuildRequest, session: Session): ReadonlyMap<string, NamedFile> {
  const ignores = new Map<string, NamedFile>();
  for (const value of request.buildContexts.values()) {
    if (!value.startsWith("local:")) continue;
    const name = value.slice(6);
    const data = readLimited(join(session.directory(name), ".dockerignore"));
    if (data !== null) ignores.set(name, { name: ".dockerignore", data });
  }
  return ignores;
}

function readLimited(path: string): Uint8Array | null {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return null;
  if (!stat.isFile()) throw new BuildError("DOCKERFILE_MISSING", `failed to read ${path}: not a file`);
  if (stat.size > DOCKERFILE_MAX_BYTES) {
    throw new BuildError("LIMIT_EXCEEDED", `${path} is longer than ${DOCKERFILE_MAX_BYTES >> 20} MiB`);
  }
  return readFileSync(path);
}
