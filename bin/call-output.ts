// Results of --call as text and as JSON, field for field as buildx prints them.

import { BuildError, type SourceRange, withProposal } from "../solver/graph/error.ts";
import type { CallAnswer, CallRequest, SourceText } from "./engine/request.ts";
import { renderExcerpt } from "./excerpt.ts";
import { cleanText } from "./log-text.ts";
import { rangeJson } from "./progress-json.ts";
import type { CheckWarning, Outline, Target } from "../frontend/contract.ts";

export interface CallOutput {
  readonly text: string;
  readonly exitCode: number;
  /** The build of it would fail with this; printed behind the text. */
  readonly error: Error | null;
}

/** What to print for an answer, and the exit code: 1 when a check found something. file: what the text calls the Dockerfile; JSON
 *  has the name the build knows it by, as with buildx. */
export function renderCall(answer: CallAnswer, call: CallRequest, file: string | null = null): CallOutput {
  switch (answer.kind) {
    case "check": {
      const { warnings, error, source } = answer.result;
      const sorted = warnings.toSorted(
        (a, b) => a.at.start.line - b.at.start.line || (a.rule < b.rule ? -1 : a.rule > b.rule ? 1 : 0),
      );
      const text =
        call.format === "json"
          ? json(checkJson(sorted, error, source))
          : checkText(sorted, error, { ...source, file: file ?? source.file });
      const failed = error !== null || (sorted.length > 0 && !call.ignoreStatus);
      return { text, exitCode: failed ? 1 : 0, error };
    }
    case "outline": {
      const text =
        call.format === "json"
          ? json(outlineJson(answer.outline, answer.source))
          : outlineText(answer.outline);
      return { text, exitCode: 0, error: null };
    }
    case "targets": {
      const text =
        call.format === "json"
          ? json(targetsJson(answer.targets, answer.source))
          : targetsText(answer.targets);
      return { text, exitCode: 0, error: null };
    }
  }
}

function json(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** pb.Location: sourceIndex 0 is left out, as all zero values are. */
function location(at: SourceRange): object {
  return { ranges: [rangeJson(at)] };
}

function base64(text: string): string {
  return Buffer.from(text, "utf8").toString("base64");
}

/** The fields that are not empty, as Go's omitempty has it. */
function present(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).filter(
      ([, value]) => value !== "" && value !== false && !(Array.isArray(value) && value.length === 0),
    ),
  );
}

function checkJson(warnings: readonly CheckWarning[], error: Error | null, source: SourceText): object {
  return {
    warnings: warnings.map((warning) => ({
      ruleName: warning.rule,
      ...present({ description: warning.description, url: warning.url, detail: warning.detail }),
      location: location(warning.at),
    })),
    sources: [{ filename: source.file, data: base64(source.text), language: "Dockerfile" }],
    ...(error === null
      ? {}
      : {
          buildError: {
            message: error instanceof BuildError ? withProposal(error) : error.message,
            location: error instanceof BuildError && error.at !== null ? location(error.at) : {},
          },
        }),
  };
}

function checkText(warnings: readonly CheckWarning[], error: Error | null, source: SourceText): string {
  if (warnings.length === 0) return error === null ? "Check complete, no warnings found.\n" : "";
  const count =
    warnings.length === 1 ? "1 warning has been found!" : `${warnings.length} warnings have been found!`;
  let out = `Check complete, ${count}\n`;
  for (const warning of warnings) {
    const url = warning.url === "" ? "" : ` - ${warning.url}`;
    out += `\nWARNING: ${warning.rule}${url}\n${cleanText(warning.detail)}\n${renderExcerpt(source, [warning.at], null)}`;
  }
  return error === null ? out : `${out}\n`;
}

function outlineJson(outline: Outline, source: SourceText): object {
  return {
    ...present({
      name: outline.name,
      description: outline.description,
      args: outline.args.map((arg) => ({
        name: arg.name,
        ...present({ description: arg.description, value: arg.value }),
        location: location(arg.at),
      })),
      secrets: outline.secrets.map(requirement),
      ssh: outline.ssh.map(requirement),
    }),
    sources: [base64(source.text)],
  };
}

function requirement(entry: Outline["secrets"][number]): object {
  return { name: entry.name, ...present({ required: entry.required }), location: location(entry.at) };
}

function outlineText(outline: Outline): string {
  const blocks: string[] = [];
  if (outline.name !== "" || outline.description !== "") {
    const rows = [["TARGET:", outline.name || "(default)"]];
    if (outline.description !== "") rows.push(["DESCRIPTION:", outline.description]);
    blocks.push(table(rows, 1));
  }
  if (outline.args.length > 0) {
    const rows = outline.args.map((arg) => [arg.name, arg.value, arg.description]);
    blocks.push(table([["BUILD ARG", "VALUE", "DESCRIPTION"], ...rows], 3));
  }
  for (const [title, entries] of [
    ["SECRET", outline.secrets],
    ["SSH", outline.ssh],
  ] as const) {
    if (entries.length === 0) continue;
    blocks.push(
      table([[title, "REQUIRED"], ...entries.map((entry) => [entry.name, entry.required ? "true" : ""])], 3),
    );
  }
  return blocks.map((block) => `${block}\n`).join("");
}

function targetsJson(targets: readonly Target[], source: SourceText): object {
  return {
    targets: targets.map((target) => ({
      ...present({
        name: target.name,
        default: target.default,
        description: target.description,
        base: target.base,
        platform: target.platform,
      }),
      location: location(target.at),
    })),
    sources: [base64(source.text)],
  };
}

function targetsText(targets: readonly Target[]): string {
  const rows = targets.map((target) => {
    const name =
      target.name === "" && target.default
        ? "(default)"
        : target.default
          ? `${target.name} (default)`
          : target.name;
    return [name, target.description];
  });
  return table([["TARGET", "DESCRIPTION"], ...rows], 1);
}

/** Columns as wide as their widest cell and `pad` spaces; the last one is not padded. One line a row. */
export function table(rows: readonly (readonly string[])[], pad: number): string {
  const clean = rows.map((row) => row.map((cell) => cleanText(cell).replaceAll("\n", " ")));
  const widths = (clean[0] ?? []).map(
    (_, column) => Math.max(...clean.map((row) => (row[column] ?? "").length)) + pad,
  );
  return clean
    .map((row) => {
      const cells = row.map((cell, column) =>
        column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0),
      );
      return `${cells.join("")}\n`;
    })
    .join("");
}
