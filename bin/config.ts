// Settings of the command: flags, environment and defaults are read once, here.

import { homedir, userInfo } from "node:os";
import { join, resolve } from "node:path";
import type { EngineConfig, Environment, User } from "./engine/config.ts";
import { hostDirectories, registriesFiles } from "./flags-registry.ts";
import { packageVersion } from "./version.ts";
import type { ConfigFlags } from "./flags-registry.ts";

/** Settings of this machine and user, the same for every command. */
export interface Config extends EngineConfig {
  /** Directory of Docker's client configuration (config.json with credentials), absolute. */
  readonly dockerConfigDir: string;
  /** Directory of this command's own configuration: named builders. Absolute. */
  readonly configDir: string;
  readonly debug: boolean;
}

export type ProgressMode = "auto" | "tty" | "plain" | "rawjson" | "quiet";

/** Flags and environment to a Config. root: --root, TSBUILD_ROOT, else /var/lib/tsbuild for root and the user's data directory for others. */
export function readConfig(given: ConfigFlags, env: Environment, cwd: string): Config {
  const home = resolve(cwd, env.HOME || homedir());
  const dataDir = env.XDG_DATA_HOME || join(home, ".local", "share");
  const isRoot = process.getuid?.() === 0;
  const root = given.root || env.TSBUILD_ROOT || (isRoot ? "/var/lib/tsbuild" : join(dataDir, "tsbuild"));
  let user: User | null = null;
  const { insecure = [], mirrors = [], certDirs = [] } = given.registries ?? {};
  return Object.freeze({
    root: resolve(cwd, root),
    /** Looked up when it is needed: the list of accounts may be far away. */
    get user() {
      return (user ??= caller());
    },
    dockerConfigDir: resolve(cwd, env.DOCKER_CONFIG || join(home, ".docker")),
    configDir: join(resolve(cwd, env.XDG_CONFIG_HOME || join(home, ".config")), "tsbuild"),
    env,
    version: packageVersion,
    debug: given.debug,
    verbose: given.verbose,
    registries: {
      insecure,
      mirrors,
      hostDirs: [...certDirs.map((dir) => resolve(cwd, dir)), ...hostDirectories(env, home)],
      conf: registriesFiles(env, home),
    },
    cacheKeys: {
      async s3(name: string) {
        const { awsCredentials } = await import("./aws-credentials.ts");
        return awsCredentials(env, home, name);
      },
      async actions() {
        const [{ readGha }, { readAttributes }] = await Promise.all([
          import("./cache-flags-objects.ts"),
          import("./cache-attributes.ts"),
        ]);
        return readGha(readAttributes("type=gha", "cache-from"), env);
      },
    },
    notice: given.notice ?? (() => {}),
  });
}

/** Who calls. An account that the machine's list does not have is known by its number. */
function caller(): User {
  try {
    const { uid, gid, username } = userInfo();
    return { uid, gid, name: username };
  } catch {
    const uid = process.getuid?.() ?? 0;
    return { uid, gid: process.getgid?.() ?? 0, name: String(uid) };
  }
}
