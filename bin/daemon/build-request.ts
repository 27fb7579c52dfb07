// The attributes of a Solve as a BuildRequest of the engine: BuildKit's words for the Dockerfile frontend, exporters and caches.

import type { CacheFrom, CacheTo } from "../engine/cache-location.ts";
import { buildRequest, MAIN_DIRECTORY } from "../engine/defaults.ts";
import type {
  BuildRequest,
  CallRequest,
  ContextSource,
  DockerfileSource,
  ExtraHost,
} from "../engine/request.ts";
import { parseCsv, parsePlatforms, parseSize, parseUlimit } from "../flags-values.ts";
import { type Output, parseOutput } from "../../exporters/output-grammar.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import type { Entitlement } from "../../solver/graph/request.ts";
import type { Session } from "../../solver/graph/session.ts";
import type { SolveRequest } from "../wire/messages/moby/buildkit/v1/control_pb.ts";
import { CODE, RpcError } from "../wire/status.ts";

/** The session's directory with the Dockerfile, where it is not the context. */
const DOCKERFILE_DIRECTORY = "dockerfile";

export type Attributes = Readonly<Record<string, string>>;

/** What the client asked Control.Solve for, with the options of one frontend call. `allowed`: entitlements this daemon grants.
 *  Throws RpcError for what is not supported, BuildError for what is wrong. */
export function requestOf(
  solve: SolveRequest,
  options: Attributes,
  session: Session,
  allowed: ReadonlySet<string>,
): BuildRequest {
  const withPrefix = (prefix: string): Map<string, string> =>
    new Map(
      Object.entries(options).flatMap(([name, value]) =>
        name.startsWith(prefix) ? [[name.slice(prefix.length), value]] : [],
      ),
    );
  for (const name of Object.keys(options)) {
    if (/^(?:input|input-metadata):/.test(name)) throw unsupported("inputs from other builds");
  }
  if (options["contextsubdir"]) throw unsupported("contextsubdir");
  const noCache = options["no-cache"];
  const granted = entitlements(solve.Entitlements, allowed);
  return buildRequest({
    context: contextOf(options, solve),
    dockerfile: dockerfileOf(options),
    target: options["target"] || null,
    buildArgs: withPrefix("build-arg:"),
    labels: withPrefix("label:"),
    buildContexts: namedContexts(withPrefix("context:")),
    noCache: noCache === "",
    noCacheFilter: noCache ? noCache.split(",") : [],
    platforms: options["platform"] ? parsePlatforms([options["platform"]]) : [],
    pull: options["image-resolve-mode"] === "pull",
    outputs: solve.Exporters.map(({ Type, Attrs }, index) => outputOf(Type, Attrs, index)),
    allow: granted,
    network: networkOf(options["force-network-mode"], granted),
    extraHosts: options["add-hosts"] ? parseCsv(options["add-hosts"]).map(hostOf) : [],
    shmSizeBytes: options["shm-size"] ? parseSize(options["shm-size"]) : null,
    ulimits: options["ulimit"] ? parseCsv(options["ulimit"]).map(parseUlimit) : [],
    cgroupParent: options["cgroup-parent"] ?? "",
    call: callOf(options["requestid"]),
    cacheFrom: cacheImports(solve, options),
    cacheTo: cacheExports(solve),
    session,
  });
}

function contextOf(options: Attributes, solve: SolveRequest): ContextSource {
  const url = options["context"];
  const name = options["contextkey"] ?? MAIN_DIRECTORY;
  if (url === undefined || url === "") {
    if (name !== MAIN_DIRECTORY) throw unsupported(`a context called ${printable(name)}`);
    return { kind: "client", key: options["sharedkey:localdir:context"] ?? solve.Ref };
  }
  if (url.startsWith("http://buildkit-session/")) throw unsupported("contexts through standard input");
  return { kind: "remote", url };
}

function dockerfileOf(options: Attributes): DockerfileSource {
  const path = options["filename"] || "Dockerfile";
  const key = options["dockerfilekey"];
  if (options["context"] && key === undefined)
    return options["filename"] ? { kind: "path", path } : { kind: "default" };
  return { kind: "client", name: key ?? DOCKERFILE_DIRECTORY, path };
}

