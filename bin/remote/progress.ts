// Progress of a build elsewhere: BuildKit's StatusResponse as events of ours.

import type { Timestamp } from "@bufbuild/protobuf/wkt";
import type { SourceText } from "../engine/request.ts";
import { type Digest, digestOf, isDigest } from "../../solver/graph/digest.ts";
import { BuildError, type SourceRange } from "../../solver/graph/error.ts";
import type { Emit } from "../../solver/graph/event.ts";
import type {
  StatusResponse,
  Vertex,
  VertexLog,
  VertexStatus,
  VertexWarning,
} from "../wire/messages/moby/buildkit/v1/control_pb.ts";

/** A vertex may end more than once: BuildKit says it of looking a step up in the cache, and of the step itself. Its end is told when nothing
 *  more of it was heard for so long, or when something that needs it begins. */
const SETTLE_MS = 500;
/** Clocks that differ by less are taken for one. */
const CLOCK_SLACK_MS = 1_000;

export interface RemoteProgress {
  take(status: StatusResponse): void;
  /** Nothing more comes. Steps that still run are told to be cancelled where the build was: a busy builder's own word of it may come too
   *  late for who does not wait. */
  end(how: { readonly isCancelled: boolean }): void;
  /** The step that the display knows a vertex of the builder as; null: it knows none. */
  stepOf(vertex: string): Digest | null;
  /** What the first vertex that failed has said; null: none has. */
  failure(): { readonly message: string; readonly step: Digest } | null;
}

/** What was told of a vertex. */
interface Known {
  step: Digest;
  state: "announced" | "running" | "ending" | "ended";
  endMs: number;
  end: "done" | "cached";
  timer: NodeJS.Timeout | null;
  inputs: readonly string[];
  runs: number;
}

