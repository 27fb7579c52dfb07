// The configuration file, buildkitd.toml: https://github.com/moby/buildkit/blob/master/docs/buildkitd.toml.md

import { isIP } from "node:net";
import { resolve } from "node:path";
import { parseToml, type Table } from "../../cache/registry/toml.ts";
import { readFileOf } from "../../cache/outside.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Platform } from "../../solver/graph/op.ts";
import type { DnsSettings, RegistryHost } from "../engine/config.ts";
import { type Findings, openSection, type Section } from "./config-section.ts";
import {
  type DefaultNetwork,
  durationOf,
  entitlementOf,
  filterOf,
  type GcPolicy,
  type GcSettings,
  logFormatOf,
  logLevelOf,
  networkModeOf,
  platformOf,
  policiesOf,
  spaceOf,
  wholeNumberOf,
} from "./config-values.ts";
import type { LogSettings } from "./log.ts";

const FILE_MAX_BYTES = 1 << 20;

/** What the file says; null: it says nothing. Paths are absolute. */
export interface FileSettings {
  readonly root: string | null;
  readonly entitlements: readonly string[] | null;
  readonly logFormat: LogSettings["format"] | null;
  readonly logLevel: LogSettings["level"] | null;
  readonly addresses: readonly string[] | null;
  readonly debugAddress: string | null;
  readonly uid: number | null;
  readonly gid: number | null;
  readonly tls: { readonly cert: string | null; readonly key: string | null; readonly ca: string | null };
  readonly labels: Readonly<Record<string, string>>;
  readonly platforms: readonly Platform[] | null;
  readonly gc: GcSettings | null;
  readonly maxParallelism: number | null;
  readonly network: DefaultNetwork | null;
  readonly registries: FileRegistries;
  readonly dns: DnsSettings | null;
  readonly history: HistorySettings;
  readonly frontends: FrontendSettings;
}

/** For EngineConfig. */
export interface FileRegistries {
  readonly mirrors: readonly { readonly host: string; readonly mirror: string }[];
  readonly hosts: ReadonlyMap<string, RegistryHost>;
}

/** How long records of builds stay, and how many; null: as is the default. */
export interface HistorySettings {
  readonly maxAgeMs: number | null;
  readonly maxEntries: number | null;
}

/** Which frontends clients may use. */
export interface FrontendSettings {
  readonly dockerfile: boolean;
  /** Frontends in images, with `gateway.v0` and `# syntax=`. */
  readonly gateway: boolean;
  /** Repositories such images may be from; empty: any. */
  readonly gatewayRepositories: readonly string[];
}

/** Reads the file. null: there is none. Throws USAGE for what cannot be read or is wrong, with the line. */
export async function readConfigFile(
  path: string,
  cwd: string,
): Promise<{ readonly settings: FileSettings; readonly findings: Findings } | null> {
  let text: string;
  try {
    text = readFileOf(path, FILE_MAX_BYTES).toString("utf8");
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return null;
    throw new BuildError("USAGE", `cannot read the configuration ${path}: ${message}`, { cause });
  }
  const table = await parseToml(
    text,
    (problem, line, cause) => new BuildError("USAGE", `${path}:${line}: ${problem}`, { cause }),
  );
  const findings: Findings = { unknown: [], ignored: [] };
  return { settings: settingsOf(table, { path, text, findings }, cwd), findings };
}

/** Without a file. */
export const NO_FILE: FileSettings = settingsOf(
  {},
  { path: "", text: "", findings: { unknown: [], ignored: [] } },
  "/",
);

