// Traces of builds on disk: the last few of each series of builds (same context, Dockerfile and target), each with the reasons
// why its steps ran. A fully cached build costs one small write, any other a few KB.
//
// Records: space "trace", key "line <name>" → Line; key "build <id>" → Body as deflated JSON; key "last" → Last.

import { randomBytes } from "node:crypto";
import { deflateRawSync, inflateRawSync } from "node:zlib";
import { hash } from "node:crypto";
import { readSelection, SELECTION_FILES_SPACE } from "../cache/selection-files.ts";
import { type EarlierBuild, type Explanation, explainSteps } from "./explain.ts";
import type { Digest } from "./graph/digest.ts";
import type { StepTrace } from "./trace.ts";
import type { Records } from "../cache/contract.ts";

/** What a build is called and what was asked; given by who starts it. */
export interface TraceRequest {
  /** Builds of one line are compared first. */
  readonly line: string;
  /** For people: context and target. */
  readonly title: string;
  /** Values of --build-arg. */
  readonly buildArgs: Readonly<Record<string, string>>;
  /** Names that are build arguments where they stand in the environment of a step. */
  readonly argNames: ReadonlySet<string>;
  /** Told once the build has ended, well or not. */
  readonly onExplained: ((build: ExplainedBuild) => void) | null;
}

/** A build and why its steps ran. */
export interface ExplainedBuild {
  readonly title: string;
  readonly atMs: number;
  /** Steps that had a result already. */
  readonly cached: number;
  readonly steps: readonly (Explanation & { readonly failed: boolean })[];
}

interface Line {
  readonly title: string;
  readonly atMs: number;
  /** Newest first. */
  readonly builds: readonly {
    readonly id: string;
    /** Equal for equal builds that did nothing. */
    readonly signature: string;
    readonly files: readonly Digest[];
  }[];
}
interface Body extends EarlierBuild {
  readonly explained: ExplainedBuild;
}
/** id null: everything was cached, nothing to look up. */
interface Last {
  readonly title: string;
  readonly atMs: number;
  readonly cached: number;
  readonly id: string | null;
}

/** Space of the records. */
export const TRACE_SPACE = "trace";
/** Going back and forth between so many variants (of a build argument, say) still finds the nearest one. */
const BUILDS_OF_A_LINE = 4;
const LINES_MAX = 32;
/** A line that is new (another checkout, another target) is compared with so many others. */
const STRANGERS_MAX = 4;

/** Explains a build that has ended and keeps its trace. */
export function keepTrace(
  records: Records,
  request: TraceRequest,
  steps: readonly StepTrace[],
  atMs: number,
): ExplainedBuild {
  const ran = steps.some(({ end }) => end === "ran" || end === "failed");
  const line = records.get<Line>(TRACE_SPACE, lineKey(request.line));
  const earlier = ran ? loadEarlier(records, line, request.line) : [];
  const reasons = explainSteps(steps, earlier, {
    buildArgs: request.buildArgs,
    argNames: request.argNames,
    filesOf: (digest) => readSelection(records, digest),
  });
  const failed = new Set(steps.flatMap(({ end, vertex }) => (end === "failed" ? [vertex] : [])));
  const explained: ExplainedBuild = {
    title: request.title,
    atMs,
    cached: steps.filter(
      (step) => step.source === null && (step.end === "cached" || step.end === "unreached"),
    ).length,
    steps: reasons.map((reason) => ({ ...reason, failed: failed.has(reason.vertex) })),
  };
  const signature = signatureOf(steps);
  const isKnown = line?.builds[0]?.signature === signature && !ran;
  const id = isKnown ? null : randomBytes(8).toString("hex");
  const last: Last = { title: request.title, atMs, cached: explained.cached, id: ran ? id : null };
  const changes: { space: string; key: string; value: unknown }[] = [
    { space: TRACE_SPACE, key: "last", value: last },
  ];
  if (id !== null) {
    // A build that failed early says nothing of later steps: what was known of them stays.
    const whole = failed.size > 0 ? withLaterSteps(steps, earlier[0]?.steps ?? []) : steps;
    const body: Body = { steps: whole, buildArgs: request.buildArgs, explained };
    const builds = [
      { id, signature, files: filesIn(whole) },
      ...(line?.builds ?? []).filter((build) => build.signature !== signature),
    ];
    changes.push(
      { space: TRACE_SPACE, key: bodyKey(id), value: pack(body) },
      {
        space: TRACE_SPACE,
        key: lineKey(request.line),
        value: { title: request.title, atMs, builds: builds.slice(0, BUILDS_OF_A_LINE) } satisfies Line,
      },
    );
    records.batch(changes);
    const dropped = [...(line?.builds ?? [])].filter(
      (build) => !builds.slice(0, BUILDS_OF_A_LINE).some((one) => one.id === build.id),
    );
    tidy(records, dropped, line === null);
    return explained;
  }
  records.batch(changes);
  return explained;
}

