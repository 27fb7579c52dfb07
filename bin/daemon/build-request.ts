// The attributes of a Solve as a BuildRequest of the engine: BuildKit's words for the Dockerfile frontend, exporters and caches.

import type { CacheFrom, CacheTo } from "../engine/cache-location.ts";
import { buildRequest, contextOnly, MAIN_DIRECTORY } from "../engine/defaults.ts";
import type {
  BuildRequest,
  BuildTerms,
  ContextSource,
  DockerfileSource,
  ExtraHost,
} from "../engine/request.ts";
import { givenAttributes } from "../cache-attributes.ts";
import { cacheFromOf, cacheToOf, type DirectoryAt } from "../cache-flags.ts";
import { parseCsv, parsePlatforms, parseSize, parseUlimit } from "../flags-values.ts";
import { parseAttestations } from "../../exporters/attestation/grammar.ts";
import { type ImageOptions, type Output, parseOutput } from "../../exporters/output-grammar.ts";
import { gitContext } from "../../frontend/git-ref.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import type { FrontendInput } from "../../frontend/contract.ts";
import { readResultConfig } from "../../frontend/frontend.ts";
import { hostPlatform } from "../../solver/graph/platform.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import type { Entitlement } from "../../solver/graph/request.ts";
import { UPLOAD_HOST } from "../../solver/graph/session.ts";
import type { SolveRequest } from "../wire/messages/moby/buildkit/v1/control_pb.ts";
import { CODE, RpcError } from "../wire/status.ts";
import type { Attributes } from "./attributes.ts";
import type { RemoteSession } from "./remote-session.ts";
import type { CacheEntry } from "./solve-call.ts";
import { policiesIn } from "./source-policies.ts";
import { callOf } from "./subrequests.ts";

/** What only clients of ours ask for. */
const REPRODUCIBLE = "tsbuild.reproducible";
const PIDS = "tsbuild.pids";
/** Addresses of what the session uploads. */
const UPLOADED = `http://${UPLOAD_HOST}/`;
/** The session's directory with the Dockerfile, where it is not the context. */
const DOCKERFILE_DIRECTORY = "dockerfile";

/** A call of the Dockerfile frontend. */
export interface DockerfileCall {
  readonly options: Attributes;
  readonly inputs: ReadonlyMap<string, FrontendInput>;
  readonly imports: readonly CacheEntry[];
  readonly session: RemoteSession;
  /** Caches in place of those that the call names; null: there are none. */
  readonly cacheFrom: readonly CacheFrom[] | null;
}

/** The terms of a build. `allowed`: entitlements this daemon grants. Throws RpcError for what is not supported, BuildError for what is
 *  wrong. */
export function termsOf(
  solve: SolveRequest,
  session: RemoteSession | null,
  allowed: ReadonlySet<string>,
): BuildTerms {
  const outputs = exportersOf(solve).map(({ Type, Attrs }, index) => outputOf(Type, Attrs, index));
  return {
    tags: [],
    // Without any, a build is made for its steps, as in BuildKit.
    outputs: outputs.length > 0 ? outputs : [parseOutput("type=cacheonly", () => {})],
    annotations: [],
    allow: entitlements(solve.Entitlements, allowed),
    limits: limitsOf(solve.FrontendAttrs),
    ociRuntime: null,
    reproducible: solve.FrontendAttrs[REPRODUCIBLE] === "true",
    cacheTo: cacheExports(solve, session),
    sourcePolicies: policiesIn(solve.SourcePolicy === undefined ? [] : [solve.SourcePolicy]),
    verifySource: null,
    lock: null,
    attestations: attestationsIn(solve.FrontendAttrs),
    session: session ?? contextOnly({ kind: "empty" }),
  };
}

/** Attributes "attest:TYPE", and build arguments in their place. BuildKit: frontend/attestations/parse.go. Throws BuildError. */
function attestationsIn(options: Attributes): BuildTerms["attestations"] {
  const asked = new Map<string, readonly string[]>();
  for (const [name, value] of Object.entries(options)) {
    const [, type = null] = /^(?:attest:|build-arg:BUILDKIT_ATTEST_)(.*)$/s.exec(name) ?? [];
    // Clients write the type once more, as a field.
    if (type !== null) asked.set(type.toLowerCase(), value === "" ? [] : parseCsv(value));
  }
  return asked.size === 0 ? null : parseAttestations(asked);
}

/** The exporters of a request, also of clients that know of one only. */
export function exportersOf(
  solve: SolveRequest,
): readonly { readonly Type: string; readonly Attrs: Attributes }[] {
  if (solve.Exporters.length > 0 || solve.ExporterDeprecated === "") return solve.Exporters;
  return [{ Type: solve.ExporterDeprecated, Attrs: solve.ExporterAttrsDeprecated }];
}

