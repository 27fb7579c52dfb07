// Two image configs, field by field.

import type { ImageConfig } from "../../../solver/graph/request.ts";
import { printable } from "../../../solver/graph/error.ts";
import type { FieldDifference } from "./contract.ts";

/** Differences that are listed. */
const LISTED_MAX = 1_000;
const VALUE_MAX_CHARS = 500;
const DEPTH_MAX = 12;

/** All fields that differ. Layers' diffIds are left out: layers are compared by themselves. History is told by entry. */
export function compareConfigs(a: ImageConfig, b: ImageConfig): readonly FieldDifference[] {
  const found: FieldDifference[] = [];
  walk("", withoutLayers(a), withoutLayers(b), found);
  return found;
}

function withoutLayers(config: ImageConfig): unknown {
  const { rootfs: _, ...rest } = config;
  return { ...rest, config: environmentOf(rest.config) };
}

/** Variables by name, so that one more is one difference. */
function environmentOf(config: ImageConfig["config"]): unknown {
  const { Env: env, ...rest } = config;
  const variables = (env ?? []).map((text): [string, string] => {
    const at = text.indexOf("=");
    return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
  });
  return { ...rest, Env: Object.fromEntries(variables) };
}

function walk(path: string, a: unknown, b: unknown, found: FieldDifference[]): void {
  if (found.length >= LISTED_MAX || JSON.stringify(a) === JSON.stringify(b)) return;
  const depth = path.split(/[.[]/).length;
  if (isObject(a) && isObject(b) && depth < DEPTH_MAX) {
    for (const key of new Set([...Object.keys(a), ...Object.keys(b)]))
      walk(path === "" ? key : `${path}.${key}`, valueOf(a, key), valueOf(b, key), found);
    if (JSON.stringify(sorted(a)) === JSON.stringify(sorted(b))) return; // only the order of keys differs
    return;
  }
  if (Array.isArray(a) && Array.isArray(b) && path === "history") {
    for (let at = 0; at < Math.max(a.length, b.length); at++) walk(`history[${at}]`, a[at], b[at], found);
    return;
  }
  found.push({ field: printable(path, 200), a: textOf(a), b: textOf(b) });
}

function sorted(value: Readonly<Record<string, unknown>>): unknown {
  return Object.entries(value).toSorted(([one], [other]) => (one < other ? -1 : 1));
}

function valueOf(object: Readonly<Record<string, unknown>>, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function textOf(value: unknown): string {
  if (value === undefined) return "(none)";
  return printable(typeof value === "string" ? value : JSON.stringify(value), VALUE_MAX_CHARS);
}