/** The last build of this store with its reasons; null when there was none. */
export function lastBuild(records: Records): ExplainedBuild | null {
  const last = records.get<Last>(TRACE_SPACE, "last");
  if (last === null) return null;
  const body = last.id === null ? null : load(records, last.id);
  return body?.explained ?? { title: last.title, atMs: last.atMs, cached: last.cached, steps: [] };
}

const lineKey = (line: string): string => `line ${hash("sha256", line, "hex").slice(0, 32)}`;
const bodyKey = (id: string): string => `build ${id}`;

/** Builds of this line, newest first; of others, the latest ones, when there are none. */
function loadEarlier(records: Records, line: Line | null, name: string): readonly EarlierBuild[] {
  const own = (line?.builds ?? []).flatMap(({ id }) => load(records, id) ?? []);
  if (own.length > 0) return own;
  return linesOf(records)
    .filter(({ key }) => key !== lineKey(name))
    .slice(0, STRANGERS_MAX)
    .flatMap(({ value }) => (value.builds[0] === undefined ? [] : (load(records, value.builds[0].id) ?? [])));
}

/** Newest first. */
function linesOf(records: Records): { readonly key: string; readonly value: Line }[] {
  const lines = [...records.entries<Line>(TRACE_SPACE)].filter(({ key }) => key.startsWith("line "));
  return lines.sort((a, b) => b.value.atMs - a.value.atMs);
}

/** Drops traces, lines over the limit, and lists of files that no trace has any more. */
function tidy(records: Records, builds: readonly Line["builds"][number][], isNewLine: boolean): void {
  const gone = [...builds];
  if (gone.length === 0 && !isNewLine) return;
  const lines = linesOf(records);
  for (const { key, value } of lines.slice(LINES_MAX)) {
    gone.push(...value.builds);
    records.remove(TRACE_SPACE, key);
  }
  if (gone.length === 0) return;
  const used = new Set(
    lines.slice(0, LINES_MAX).flatMap(({ value }) => value.builds.flatMap((build) => build.files)),
  );
  for (const { id, files } of gone) {
    records.remove(TRACE_SPACE, bodyKey(id));
    for (const digest of files) if (!used.has(digest)) records.remove(SELECTION_FILES_SPACE, digest);
  }
}

function filesIn(steps: readonly StepTrace[]): readonly Digest[] {
  return [...new Set(steps.flatMap(({ inputs }) => inputs.flatMap(({ files }) => files ?? [])))];
}

function signatureOf(steps: readonly StepTrace[]): string {
  const text = steps.map(
    ({ vertex, key, inputs }) => `${vertex} ${key} ${inputs.map(({ files }) => files).join()}`,
  );
  return hash("sha256", text.join("\n"), "hex").slice(0, 32);
}

/** Steps of this build as far as it came, then those of the earlier one that it had not reached. */
function withLaterSteps(steps: readonly StepTrace[], earlier: readonly StepTrace[]): readonly StepTrace[] {
  const reached = steps.map((step) => step.end !== "unreached" || step.key !== null);
  const old = new Map(earlier.map((step) => [step.vertex, step]));
  return steps.map((step, index) => {
    const known = reached[index] === true ? undefined : old.get(step.vertex);
    return known === undefined ? step : { ...step, key: known.key, made: known.made };
  });
}

function pack(body: Body): Uint8Array {
  return deflateRawSync(JSON.stringify(body), { level: 1 });
}

/** 1,000 steps have 1 MB. */
const BODY_MAX_BYTES = 2 ** 27;

function load(records: Records, id: string): Body | null {
  const value = records.get<Uint8Array>(TRACE_SPACE, bodyKey(id));
  if (!(value instanceof Uint8Array)) return null;
  try {
    return JSON.parse(inflateRawSync(value, { maxOutputLength: BODY_MAX_BYTES }).toString()) as Body;
  } catch {
    return null; // damaged: it only explained something
  }
}
