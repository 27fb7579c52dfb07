// How an error is displayed: the log of the step, or the part not shown yet, the lines of the Dockerfile with the failing ones marked, the
// message, and the hint. The format is BuildKit's and buildx's, so that tools which parse theirs can parse ours.

import { tmpdir } from "node:os";
import { refusalOf } from "../cache/disk-fault.ts";
import type { Digest } from "../solver/graph/digest.ts";
import { BuildError, redactUrl, type SourceRange } from "../solver/graph/error.ts";
import type { ProgressEvent } from "../solver/graph/event.ts";
import type { SourceText } from "./engine/request.ts";
import { cleanText } from "./log-text.ts";
import { logTime, type ProgressState, type Step } from "./progress-state.ts";
import { textWidth } from "./text-width.ts";
import type { Colours } from "./colours.ts";

const RULE = "--------------------";
/** Lines shown around one marked line, and around several. */
const PAD_ONE = 4;
const PAD_MANY = 2;

/** The lines of `source` around the ranges, those inside marked with >>>; "" when no range lies in the text, or
 *  there is none to see. */
export function renderExcerpt(
  source: SourceText,
  ranges: readonly SourceRange[],
  colours: Colours | null,
): string {
  const lines = source.text.split("\n").map((line) => line.replace(/\r$/, ""));
  const marked = ranges.map((range) => ({ range, first: range.start.line, last: lastLine(range) }));
  const from = Math.min(...marked.map(({ first }) => first));
  const to = Math.min(Math.max(...marked.map(({ last }) => last)), lines.length);
  if (marked.length === 0 || from < 1 || from > lines.length || source.text.trim() === "") return "";

  let start = from;
  let end = to;
  for (let added = 0, pad = from === to ? PAD_ONE : PAD_MANY; added < pad; added++) {
    if (start > 1) {
      start--;
      added++;
    }
    if (end < lines.length) {
      end++;
      added++;
    }
  }
  const out = [`${cleanText(source.file)}:${from}`, RULE];
  for (let number = start; number <= end; number++) {
    const here = marked.filter(({ first, last }) => number >= first && number <= last);
    const written = cutLine(cleanText((lines[number - 1] ?? "").slice(0, LINE_CHARS_MAX * 4)));
    const text = redactUrl(written);
    const mark = here.length === 0 ? "   " : paint(">>>", colours?.error);
    out.push(` ${String(number).padStart(3)} | ${mark} ${text}`);
    if (colours === null || text !== written) continue; // columns are those of what is written
    const carets = here.map(({ range }) => caretLine(range, number, text)).find((line) => line !== null);
    if (carets) out.push(`     |     ${paint(carets, colours.error)}`);
  }
  out.push(RULE);
  return `${out.join("\n")}\n`;
}

/** Characters of a line that are shown: what comes by a URL may have lines of megabytes. */
const LINE_CHARS_MAX = 1_000;

function cutLine(text: string): string {
  return text.length > LINE_CHARS_MAX ? `${text.slice(0, LINE_CHARS_MAX)}…` : text;
}

/** The last line a range has characters in. */
function lastLine(range: SourceRange): number {
  const { start, end } = range;
  return end.line > start.line && end.column <= 1 ? end.line - 1 : Math.max(start.line, end.line);
}

/** "^^^^" under the columns of a range that is only a part of one line; null otherwise. */
function caretLine(range: SourceRange, line: number, text: string): string | null {
  const { start, end } = range;
  if (start.line !== line || end.line !== line || end.column <= start.column) return null;
  if (start.column <= text.search(/\S/) + 1 && end.column > text.trimEnd().length) return null;
  const indent = text
    .slice(0, start.column - 1)
    .replace(/[^\t]/gu, (character) => " ".repeat(textWidth(character)));
  return indent + "^".repeat(Math.max(1, textWidth(text.slice(start.column - 1, end.column - 1))));
}

function paint(text: string, sgr: string | undefined): string {
  return sgr === undefined ? text : `\u001b[${sgr}m${text}\u001b[0m`;
}

/** The block with which BuildKit repeats a failed step: all of its log where that was not shown as it came, else the last lines. */
export function renderLog(step: Step, colours: Colours | null): string {
  const shown = step.log?.lines() ?? step.tail.map((line) => `${logTime(step, line.atMs)} ${line.text}`);
  const lines = shown.map((line) => (colours === null ? cleanText(line) : withoutColoursAfter(line)));
  const unseen = step.log?.keep() ?? null;
  if (unseen !== null) {
    const { file, isCut } = unseen;
    const where =
      file === null
        ? "could not be saved"
        : `are in ${file}, ${isCut ? "as far as there was room for them" : "as all of the log is"}`;
    lines.push(`[the first ${unseen.lines} lines ${where}]`);
  }
  return `${["------", ` > ${step.name}:`, ...lines, "------"].join("\n")}\n`;
}

function hasLog({ log, tail }: Step): boolean {
  return (log?.lines() ?? tail).length > 0;
}

