// What 'tsbuild update' changes: entries chosen by name, and two locks compared.

import { familiarReference, formatRepository, parseReference } from "../../cache/registry/reference.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import { nearest } from "../../solver/graph/nearest.ts";
import type { Lock, LockedImage } from "./lock.ts";

/** Entries that an error lists. */
const NAMES_SHOWN = 5;

export interface LockChange {
  readonly key: string;
  /** Digest, checksum or commit; null: there was none, or there is none any more. */
  readonly before: string | null;
  readonly after: string | null;
  /** Platforms whose manifest was listed, or is, while the image is the same. */
  readonly platforms: readonly string[];
}

/** In the order of the file. */
export function lockChanges(before: Lock, after: Lock): readonly LockChange[] {
  const value = (entry: LockedImage | string): string => (typeof entry === "string" ? entry : entry.digest);
  return (["images", "urls", "git"] as const).flatMap((kind) => {
    const [old, now]: ReadonlyMap<string, LockedImage | string>[] = [before[kind], after[kind]];
    const keys = [...new Set([...(old?.keys() ?? []), ...(now?.keys() ?? [])])].sort();
    return keys.flatMap((key): LockChange[] => {
      const [was, is] = [old?.get(key), now?.get(key)];
      const change = {
        key,
        before: was === undefined ? null : value(was),
        after: is === undefined ? null : value(is),
        platforms: otherPlatforms(was, is),
      };
      return change.before === change.after && change.platforms.length === 0 ? [] : [change];
    });
  });
}

function otherPlatforms(
  was: LockedImage | string | undefined,
  is: LockedImage | string | undefined,
): string[] {
  if (typeof was !== "object" || typeof is !== "object" || was.digest !== is.digest) return [];
  const names = new Set([...was.platforms.keys(), ...is.platforms.keys()]);
  return [...names].filter((name) => was.platforms.get(name) !== is.platforms.get(name)).sort();
}

/** What an update makes of a lock file. `read`: as it was when the update began; `now`: as it is; `used`: what was resolved between. Entries
 *  that others have added meanwhile stay. `keepsUnused`: so do those that were not resolved. */
export function updatedLock(
  { read, now, used }: { readonly read: Lock; readonly now: Lock; readonly used: Lock },
  keepsUnused: boolean,
): Lock {
  const added = <T>(kind: "images" | "urls" | "git"): [string, T][] =>
    [...(now[kind] as ReadonlyMap<string, unknown> as ReadonlyMap<string, T>)].filter(
      ([key]) => keepsUnused || !read[kind].has(key),
    );
  const images = new Map(added<LockedImage>("images"));
  for (const [key, image] of used.images) {
    // Builds add platforms to entries that are there.
    const [before, other] = [read.images.get(key), now.images.get(key)];
    const more = [...(other?.digest === image.digest ? other.platforms : [])].filter(
      ([platform]) => keepsUnused || before?.platforms.has(platform) !== true,
    );
    images.set(key, { ...image, platforms: new Map([...more, ...image.platforms]) });
  }
  return {
    images,
    urls: new Map([...added<Digest>("urls"), ...used.urls]),
    git: new Map([...added<string>("git"), ...used.git]),
  };
}

/** Lines of a change: "~ KEY", "+ KEY" or "- KEY", and below it the values, removed before added. */
export function renderChange({ key, before, after, platforms }: LockChange): string {
  const sign = before === null ? "+" : after === null ? "-" : "~";
  const lines = [`${sign} ${printable(key, 4096)}`];
  if (before === after) lines.push(`    platforms: ${platforms.join(", ")}`);
  else {
    if (before !== null) lines.push(`    - ${before}`);
    if (after !== null) lines.push(`    + ${after}`);
  }
  return `${lines.join("\n")}\n`;
}

/** The lock without the entries that are to be resolved anew; no names: without all. A name is a key, an image as it is usually written
 *  ("alpine:3.20"; without a tag: all tags), or a repository without its ref. Throws USAGE for a name that is no entry. */
export function withoutEntries(lock: Lock, names: readonly string[], file: string): Lock {
  const kept = { images: new Map(lock.images), urls: new Map(lock.urls), git: new Map(lock.git) };
  if (names.length === 0) return { images: new Map(), urls: new Map(), git: new Map() };
  for (const name of names) {
    let found = false;
    for (const entries of [kept.images, kept.urls, kept.git] as const) {
      const all = entries === kept.images ? lock.images : entries === kept.urls ? lock.urls : lock.git;
      for (const key of all.keys()) {
        if (!isNamed(key, name, all === lock.images)) continue;
        entries.delete(key);
        found = true;
      }
    }
    if (!found) throw unknownName(name, lock, file);
  }
  return kept;
}

function isNamed(key: string, name: string, isImage: boolean): boolean {
  if (key === name) return true;
  if (!isImage) return key.split("#", 1)[0] === name;
  try {
    const wanted = parseReference(name);
    const entry = parseReference(key);
    return (
      formatRepository(wanted) === formatRepository(entry) &&
      (wanted.tag === null || wanted.tag === entry.tag)
    );
  } catch {
    return false;
  }
}

/** The first names of a list that may be long. */
function listed(names: readonly string[]): string {
  const more = names.length - NAMES_SHOWN;
  if (names.length === 0) return "no image";
  return `${names.slice(0, NAMES_SHOWN).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

function unknownName(name: string, lock: Lock, file: string): BuildError {
  const short = [...lock.images.keys()].map((key) => familiarReference(parseReference(key)));
  const near = nearest(name, [...short, ...lock.urls.keys(), ...lock.git.keys()]);
  return new BuildError("USAGE", `${JSON.stringify(printable(name))} is not in the lock file ${file}`, {
    hint:
      near === null
        ? `it lists ${listed(short)}; what a Dockerfile names anew is added without a name`
        : `did you mean ${near}?`,
  });
}
