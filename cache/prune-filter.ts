// Filters of `du` and `prune`: --filter type=exec.cachemount and the like. Fields and formats are those of BuildKit's disk usage
// filters as documented by buildx (docs/reference/buildx_du.md, "--filter").

import { BuildError } from "../solver/graph/error.ts";
import { compileExpression } from "./linear-regexp.ts";
import type { UsageEntry } from "./usage-entry.ts";

/** BuildKit's word for each kind. In filters both are understood, but "regular" stands for layers alone. */
export const RECORD_TYPES: Readonly<Record<UsageEntry["kind"], string>> = {
  layer: "regular",
  blob: "regular",
  "cache-mount": "exec.cachemount",
  source: "source.local",
  record: "internal",
};

const ID_MIN_CHARS = 12;

const FILTER = /^([a-z]+)(?:(!=|==?|~=)(.*))?$/s;

/** One test out of all filters, each of which may be several joined by commas. Throws USAGE for what it does not know. */
export async function parseFilters(filters: readonly string[]): Promise<(entry: UsageEntry) => boolean> {
  const tests = await Promise.all(filters.flatMap((text) => text.split(",")).map(parseFilter));
  return (entry) => tests.every((test) => test(entry));
}

/** Checks a filter, but for a regular expression in it. Throws USAGE. */
export function checkFilter(filter: string): void {
  for (const text of filter.split(",")) partsOf(text);
}

interface FilterParts {
  readonly field: string;
  readonly valuesOf: (entry: UsageEntry) => readonly string[];
  readonly operator: string | undefined;
  readonly value: string;
}

function partsOf(text: string): FilterParts {
  const match = FILTER.exec(text.trim());
  if (match === null) throw unknown(text);
  const [, field = "", operator, value = ""] = match;
  const valuesOf = fieldReader(field);
  if (valuesOf === null) throw unknown(text);
  return { field, valuesOf, operator, value };
}

async function parseFilter(text: string): Promise<(entry: UsageEntry) => boolean> {
  const { field, valuesOf, operator, value } = partsOf(text);
  switch (operator) {
    case undefined:
      return (entry) => valuesOf(entry).some((one) => one !== "" && one !== "false");
    case "=":
    case "==":
      // du shows how IDs begin
      if (field === "id" && value.length >= ID_MIN_CHARS) return (entry) => entry.id.startsWith(value);
      return (entry) => valuesOf(entry).includes(value);
    case "!=":
      return (entry) => !valuesOf(entry).includes(value);
    default: {
      const expression = await compileExpression(value, `the filter ${JSON.stringify(text)}`);
      return (entry) => valuesOf(entry).some((one) => expression.test(one));
    }
  }
}

function fieldReader(field: string): ((entry: UsageEntry) => readonly string[]) | null {
  switch (field) {
    case "id":
      return (entry) => [entry.id];
    case "type":
    case "kind":
      return (entry) => (entry.kind === "blob" ? [entry.kind] : [entry.kind, RECORD_TYPES[entry.kind]]);
    case "description":
      return (entry) => [entry.description];
    case "inuse":
      return (entry) => [String(entry.inUse)];
    case "shared":
      return (entry) => [String(entry.shared)];
    case "private":
      return (entry) => [String(!entry.shared)];
    case "reclaimable":
      return (entry) => [String(entry.reclaimable)];
    case "mutable":
      return (entry) => [String(isMutable(entry))];
    case "immutable":
      return (entry) => [String(!isMutable(entry))];
    default:
      return null;
  }
}

function isMutable({ kind }: UsageEntry): boolean {
  return kind === "cache-mount" || kind === "source";
}

function unknown(text: string): BuildError {
  return new BuildError("USAGE", `unknown filter: ${JSON.stringify(text)}`, {
    hint: "known fields: id, type, description, inuse, shared, private, reclaimable, mutable, immutable",
  });
}
