// Proxies of Docker's client configuration (`proxies` in config.json) as build arguments. Docker documentation, "Use a proxy server
// with the Docker CLI".

import { join } from "node:path";
import { readFileOf } from "../cache/outside.ts";

const CONFIG_MAX_BYTES = 4 << 20;
const ARGUMENTS = {
  httpProxy: "HTTP_PROXY",
  httpsProxy: "HTTPS_PROXY",
  ftpProxy: "FTP_PROXY",
  noProxy: "NO_PROXY",
  allProxy: "ALL_PROXY",
} as const;

/** Arguments in both spellings for what `proxies.default` of `dir`/config.json says; none when there is no such file. What is wrong
 *  with the file is told by who looks for credentials in it. */
export function configuredProxies(dir: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  const proxies = propertyOf(readJson(join(dir, "config.json")), "proxies");
  for (const [key, name] of Object.entries(ARGUMENTS)) {
    const value = propertyOf(propertyOf(proxies, "default"), key);
    if (typeof value !== "string" || value === "") continue;
    found.set(name, value).set(name.toLowerCase(), value);
  }
  return found;
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileOf(path, CONFIG_MAX_BYTES).toString("utf8"));
  } catch {
    return null;
  }
}

function propertyOf(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[key] : undefined;
}
