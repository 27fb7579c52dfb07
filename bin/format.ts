// Human-readable output: sizes, ages, tables, and --format.

import { BuildError } from "../solver/graph/error.ts";
import { compileTemplate } from "./go-template.ts";

/** Bytes as `docker images` prints them: three significant digits, units of 1000. */
export function humanSize(bytes: number): string {
  const { value, unit } = inUnits(bytes);
  return `${Number(value.toPrecision(3))}${unit}`;
}

/** A size in the largest unit of which it has at least one. */
export function inUnits(bytes: number): { readonly value: number; readonly unit: string } {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let value = bytes;
  while (value >= 1000 && units.length > 1) {
    value /= 1000;
    units.shift();
  }
  return { value, unit: units[0] ?? "" };
}

/** "3 hours" for a time span, in the steps docker's units.HumanDuration has. */
export function humanDuration(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 1) return "Less than a second";
  if (seconds === 1) return "1 second";
  if (seconds < 60) return `${seconds} seconds`;
  const minutes = Math.floor(seconds / 60);
  if (minutes === 1) return "About a minute";
  if (minutes < 60) return `${minutes} minutes`;
  const hours = Math.round(seconds / 3600);
  if (hours === 1) return "About an hour";
  if (hours < 48) return `${hours} hours`;
  if (hours < 24 * 7 * 2) return `${Math.floor(hours / 24)} days`;
  if (hours < 24 * 30 * 2) return `${Math.floor(hours / 24 / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.floor(hours / 24 / 30)} months`;
  return `${Math.floor(hours / 24 / 365)} years`;
}

/** Time span from "24h", "7d", "1h30m", "90s": milliseconds. Throws USAGE. */
export function parseDuration(text: string): number {
  const units: Readonly<Record<string, number>> = {
    ms: 1,
    s: 1000,
    m: 60_000,
    h: 3_600_000,
    d: 86_400_000,
    w: 604_800_000,
  };
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|[smhdw])/g)];
  if (parts.length === 0 || parts.map(([part]) => part).join("") !== text) {
    throw new BuildError("USAGE", `invalid duration "${text}"`, {
      hint: "use a duration like 24h, 7d or 1h30m",
    });
  }
  return parts.reduce((sum, [, amount, unit]) => sum + Number(amount) * (units[unit as string] as number), 0);
}

/** "2024-05-01 12:00:00 +0000 UTC", as docker's --format has times. */
export function goTime(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")} +0000 UTC`;
}

export interface Column<T> {
  readonly title: string;
  readonly of: (row: T) => string;
}

/** A table as docker prints it: three spaces between columns. */
export function renderTable<T>(columns: readonly Column<T>[], rows: readonly T[]): string {
  const cells = [columns.map(({ title }) => title), ...rows.map((row) => columns.map(({ of }) => of(row)))];
  // Not by spreading: a call takes some 100,000 arguments, and a table may have as many rows.
  const widths = columns.map((_, index) =>
    cells.reduce((most, row) => Math.max(most, (row[index] as string).length), 0),
  );
  return cells
    .map(
      (row) =>
        `${row.map((cell, index) => (index === row.length - 1 ? cell : cell.padEnd((widths[index] as number) + 3))).join("")}\n`,
    )
    .join("");
}

/** Values for --format, by field name. */
export type Fields = Readonly<Record<string, unknown>>;

/** Rows by --format: "json" (one object a line), "table {{...}}\t{{...}}", or a template. Throws USAGE for what it cannot do. */
export function renderFormat(format: string, rows: readonly Fields[]): string {
  if (format === "json") return rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  const isTable = /^table(?:\s|$)/.test(format);
  const template = (isTable ? format.slice(5).trimStart() : format)
    .replaceAll("\\t", "\t")
    .replaceAll("\\n", "\n");
  if (!isTable) {
    const filled = compileTemplate(template, { isStrict: true });
    return rows.map((row) => `${filled(row)}\n`).join("");
  }
  const columns = template.split("\t").map((cell) => ({
    title: cell.replace(/\{\{[^}]*?\.?(\w+)\s*\}\}/g, (_, name: string) =>
      name.replace(/(?<=[a-z])(?=[A-Z])/g, " ").toUpperCase(),
    ),
    of: (row: Fields) => fillTemplate(cell, row),
  }));
  return renderTable(columns, rows);
}

/** A template of Go (go-template.ts) filled in. Unknown fields throw USAGE, as Go's templates do. */
export function fillTemplate(template: string, fields: Fields): string {
  return compileTemplate(template, { isStrict: true })(fields);
}
