// Filters of ListenBuildHistory: "status==completed,repository~=x", "startedAt>48h", "duration<=1m". Each text is one line of CSV, all of its
// fields must hold; several texts are alternatives. Fields are BuildKit's; operators and quotes are those of containerd's filters, and durations
// those of Go.

import { BuildError } from "../../solver/graph/error.ts";
import { compileExpression } from "../../cache/linear-regexp.ts";
import type { BuildHistoryRecord } from "../wire/messages/moby/buildkit/v1/control_pb.ts";
import { CODE, RpcError } from "../wire/status.ts";
import { millisecondsOf } from "../wire/timestamp.ts";

type Test = (record: BuildHistoryRecord) => boolean;

const FILTERS_MAX = 32;
const FILTER_MAX_CHARS = 4096;

/** One test out of all filters; none: everything holds. Throws RpcError INVALID_ARGUMENT. */
export async function historyFilter(filters: readonly string[], nowMs: number): Promise<Test> {
  if (filters.length > FILTERS_MAX) throw invalid(`more than ${FILTERS_MAX} filters`);
  const tests: Test[] = [];
  for (const text of filters) {
    if (text.length > FILTER_MAX_CHARS) throw invalid("a filter is too long");
    const all = await Promise.all(csvFields(text).map((field) => parseField(field, nowMs)));
    tests.push((record) => all.every((test) => test(record)));
  }
  return (record) => tests.length === 0 || tests.some((test) => test(record));
}

async function parseField(text: string, nowMs: number): Promise<Test> {
  if (text.trim() === "") return () => true;
  const time = /^(startedAt|completedAt|duration)(>=|<=|>|<)(.*)$/s.exec(text);
  if (time !== null) return timeTest(time[1] ?? "", time[2] ?? "", time[3] ?? "", nowMs);
  const match = /^\s*([A-Za-z][\w.]*)\s*(?:(==|!=|~=)(.*))?$/s.exec(text);
  if (match === null) throw invalid(`parse error in the filter ${JSON.stringify(text)}`);
  const [, field = "", operator, rest = ""] = match;
  const read = FIELDS.get(field) ?? (() => null);
  if (operator === undefined) return (record) => read(record) !== null;
  const value = unquoted(rest, operator, text);
  switch (operator) {
    case "==":
      return (record) => read(record) === value;
    case "!=":
      return (record) => (read(record) ?? "") !== value;
    default: {
      const isMatch = await expression(value, text);
      return (record) => isMatch(read(record) ?? "");
    }
  }
}

const FIELDS: ReadonlyMap<string, (record: BuildHistoryRecord) => string | null> = new Map([
  ["ref", ({ Ref }: BuildHistoryRecord) => (Ref === "" ? null : Ref)],
  ["status", statusOf],
  ["repository", repositoryOf],
]);

function statusOf({ CompletedAt, error }: BuildHistoryRecord): string {
  if (CompletedAt === undefined) return "running";
  if (error === undefined) return "completed";
  return error.message.includes("context canceled") ? "canceled" : "error";
}