/** "name::platform" stands for one platform of several; the frontend knows the form. */
function namedContexts(contexts: ReadonlyMap<string, string>): Map<string, string> {
  for (const value of contexts.values()) {
    if (/^(?:input|oci-layout):/.test(value))
      throw unsupported(`contexts of the form ${value.split(":")[0]}:`);
  }
  return new Map(contexts);
}

function hostOf(text: string): ExtraHost {
  const at = text.indexOf("=");
  return { host: text.slice(0, at), ip: text.slice(at + 1).replace(/^\[|\]$/g, "") };
}

/** The host's network is granted by the daemon, not by asking for it. */
function networkOf(text: string | undefined, granted: readonly Entitlement[]): BuildRequest["network"] {
  if (text === undefined || text === "" || text === "sandbox") return "default";
  if (text === "none" || (text === "host" && granted.includes("network.host"))) return text;
  if (text === "host") throw new BuildError("USAGE", "network.host is not allowed");
  throw new BuildError("USAGE", `unsupported network mode ${printable(text)}`);
}

function callOf(id: string | undefined): CallRequest {
  const names: Readonly<Record<string, CallRequest["name"]>> = {
    "frontend.lint": "check",
    "frontend.outline": "outline",
    "frontend.targets": "targets",
  };
  if (id === undefined || id === "") return { name: "build", format: "text", ignoreStatus: false };
  const name = names[id];
  if (name === undefined) throw unsupported(`the request ${printable(id)}`);
  return { name, format: "json", ignoreStatus: false };
}

function entitlements(asked: readonly string[], allowed: ReadonlySet<string>): Entitlement[] {
  return [...new Set(asked)].map((text) => {
    const [name = ""] = text.split("=");
    if (!allowed.has(name)) {
      throw new RpcError(
        CODE.UNKNOWN,
        `granting entitlement ${printable(name)} is not allowed by build daemon configuration`,
      );
    }
    return name as Entitlement;
  });
}

/** One exporter; what is not for this machine goes to the client under its number. */
function outputOf(type: string, attributes: Attributes, index: number): Output {
  const fields = Object.entries(attributes)
    .filter(([name]) => name !== "dest")
    .map(([name, value]) => field(`${name}=${value}`));
  const dest =
    type === "local" || attributes["tar"] === "false"
      ? ["dest=/"]
      : ["oci", "docker", "tar"].includes(type)
        ? ["dest=-"]
        : [];
  const output = parseOutput([`type=${type}`, ...dest, ...fields].join(","), () => {});
  const client = { kind: "client", name: String(index) } as const;
  if (output.kind === "files") return { ...output, dest: client };
  if (output.kind !== "archive") return output;
  if (!output.tar) throw unsupported(`type=${type} with tar=false`);
  return { ...output, dest: client };
}

function field(text: string): string {
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

interface CacheEntry {
  readonly Type: string;
  readonly Attrs: Attributes;
}

function cacheImports(solve: SolveRequest, options: Attributes): CacheFrom[] {
  const entries: CacheEntry[] = [...(solve.Cache?.Imports ?? [])];
  if (entries.length === 0 && options["cache-imports"])
    entries.push(...(JSON.parse(options["cache-imports"]) as CacheEntry[]));
  return entries.map(({ Type, Attrs }) => {
    if (Type !== "registry") throw unsupported(`cache imports of type ${printable(Type)}`);
    return { at: registryCache(Attrs), mounts: false };
  });
}

function cacheExports(solve: SolveRequest): CacheTo[] {
  return (solve.Cache?.Exports ?? []).map(({ Type, Attrs }): CacheTo => {
    if (Type === "inline") return { kind: "inline" };
    throw unsupported(
      `cache exports of type ${printable(Type)}${Attrs["ref"] ? ` to ${printable(Attrs["ref"])}` : ""}`,
    );
  });
}

function registryCache(attributes: Attributes): CacheFrom["at"] {
  const ref = attributes["ref"] ?? "";
  if (ref === "") throw new BuildError("USAGE", "a registry cache needs a ref");
  return { kind: "registry", ref, insecure: attributes["registry.insecure"] === "true" };
}

function unsupported(what: string): RpcError {
  return new RpcError(CODE.UNIMPLEMENTED, `${what}: not supported by tsbuildd`);
}