/** onSource: texts that warnings are about. */
export function openRemoteProgress(emit: Emit, onSource: (source: SourceText) => void): RemoteProgress {
  const known = new Map<string, Known>();
  const needed = new Set<string>();
  /** What frontends load for themselves: no step needs it, so none ends it by beginning. */
  const loads = new Map<string, Known>();
  let offsetMs: number | null = null;
  let failed: { readonly message: string; readonly step: Digest } | null = null;

  /** Times of the builder, by this machine's clock. */
  function ms(time: Timestamp): number {
    const theirs = Number(time.seconds) * 1000 + time.nanos / 1e6;
    if (offsetMs === null) {
      const difference = Date.now() - theirs;
      offsetMs = Math.abs(difference) > CLOCK_SLACK_MS ? difference : 0;
    }
    return theirs + offsetMs;
  }

  function announce(vertex: Vertex): Known {
    let one = known.get(vertex.digest);
    if (one === undefined) {
      const step = isDigest(vertex.digest) ? vertex.digest : digestOf(vertex.digest);
      one = { step, state: "announced", endMs: 0, end: "done", timer: null, inputs: vertex.inputs, runs: 0 };
      known.set(vertex.digest, one);
      for (const input of vertex.inputs) needed.add(input);
      if (vertex.name.startsWith("[internal] ")) loads.set(vertex.digest, one);
      tell(one, vertex.name);
    }
    return one;
  }

  function tell(one: Known, name: string): void {
    emit({ kind: "vertex", vertex: one.step, name, inputs: inputsOf(one).map(({ step }) => step), at: [] });
  }

  /** Ends a vertex, and before it what it needs and has ended too. */
  function settle(one: Known): void {
    if (one.state !== "ending") return;
    const due: Known[] = [];
    const before = [...loads].flatMap(([digest, load]) =>
      needed.has(digest) || load.endMs > one.endMs ? [] : load,
    );
    const found = [one, ...before];
    for (const next of found) {
      if (next.state !== "ending") continue;
      if (next.timer !== null) clearTimeout(next.timer);
      next.timer = null;
      next.state = "ended";
      due.unshift(next);
      found.push(...inputsOf(next));
    }
    for (const { end, step, endMs } of due.toSorted((a, b) => a.endMs - b.endMs))
      emit({ kind: end, vertex: step, atMs: endMs });
  }

  const inputsOf = ({ inputs }: Known): readonly Known[] => inputs.flatMap((input) => known.get(input) ?? []);

  function begin(one: Known, vertex: Vertex | null, atMs: number): void {
    if (one.timer !== null) clearTimeout(one.timer);
    one.timer = null;
    for (const before of inputsOf(one)) settle(before);
    if (one.state === "ended" && vertex !== null) {
      // It was told to have ended, and runs again: another step of the same name.
      one.step = digestOf(`${vertex.digest} again ${++one.runs}`);
      tell(one, vertex.name);
      one.state = "announced";
    }
    if (one.state === "announced") emit({ kind: "started", vertex: one.step, atMs });
    one.state = "running";
  }

  function takeVertex(vertex: Vertex): void {
    const one = announce(vertex);
    const { started, completed, error } = vertex;
    if (completed === undefined) {
      if (started !== undefined && one.state !== "running") begin(one, vertex, ms(started));
      return;
    }
    const atMs = ms(completed);
    if (one.state === "ended" && error === "") return;
    if (error !== "") {
      if (one.state !== "running") begin(one, vertex, started === undefined ? atMs : ms(started));
      one.state = "ended";
      if (/context canceled$/.test(error)) emit({ kind: "cancelled", vertex: one.step, atMs });
      else {
        failed ??= { message: error, step: one.step };
        const words = new BuildError("EXEC_FAILED", error, { vertex: one.step });
        emit({ kind: "failed", vertex: one.step, atMs, error: words });
      }
      return;
    }
    // Told no sooner than another end: it would overtake what has ended before.
    if (vertex.cached) one.end = "cached";
    else if (one.state !== "ending") one.end = "done";
    if (one.state === "announced" && !vertex.cached)
      begin(one, vertex, started === undefined ? atMs : ms(started));
    one.state = "ending";
    one.endMs = atMs;
    if (one.timer !== null) clearTimeout(one.timer);
    one.timer = setTimeout(() => settle(one), SETTLE_MS);
  }

  function takeTransfer(status: VertexStatus): void {
    const one = known.get(status.vertex);
    if (one === undefined || one.state === "ended") return;
    const time = status.completed ?? status.timestamp ?? status.started;
    const total = Number(status.total);
    emit({
      kind: "bytes",
      vertex: one.step,
      label: status.ID,
      atMs: time === undefined ? Date.now() : ms(time),
      current: Number(status.current),
      total: total > 0 ? total : null,
      done: status.completed !== undefined,
    });
  }

  function takeLog({ vertex, timestamp, stream, msg }: VertexLog): void {
    const one = known.get(vertex);
    if (one === undefined) return;
    const atMs = timestamp === undefined ? Date.now() : ms(timestamp);
    emit({ kind: "log", vertex: one.step, atMs, fd: stream === 1n ? 1 : 2, data: msg });
  }

  function takeWarning(warning: VertexWarning): void {
    const file = warning.info?.filename ?? "Dockerfile";
    if (warning.info !== undefined) onSource({ file, text: Buffer.from(warning.info.data).toString("utf8") });
    const at = warning.ranges.map(({ start, end }) => rangeOf(file, start?.line ?? 0, end?.line ?? 0));
    const short = Buffer.from(warning.short).toString("utf8");
    const [, rule = "", told = short] = /^([A-Z][A-Za-z]+): (.*)$/s.exec(short) ?? [];
    emit({
      kind: "warning",
      rule,
      // BuildKit's words end with the line, which the list of warnings adds.
      message: at.length > 0 ? told.replace(/ \(line \d+\)$/, "") : told,
      detail: warning.detail.map((line) => Buffer.from(line).toString("utf8")).join("\n"),
      url: warning.url,
      at,
    });
  }

  return {
    take({ vertexes, statuses, logs, warnings }) {
      for (const vertex of vertexes) announce(vertex);
      // What a step has written comes before the word that it failed.
      for (const vertex of vertexes) if (vertex.error === "") takeVertex(vertex);
      for (const { digest, error, started } of vertexes) {
        const one = known.get(digest);
        if (error !== "" && one?.state === "announced" && started !== undefined)
          begin(one, null, ms(started));
      }
      for (const status of statuses) takeTransfer(status);
      for (const log of logs) takeLog(log);
      for (const vertex of vertexes) if (vertex.error !== "") takeVertex(vertex);
      for (const warning of warnings) takeWarning(warning);
    },
    end({ isCancelled }) {
      for (const one of known.values()) {
        settle(one);
        if (!isCancelled || one.state !== "running") continue;
        one.state = "ended";
        emit({ kind: "cancelled", vertex: one.step, atMs: Date.now() });
      }
    },
    stepOf: (vertex) => known.get(vertex)?.step ?? null,
    failure: () => failed,
  };
}

/** Whole lines: columns are not told. */
export function rangeOf(file: string, first: number, last: number): SourceRange {
  const end = Math.max(first, last);
  // An end in the first column would leave its line out.
  return { file, start: { line: first, column: 1 }, end: { line: end, column: end > first ? 2 : 1 } };
}