/** BuildKit's attributes for limits of steps, and one for processes, which it has none for. Throws RpcError. */
function limitsOf(options: Attributes): BuildTerms["limits"] {
  const number = (name: string): number | null => {
    const text = options[name] ?? "";
    if (text === "") return null;
    if (!/^(?:-1|\d{1,15})$/.test(text))
      throw new RpcError(CODE.INVALID_ARGUMENT, `invalid ${name} value: ${printable(text, 60)}`);
    return Number(text);
  };
  const cpus = (name: string): string | null => {
    const text = options[name] ?? "";
    if (text !== "" && !/^\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*$/.test(text))
      throw new RpcError(CODE.INVALID_ARGUMENT, `invalid ${name} value: ${printable(text, 60)}`);
    return text || null;
  };
  const limits = {
    memoryBytes: number("memory"),
    memorySwapBytes: number("memswap"),
    cpuPeriodUs: number("cpuperiod"),
    cpuQuotaUs: number("cpuquota"),
    cpuShares: number("cpushares"),
    cpusetCpus: cpus("cpusetcpus"),
    cpusetMems: cpus("cpusetmems"),
    pids: number(PIDS),
  };
  return Object.values(limits).some((limit) => limit !== null) ? limits : null;
}

/** SOURCE_DATE_EPOCH of a build, which BuildKit gives to its exporters. */
export function epochOf(solve: SolveRequest): number | null {
  const text = solve.FrontendAttrs["build-arg:SOURCE_DATE_EPOCH"] ?? "";
  return /^\d{1,12}$/.test(text) ? Number(text) : null;
}

/** What the client asks of dockerfile.v0 in a build. Throws RpcError for what is not supported, BuildError for what is wrong. */
export function requestOf(
  solve: SolveRequest,
  { options, inputs, imports, session, cacheFrom }: DockerfileCall,
): BuildRequest {
  const withPrefix = (prefix: string): Map<string, string> =>
    new Map(
      Object.entries(options).flatMap(([name, value]) =>
        name.startsWith(prefix) ? [[name.slice(prefix.length), value]] : [],
      ),
    );
  const noCache = options["no-cache"];
  return buildRequest({
    context: contextOf(options, inputs, { solve, session }),
    dockerfile: dockerfileOf(options, inputs),
    target: options["target"] || null,
    buildArgs: withHostname(withPrefix("build-arg:"), options["hostname"] ?? ""),
    labels: withPrefix("label:"),
    buildContexts: withPrefix("context:"),
    inputs,
    noCache: noCache === "",
    noCacheFilter: noCache ? noCache.split(",") : [],
    platforms: options["platform"] ? parsePlatforms([options["platform"]]) : [],
    pull: options["image-resolve-mode"] === "pull",
    network: networkOf(options["force-network-mode"], solve.Entitlements),
    extraHosts: options["add-hosts"] ? parseCsv(options["add-hosts"]).map(hostOf) : [],
    shmSizeBytes: options["shm-size"] ? parseSize(options["shm-size"]) : null,
    ulimits: options["ulimit"] ? parseCsv(options["ulimit"]).map(parseUlimit) : [],
    cgroupParent: options["cgroup-parent"] ?? "",
    call: callOf(options),
    frontendArgs: options,
    cacheFrom: cacheFrom ?? cacheImports(imports, options, session),
    session,
  });
}

function contextOf(
  options: Attributes,
  inputs: DockerfileCall["inputs"],
  { solve, session }: { readonly solve: SolveRequest; readonly session: RemoteSession },
): ContextSource {
  const url = options["context"];
  const name = options["contextkey"] ?? MAIN_DIRECTORY;
  if (inputs.has(name)) return { kind: "input", name };
  if (url === undefined || url === "") {
    return { kind: "client", key: options["sharedkey:localdir:context"] ?? solve.Ref };
  }
  const subdirectory = options["contextsubdir"] ?? "";
  const below = subdirectory === "" ? {} : { subdirectory };
  if (url.startsWith(UPLOADED)) {
    const at = new URL(url);
    return { kind: "upload", address: url, open: (options) => session.upload(at, options), ...below };
  }
  const isRepository = gitContext(url, new Map()) !== null;
  if (subdirectory === "" || !isRepository) return { kind: "remote", url, ...below };
  return { kind: "remote", url: belowRepository(url, subdirectory) };
}

