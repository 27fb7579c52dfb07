// hosts.toml of containerd and nerdctl: DIR/HOST/hosts.toml, or DIR/_default/hosts.toml for hosts without one.
// containerd: docs/hosts.md

import { isAbsolute, join } from "node:path";
import { printable, redactUrl } from "../../solver/graph/error.ts";
import type { ClientFiles } from "./certificates.ts";
import { hostFolders } from "./reference.ts";
import { isTable, readToml, type Table, textsOf, unusable } from "./toml.ts";

/** What a server may be asked for: what a tag stands for, all that has a digest, and to take something. */
export type Capability = "resolve" | "pull" | "push";
const CAPABILITIES: readonly Capability[] = ["pull", "resolve", "push"];

/** How a server is spoken to. */
export interface HostSettings {
  readonly insecure: boolean;
  /** Files of certificate authorities, absolute. */
  readonly ca: readonly string[];
  readonly clients: readonly ClientFiles[];
  /** Sent with each request; names in lower case. They may be keys: they are never shown. */
  readonly headers: Readonly<Record<string, string>>;
  /** Longest time until a connection stands; null: as for all hosts. */
  readonly dialTimeoutMs: number | null;
  /** In place of the environment's; null: that one. */
  readonly proxy: URL | null;
  /** null: the file says nothing, which allows all. */
  readonly capabilities: readonly Capability[] | null;
}

/** A server of the file. */
export interface HostEntry extends HostSettings {
  readonly origin: string; // https://mirror.example
  /** What the API begins with. */
  readonly root: string; // /v2
}

export interface HostsFile {
  readonly path: string;
  /** In the order of the file. */
  readonly mirrors: readonly HostEntry[];
  /** Where the registry itself is; null: where its name says. */
  readonly server: HostEntry | null;
  /** Of the registry itself, wherever it is. */
  readonly own: HostSettings;
  /** Keys this file has and nobody knows: `"retries"`, `"cert" of [host."https://…"]`. */
  readonly unknown: readonly string[];
}

/** What the first of the directories with a file for a host says; null: none has one. Throws REGISTRY_UNREACHABLE. */
export async function readHostsToml(directories: readonly string[], host: string): Promise<HostsFile | null> {
  for (const directory of directories) {
    for (const name of [...hostFolders(host), "_default"]) {
      const folder = join(directory, name);
      const path = join(folder, "hosts.toml");
      const table = await readToml(path);
      if (table !== null) return fileOf(table, { path, folder });
    }
  }
  return null;
}

interface Where {
  readonly path: string;
  /** What paths in the file start from. */
  readonly folder: string;
}

const SETTINGS = [
  "capabilities",
  "ca",
  "client",
  "skip_verify",
  "header",
  "override_path",
  "dial_timeout",
  "proxy",
];

function fileOf(table: Table, where: Where): HostsFile {
  const { host = {}, server } = table;
  if (!isTable(host)) throw unusable(where.path, "host is not a table");
  if (server !== undefined && typeof server !== "string")
    throw unusable(where.path, "server is not a string");
  const unknown = strangers(table, ["server", "host", ...SETTINGS]);
  const mirrors: HostEntry[] = [];
  for (const [name, entry] of Object.entries(host)) {
    const shown = `[host.${JSON.stringify(redactUrl(printable(name)))}]`;
    if (!isTable(entry)) throw unusable(where.path, `${shown} is not a table`);
    unknown.push(...strangers(entry, SETTINGS).map((key) => `${key} of ${shown}`));
    mirrors.push(entryOf(name, entry, where, `${shown}, `));
  }
  return {
    path: where.path,
    mirrors,
    server: server === undefined || server === "" ? null : entryOf(server, table, where, ""),
    own: settingsOf(table, where, ""),
    unknown,
  };
}

function strangers(table: Table, known: readonly string[]): string[] {
  return Object.keys(table)
    .filter((key) => !known.includes(key))
    .map((key) => JSON.stringify(printable(key)));
}

function entryOf(name: string, entry: Table, where: Where, of: string): HostEntry {
  const text = name.includes("://") ? name : `https://${name}`;
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || (url.protocol !== "https:" && url.protocol !== "http:")) {
    throw unusable(where.path, `${JSON.stringify(redactUrl(name))} is not the address of a registry`);
  }
  // "/us" is asked at /us/v2, "/v2/us" with override_path at /v2/us: docs/hosts.md, "override_path field".
  const path = url.pathname.replace(/\/{2,}/g, "/").replace(/\/$/, "");
  const isWhole = flagOf(entry, "override_path", where, of) || path.endsWith("/v2");
  return { origin: url.origin, root: isWhole ? path : `${path}/v2`, ...settingsOf(entry, where, of) };
}