function settingsOf(table: Table, file: Parameters<typeof openSection>[2], cwd: string): FileSettings {
  const top = openSection(table, [], file);
  const path = (text: string | null): string | null => (text ? resolve(cwd, text) : null);
  // It would take from steps what they may reach: a daemon that left it out would grant more than its file says.
  if (top.bool("proxyNetwork") === true)
    throw top.wrong(
      "proxyNetwork",
      'is not supported: remove it, or give steps no network (networkMode = "none")',
    );
  const log = top.section("log");
  const grpc = top.section("grpc");
  const tls = grpc?.section("tls") ?? null;
  const worker = top.section("worker");
  const oci = worker?.section("oci") ?? null;
  const level = logLevel(top, log);
  const settings: FileSettings = {
    root: path(top.text("root")),
    entitlements: top.values("insecure-entitlements", entitlementOf),
    logFormat: log?.value("format", (value) => logFormatOf(String(value || "text"))) ?? null,
    logLevel: level,
    addresses: grpc?.texts("address") ?? null,
    debugAddress: grpc?.text("debugAddress") || null,
    uid: grpc?.value("uid", (value) => wholeNumberOf(value, 0)) ?? null,
    gid: grpc?.value("gid", (value) => wholeNumberOf(value, 0)) ?? null,
    tls: {
      cert: path(tls?.text("cert") ?? null),
      key: path(tls?.text("key") ?? null),
      ca: path(tls?.text("ca") ?? null),
    },
    labels: oci?.labels("labels") ?? {},
    platforms: oci?.values("platforms", platformOf) ?? null,
    gc: oci === null ? null : gcOf(oci),
    maxParallelism: oci?.value("max-parallelism", (value) => wholeNumberOf(value, 0)) || null,
    network: oci?.value("networkMode", (value) => networkModeOf(String(value))) ?? null,
    registries: registriesOf(top, cwd),
    dns: dnsOf(top.section("dns")),
    history: historyOf(top.section("history")),
    frontends: frontendsOf(top.section("frontend")),
  };
  top.ignore(["provenanceEnvDir"]);
  const otel = top.section("otel");
  otel?.ignore(["socketPath"], isEmpty);
  const cdi = top.section("cdi");
  cdi?.ignore(["disabled"], (value) => value === true);
  cdi?.ignore(["specDirs", "autoAllowed"]);
  const system = top.section("system");
  system?.ignore(["platformsCacheMaxAge", "maxRegistryConcurrency"]);
  top.ignore(["cache", "ghacache"]);
  grpc?.ignore(["securityDescriptor"], isEmpty);
  oci?.ignore(["enabled"], (value) => value === true);
  oci?.ignore(["snapshotter"], (value) => value === "" || value === "auto" || value === "overlayfs");
  oci?.ignore(["rootless"], () => true); // what it would be for is always so
  oci?.ignore(["noProcessSandbox", "selinux"], (value) => value === false);
  oci?.ignore(
    [
      ...[
        "binary",
        "proxySnapshotterPath",
        "apparmor-profile",
        "defaultCgroupParent",
        "userRemapUnsupported",
      ],
      ...["cniConfigPath", "cniBinaryPath", "cniPoolSize", "bridgeName", "bridgeSubnet", "stargzSnapshotter"],
    ],
    isEmpty,
  );
  // There is no containerd worker; what it would be like does not matter.
  worker?.ignore(["containerd"], (value) => (value as Table)["enabled"] !== true);
  for (const section of [top, log, grpc, tls, worker, oci, otel, cdi, system]) section?.end();
  return settings;
}

const isEmpty = (value: unknown): boolean => value === "" || value === 0;

/** "debug" and "trace" at the top are older forms. */
function logLevel(top: Section, log: Section | null): LogSettings["level"] | null {
  const [debug, trace] = [top.bool("debug"), top.bool("trace")];
  const said = log?.value("level", (value) => (value === "" ? null : logLevelOf(String(value)))) ?? null;
  return said ?? (trace === true ? "trace" : debug === true ? "debug" : null);
}

