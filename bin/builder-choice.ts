// Which builder a build goes to: this process, or one somewhere else. Loaded for each build, so it does as little as can be.

import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { ParsedFlags } from "./args.ts";
import type { Config } from "./config.ts";

/** The name of building in this process. */
export const HERE = "default";

/** The address or name of the builder that was asked for, by --builder, TSBUILD_HOST, BUILDKIT_HOST or `builder use`; null: none, the build runs
 *  here. */
export function chosenBuilder(flags: ParsedFlags, { env, configDir }: Config): string | null {
  const asked = flags.one("builder") || env.TSBUILD_HOST || env.BUILDKIT_HOST || inUse(configDir);
  return asked === null || asked === "" || asked === HERE ? null : asked;
}

/** The file of named builders; bin/builders.ts reads and writes it. */
export function buildersFile(configDir: string): string {
  return join(configDir, "builders.json");
}

function inUse(configDir: string): string | null {
  const path = buildersFile(configDir);
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return null; // 10 µs
  try {
    const { current } = JSON.parse(readFileSync(path, "utf8")) as { readonly current?: unknown };
    return typeof current === "string" ? current : null;
  } catch {
    return null; // `tsbuild builder` says what is wrong with it
  }
}
