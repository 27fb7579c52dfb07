// Attributes of one --cache-from or --cache-to: CSV of key=value as parsed by buildx, consumed one by one.

import { BuildError } from "../solver/graph/error.ts";
import { nearest } from "../solver/graph/nearest.ts";
import { parseCsv } from "./flags-values.ts";

export interface Attributes {
  has(name: string): boolean;
  take(name: string): string | null;
  boolean(name: string): boolean | null;
  integer(name: string): number | null;
  choice<T extends string>(name: string, choices: readonly T[]): T | null;
  /** Whatever has not been taken is unknown. */
  done(): void;
  wrong(problem: string, hint?: string | null): BuildError;
}

const BOOLEANS = new Map([
  ...["1", "t", "true", ""].map((text) => [text, true] as const),
  ...["0", "f", "false"].map((text) => [text, false] as const),
]);
/** Their values are in no message. */
const SECRETS: ReadonlySet<string> = new Set([
  "token",
  "ghtoken",
  "access_key_id",
  "secret_access_key",
  "session_token",
]);

/** Reads the attributes of a flag. Throws USAGE, in words that have no secret in them. */
export function readAttributes(text: string, flag: string): Attributes {
  const fields = parseCsv(text);
  const wrong = (problem: string, hint: string | null = null): BuildError =>
    new BuildError("USAGE", `--${flag}=${fields.map(shown).join(",")}: ${problem}`, { hint });
  const values = new Map<string, string>();
  // buildx: a value without "=" in any field is a list of references; one reference is what makes sense.
  if (fields.length === 1 && !text.includes("=")) {
    values.set("type", "registry").set("ref", text);
  } else {
    for (const field of fields) {
      const at = field.indexOf("=");
      if (at < 0) throw wrong(`"${field}" is not KEY=VALUE`);
      values.set(field.slice(0, at).toLowerCase(), field.slice(at + 1));
    }
  }
  return attributesIn(values, wrong);
}

/** Attributes that came as such: those of a client. */
export function givenAttributes(given: Readonly<Record<string, string>>, what: string): Attributes {
  const fields = Object.entries(given).map(([name, value]) => `${name}=${value}`);
  return attributesIn(
    new Map(Object.entries(given).map(([name, value]) => [name.toLowerCase(), value])),
    (problem, hint = null) =>
      new BuildError("USAGE", `${what} ${fields.map(shown).join(",")}: ${problem}`, { hint }),
  );
}

function attributesIn(
  values: Map<string, string>,
  wrong: (problem: string, hint?: string | null) => BuildError,
): Attributes {
  const take = (name: string): string | null => {
    const value = values.get(name) ?? null;
    values.delete(name);
    return value;
  };
  return {
    has: (name) => values.has(name),
    take,
    wrong,
    boolean(name) {
      const value = take(name);
      if (value === null) return null;
      const known = BOOLEANS.get(value.toLowerCase());
      if (known === undefined) throw wrong(`${name}=${value} must be true or false`);
      return known;
    },
    integer(name) {
      const value = take(name);
      if (value === null || value === "") return null;
      if (!/^-?\d{1,4}$/.test(value)) throw wrong(`${name}=${value} is not a number`);
      return Number(value);
    },
    choice(name, choices) {
      const value = take(name);
      if (value === null || value === "") return null;
      const known = choices.find((choice) => choice === value);
      if (known === undefined) {
        const near = nearest(value, choices);
        throw wrong(
          `${name}=${value} is not one of ${choices.join(", ")}`,
          near === null ? null : `did you mean ${near}?`,
        );
      }
      return known;
    },
    done() {
      const [unknown] = values.keys();
      if (unknown !== undefined) throw wrong(`unknown attribute "${unknown}"`);
    },
  };
}

function shown(field: string): string {
  const [name = ""] = field.split("=", 1);
  return SECRETS.has(name.trim().toLowerCase()) ? `${name}=xxxxx` : field;
}