function gcOf(oci: Section): GcSettings | null {
  const isOn = oci.bool("gc");
  const older = oci.value("gckeepstorage", spaceOf);
  const spaces = spacesOf(oci);
  const policies = oci.sections("gcpolicy").map((section): GcPolicy => {
    const kept = section.value("keepBytes", spaceOf);
    const own = spacesOf(section);
    const policy = {
      all: section.bool("all") ?? false,
      filters: section.values("filters", filterOf) ?? [],
      keepDurationMs: section.value("keepDuration", durationOf) ?? 0,
      ...own,
      reserved: own.reserved ?? kept,
    };
    section.end();
    return policy;
  });
  if (isOn === false) return { kind: "off" };
  if (policies.length > 0) return { kind: "policies", policies };
  const isSaid = Object.values(spaces).some((space) => space !== null);
  if (!isSaid && older === null) return null;
  return { kind: "policies", policies: policiesOf(isSaid ? spaces : { ...spaces, reserved: older }) };
}

function spacesOf(section: Section): Pick<GcPolicy, "reserved" | "maxUsed" | "minFree"> {
  return {
    reserved: section.value("reservedSpace", spaceOf),
    maxUsed: section.value("maxUsedSpace", spaceOf),
    minFree: section.value("minFreeSpace", spaceOf),
  };
}

function registriesOf(top: Section, cwd: string): FileRegistries {
  const mirrors: { host: string; mirror: string }[] = [];
  const hosts = new Map<string, RegistryHost>();
  const paths = (texts: readonly string[] | null): string[] => texts?.map((text) => resolve(cwd, text)) ?? [];
  for (const [host, section] of top.named("registry")) {
    if (!/^[^\s/]+$/.test(host))
      throw top.wrong("registry", `has ${JSON.stringify(host)}, which is not HOST[:PORT]`);
    for (const mirror of section.texts("mirrors") ?? []) {
      if (!/^(?:https?:\/\/)?[^/\s]+(?:\/\S*)?$/.test(mirror))
        throw section.wrong("mirrors", `has ${JSON.stringify(mirror)}, which is not HOST[:PORT][/PATH]`);
      mirrors.push({ host, mirror });
    }
    const clients = section.sections("keypair").map((pair) => {
      const [cert, key] = [pair.text("cert"), pair.text("key")];
      if (!cert || !key) throw pair.wrong(cert ? "key" : "cert", "is missing: a key pair has cert and key");
      pair.end();
      return { cert: resolve(cwd, cert), key: resolve(cwd, key) };
    });
    hosts.set(host, {
      http: section.bool("http") ?? false,
      insecure: section.bool("insecure") ?? false,
      ca: paths(section.texts("ca")),
      clients,
      directories: paths(section.texts("tlsconfigdir")),
    });
    section.end();
  }
  return { mirrors, hosts };
}

function dnsOf(section: Section | null): DnsSettings | null {
  if (section === null) return null;
  const dns = {
    nameservers: section.texts("nameservers") ?? [],
    options: section.texts("options") ?? [],
    searchDomains: section.texts("searchDomains") ?? [],
  };
  for (const [key, texts] of Object.entries(dns))
    for (const text of texts)
      if (!/^[\w.:%-]+$/.test(text))
        throw section.wrong(key, `has ${JSON.stringify(text)}, which is not one word`);
  for (const server of dns.nameservers)
    if (isIP(server.replace(/%.*$/, "")) === 0)
      throw section.wrong("nameservers", `has ${JSON.stringify(server)}, which is no IP address`);
  section.end();
  return dns;
}

function historyOf(section: Section | null): HistorySettings {
  const history = {
    maxAgeMs: section?.value("maxAge", durationOf) || null,
    maxEntries: section?.value("maxEntries", (value) => wholeNumberOf(value, 0)) || null,
  };
  section?.end();
  return history;
}

function frontendsOf(section: Section | null): FrontendSettings {
  const dockerfile = section?.section("dockerfile.v0") ?? null;
  const gateway = section?.section("gateway.v0") ?? null;
  const frontends = {
    dockerfile: dockerfile?.bool("enabled") ?? true,
    gateway: gateway?.bool("enabled") ?? true,
    gatewayRepositories: gateway?.texts("allowedRepositories") ?? [],
  };
  for (const one of [section, dockerfile, gateway]) one?.end();
  return frontends;
}