/** Logs read for a terminal have no other sequences than colours; those must not reach the next line. */
function withoutColoursAfter(line: string): string {
  return line.includes("\u001b") ? `${line}\u001b[0m` : line;
}

/** The list of warnings below a build, in buildx's form. debug: each with its detail, URL and lines. */
export function renderWarnings(
  warnings: readonly WarningEvent[],
  options: Pick<FailureOptions, "sources" | "colours" | "debug">,
): string {
  const count = warnings.length === 1 ? "1 warning found" : `${warnings.length} warnings found`;
  const title = `${count}${options.debug ? "" : " (use --debug to expand)"}:`;
  let out = `\n ${paint(title, options.colours?.warning)}\n`;
  for (const warning of warnings) {
    const rule = warning.rule === "" ? "" : `${warning.rule}: `;
    const [first] = warning.at;
    out += ` - ${rule}${cleanText(warning.message)}${first === undefined ? "" : ` (line ${first.start.line})`}\n`;
    if (!options.debug) continue;
    if (warning.detail !== "") out += `${cleanText(warning.detail)}\n`;
    if (warning.url !== "") out += `More info: ${cleanText(warning.url)}\n`;
    const source = first === undefined ? undefined : options.sources.get(first.file);
    if (source !== undefined) out += renderExcerpt(source, warning.at, options.colours);
    out += "\n";
  }
  return out;
}

type WarningEvent = Extract<ProgressEvent, { kind: "warning" }>;

export interface FailureOptions {
  /** Texts by file name, for the excerpts. */
  readonly sources: ReadonlyMap<string, SourceText>;
  /** The steps, when there were any. */
  readonly state: ProgressState | null;
  readonly colours: Colours | null;
  /** Said before the message, such as "failed to build: failed to solve: ". */
  readonly prefix: string;
  /** Print the stack and the causes. */
  readonly debug: boolean;
  /** false: a step without output is not shown, for its name says no more than the message. */
  readonly isBuild?: boolean;
}

/** Everything printed for an error, ending in a newline. Works for anything that was thrown. */
export function renderFailure(thrown: unknown, options: FailureOptions): string {
  const { error: first, cleanUp } = unwrap(thrown);
  const error = inWords(first);
  let out = "";
  if (error instanceof BuildError) {
    const step = error.vertex === null ? undefined : options.state?.steps.get(error.vertex as Digest);
    if (step !== undefined && step.startedMs !== null && (options.isBuild !== false || hasLog(step)))
      out += renderLog(step, options.colours);
    const source = error.at === null ? undefined : options.sources.get(error.at.file);
    if (error.at !== null && source !== undefined) out += renderExcerpt(source, [error.at], options.colours);
  }
  out += `${paint("ERROR:", options.colours?.error)} ${headline(error, options.prefix)}\n`;
  if (error instanceof BuildError && error.hint)
    out += `${paint("hint:", options.colours?.warning)} ${cleanText(error.hint)}\n`;
  if (!(error instanceof BuildError) && !options.debug)
    out += "hint: this looks like a bug in tsbuild; use --debug for a stack trace\n";
  if (cleanUp !== null) out += `also, while cleaning up: ${headline(cleanUp)}\n`;
  if (options.debug) out += stackOf(error);
  return out;
}

/** A disk that takes no more is no bug, whoever met it. Where nothing is known of the place it is one for temporary files. */
function inWords(error: unknown): unknown {
  if (error instanceof BuildError || !(error instanceof Error)) return error;
  const { path } = error as NodeJS.ErrnoException;
  const isTemporary = path === undefined || path.startsWith(`${tmpdir()}/`);
  const refusal = refusalOf(error, isTemporary ? "temporary" : "output", path ?? tmpdir());
  if (refusal === null) return error;
  const { words, hint } = refusal;
  const told = path === undefined ? error.message : `cannot write ${path}: ${words}`;
  return new BuildError("OUTPUT_FAILED", told, { cause: error, hint: path === undefined ? null : hint });
}

/** A failed clean-up hides the error it cleaned up after (`await using`); both are wanted, the first one first. */
function unwrap(thrown: unknown): { error: unknown; cleanUp: unknown } {
  if (
    thrown instanceof Error &&
    thrown.name === "SuppressedError" &&
    "suppressed" in thrown &&
    "error" in thrown
  ) {
    return { error: unwrap(thrown.suppressed).error, cleanUp: thrown.error };
  }
  return { error: thrown, cleanUp: null };
}

function headline(error: unknown, prefix = ""): string {
  const message = redactUrl(cleanText(error instanceof Error ? error.message : String(error)));
  if (!(error instanceof BuildError)) return `internal error: ${message}`;
  return error.code === "USAGE" ? message : prefix + message; // a wrong command line was never a build
}

function stackOf(error: unknown): string {
  let out = "";
  for (let cause = error, depth = 0; cause instanceof Error && depth < 8; cause = cause.cause, depth++) {
    out += `${depth === 0 ? "" : "caused by: "}${redactUrl(cleanText(cause.stack ?? cause.message))}\n`;
  }
  return out;
}