/** A directory of a repository, in the address's own words. */
function belowRepository(url: string, subdirectory: string): string {
  const [repository = "", fragment = ""] = url.split(/#(.*)/s);
  const [ref = "", directory = ""] = fragment.split(/:(.*)/s);
  return `${repository}#${ref}:${directory === "" ? subdirectory : `${directory}/${subdirectory}`}`;
}

function dockerfileOf(options: Attributes, inputs: DockerfileCall["inputs"]): DockerfileSource {
  const path = options["filename"] || "Dockerfile";
  const key = options["dockerfilekey"];
  const name = key ?? DOCKERFILE_DIRECTORY;
  if (inputs.has(name)) return { kind: "input", name, path };
  if (options["context"] && key === undefined)
    return options["filename"] ? { kind: "path", path } : { kind: "default" };
  return { kind: "client", name, path };
}

function hostOf(text: string): ExtraHost {
  const at = text.indexOf("=");
  return { host: text.slice(0, at), ip: text.slice(at + 1).replace(/^\[|\]$/g, "") };
}

/** The host's network is granted by the daemon, not by asking for it. */
function networkOf(text: string | undefined, granted: readonly string[]): BuildRequest["network"] {
  if (text === undefined || text === "" || text === "sandbox") return "default";
  if (text === "none" || (text === "host" && granted.includes("network.host"))) return text;
  if (text === "host") throw new BuildError("USAGE", "network.host is not allowed");
  throw new BuildError("USAGE", `unsupported network mode ${printable(text)}`);
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

/** One exporter, by its number; what is not for this machine goes to the client under its number. */
export function outputOf(type: string, attributes: Attributes, index: number): Output {
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
  // A name would hold its layers for ever, and a worker's clients make thousands: what they push is in a registry.
  if (output.kind === "cacheonly") return output;
  const image = { ...output.image, configs: configsIn(attributes) };
  if (output.kind === "image") return { ...output, image, store: attributes["store"] === "true" };
  return { ...output, image, dest: client };
}

/** Configs that a client gives an output: "containerimage.config", or "containerimage.config/linux/arm64". Throws IMAGE_INVALID. */
function configsIn(attributes: Attributes): ImageOptions["configs"] {
  return new Map(
    Object.entries(attributes).flatMap(([name, text]) => {
      const [, platform] = /^containerimage\.config(?:\/(.+))?$/.exec(name) ?? [null, null];
      if (platform === null) return [];
      const [wanted = hostPlatform()] = platform === undefined ? [] : parsePlatforms([platform]);
      return [[platform ?? "", readResultConfig(Buffer.from(text), wanted)]];
    }),
  );
}

function field(text: string): string {
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** The host name of steps is an option and an argument, which wins. */
function withHostname(args: ReadonlyMap<string, string>, hostname: string): ReadonlyMap<string, string> {
  return hostname === "" ? args : new Map([["BUILDKIT_SANDBOX_HOSTNAME", hostname], ...args]);
}

/** The caches to import: those given beside the options, else those in them, where old clients list references. Throws RpcError, BuildError. */
export function cacheImports(
  given: readonly CacheEntry[],
  options: Attributes,
  session: RemoteSession | null,
): CacheFrom[] {
  const entries = given.length > 0 ? given : cachesIn(options);
  return entries.flatMap(({ Type, Attrs }) => {
    const from = cacheFromOf(
      givenAttributes({ type: Type, ...Attrs }, "cache import"),
      directoryOf(session),
      {},
    );
    return from === null ? [] : [{ ...from, mounts: false }];
  });
}

/** Directories of caches are the client's. */
function directoryOf(session: RemoteSession | null): DirectoryAt {
  return ({ path, digest }) => {
    if (session === null) throw new BuildError("USAGE", "a cache of type local needs a session");
    const domain = digestOf(JSON.stringify([session.peer, path]));
    return { kind: "client", name: path, domain, digest, blobs: () => session.cache(path) };
  };
}

function cachesIn(options: Attributes): readonly CacheEntry[] {
  const listed = cacheEntries(options["cache-imports"]);
  const known = new Set(["", ...listed.map(({ Attrs }) => Attrs["ref"])]);
  const references = (options["cache-from"] ?? "").split(",").filter((reference) => !known.has(reference));
  return [...listed, ...references.map((ref) => ({ Type: "registry", Attrs: { ref } }))];
}

function cacheEntries(text: string | undefined): readonly CacheEntry[] {
  if (text === undefined || text === "") return [];
  try {
    const list = JSON.parse(text) as unknown;
    if (!Array.isArray(list)) throw new TypeError("not a list");
    return list.map((one: unknown) => {
      const { Type, Attrs } = (one ?? {}) as { readonly Type?: unknown; readonly Attrs?: unknown };
      if (typeof Type !== "string") throw new TypeError("an entry without a type");
      return { Type, Attrs: Object.fromEntries(Object.entries(Attrs ?? {}).map(([k, v]) => [k, String(v)])) };
    });
  } catch (cause) {
    throw new BuildError("USAGE", "failed to unmarshal cache imports: not a list of caches", { cause });
  }
}

function cacheExports({ Cache }: SolveRequest, session: RemoteSession | null): CacheTo[] {
  const old = Cache?.ExportRefDeprecated ?? "";
  const exports: readonly CacheEntry[] =
    Cache === undefined || Cache.Exports.length > 0 || old === ""
      ? (Cache?.Exports ?? [])
      : [{ Type: "registry", Attrs: { ...Cache.ExportAttrsDeprecated, ref: old } }];
  return exports.map(({ Type, Attrs }) =>
    cacheToOf(givenAttributes({ type: Type, ...Attrs }, "cache export"), directoryOf(session), {}),
  );
}