/** `of`: which part of the file, for errors. */
function settingsOf(entry: Table, where: Where, of: string): HostSettings {
  const wrong = (key: string, what: string) => unusable(where.path, `${of}${key}: ${what}`);
  const { capabilities = null, ca, dial_timeout: dial, proxy } = entry;
  if (capabilities !== null && !isTexts(capabilities)) throw wrong("capabilities", "not a list of strings");
  const may = capabilities?.map((text) => {
    const known = CAPABILITIES.find((one) => one === text.toLowerCase());
    if (known === undefined)
      throw wrong("capabilities", `${JSON.stringify(text)} is not one of ${CAPABILITIES.join(", ")}`);
    return known;
  });
  if (ca !== undefined && typeof ca !== "string" && !isTexts(ca))
    throw wrong("ca", "not a file or a list of files");
  const dialTimeoutMs = dial === undefined || dial === "" ? null : millisecondsOf(dial);
  if (Number.isNaN(dialTimeoutMs)) throw wrong("dial_timeout", 'not a time like "5s"');
  return {
    insecure: flagOf(entry, "skip_verify", where, of),
    ca: textsOf(ca).map((file) => below(file, where)),
    clients: clientsOf(entry["client"], where, wrong),
    headers: headersOf(entry["header"], wrong),
    dialTimeoutMs,
    proxy: proxyOf(proxy, wrong),
    // An empty list is as good as none for containerd.
    capabilities: may === undefined || may.length === 0 ? null : may,
  };
}

function flagOf(entry: Table, key: string, where: Where, of: string): boolean {
  const value = entry[key] ?? false;
  if (typeof value !== "boolean") throw unusable(where.path, `${of}${key}: must be true or false`);
  return value;
}

type Wrong = (key: string, what: string) => Error;

/** "both.pem", ["both.pem", …] or [["a.cert", "a.key"], ["both.pem", ""], …]: docs/hosts.md, "client field". */
function clientsOf(value: unknown, where: Where, wrong: Wrong): readonly ClientFiles[] {
  const all: readonly unknown[] = value === undefined ? [] : Array.isArray(value) ? value : [value];
  return all.map((one) => {
    const [cert, key = ""] = typeof one === "string" ? [one] : isTexts(one) && one.length === 2 ? one : [];
    if (cert === undefined || cert === "")
      throw wrong("client", 'not a file, a list of files, or a list of pairs ["cert", "key"]');
    return { cert: below(cert, where), key: below(key === "" ? cert : key, where) };
  });
}

/** Names in lower case: several spellings are one header. Several values are a list in one field: RFC 9110, 5.3. */
function headersOf(value: unknown, wrong: Wrong): Readonly<Record<string, string>> {
  if (value === undefined) return {};
  if (!isTable(value)) throw wrong("header", "not a table");
  const headers: Record<string, string> = Object.create(null);
  for (const [key, given] of Object.entries(value)) {
    const name = key.toLowerCase();
    const values = typeof given === "string" ? [given] : isTexts(given) ? given : null;
    // RFC 9110, 5.1 and 5.5. The value is not shown: it may be a key.
    if (values === null || !/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name) || !values.every(isFieldValue))
      throw wrong(
        "header",
        `${JSON.stringify(printable(key))} is not a valid header with a string or a list of strings`,
      );
    if (OURS.includes(name))
      throw wrong("header", `${JSON.stringify(key)} cannot be set: tsbuild sets it itself`);
    headers[name] = name in headers ? [headers[name], ...values].join(", ") : values.join(", ");
  }
  return headers;
}

/** Of the connection and of what goes over it. */
const OURS = ["host", "connection", "content-length", "transfer-encoding", "accept-encoding", "range"];

function isFieldValue(text: string): boolean {
  return /^[\t\x20-\x7e\x80-\xff]*$/.test(text);
}

function proxyOf(value: unknown, wrong: Wrong): URL | null {
  if (value === undefined || value === "") return null;
  const url = typeof value === "string" && URL.canParse(value) ? new URL(value) : null;
  if (url === null || url.host === "" || url.pathname.length > 1 || url.search !== "" || url.hash !== "")
    throw wrong("proxy", "not an address like http://HOST:PORT");
  if (url.protocol !== "http:")
    throw wrong("proxy", `${url.protocol}// proxies are not supported, http:// ones are`);
  return url;
}

/** "1m30s", as Go's time.ParseDuration takes it; NaN: no such text. */
function millisecondsOf(value: unknown): number {
  const text = typeof value === "string" ? value : "";
  if (!/^(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+$/.test(text)) return Number.NaN;
  let total = 0;
  for (const [, count, unit = ""] of text.matchAll(/([\d.]+)([a-zµμ]+)/g))
    total += Number(count) * (UNITS[unit] as number);
  return Math.min(Math.max(1, Math.round(total)), 2 ** 31 - 1);
}
const UNITS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3, // U+00B5
  μs: 1e-3, // U+03BC
  ms: 1,
  s: 1e3,
  m: 60e3,
  h: 3600e3,
};

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((one) => typeof one === "string");
}

function below(file: string, { folder }: Where): string {
  return isAbsolute(file) ? file : join(folder, file);
}
