// Values of flags: parsed once from text to typed data. Formats and limits are those of buildx and docker.
// All functions throw USAGE with the value in the message.

import { BuildError } from "../solver/graph/error.ts";
import { formatPlatformAll, type Platform } from "../solver/graph/op.ts";
import { hostPlatform, parsePlatform as parseNamedPlatform } from "../solver/graph/platform.ts";
import type { ExtraHost, Ulimit } from "./engine/request.ts";
import type { Environment } from "./engine/config.ts";

function invalid(message: string, hint: string | null = null): BuildError {
  return new BuildError("USAGE", message, { hint });
}

/** One line of CSV as buildx reads it: a field may stand in double quotes, a doubled quote is one (RFC 4180). */
export function parseCsv(text: string): string[] {
  const fields: string[] = [];
  let at = 0;
  for (;;) {
    if (text[at] === '"') {
      let field = "";
      for (;;) {
        const end = text.indexOf('"', at + 1);
        if (end < 0) throw invalid(`unterminated quote in ${JSON.stringify(text)}`);
        field += text.slice(at + 1, end);
        at = end + 1;
        if (text[at] !== '"') break;
        field += '"';
      }
      if (at < text.length && text[at] !== ",")
        throw invalid(`text after a quoted field in ${JSON.stringify(text)}`);
      fields.push(field);
    } else {
      const comma = text.indexOf(",", at);
      const end = comma < 0 ? text.length : comma;
      const field = text.slice(at, end);
      if (field.includes('"')) throw invalid(`bare quote in ${JSON.stringify(text)}`);
      fields.push(field);
      at = end;
    }
    if (at >= text.length) return fields;
    at++; // the comma
  }
}

/** Fields key=value; keys in lower case. A field without "=" is an error. */
function keyValues(text: string): [key: string, value: string, field: string][] {
  return parseCsv(text).map((field) => {
    const at = field.indexOf("=");
    if (at < 0) throw invalid(`invalid field '${field}' must be a key=value pair`);
    return [field.slice(0, at).toLowerCase(), field.slice(at + 1), field];
  });
}

/** Bytes from "64m", "1.5GiB", "1024": units are powers of 1024, as docker's RAMInBytes has them. `flag`: for the error. */
export function parseSize(text: string, flag: string | null = null): number {
  const match = /^(\d+(?:\.\d+)?) ?(?:([kmgtp])?i?b?)$/i.exec(text);
  if (match === null)
    throw invalid(
      flag === null
        ? `invalid size: '${text}'`
        : `invalid argument "${text}" for "${flag}" flag: invalid size: '${text}'`,
    );
  const power = match[2] === undefined ? 0 : "kmgtp".indexOf(match[2].toLowerCase()) + 1;
  const bytes = Math.floor(Number(match[1]) * 1024 ** power);
  if (!Number.isSafeInteger(bytes)) throw invalid(`size is too large: '${text}'`);
  return bytes;
}

/** Names of getrlimit(2) that docker takes. */
const ULIMITS: ReadonlySet<string> = new Set([
  "core",
  "cpu",
  "data",
  "fsize",
  "locks",
  "memlock",
  "msgqueue",
  "nice",
  "nofile",
  "nproc",
  "rss",
  "rtprio",
  "rttime",
  "sigpending",
  "stack",
]);

/** "nofile=1024:2048"; without the hard limit it is the soft one. -1: unlimited. */
export function parseUlimit(text: string): Ulimit {
  const match = /^([a-z]+)=(-?\d+)(?::(-?\d+))?$/.exec(text);
  if (match === null) throw invalid(`invalid ulimit argument: ${text}`);
  const [, name = "", softText = ""] = match;
  if (!ULIMITS.has(name)) throw invalid(`invalid ulimit type: ${name}`);
  const soft = Number(softText);
  const hard = match[3] === undefined ? soft : Number(match[3]);
  if (soft < -1 || hard < -1 || !Number.isSafeInteger(soft) || !Number.isSafeInteger(hard)) {
    throw invalid(`invalid ulimit argument: ${text}`);
  }
  if (hard !== -1 && (soft === -1 || soft > hard)) {
    throw invalid(`ulimit soft limit must be less than or equal to hard limit: ${soft} > ${hard}`);
  }
  return { name, soft, hard };
}

const HOST_GATEWAY = "host-gateway";
const LOOPBACK = "127.0.0.1";

/** Those --add-host values that mean the host, which only steps on the host's own network can reach. */
export function gatewayHosts(values: readonly string[]): readonly string[] {
  return values.flatMap(parseCsv).filter((text) => /[:=]host-gateway$/.test(text));
}

