// Output by --format: templates in the syntax of Go's text/template, as docker has them.

import { renderTable } from "./format.ts";
import { compileTemplate } from "./go-template.ts";

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
