// Session over this machine: directories, secrets, agents and registry credentials of the user who runs the command.

import { statSync } from "node:fs";
import type { Writable } from "node:stream";
import { homedir } from "node:os";
import { join } from "node:path";
import { BuildError } from "../solver/graph/error.ts";
import {
  type ClientOutputs,
  type Credentials,
  SECRET_MAX_BYTES,
  type Session,
} from "../solver/graph/session.ts";
import type { Config } from "./config.ts";
import { MAIN_DIRECTORY } from "./engine/defaults.ts";
import type { ContextSource } from "./engine/request.ts";
import { readGiven } from "./given-file.ts";
import type { SecretSource } from "./flags-values.ts";

export interface LocalSessionOptions {
  /** Session directory name → absolute path. */
  readonly directories: ReadonlyMap<string, string>;
  readonly secrets: readonly SecretSource[];
  /** ssh id and path of its agent's socket. */
  readonly ssh: Iterable<readonly [string, string]>;
  /** Ends credential programs, and waiting for who writes a secret into a pipe. */
  readonly signal: AbortSignal;
}

/** The session of a build; a context on this machine is one of its directories. */
export function openBuildSession(
  config: Config,
  context: ContextSource,
  options: LocalSessionOptions,
): Session {
  if (context.kind !== "directory") return openLocalSession(config, options);
  const directories = new Map([...options.directories, [MAIN_DIRECTORY, context.path]]);
  return openLocalSession(config, { ...options, directories });
}

/** Opens a session. Secret files are looked at now, so that a wrong path fails before the build (SECRET_MISSING); they are
 *  read when a step asks for them. */
export function openLocalSession(config: Config, options: LocalSessionOptions): Session {
  for (const secret of options.secrets) {
    if (secret.from.kind === "file") checkSecretFile(secret.id, secret.from.path);
  }
  const secrets = new Map(options.secrets.map((secret) => [secret.id, secret.from]));
  const sockets = new Map(options.ssh);
  let ask: ((host: string) => Promise<Credentials | null>) | null = null;

  return {
    async files(name) {
      const path = options.directories.get(name);
      if (path === undefined) throw new BuildError("CONTEXT_MISSING", `no build context named "${name}"`);
      return { kind: "here", path };
    },
    blobs: async (store) => ({ kind: "here", path: store }),
    async secret(id) {
      const source = secrets.get(id);
      if (source === undefined) return null;
      if (source.kind === "env") return new TextEncoder().encode(config.env[source.name] ?? "");
      checkSecretFile(id, source.path);
      return await readSecret(id, source.path, options.signal);
    },
    sshSocket: async (id) => sockets.get(id === "" ? "default" : id) ?? null,
    async credentials(host) {
      if (ask === null) {
        const { dockerCredentials } = await import("../cache/registry/docker-config.ts");
        ask ??= dockerCredentials({
          files: credentialFiles(config),
          env: config.env,
          signal: options.signal,
        });
      }
      return ask(host);
    },
    outputs: process.stdout.isTTY ? null : toStream(process.stdout),
  };
}

/** Outputs as the bytes of a stream; a directory has none. */
export function toStream(stream: Writable): ClientOutputs {
  return {
    async file(_, data, { signal }) {
      const { writeToStream } = await import("../exporters/file-output.ts");
      await writeToStream(stream, data, signal);
    },
    async directory() {
      throw new BuildError("OUTPUT_INVALID", "a directory cannot be written to standard output");
    },
  };
}

/** Docker's file first, then those of podman and skopeo (containers-auth.json(5)). */
function credentialFiles(config: Config): string[] {
  const files = [join(config.dockerConfigDir, "config.json")];
  if (config.env.REGISTRY_AUTH_FILE) files.push(config.env.REGISTRY_AUTH_FILE);
  if (config.env.XDG_RUNTIME_DIR) files.push(join(config.env.XDG_RUNTIME_DIR, "containers", "auth.json"));
  files.push(
    join(
      config.env.XDG_CONFIG_HOME || join(config.env.HOME || homedir(), ".config"),
      "containers",
      "auth.json",
    ),
  );
  return files;
}

function checkSecretFile(id: string, path: string): void {
  let size: number;
  try {
    const stat = statSync(path);
    if (stat.isDirectory()) throw new BuildError("SECRET_MISSING", `secret "${id}": ${path} is a directory`);
    size = stat.size;
  } catch (cause) {
    if (cause instanceof BuildError) throw cause;
    throw new BuildError("SECRET_MISSING", `secret "${id}": failed to stat ${path}: no such file`, { cause });
  }
  if (size > SECRET_MAX_BYTES) throw tooLarge(id, path);
}

/** Its size may be no word on its length: of a pipe, a device, a file that grows. */
async function readSecret(id: string, path: string, signal: AbortSignal): Promise<Uint8Array> {
  try {
    return await readGiven(path, SECRET_MAX_BYTES, signal);
  } catch (cause) {
    if (signal.aborted) throw cause;
    if (cause instanceof BuildError && cause.code === "LIMIT_EXCEEDED") throw tooLarge(id, path);
    throw new BuildError("SECRET_MISSING", `secret "${id}": ${path} cannot be read`, { cause });
  }
}

function tooLarge(id: string, path: string): BuildError {
  return new BuildError(
    "LIMIT_EXCEEDED",
    `secret "${id}": ${path} is larger than ${SECRET_MAX_BYTES / 1024} KiB`,
  );
}
