// `tsbuild build`: flags to a BuildRequest. Unknown or unsupported values are rejected here, with the flag's name.

import { statSync } from "node:fs";
import { resolve } from "node:path";
import { BuildError } from "../solver/graph/error.ts";
import type { Entitlement } from "../solver/graph/request.ts";
import type { ParsedFlags } from "./args.ts";
import { MAIN_DIRECTORY } from "./engine/defaults.ts";
import type { BuildRequest, CallRequest } from "./engine/request.ts";
import type { Environment } from "./engine/config.ts";
import { readGiven } from "./given-file.ts";
import { readLimits } from "./flags-limits.ts";
import { readOciRuntime } from "./flags-runtime.ts";
import {
  parseCsv,
  parseHosts,
  parsePairs,
  parsePlatforms,
  parseSecret,
  parseSize,
  parseSsh,
  parseUlimit,
} from "./flags-values.ts";
import type { SecretSource, SshSource } from "./flags-values.ts";

/** All of a BuildRequest that the command line alone says; the directories are for the session. */
export interface BuildFlags
  extends Omit<BuildRequest, "context" | "dockerfile" | "outputs" | "session" | "lock" | "frontendArgs"> {
  readonly directories: ReadonlyMap<string, string>;
  readonly secrets: readonly SecretSource[];
  readonly ssh: readonly SshSource[];
}

/** Reads and checks the flags. Throws USAGE. cwd: paths are relative to it; proxies: arguments that are set where the flags do not. */
export async function readBuildFlags(
  flags: ParsedFlags,
  env: Environment,
  cwd: string,
  proxies: ReadonlyMap<string, string>,
  signal: AbortSignal,
): Promise<BuildFlags> {
  const fileArgs: string[] = [];
  for (const path of flags.all("build-arg-file"))
    fileArgs.push(...(await readArgFile(resolve(cwd, path), signal)));
  const buildArgs = parsePairs([...fileArgs, ...flags.all("build-arg")], env);
  for (const [name, value] of proxies) if (!buildArgs.has(name)) buildArgs.set(name, value);
  const epoch = env.SOURCE_DATE_EPOCH;
  if (!buildArgs.has("SOURCE_DATE_EPOCH") && epoch !== undefined && epoch !== "") {
    buildArgs.set("SOURCE_DATE_EPOCH", epoch); // as buildx
  }
  const secrets = flags.all("secret").map((text) => {
    const secret = parseSecret(text, env);
    return secret.from.kind === "file"
      ? { id: secret.id, from: { kind: "file" as const, path: resolve(cwd, secret.from.path) } }
      : secret;
  });
  const shmSize = flags.one("shm-size");
  const platforms = flags.has("platform")
    ? flags.all("platform")
    : env.DOCKER_DEFAULT_PLATFORM
      ? [env.DOCKER_DEFAULT_PLATFORM]
      : [];
  return Object.freeze({
    target: flags.one("target") || null,
    tags: flags.all("tag"),
    buildArgs,
    labels: parsePairs(flags.all("label"), null),
    secrets,
    ssh: flags.all("ssh").map((text) => {
      const { id, paths } = parseSsh(text);
      return { id, paths: paths.map((path) => resolve(cwd, path)) };
    }),
    ...readBuildContexts(flags.all("build-context"), cwd),
    inputs: new Map(),
    noCache: flags.bool("no-cache"),
    noCacheFilter: flags.all("no-cache-filter").flatMap(parseCsv),
    platforms: parsePlatforms(platforms),
    pull: flags.bool("pull"),
    annotations: await readAnnotations(flags.all("annotation")),
    allow: flags.all("allow").flatMap(parseCsv).map(readEntitlement),
    network: readNetwork(flags.one("network")),
    extraHosts: await parseHosts(flags.all("add-host")),
    shmSizeBytes: shmSize === null ? null : parseSize(shmSize, "--shm-size"),
    ulimits: lastOfEachName(flags.all("ulimit").map(parseUlimit)),
    cgroupParent: flags.one("cgroup-parent") ?? "",
    limits: readLimits(flags),
    ociRuntime: readOciRuntime(flags, env, cwd),
    reproducible: flags.bool("reproducible"),
    contextMode: readContextMode(flags.one("context-mode")),
    call: readCall(flags),
    sourcePolicies: await readPolicies(flags, env, cwd, signal),
    verifySource: null,
    attestations: await readAttestations(flags, env),
    ...(await readCaches(flags, isOn(buildArgs.get("BUILDKIT_INLINE_CACHE")), env, cwd)),
  });
}

