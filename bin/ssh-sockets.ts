// Implementation of --ssh: a socket for each id, of the user's agent or of a built-in agent for key files. Parsed as in buildx.

import { mkdtempSync, rmSync, type Stats, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readFileOf } from "../cache/outside.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { Config } from "./config.ts";
import type { SshSource } from "./flags-values.ts";

/** BuildKit reads no more of a key either. */
const KEY_MAX_BYTES = 100 * 1024;
/** unix(7): sun_path has 108 bytes with its end. */
const SOCKET_PATH_MAX_BYTES = 107;

export interface SshSockets extends AsyncDisposable {
  /** ssh id → path of a socket, of this machine. */
  readonly paths: ReadonlyMap<string, string>;
}

/** Opens the agents asked for. Everything is examined now, so that a wrong path fails before the build (USAGE). Agents of
 *  our own listen below `tempDir()` until disposed. */
export async function openSshSockets(
  sources: readonly SshSource[],
  { config, tempDir }: { readonly config: Config; readonly tempDir: () => string },
): Promise<SshSockets> {
  const paths = new Map<string, string>();
  const agents: AsyncDisposable[] = [];
  let dir: string | null = null;
  const sockets: SshSockets = {
    paths,
    async [Symbol.asyncDispose]() {
      await Promise.all(agents.splice(0).map((agent) => agent[Symbol.asyncDispose]()));
      if (dir !== null) rmSync(dir, { recursive: true, force: true });
    },
  };
  try {
    for (const source of sources) {
      if (paths.has(source.id)) throw invalid(source, "given twice");
      const given = givenPaths(source, config);
      const stats = given.map((path) => statOf(source, path));
      const [first = ""] = given;
      if (stats.some((stat) => stat.isSocket())) {
        if (given.length > 1) throw invalid(source, "use one socket or several keys, not both");
        paths.set(source.id, first);
        continue;
      }
      const keys = given.map((path) => readKeyFile(source, path));
      const [{ readSshKey }, { serveSshAgent }] = await Promise.all([
        import("./ssh-keys.ts"),
        import("./ssh-agent.ts"),
      ]);
      dir ??= socketDirectory(tempDir());
      const socket = join(dir, `${agents.length}`);
      agents.push(
        await serveSshAgent(
          socket,
          keys.map(({ text, path }) => readSshKey(text, path)),
        ),
      );
      paths.set(source.id, socket);
    }
    return sockets;
  } catch (error) {
    await sockets[Symbol.asyncDispose]();
    throw error;
  }
}

function givenPaths(source: SshSource, config: Config): readonly string[] {
  if (source.paths.length > 0) return source.paths;
  const own = config.env.SSH_AUTH_SOCK;
  if (own) return [own];
  throw new BuildError("USAGE", `--ssh=${source.id}: SSH_AUTH_SOCK is not set`, {
    hint: "start an agent (ssh-agent), or give a socket or a private key: --ssh default=PATH",
  });
}

function statOf(source: SshSource, path: string): Stats {
  try {
    return statSync(path);
  } catch (cause) {
    throw invalid(source, `failed to stat ${path}`, cause);
  }
}

function readKeyFile(source: SshSource, path: string): { path: string; text: string } {
  try {
    return { path, text: readFileOf(path, KEY_MAX_BYTES).toString("latin1") };
  } catch (cause) {
    const { code } = cause as { readonly code?: string };
    if (code === "FILE_INVALID")
      throw invalid(source, `${path} is neither an agent's socket nor a private key`, cause);
    if (code === "LIMIT_EXCEEDED") throw invalid(source, `${path} is too large for a private key`, cause);
    throw invalid(source, `failed to read ${path}`, cause);
  }
}

function invalid(source: SshSource, message: string, cause?: unknown): BuildError {
  return new BuildError("USAGE", `--ssh=${source.id}: ${message}`, { cause });
}

/** A new directory (0700) short enough to have sockets in it; the store's, which is swept after a crash, when it is. */
export function socketDirectory(preferred: string): string {
  const fits = Buffer.byteLength(join(preferred, "ssh-XXXXXX", "999")) <= SOCKET_PATH_MAX_BYTES;
  return mkdtempSync(fits ? join(preferred, "ssh-") : join(tmpdir(), "tsbuild-ssh-"));
}
