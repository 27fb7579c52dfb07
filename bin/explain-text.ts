// The output of --explain: why steps ran.

import type { ExplainedBuild } from "../solver/solver.ts";
import { cleanText } from "./log-text.ts";

type Change = ExplainedBuild["steps"][number]["changes"][number];

/** The text of --explain: a block for each step that ran. */
export function renderExplained(build: ExplainedBuild): string {
  const { steps, cached } = build;
  if (steps.length === 0)
    return `\nNo step ran: ${cached === 1 ? "the one step was" : `all ${cached} steps were`} cached.\n`;
  const blocks = steps.map(({ step, failed, changes, unchanged }) => {
    const head = `${cleanText(step)}${failed ? " (failed)" : ""}`;
    const lines = [...linesOf(changes), ...(unchanged === true ? [UNCHANGED] : [])];
    return [head, ...lines.map((line) => `  ${line}`)].join("\n");
  });
  return `\nWhy ${steps.length === 1 ? "1 step" : `${steps.length} steps`} ran (${cached} cached):\n${blocks.join("\n")}\n`;
}

const UNCHANGED = "output unchanged: later steps stay cached";

/** Lines a step gets at most; JSON has all. */
const LINES_MAX = 12;

function linesOf(changes: readonly Change[]): readonly string[] {
  const lines = changes.map(describeChange);
  return lines.length <= LINES_MAX
    ? lines
    : [...lines.slice(0, LINES_MAX - 1), `and ${lines.length - LINES_MAX + 1} more`];
}

/** One change as one line. */
export function describeChange(change: Change): string {
  switch (change.kind) {
    case "no-cache":
      return change.scope === "build" ? "not cached: --no-cache" : "not cached: --no-cache-filter";
    case "new-step":
      return "not built before";
    case "result-gone":
      return "nothing changed, but the earlier result is no longer in the store (pruned, or never finished)";
    case "file":
      return fileLine(change);
    case "files":
      if (change.total === 0) return "files: hard links between them changed";
      return change.total === null
        ? "files changed (the earlier list of files was not kept)"
        : `and ${change.total} more files`;
    case "build-arg":
      return `build argument ${change.name}: ${values(change)}`;
    case "environment":
      return `environment variable ${change.name}: ${values(change)}`;
    case "command":
      return `instruction: ${values(change)}`;
    case "here-document":
      return "here document: content changed";
    case "option":
      return `${change.name}: ${values(change)}`;
    case "platform":
      return `platform: ${values(change)}`;
    case "base-image":
      return `base image ${change.image}: ${values(change)}`;
    case "source":
      return `content of ${cleanText(change.address)}: ${values(change)}`;
    case "parent-step": {
      const step = cleanText(change.step);
      if (change.before !== null) return `follows a different step: ${cleanText(change.before)} → ${step}`;
      return change.ran
        ? `an earlier step ran and its result changed: ${step}`
        : `an earlier step has a different (cached) result: ${step}`;
    }
  }
}

function fileLine(change: Extract<Change, { kind: "file" }>): string {
  const path = cleanText(change.path);
  switch (change.how) {
    case "added":
    case "removed":
      return `file ${path}: ${change.how}`;
    case "content":
      return `file ${path}: content changed`;
    case "mode":
    case "link":
    case "type":
      return `file ${path}: ${change.how === "link" ? "link target" : change.how} ${values(change)}`;
  }
}

const VALUE_MAX = 160;

function values(change: {
  readonly before: string | null;
  readonly after: string | null;
  readonly via?: string | null;
}): string {
  const via = change.via ? ` (by build argument ${change.via})` : "";
  return `${shown(change.before)} → ${shown(change.after)}${via}`;
}

function shown(value: string | null): string {
  if (value === null) return "(none)";
  const text = cleanText(value).replace(/\s+/g, " ");
  return text.length > VALUE_MAX ? `${text.slice(0, VALUE_MAX - 1)}…` : text === "" ? '""' : text;
}
