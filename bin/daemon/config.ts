// The settings of the daemon: flags before the configuration file before defaults. Read when it starts, and again with SIGHUP.

import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { ParsedFlags } from "../args.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Platform } from "../../solver/graph/op.ts";
import type { DnsSettings, Environment } from "../engine/config.ts";
import { type Address, addressOf, debugAddressOf, defaultSocket, type ProgramName } from "./address.ts";
import {
  type FileRegistries,
  type FrontendSettings,
  type HistorySettings,
  NO_FILE,
  readConfigFile,
} from "./config-file.ts";
import { ignoredFlags, listOf } from "./config-flags.ts";
import type { Findings } from "./config-section.ts";
import {
  type DefaultNetwork,
  durationOf,
  entitlementOf,
  type GcSettings,
  InvalidValue,
  keepStorageOf,
  logFormatOf,
  logLevelOf,
  networkModeOf,
  platformOf,
  wholeNumberOf,
} from "./config-values.ts";
import type { LogSettings } from "./log.ts";

/** What a daemon is told. */
export interface DaemonSettings {
  /** The file that was read, or would have been. */
  readonly file: string;
  /** Directory of the store, absolute; null: the usual one. */
  readonly root: string | null;
  readonly addresses: readonly Address[];
  /** Where metrics are told; null: nowhere. */
  readonly debugAddress: Address | null;
  /** Who the sockets belong to; null: who runs the daemon. With a group its members may use them. */
  readonly owner: { readonly uid: number | null; readonly gid: number | null };
  readonly drainMs: number;
  readonly log: LogSettings;
  /** Entitlements that clients may ask for. */
  readonly allowed: ReadonlySet<string>;
  readonly worker: WorkerSettings;
  readonly network: DefaultNetwork;
  /** Steps at one time, of all builds; null: as many as this machine should take. */
  readonly maxParallelism: number | null;
  readonly gc: GcSettings;
  readonly registries: FileRegistries;
  /** null: this machine's. */
  readonly dns: DnsSettings | null;
  readonly history: HistorySettings;
  readonly frontends: FrontendSettings;
  /** For the log: what has no effect, and what nobody knows. */
  readonly remarks: readonly string[];
}

/** What is told about the only worker. */
export interface WorkerSettings {
  readonly labels: Readonly<Record<string, string>>;
  /** The first is the default one; null: this machine's. */
  readonly platforms: readonly Platform[] | null;
}

/** Reads the configuration file and merges it with flags and defaults. Throws USAGE. */
export async function readSettings(
  flags: ParsedFlags,
  { program, env, cwd, isRoot }: { program: ProgramName; env: Environment; cwd: string; isRoot: boolean },
): Promise<DaemonSettings> {
  const given = flags.one("config");
  const path = given ? resolve(cwd, given) : defaultFile(env, isRoot);
  const read = await readConfigFile(path, cwd);
  if (read === null && given)
    throw new BuildError("USAGE", `there is no configuration ${path}`, {
      hint: "without --config the default file is read where there is one",
    });
  const { settings: file, findings } = read ?? { settings: NO_FILE, findings: null };
  if (flags.bool("proxy-network"))
    throw new BuildError("USAGE", "--proxy-network is not supported", {
      hint: "--oci-worker-net=none gives steps no network",
    });
  const one = <T>(name: string, read: (text: string) => T): T | null => {
    const text = flags.one(name);
    return text === null ? null : orUsage(name, () => read(text));
  };
  const all = <T>(name: string, read: (text: string) => T): T[] =>
    listOf(flags, name).map((text) => orUsage(name, () => read(text)));

  const group = flags.one("group");
  const gid = group ? groupId(group) : file.gid;
  const tls = {
    cert: pathOf(flags.one("tlscert"), cwd) ?? file.tls.cert,
    key: pathOf(flags.one("tlskey"), cwd) ?? file.tls.key,
    ca: pathOf(flags.one("tlscacert"), cwd) ?? file.tls.ca,
  };
  const addresses = flags.has("addr") ? listOf(flags, "addr") : (file.addresses ?? []);
  const entitlements = all("allow-insecure-entitlement", entitlementOf);
  const platforms = all("oci-worker-platform", platformOf);
  const keep = one("oci-worker-gc-keepstorage", keepStorageOf);
  return {
    file: path,
    root:
      pathOf(flags.one("root"), cwd) ??
      file.root ??
      (program === "buildkitd" ? buildkitRoot(env, isRoot) : null),
    addresses: (addresses.length > 0 ? addresses : [defaultAddress(program, env, isRoot)]).map((text) =>
      addressOf(text, tls, cwd),
    ),
    debugAddress: debugAddressOf(
      flags.one("debugaddr") || file.debugAddress || env["BUILDKITD_DEBUGADDR"] || "",
      cwd,
    ),
    owner: { uid: file.uid, gid },
    drainMs: one("drain-timeout", durationOf) ?? DRAIN_MS,
    log: {
      format: one("log-format", logFormatOf) ?? file.logFormat ?? "text",
      level:
        one("log-level", logLevelOf) ??
        (flags.bool("trace") ? "trace" : flags.bool("debug") ? "debug" : null) ??
        file.logLevel ??
        "info",
    },
    allowed: new Set(entitlements.length > 0 ? entitlements : file.entitlements),
    worker: {
      labels: { ...file.labels, ...labelsOf(listOf(flags, "oci-worker-labels")) },
      platforms: platforms.length > 0 ? platforms : file.platforms,
    },
    network: one("oci-worker-net", networkModeOf) ?? file.network ?? "sandbox",
    maxParallelism: one("oci-max-parallelism", (text) => wholeNumberOf(text, 0)) || file.maxParallelism,
    gc:
      flags.has("oci-worker-gc") && !flags.bool("oci-worker-gc")
        ? { kind: "off" }
        : keep !== null
          ? { kind: "policies", policies: keep }
          : (file.gc ?? { kind: "default" }),
    registries: file.registries,
    dns: file.dns,
    history: file.history,
    frontends: file.frontends,
    remarks: remarksOf(ignoredFlags(flags), path, findings),
  };
}