async function readPolicies(
  flags: ParsedFlags,
  env: Environment,
  cwd: string,
  signal: AbortSignal,
): Promise<BuildRequest["sourcePolicies"]> {
  const files = [...flags.all("source-policy"), ...flags.all("source-policy-file")];
  if (files.length === 0 && !env["EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"]) return [];
  const { readSourcePolicies } = await import("./source-policy-file.ts");
  return await readSourcePolicies(files, { env, cwd, signal });
}

/** Go's strconv.ParseBool, false for anything else. */
function isOn(value: string | undefined): boolean {
  return value !== undefined && /^(?:1|t|T|true|TRUE|True)$/.test(value);
}

/** Arguments of a file, one a line; empty lines and those that start with "#" count for nothing. */
async function readArgFile(path: string, signal: AbortSignal): Promise<string[]> {
  let text: string;
  try {
    text = (await readGiven(path, ARG_FILE_MAX_BYTES, signal)).toString("utf8");
  } catch (error) {
    if (signal.aborted) throw error;
    const { code } = error as NodeJS.ErrnoException;
    throw new BuildError("USAGE", `--build-arg-file ${path}: cannot be read (${code})`, { cause: error });
  }
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
}
/** More than a kernel takes as arguments of one program. */
const ARG_FILE_MAX_BYTES = 4 << 20;

async function readAnnotations(texts: readonly string[]): Promise<BuildRequest["annotations"]> {
  if (texts.length === 0) return [];
  const { parseAnnotationFlag } = await import("../exporters/annotations.ts");
  return texts.flatMap(parseAnnotationFlag);
}

async function readCaches(
  flags: ParsedFlags,
  inline: boolean, // asked for by BUILDKIT_INLINE_CACHE
  env: Environment,
  cwd: string,
): Promise<Pick<BuildFlags, "cacheFrom" | "cacheTo">> {
  const asked = [...flags.all("cache-to"), ...(inline ? ["type=inline"] : [])];
  const [from, to] = [flags.all("cache-from"), asked].map((texts) => texts.filter((text) => text !== ""));
  if (from === undefined || to === undefined || from.length + to.length === 0)
    return { cacheFrom: [], cacheTo: [] };
  const { parseCacheFrom, parseCacheTo } = await import("./cache-flags.ts");
  return {
    cacheFrom: from.flatMap((text) => parseCacheFrom(text, cwd, env) ?? []),
    cacheTo: to.map((text) => parseCacheTo(text, cwd, env)),
  };
}

function lastOfEachName<T extends { readonly name: string }>(values: readonly T[]): T[] {
  return [...new Map(values.map((value) => [value.name, value])).values()];
}

/** null: nothing is to be said of the results. */
async function readAttestations(flags: ParsedFlags, env: Environment): Promise<BuildRequest["attestations"]> {
  const asked = { attest: flags.all("attest"), provenance: flags.one("provenance"), sbom: flags.one("sbom") };
  const noDefault = env["BUILDX_NO_DEFAULT_ATTESTATIONS"];
  if (asked.attest.length === 0 && !asked.provenance && !asked.sbom && !noDefault) return null;
  const { attestationTerms, readAttestFlags } = await import("./attest-flags.ts");
  return attestationTerms(readAttestFlags(asked, noDefault));
}

function readNetwork(text: string | null): "default" | "host" | "none" {
  switch (text) {
    case null:
    case "":
    case "default":
      return "default";
    case "host":
    case "none":
      return text;
    default:
      throw new BuildError("USAGE", `network mode "${text}" is not supported`, {
        hint: 'use "default", "host" or "none"',
      });
  }
}

