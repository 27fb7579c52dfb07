// Stores credentials in docker's configuration file, or in its credential helper, and removes them, so that docker and tsbuild share them.
// docker/cli: cli/config/configfile, cli/config/credentials

import { closeSync, realpathSync } from "node:fs";
import { basename, dirname } from "node:path";
import { BuildError } from "../../solver/graph/error.ts";
import { makeDirectories, openDirectory, writeAll, writeWholeIn } from "../outside.ts";
import { type ConfigFile, hostOfKey, HUB_KEY, isObject, readConfig } from "./docker-config.ts";
import { callHelper, helperFailed, type HelperOptions, isUnknownServer } from "./docker-helper.ts";

/** A registry as the user names it for login and logout. */
export interface LoginServer {
  /** host[:port]; docker.io for the Hub. */
  readonly host: string;
  /** What its credentials are kept under. */
  readonly key: string;
}

/** "", "docker.io", "https://registry.example/v2/": docker takes addresses, too. */
export function loginServer(text: string): LoginServer {
  const host = text === "" ? "docker.io" : hostOfKey(text);
  return { host, key: host === "docker.io" ? HUB_KEY : host };
}

/** Where credentials went: into a file as they are, or to a program. */
export type Kept =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "helper"; readonly program: string };

/** Keeps user and password of a server. Throws REGISTRY_DENIED when the file or the program cannot. */
export async function keepCredentials(
  path: string,
  { host, key }: LoginServer,
  { username, password }: { readonly username: string; readonly password: string },
  options: HelperOptions,
): Promise<Kept> {
  const config = readConfig(path);
  const helper = helperOf(config, host);
  if (helper !== null) {
    const input = JSON.stringify({ ServerURL: key, Username: username, Secret: password });
    const { program, code, text } = await callHelper(helper, "store", input, key, options);
    if (code !== 0) throw helperFailed(program, key, text, `${program} list`);
    await writeAuth(path, config, [key], {}); // an empty entry: which servers the program knows of
    return { kind: "helper", program };
  }
  const auth = Buffer.from(`${username}:${password}`).toString("base64");
  await writeAuth(path, config, [key], { auth });
  return { kind: "file", path };
}

/** Forgets a server under all keys it may have. What is not there is fine. Throws REGISTRY_DENIED. */
export async function forgetCredentials(
  path: string,
  { host, key }: LoginServer,
  options: HelperOptions,
): Promise<void> {
  const config = readConfig(path);
  if (config === null) return;
  const helper = helperOf(config, host);
  const keys = new Set([key, ...[...config.auths.keys()].filter((one) => hostOfKey(one) === host)]);
  if (key !== HUB_KEY) keys.add(`http://${key}`).add(`https://${key}`);
  if (helper !== null) {
    for (const one of keys) {
      const { program, code, text } = await callHelper(helper, "erase", `${one}\n`, one, options);
      if (code !== 0 && !isUnknownServer(text) && one === key)
        throw helperFailed(program, one, text, `echo ${one} | ${program} erase`);
    }
  }
  if ([...keys].some((one) => config.auths.has(one))) await writeAuth(path, config, [...keys], null);
}

function helperOf(config: ConfigFile | null, host: string): string | null {
  const name = config?.credHelpers.get(host) ?? config?.credsStore ?? null;
  return name === "" ? null : name;
}

/** Writes the file whole, with all else that is in it. A link is followed: what it leads to is the file. */
async function writeAuth(
  path: string,
  config: ConfigFile | null,
  keys: readonly string[],
  entry: object | null,
): Promise<void> {
  const before = config?.json["auths"];
  const auths: Record<string, unknown> = isObject(before) ? { ...before } : {};
  for (const key of keys) {
    if (entry === null) delete auths[key];
    else auths[key] = entry;
  }
  const text = `${JSON.stringify({ ...config?.json, auths }, null, "\t")}\n`;
  let directory: number | null = null;
  try {
    if (config === null) makeDirectories(dirname(path), 0o700);
    const file = config === null ? path : realpathSync(path);
    directory = openDirectory(dirname(file));
    await writeWholeIn(directory, basename(file), (fd) => writeAll(fd, Buffer.from(text)), 0o600);
  } catch (cause) {
    throw new BuildError("REGISTRY_DENIED", `cannot write ${path}: ${(cause as Error).message}`, {
      cause,
      hint: "DOCKER_CONFIG sets the directory of the file",
    });
  } finally {
    if (directory !== null) closeSync(directory);
  }
}
