// Registry credentials where docker keeps them: ~/.docker/config.json and the docker-credential-* programs.

import { devNull } from "node:os";
import { BuildError, printable } from "../../solver/graph/error.ts";
import { readFileOf } from "../outside.ts";
import type { Credentials } from "../../solver/graph/session.ts";
import { callHelper, helperFailed, type HelperOptions, isUnknownServer } from "./docker-helper.ts";

export interface DockerConfigOptions extends HelperOptions {
  /** Files read in order, absolute: ~/.docker/config.json, $XDG_RUNTIME_DIR/containers/auth.json … Missing ones are skipped. */
  readonly files: readonly string[];
}

export interface ConfigFile {
  readonly path: string;
  /** All of it, for who writes it again. */
  readonly json: Readonly<Record<string, unknown>>;
  readonly auths: ReadonlyMap<string, unknown>;
  readonly credsStore: string | null;
  readonly credHelpers: ReadonlyMap<string, string>;
}

const CONFIG_MAX_BYTES = 4 << 20;
// The key docker has used for the Hub since its first registry protocol.
export const HUB_KEY = "https://index.docker.io/v1/";

/**
 * Returns a function that finds the credentials of a registry host (host[:port], docker.io for the Hub), or null.
 * Files are read on first use; each host is asked once. It throws REGISTRY_DENIED when a file or program is broken.
 */
export function dockerCredentials(
  options: DockerConfigOptions,
): (host: string) => Promise<Credentials | null> {
  let files: readonly ConfigFile[] | null = null;
  const known = new Map<string, Promise<Credentials | null>>();
  return (host) => {
    let answer = known.get(host);
    if (answer === undefined) {
      files ??= options.files.map(readConfig).filter((file) => file !== null);
      answer = lookUp(files, host, options);
      known.set(host, answer);
    }
    return answer;
  };
}

async function lookUp(
  files: readonly ConfigFile[],
  host: string,
  options: DockerConfigOptions,
): Promise<Credentials | null> {
  for (const file of files) {
    const found = await lookUpIn(file, host, options);
    if (found !== null) return found;
  }
  return null;
}

// Order of docker's configfile.GetAuthConfig: helper of the host, the default store, then the file itself.
async function lookUpIn(
  file: ConfigFile,
  host: string,
  options: DockerConfigOptions,
): Promise<Credentials | null> {
  const helper = file.credHelpers.get(host);
  const program = helper ?? file.credsStore;
  if (program !== null && program !== "") {
    for (const key of serverKeys(host)) {
      const found = await askHelper(program, key, options);
      if (found !== null) return found;
    }
    // A helper named for this very host is the only authority on it; a default store is not.
    if (helper !== undefined) return null;
  }
  for (const [key, entry] of file.auths) {
    if (hostOfKey(key) === host) {
      const found = credentialsOfEntry(entry, file.path, key);
      if (found !== null) return found;
    }
  }
  return null;
}

function serverKeys(host: string): readonly string[] {
  return host === "docker.io" ? [HUB_KEY] : [host, `https://${host}`];
}

/** Keys of `auths` may be URLs of old: "https://host/v1/". docker: registry.ConvertToHostname. */
export function hostOfKey(key: string): string {
  const host = key.replace(/^https?:\/\//, "").replace(/\/.*$/, "");
  return host === "index.docker.io" || host === "registry-1.docker.io" ? "docker.io" : host;
}

/** null: there is no such file, or it is not ours to read. Throws REGISTRY_DENIED for one that is broken. */
export function readConfig(path: string): ConfigFile | null {
  let text: string;
  try {
    if (path === devNull) return null; // what REGISTRY_AUTH_FILE is set to for none
    text = readFileOf(path, CONFIG_MAX_BYTES).toString("utf8");
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR" || code === "EACCES") return null;
    throw new BuildError("REGISTRY_DENIED", `cannot read registry credentials from ${path}`, {
      cause,
      hint: cause instanceof BuildError ? cause.message : null,
    });
  }
  let json: unknown;
  try {
    json = text.trim() === "" ? {} : JSON.parse(text);
    if (!isObject(json)) throw new Error("not a JSON object");
  } catch (error) {
    // The parser's message quotes the text, which holds passwords; only the place is told.
    throw new BuildError("REGISTRY_DENIED", `the registry credentials file ${path} is not valid JSON`, {
      hint: error instanceof SyntaxError ? "repair or remove the file" : (error as Error).message,
    });
  }
  const config = json as Record<string, unknown>;
  const helpers = new Map<string, string>();
  for (const [host, program] of entriesOf(config["credHelpers"])) {
    if (typeof program === "string") helpers.set(hostOfKey(host), program);
  }
  const store = config["credsStore"];
  return {
    path,
    json: config,
    auths: new Map(entriesOf(config["auths"])),
    credsStore: typeof store === "string" ? store : null,
    credHelpers: helpers,
  };
}

function credentialsOfEntry(entry: unknown, path: string, key: string): Credentials | null {
  if (!isObject(entry)) return null;
  const text = (name: string) => (typeof entry[name] === "string" ? (entry[name] as string) : "");
  if (text("registrytoken") !== "") return { kind: "registry-token", token: text("registrytoken") };
  if (text("identitytoken") !== "") return { kind: "identity-token", token: text("identitytoken") };
  if (text("auth") !== "") {
    const decoded = Buffer.from(text("auth"), "base64").toString("utf8").replace(/\0+$/, "");
    const colon = decoded.indexOf(":");
    if (colon < 0) {
      throw new BuildError(
        "REGISTRY_DENIED",
        `${path}: the "auth" value of ${printable(key)} is not user:password in base64`,
        {
          hint: `log in again: tsbuild login ${hostOfKey(key)}`,
        },
      );
    }
    return basicOrToken(decoded.slice(0, colon), decoded.slice(colon + 1));
  }
  if (text("username") !== "") return basicOrToken(text("username"), text("password"));
  return null;
}

// docker-credential-helpers: the user name "<token>" marks an identity token.
function basicOrToken(username: string, password: string): Credentials {
  return username === "<token>"
    ? { kind: "identity-token", token: password }
    : { kind: "basic", username, password };
}

async function askHelper(
  name: string,
  server: string,
  options: DockerConfigOptions,
): Promise<Credentials | null> {
  const { program, code, text } = await callHelper(name, "get", `${server}\n`, server, options);
  if (code !== 0) {
    if (isUnknownServer(text)) return null;
    throw helperFailed(program, server, text, `echo ${server} | ${program} get`);
  }
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    // The text may hold a secret, so it is not repeated.
    throw new BuildError("REGISTRY_DENIED", `${program} did not return JSON`);
  }
  if (!isObject(answer)) return null;
  const { Username: username, Secret: secret } = answer;
  if (typeof username !== "string" || typeof secret !== "string" || secret === "") return null;
  return basicOrToken(username, secret);
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function entriesOf(value: unknown): [string, unknown][] {
  return isObject(value) ? Object.entries(value) : [];
}
