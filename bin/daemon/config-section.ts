// One table of the configuration file: values by their names, of the right type or an error that says file, line and key. Names are found
// whatever their case, as buildkitd finds them. What nobody has asked for is unknown.

import { BuildError, printable } from "../../solver/graph/error.ts";
import { isTable, type Table } from "../../cache/registry/toml.ts";
import { InvalidValue, shown } from "./config-values.ts";

/** What is told about a file when it has been read. */
export interface Findings {
  /** Names of keys nobody knows. */
  readonly unknown: string[];
  /** Names of keys of buildkitd's that have no effect here. */
  readonly ignored: string[];
}

/** The file a section is in. */
export interface ConfigText {
  readonly path: string;
  readonly text: string;
  readonly findings: Findings;
}

/** Each of the readers returns null for a key that is not there. They throw USAGE. */
export interface Section {
  text(key: string): string | null;
  texts(key: string): readonly string[] | null;
  bool(key: string): boolean | null;
  /** A number or a text, made into what it stands for; `read` throws InvalidValue. */
  value<T>(key: string, read: (value: number | string) => T): T | null;
  /** Texts, each made into what it stands for. */
  values<T>(key: string, read: (text: string) => T): readonly T[] | null;
  section(key: string): Section | null;
  /** Tables of an array of tables. */
  sections(key: string): readonly Section[];
  /** Tables by names that the user chose. */
  named(key: string): readonly (readonly [name: string, section: Section])[];
  /** Texts by names that the user chose. */
  labels(key: string): Readonly<Record<string, string>>;
  /** Takes keys that have no effect, and says so unless `isMoot` holds for the value. */
  ignore(keys: readonly string[], isMoot?: (value: unknown) => boolean): void;
  /** An error about a key. */
  wrong(key: string, problem: string): BuildError;
  /** All has been asked for: the rest is unknown. */
  end(): void;
}

/** `at`: the names that lead to the table, [] for the whole file; for tables in an array with their number. */
export function openSection(table: Table, at: readonly (string | number)[], file: ConfigText): Section {
  const entries = new Map(Object.entries(table).map(([key, value]) => [key.toLowerCase(), { key, value }]));
  const asked = new Set<string>();
  const nameOf = (key: string): string =>
    [...at.filter((one) => typeof one === "string"), key].map(quoted).join(".");
  const wrong = (key: string, problem: string): BuildError => {
    const line = lineOf(file.text, at, entries.get(key.toLowerCase())?.key ?? key);
    return new BuildError(
      "USAGE",
      `${file.path}${line === null ? "" : `:${line}`}: ${nameOf(key)} ${problem}`,
      {
        hint: "see docs/tsbuildd.md, or the documentation of buildkitd.toml",
      },
    );
  };
  const get = (key: string): unknown => {
    const name = key.toLowerCase();
    asked.add(name);
    return entries.get(name)?.value;
  };
  const typed = <T>(key: string, what: string, is: (value: unknown) => value is T): T | null => {
    const value = get(key);
    if (value === undefined) return null;
    if (!is(value)) throw wrong(key, `must be ${what}, not ${shown(value)}`);
    return value;
  };
  const reading = <T>(key: string, read: () => T): T => {
    try {
      return read();
    } catch (error) {
      throw error instanceof InvalidValue ? wrong(key, error.message) : error;
    }
  };
  const texts = (key: string): readonly string[] | null => typed(key, "a list of strings", isTexts);
  const below = (key: string, value: Table, ...more: (string | number)[]): Section =>
    openSection(value, [...at, entries.get(key.toLowerCase())?.key ?? key, ...more], file);
  return {
    text: (key) => typed(key, "a string", isText),
    texts,
    bool: (key) => typed(key, "true or false", isBoolean),
    value(key, read) {
      const value = typed(key, "a number or a string", isNumberOrText);
      return value === null ? null : reading(key, () => read(value));
    },
    values(key, read) {
      return texts(key)?.map((text) => reading(key, () => read(text))) ?? null;
    },
    section(key) {
      const value = typed(key, "a table", isTable);
      return value === null ? null : below(key, value);
    },
    sections(key) {
      const value = typed(key, "an array of tables", isTables) ?? [];
      return value.map((table, index) => below(key, table, index));
    },
    named(key) {
      const tables = typed(key, "a table", isTable) ?? {};
      return Object.entries(tables).map(([name, value]) => {
        if (!isTable(value)) throw wrong(key, `must have tables only, not ${shown(value)} as ${shown(name)}`);
        return [name, below(key, value, name)] as const;
      });
    },
    labels(key) {
      const labels = Object.entries(typed(key, "a table", isTable) ?? {});
      return Object.fromEntries(
        labels.map(([name, value]) => {
          if (!isText(value))
            throw wrong(key, `must have strings only, not ${shown(value)} as ${shown(name)}`);
          return [name, value];
        }),
      );
    },
    ignore(keys, isMoot = () => false) {
      for (const key of keys) {
        const value = get(key);
        if (value !== undefined && !isMoot(value)) file.findings.ignored.push(nameOf(key));
      }
    },
    wrong,
    end() {
      for (const [name, { key }] of entries) if (!asked.has(name)) file.findings.unknown.push(nameOf(key));
    },
  };
}

function quoted(key: string): string {
  return /^[\w-]+$/.test(key) ? key : JSON.stringify(printable(key, 100));
}

const isText = (value: unknown): value is string => typeof value === "string";
const isBoolean = (value: unknown): value is boolean => typeof value === "boolean";
const isNumberOrText = (value: unknown): value is number | string =>
  typeof value === "number" || isText(value);
const isTexts = (value: unknown): value is readonly string[] => Array.isArray(value) && value.every(isText);
const isTables = (value: unknown): value is readonly Table[] => Array.isArray(value) && value.every(isTable);

/** The line of a key in TOML written as people do: a header of its table, and a line that begins with it. null: it is written otherwise. */
export function lineOf(text: string, at: readonly (string | number)[], key: string): number | null {
  const names = at.filter((one): one is string => typeof one === "string");
  // Only the last table can be one of an array: settings of BuildKit have no deeper ones.
  const last = at.at(-1);
  let skip = typeof last === "number" ? last : 0;
  let isInside = names.length === 0;
  for (const [index, line] of text.split("\n").entries()) {
    const header = /^\s*\[\[?(.*?)\]\]?\s*(?:#.*)?$/.exec(line);
    if (header !== null && !line.includes("=")) {
      const isIt = namesIn(header[1] ?? "").join("\0") === names.join("\0");
      isInside = isIt && skip-- === 0;
      if (namesIn(header[1] ?? "").join("\0") === [...names, key].join("\0")) return index + 1;
      continue;
    }
    if (!isInside || /^\s*#/.test(line)) continue;
    const [before = ""] = line.split("=", 1);
    if (line.includes("=") && namesIn(before)[0] === key) return index + 1;
  }
  return null;
}

/** The parts of a dotted key, which may be quoted. */
function namesIn(text: string): string[] {
  return [...text.matchAll(/"([^"]*)"|'([^']*)'|([\w-]+)/g)].map(
    ([, basic, literal, bare]) => basic ?? literal ?? bare ?? "",
  );
}