/** `docker stop` kills after ten seconds: what is cancelled has time to end before. */
const DRAIN_MS = 8_000;

function pathOf(text: string | null, cwd: string): string | null {
  return text ? resolve(cwd, text) : null;
}

function orUsage<T>(flag: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof InvalidValue ? new BuildError("USAGE", `--${flag} ${error.message}`) : error;
  }
}

function remarksOf(flags: readonly string[], path: string, findings: Findings | null): string[] {
  const remark = (where: string, what: string, names: readonly string[]): string[] =>
    names.length === 0 ? [] : [`${where}${what}: ${names.join(", ")}`];
  return [
    ...remark("", "no effect in tsbuildd", flags),
    ...remark(`${path}: `, "no effect in tsbuildd", findings?.ignored ?? []),
    ...remark(`${path}: `, "unknown keys", findings?.unknown ?? []),
  ];
}

function labelsOf(texts: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    texts.map((text) => {
      const at = text.indexOf("=");
      if (at < 1)
        throw new BuildError("USAGE", `--oci-worker-labels must be NAME=VALUE, not ${JSON.stringify(text)}`);
      return [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

function defaultFile(env: Environment, isRoot: boolean): string {
  const directory = isRoot ? "/etc" : env.XDG_CONFIG_HOME || join(env.HOME || "/", ".config");
  return join(directory, "buildkit", "buildkitd.toml");
}

/** Where buildkitd has its state. */
function buildkitRoot(env: Environment, isRoot: boolean): string {
  if (isRoot) return "/var/lib/buildkit";
  return join(env.XDG_DATA_HOME || join(env.HOME || "/", ".local", "share"), "buildkit");
}

function defaultAddress(program: ProgramName, env: Environment, isRoot: boolean): string {
  const path = defaultSocket(program, env, isRoot);
  if (path === null)
    throw new BuildError("USAGE", "there is no directory for the socket: XDG_RUNTIME_DIR is not set", {
      hint: "give an address: --addr unix://PATH",
    });
  return `unix://${path}`;
}

/** A group's number, by name or number. group(5) */
function groupId(text: string): number {
  if (/^\d{1,10}$/.test(text)) return Number(text);
  const lines = readFileSync("/etc/group", "utf8").split("\n");
  const entry = lines.map((line) => line.split(":")).find(([name]) => name === text);
  if (entry === undefined) throw new BuildError("USAGE", `there is no group ${JSON.stringify(text)}`);
  return Number(entry[2]);
}