/** Of a context in a repository without the branch, or what the client says of the directory's. */
function repositoryOf({ FrontendAttrs }: BuildHistoryRecord): string | null {
  const told = FrontendAttrs["vcs:source"];
  if (told !== undefined) return told;
  const context = FrontendAttrs["context"];
  if (context === undefined || !/^(?:https?|git|ssh):\/\/|^[\w.-]+@[\w.-]+:/.test(context)) return null;
  return context.split(/[#?]/, 1)[0] ?? null;
}

/** containerd's filters take a Go string literal for any value, and for an expression also /…/ and |…|. */
function unquoted(text: string, operator: string, filter: string): string {
  const value = text.trim();
  const quote = value[0] ?? "";
  const isQuoted = quote === '"' || (operator === "~=" && (quote === "/" || quote === "|"));
  if (!isQuoted) {
    if (value === "" || /\s/.test(value))
      throw invalid(`parse error in the filter ${JSON.stringify(filter)}`);
    return value;
  }
  if (value.length < 2 || !value.endsWith(quote))
    throw invalid(`a quote is not closed in the filter ${JSON.stringify(filter)}`);
  if (quote !== '"') return value.slice(1, -1).replaceAll(`\\${quote}`, quote);
  try {
    return JSON.parse(value) as string;
  } catch (cause) {
    throw invalid(`parse error in the filter ${JSON.stringify(filter)}`, cause);
  }
}

async function expression(value: string, text: string): Promise<(text: string) => boolean> {
  try {
    return (await compileExpression(value, `the filter ${JSON.stringify(text)}`)).test;
  } catch (error) {
    if (error instanceof BuildError) throw invalid(error.message, error);
    throw error;
  }
}

function timeTest(field: string, operator: string, value: string, nowMs: number): Test {
  const isDuration = field === "duration";
  const bound = isDuration ? durationOf(value) : momentOf(value, nowMs);
  if (bound === null) throw invalid(`invalid ${isDuration ? "duration" : "time"} ${JSON.stringify(value)}`);
  // Moments count in whole seconds; what has not ended yet counts as 0, as in BuildKit.
  const read = ({ CreatedAt, CompletedAt }: BuildHistoryRecord): number => {
    const began = CreatedAt === undefined ? 0 : millisecondsOf(CreatedAt);
    const ended = CompletedAt === undefined ? null : millisecondsOf(CompletedAt);
    if (isDuration) return ended === null ? 0 : ended - began;
    return Math.floor((field === "startedAt" ? began : (ended ?? 0)) / 1000);
  };
  switch (operator) {
    case ">=":
      return (record) => read(record) >= bound;
    case "<=":
      return (record) => read(record) <= bound;
    case ">":
      return (record) => read(record) > bound;
    default:
      return (record) => read(record) < bound;
  }
}

/** Seconds since 1970: of a duration before now, or of RFC 3339. */
function momentOf(value: string, nowMs: number): number | null {
  const ago = durationOf(value);
  if (ago !== null) return Math.floor((nowMs - ago) / 1000);
  const ms = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/.test(value)
    ? Date.parse(value)
    : Number.NaN;
  return Number.isNaN(ms) ? null : Math.floor(ms / 1000);
}

const UNITS_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
};

/** Milliseconds of "1h30m", "1.5s", "-2h" (Go, time.ParseDuration); null: it is none. */
function durationOf(text: string): number | null {
  const [, sign = "", rest = ""] = /^([+-]?)(.+)$/s.exec(text) ?? [];
  if (rest === "0") return 0;
  let ms = 0;
  let end = 0;
  for (const part of rest.matchAll(/(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)/gy)) {
    ms += Number(part[1]) * (UNITS_MS[part[2] ?? ""] ?? 0);
    end = part.index + part[0].length;
  }
  if (end === 0 || end !== rest.length) return null;
  return sign === "-" ? -ms : ms;
}

/** Fields of one line of CSV (RFC 4180). */
function csvFields(line: string): string[] {
  const fields: string[] = [];
  for (let at = 0; at <= line.length; at++) {
    if (line[at] !== '"') {
      const comma = line.indexOf(",", at);
      const end = comma < 0 ? line.length : comma;
      fields.push(line.slice(at, end));
      at = end;
      continue;
    }
    let field = "";
    for (at++; ; at++) {
      const quote = line.indexOf('"', at);
      if (quote < 0) throw invalid(`a quote is not closed in the filter ${JSON.stringify(line)}`);
      field += line.slice(at, quote);
      at = quote + 1;
      if (line[at] !== '"') break;
      field += '"';
    }
    if (at < line.length && line[at] !== ",")
      throw invalid(`parse error in the filter ${JSON.stringify(line)}`);
    fields.push(field);
  }
  return fields;
}

function invalid(message: string, cause?: unknown): RpcError {
  return new RpcError(CODE.INVALID_ARGUMENT, message, [], cause);
}
