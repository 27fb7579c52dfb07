// Configuration files in TOML, parsed by smol-toml: complete TOML 1.0 (dates, escapes, dotted keys), no dependencies, 0.1 MB;
// loaded only if there is such a file.

import { BuildError, printable } from "../../solver/graph/error.ts";
import { readFileOf } from "../outside.ts";

const FILE_MAX_BYTES = 1 << 20;

export type Table = Readonly<Record<string, unknown>>;

/** The file as a table; null: there is none, or it is not ours to read. Throws REGISTRY_UNREACHABLE when it is no TOML: what it
 *  says of mirrors and certificates would be missed for a reason that is harder to see. */
export async function readToml(path: string): Promise<Table | null> {
  let text: string;
  try {
    text = readFileOf(path, FILE_MAX_BYTES).toString("utf8");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR" || code === "EACCES") return null;
    throw unusable(path, (cause as Error).message, cause);
  }
  return await parseToml(text, (problem, line, cause) => unusable(path, `line ${line}: ${problem}`, cause));
}

/** TOML as a table. `refused` makes the error to throw of what is wrong in which line. */
export async function parseToml(
  text: string,
  refused: (problem: string, line: number, cause: unknown) => Error,
): Promise<Table> {
  const { parse, TomlError } = await import("smol-toml");
  try {
    return parse(text, { maxDepth: DEPTH_MAX });
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause;
    // Its message goes on with an excerpt.
    const [problem = ""] = cause.message.split("\n");
    throw refused(problem, cause.line, cause);
  }
}

const DEPTH_MAX = 20;

/** What a file of this kind says wrong. */
export function unusable(path: string, problem: string, cause?: unknown): BuildError {
  return new BuildError("REGISTRY_UNREACHABLE", `cannot use ${path}: ${printable(problem, 200)}`, {
    cause,
    hint: "repair or remove the file",
  });
}

/** Tables of an array of tables, or of nothing. */
export function tablesOf(value: unknown): readonly Table[] {
  return Array.isArray(value) ? value.filter(isTable) : [];
}

export function isTable(value: unknown): value is Table {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

/** "a", ["a", "b"] or nothing, as texts. */
export function textsOf(value: unknown): readonly string[] {
  const all: readonly unknown[] = Array.isArray(value) ? value : [value];
  return all.filter((one): one is string => typeof one === "string" && one !== "");
}