/** "host:ip", "host=ip", IPv6 with or without brackets; the ip "host-gateway" is the loopback of a step on the host's network. One value
 *  may hold several. */
export async function parseHosts(values: readonly string[]): Promise<ExtraHost[]> {
  if (values.length === 0) return [];
  const { isIP } = await import("node:net");
  return values.flatMap(parseCsv).map((text) => {
    const equals = text.indexOf("=");
    const at = equals >= 0 ? equals : text.indexOf(":");
    const host = text.slice(0, Math.max(at, 0));
    let ip = at < 0 ? "" : text.slice(at + 1);
    if (host === "" || ip === "") throw invalid(`invalid host ${text}`, "the form is NAME:IP or NAME=IP");
    if (ip === HOST_GATEWAY) return { host, ip: LOOPBACK };
    if (/^\[.+\]$/.test(ip)) ip = ip.slice(1, -1);
    if (isIP(ip) === 0) throw invalid(`invalid host ${text}`, "the form is NAME:IP or NAME=IP");
    return { host, ip };
  });
}

/** "id=x,src=path", "id=x,env=NAME", "id=x" (a variable of that name, else a file), "type=env,id=x". */
export function parseSecret(text: string, env: Environment): SecretSource {
  let id = "";
  let path = "";
  let variable = "";
  let type = "";
  for (const [key, value, field] of keyValues(text)) {
    switch (key) {
      case "type":
        if (value !== "file" && value !== "env") throw invalid(`unsupported secret type "${value}"`);
        type = value;
        break;
      case "id":
        id = value;
        break;
      case "src":
      case "source":
        path = value;
        break;
      case "env":
        variable = value;
        break;
      default:
        throw invalid(`unexpected key '${key}' in '${field}'`);
    }
  }
  if (id === "") throw invalid(`secret missing ID: ${text}`);
  if (type === "env" && variable === "") {
    variable = path;
    path = "";
  }
  if (variable === "" && path === "") {
    if (type === "env" || (type === "" && env[id] !== undefined)) variable = id;
    else path = id;
  }
  return { id, from: variable !== "" ? { kind: "env", name: variable } : { kind: "file", path } };
}

/** "default", "id=socket", "id=key1,key2". */
export function parseSsh(text: string): SshSource {
  const at = text.indexOf("=");
  if (at < 0) return { id: text === "" ? "default" : text, paths: [] };
  if (at === 0) throw invalid(`invalid ssh value ${JSON.stringify(text)}`);
  const paths = text
    .slice(at + 1)
    .split(",")
    .filter((path) => path !== "");
  return { id: text.slice(0, at), paths };
}

/** "linux/amd64", "arm64", "linux/arm/v7", "local". */
export function parsePlatform(text: string): Platform {
  if (text === "local") return hostPlatform();
  try {
    return parseNamedPlatform(text, hostPlatform());
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    throw invalid(error.message, "the form is OS/ARCHITECTURE[/VARIANT], for instance linux/arm64");
  }
}

/** --platform values (each may name several), in order, without doubles. */
export function parsePlatforms(values: readonly string[]): Platform[] {
  const seen = new Map<string, Platform>();
  for (const text of values.flatMap((value) => value.split(","))) {
    const platform = parsePlatform(text.trim());
    const key = formatPlatformAll(platform);
    if (!seen.has(key)) seen.set(key, platform);
  }
  return [...seen.values()];
}

/** KEY=VALUE pairs, the last of a key wins. Without "=": the value of `env` when there is one (else left out), or "" without env. */
export function parsePairs(values: readonly string[], env: Environment | null): Map<string, string> {
  const pairs = new Map<string, string>();
  for (const text of values) {
    const at = text.indexOf("=");
    const key = at < 0 ? text : text.slice(0, at);
    if (key === "") throw invalid(`invalid value "${text}": the name is empty`);
    if (at >= 0) pairs.set(key, text.slice(at + 1));
    else if (env === null) pairs.set(key, "");
    else {
      const value = env[key];
      if (value !== undefined) pairs.set(key, value);
    }
  }
  return pairs;
}

/** --secret. */
export interface SecretSource {
  readonly id: string;
  readonly from:
    | { readonly kind: "file"; readonly path: string }
    | { readonly kind: "env"; readonly name: string };
}

/** --ssh. */
export interface SshSource {
  readonly id: string;
  /** Sockets or private key files, as written; empty: SSH_AUTH_SOCK. */
  readonly paths: readonly string[];
}
