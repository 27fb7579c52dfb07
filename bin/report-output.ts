// Formats and destination of reports: diff, verify.

import { resolve } from "node:path";
import { BuildError } from "../solver/graph/error.ts";
import type { CommandContext } from "./command.ts";

export const REPORT_FORMATS = ["text", "json", "html"] as const;
export type ReportFormat = (typeof REPORT_FORMATS)[number];

/** Throws USAGE. */
export function formatOf(text: string | null): ReportFormat {
  const format = REPORT_FORMATS.find((name) => name === (text ?? "text"));
  if (format !== undefined) return format;
  throw new BuildError("USAGE", `--format: ${JSON.stringify(text)} is not a format of this command`, {
    hint: `one of ${REPORT_FORMATS.join(", ")}`,
  });
}

/** To a file, or standard output for null and "-". */
export async function writeReport(
  text: string,
  path: string | null,
  { cwd, print, signal }: CommandContext,
): Promise<void> {
  if (path === null || path === "-" || path === "") return print(text);
  const { writeResultFile } = await import("../exporters/file-output.ts");
  await writeResultFile(resolve(cwd, path), text, signal);
}
