// registries.conf of podman, buildah and skopeo: mirrors, other locations, insecure and blocked registries.
// containers-registries.conf(5), containers-registries.conf.d(5). Short names are resolved as in docker: unqualified-search-registries and
// aliases are ignored.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { Repository } from "./reference.ts";
import { isTable, readToml, tablesOf, type Table, textsOf } from "./toml.ts";

/** One [[registry]]. */
export interface RegistryRule {
  /** host[:port][/namespace…], or "*.example.com". */
  readonly prefix: string;
  /** What stands in place of the prefix; "": the name stays unchanged. */
  readonly location: string;
  readonly insecure: boolean;
  readonly blocked: boolean;
  readonly mirrors: readonly MirrorRule[];
  readonly file: string;
}

export interface MirrorRule {
  readonly location: string;
  readonly insecure: boolean;
  readonly use: "all" | "digest-only" | "tag-only";
}

export interface RegistriesFiles {
  /** The first that exists counts. */
  readonly main: readonly string[];
  /** Directories of more files (*.conf), the later ones before the earlier. */
  readonly more: readonly string[];
}

/** Rules of all files; of those with one prefix the last one counts. Throws REGISTRY_UNREACHABLE for a file that is no TOML. */
export async function readRegistriesConf({ main, more }: RegistriesFiles): Promise<readonly RegistryRule[]> {
  const rules = new Map<string, RegistryRule>();
  const take = (table: Table, file: string): void => {
    for (const rule of rulesOf(table, file)) rules.set(rule.prefix, rule);
  };
  for (const file of main) {
    const table = await readToml(file);
    if (table === null) continue;
    take(table, file);
    break;
  }
  for (const file of more.flatMap(filesIn)) {
    const table = await readToml(file);
    if (table !== null) take(table, file);
  }
  return [...rules.values()];
}

function filesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory)
      .filter((name) => name.endsWith(".conf"))
      .sort()
      .map((name) => join(directory, name));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR" || code === "EACCES") return [];
    throw error;
  }
}

function rulesOf(table: Table, file: string): readonly RegistryRule[] {
  const rules = tablesOf(table["registry"]).map((entry): RegistryRule => {
    const location = trimmed(entry["location"]);
    const digestOnly = entry["mirror-by-digest-only"] === true;
    return {
      prefix: trimmed(entry["prefix"]) || location,
      location,
      insecure: entry["insecure"] === true,
      blocked: entry["blocked"] === true,
      mirrors: tablesOf(entry["mirror"]).map((mirror) => ({
        location: trimmed(mirror["location"]),
        insecure: mirror["insecure"] === true,
        use: useOf(mirror["pull-from-mirror"], digestOnly),
      })),
      file,
    };
  });
  return [...versionOne(table, file), ...rules].filter(({ prefix }) => prefix !== "");
}

/** Lists of the format's first version. */
function versionOne(table: Table, file: string): readonly RegistryRule[] {
  const lists = table["registries"];
  if (!isTable(lists)) return [];
  const named = (list: unknown): readonly string[] => textsOf(isTable(list) ? list["registries"] : undefined);
  const insecure = new Set(named(lists["insecure"]));
  const blocked = new Set(named(lists["block"]));
  return [...new Set([...insecure, ...blocked])].map((prefix) => ({
    prefix,
    location: prefix,
    insecure: insecure.has(prefix),
    blocked: blocked.has(prefix),
    mirrors: [],
    file,
  }));
}

function useOf(value: unknown, digestOnly: boolean): MirrorRule["use"] {
  if (digestOnly) return "digest-only";
  return value === "digest-only" || value === "tag-only" ? value : "all";
}

function trimmed(value: unknown): string {
  return typeof value === "string" ? value.trim().replace(/\/+$/, "") : "";
}

/** The rule of a repository, that with the longest prefix; null: none. */
export function ruleOf(rules: readonly RegistryRule[], repository: Repository): RegistryRule | null {
  const name = nameOf(repository);
  let best: RegistryRule | null = null;
  for (const rule of rules) {
    if (matched(rule.prefix, name) !== null && (best === null || rule.prefix.length > best.prefix.length)) {
      best = rule;
    }
  }
  return best;
}

/** The repository with the rule's prefix replaced by a location. */
export function relocated(repository: Repository, rule: RegistryRule, location: string): Repository {
  const name = nameOf(repository);
  const length = matched(rule.prefix, name);
  if (location === "" || length === null) return repository;
  const moved = `${location}${name.slice(length)}`;
  const slash = moved.indexOf("/");
  const at =
    slash < 0 ? { host: moved } : { host: moved.slice(0, slash), repository: moved.slice(slash + 1) };
  // Headers and client certificates are for the host they are given for.
  const { manner: _its, ...plain } = repository;
  return at.host === repository.host ? { ...repository, ...at } : { ...plain, ...at };
}

/** How much of the name the prefix stands for; null: it is not its prefix. */
function matched(prefix: string, name: string): number | null {
  if (prefix.startsWith("*.")) {
    const slash = name.indexOf("/");
    const host = slash < 0 ? name : name.slice(0, slash);
    return host.endsWith(prefix.slice(1)) ? host.length : null;
  }
  const isPrefix = name === prefix || name.startsWith(`${prefix}/`);
  return isPrefix ? prefix.length : null;
}

function nameOf({ host, repository }: Repository): string {
  return repository === "" ? host : `${host}/${repository}`;
}