function readContextMode(text: string | null): "git" | null {
  if (text === null || text === "" || text === "keep") return null;
  if (text === "git") return text;
  throw new BuildError("USAGE", `unknown context mode "${text}"`, { hint: 'use "git", or leave it out' });
}

function readEntitlement(text: string): Entitlement {
  const name = text.split("=", 1)[0];
  if (name === "network.host" || name === "security.insecure" || name === "device") return name;
  throw new BuildError("USAGE", `unknown entitlement "${text}"`, {
    hint: 'known are "network.host", "security.insecure" and "device"',
  });
}

function readCall(flags: ParsedFlags): CallRequest {
  const text = flags.one("call");
  if (flags.bool("check") && text !== null && !/^(?:check|lint)(?:,|$)/.test(text)) {
    throw new BuildError("USAGE", "--check and --call cannot be used together");
  }
  const [name = "", ...options] = parseCsv(text ?? (flags.bool("check") ? "check" : "build"));
  let format: CallRequest["format"] = "text";
  let ignoreStatus = false;
  for (const option of options) {
    if (option === "format=json" || option === "format=text")
      format = option === "format=json" ? "json" : "text";
    else if (/^ignorestatus(?:=(?:true|1))?$/.test(option)) ignoreStatus = true;
    else if (!/^ignorestatus=(?:false|0)$/.test(option)) {
      throw new BuildError("USAGE", `invalid call option "${option}"`, {
        hint: 'known are "format=json" and "ignorestatus=true"',
      });
    }
  }
  return { name: callName(name), format, ignoreStatus };
}

function callName(name: string): CallRequest["name"] {
  switch (name) {
    case "":
    case "build":
      return "build";
    case "check":
    case "lint":
      return "check";
    case "outline":
    case "targets":
      return name;
    default:
      throw new BuildError("USAGE", `unknown call "${name}"`, {
        hint: 'use "check", "outline" or "targets"',
      });
  }
}

/** Values that are not paths of this machine. */
const REMOTE_CONTEXT = /^(?:docker-image:\/\/|target:|https?:\/\/|git:\/\/|ssh:\/\/|git@|github\.com\/)/;

/** --build-context name=value: directories become "local:NAME", layouts absolute, other values stay as written. */
function readBuildContexts(
  values: readonly string[],
  cwd: string,
): { buildContexts: Map<string, string>; directories: Map<string, string> } {
  const buildContexts = new Map<string, string>();
  const directories = new Map<string, string>();
  for (const text of values) {
    const at = text.indexOf("=");
    if (at <= 0) throw new BuildError("USAGE", `invalid context value: ${text}, expected key=value`);
    const name = text.slice(0, at).replace(/:latest$/, "");
    const value = text.slice(at + 1);
    if (REMOTE_CONTEXT.test(value)) buildContexts.set(name, value);
    else if (value.startsWith("oci-layout://")) buildContexts.set(name, absoluteLayout(value.slice(13), cwd));
    else {
      // "context" is the main one's name in the session
      const directory = name === MAIN_DIRECTORY ? `named-${name}` : name;
      directories.set(directory, existingDirectory(resolve(cwd, value), value));
      buildContexts.set(name, `local:${directory}`);
    }
  }
  return { buildContexts, directories };
}

/** oci-layout://PATH[:tag][@digest] with PATH made absolute. */
function absoluteLayout(rest: string, cwd: string): string {
  const at = rest.indexOf("@");
  const nameEnd = at < 0 ? rest.length : at;
  const colon = rest.lastIndexOf(":", nameEnd - 1);
  const end = colon > rest.lastIndexOf("/", nameEnd) ? colon : nameEnd;
  return `oci-layout://${resolve(cwd, rest.slice(0, end))}${rest.slice(end)}`;
}

/** In the words of buildx: nothing has been solved when a name is no name. */
function existingDirectory(path: string, written: string): string {
  let isDirectory: boolean;
  try {
    isDirectory = statSync(path).isDirectory();
  } catch (cause) {
    throw new BuildError("CONTEXT_MISSING", `failed to get build context ${written}: no such directory`, {
      cause,
    });
  }
  if (!isDirectory)
    throw new BuildError("CONTEXT_MISSING", `failed to get build context ${written}: not a directory`);
  return path;
}
