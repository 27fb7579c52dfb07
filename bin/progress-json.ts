// --progress=rawjson: one JSON object per line on standard error, in the format of BuildKit's SolveStatus.

import type { ProgressEvent } from "../solver/graph/event.ts";
import type { SourceRange } from "../solver/graph/error.ts";
import { openProgressState, type Step } from "./progress-state.ts";
import type { Display } from "./display.ts";

/** Opens the display; each event is written at once. */
export function openJsonDisplay(options: { readonly write: (text: string) => void }): Display {
  const state = openProgressState("plain");
  const inputs = new Map<string, readonly string[]>();
  /** What was written of each vertex last: a state is told once. */
  const told = new Map<string, string>();

  function vertex(step: Step): object {
    const outcome = step.outcome;
    return {
      digest: step.vertex,
      ...((inputs.get(step.vertex)?.length ?? 0) > 0 ? { inputs: inputs.get(step.vertex) } : {}),
      name: step.name,
      ...(step.startedMs === null ? {} : { started: time(step.startedMs) }),
      ...("atMs" in outcome ? { completed: time(outcome.atMs) } : {}),
      ...(outcome.kind === "cached" ? { cached: true } : {}),
      ...(outcome.kind === "failed" ? { error: outcome.message } : {}),
      ...(outcome.kind === "cancelled" ? { error: "context canceled" } : {}), // how BuildKit's clients know it
    };
  }

  function vertexOnce(step: Step | null): object | null {
    if (step === null) return null;
    const state = vertex(step);
    const text = JSON.stringify(state);
    if (told.get(step.vertex) === text) return null;
    told.set(step.vertex, text);
    return { vertexes: [state] };
  }

  function status(event: ProgressEvent): object | null {
    if (event.kind === "looking") return null; // it has not started
    const step = state.apply(event);
    switch (event.kind) {
      case "vertex":
        inputs.set(event.vertex, event.inputs);
        return vertexOnce(step);
      case "started":
      case "cached":
      case "done":
      case "cancelled":
      case "failed":
        return vertexOnce(step);
      case "log":
        return {
          logs: [
            {
              vertex: event.vertex,
              stream: event.fd,
              data: Buffer.from(event.data.buffer, event.data.byteOffset, event.data.byteLength).toString(
                "base64",
              ),
              timestamp: time(event.atMs),
            },
          ],
        };
      case "bytes": {
        const started = step?.transfers.get(event.label)?.startedMs ?? event.atMs;
        return {
          statuses: [
            {
              id: event.label,
              vertex: event.vertex,
              ...(event.total === null ? {} : { total: event.total }),
              current: event.current,
              timestamp: time(event.atMs),
              started: time(started),
              ...(event.done ? { completed: time(event.atMs) } : {}),
            },
          ],
        };
      }
      case "warning":
        return {
          warnings: [
            {
              level: 1,
              short: base64(event.rule === "" ? event.message : `${event.rule}: ${event.message}`),
              detail: [base64(event.detail)],
              url: event.url,
              ...(event.at[0] === undefined
                ? {}
                : { sourceInfo: { filename: event.at[0].file }, range: event.at.map(rangeJson) }),
            },
          ],
        };
      case "usage": // not of BuildKit's: who does not know the field passes over it
        return { usage: [{ vertex: event.vertex, cpuMs: event.cpuMs, peakBytes: event.peakBytes }] };
      case "note":
        return null;
    }
  }

  return {
    state,
    event(event) {
      const answer = status(event);
      if (answer !== null) options.write(`${JSON.stringify(answer)}\n`);
    },
    finish() {},
  };
}

function time(ms: number): string {
  return new Date(ms).toISOString();
}

function base64(text: string): string {
  return Buffer.from(text, "utf8").toString("base64");
}

/** pb.Range as Go's encoding/json writes it: zero values are left out. Lines count from 1; only they are set by BuildKit. */
export function rangeJson(range: SourceRange): object {
  return { start: { line: range.start.line }, end: { line: range.end.line } };
}
