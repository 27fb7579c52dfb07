// Progress of a build for Control.Status: kept from its start, so that who asks later is told all of it.

import { create } from "@bufbuild/protobuf";
import type { SourceText } from "../engine/request.ts";
import { openProgressState, type Step } from "../progress-state.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import type { ProgressEvent } from "../../solver/graph/event.ts";
import type { SourceRange } from "../../solver/graph/error.ts";
import type { WarnRequest } from "../wire/messages/moby/buildkit/v1/frontend/gateway_pb.ts";
import {
  type StatusResponse,
  StatusResponseSchema,
  type Vertex,
  VertexLogSchema,
  VertexSchema,
  VertexStatusSchema,
  type VertexWarning,
  VertexWarningSchema,
} from "../wire/messages/moby/buildkit/v1/control_pb.ts";
import { CODE, RpcError } from "../wire/status.ts";
import { timestamp } from "../wire/timestamp.ts";

/** Logs kept for who asks late; what is beyond is not sent again, and says so. */
const KEPT_MAX_BYTES = 16 << 20;
/** What a message costs in memory beside its text: a step may write single characters for days. */
const MESSAGE_BYTES = 256;

/** The same for a build that has ended and has no record in the history. */
const ENDED_MAX_BYTES = 1 << 20;
/** Warnings of one build, each with its text and the file it is about. */
const WARNINGS_MAX_BYTES = 4 << 20;
const RANGE_BYTES = 128;
const NOTHING = create(StatusResponseSchema);

type Counted = Pick<VertexWarning, "short" | "detail" | "url" | "ranges"> & {
  readonly info?: { readonly data: Uint8Array } | undefined;
};

export interface StatusStream {
  event(event: ProgressEvent): void;
  /** A warning of a client's frontend. Throws RpcError when there are too many. */
  warning(message: WarnRequest): void;
  /** The Dockerfile, for ranges of warnings. */
  source(source: SourceText): void;
  /** Nothing more comes. */
  end(): void;
  /** After the end: keeps less of the logs. */
  shrink(): void;
  /** All that was until now. */
  kept(): readonly StatusResponse[];
  /** All that was and will be, until the end. */
  read(signal: AbortSignal): AsyncGenerator<StatusResponse, void, undefined>;
}

export function openStatusStream(): StatusStream {
  const state = openProgressState("plain");
  const inputs = new Map<Digest, readonly Digest[]>();
  const kept: StatusResponse[] = [];
  let keptBytes = 0;
  let warningBytes = 0;
  let isOver = false;
  let source: SourceText | null = null;
  let anchor: Digest | null = null;
  let wake: (() => void)[] = [];
  /** Where the last word on each transfer is: earlier ones need not be told to who comes late. */
  const lastOf = new Map<string, number>();

  const add = (part: Partial<Pick<StatusResponse, "vertexes" | "statuses" | "logs" | "warnings">>): void => {
    kept.push(create(StatusResponseSchema, part));
    const woken = wake;
    wake = [];
    for (const one of woken) one();
  };

  function vertexOf(step: Step): Vertex {
    const { outcome, startedMs } = step;
    const ended = "atMs" in outcome ? outcome.atMs : null;
    const began = startedMs ?? ended;
    return create(VertexSchema, {
      digest: step.vertex,
      inputs: [...(inputs.get(step.vertex) ?? [])],
      name: step.name,
      cached: outcome.kind === "cached",
      ...(began === null ? {} : { started: timestamp(began) }),
      ...(ended === null ? {} : { completed: timestamp(ended) }),
      error:
        outcome.kind === "failed" ? outcome.message : outcome.kind === "cancelled" ? "context canceled" : "",
    });
  }

  function hasRoom({ short, detail, url, info, ranges }: Counted): boolean {
    warningBytes +=
      MESSAGE_BYTES + short.length + url.length + (info?.data.length ?? 0) + ranges.length * RANGE_BYTES;
    for (const line of detail) warningBytes += line.length;
    return warningBytes <= WARNINGS_MAX_BYTES;
  }

  return {
    source(text) {
      source = text;
    },
    warning({ digest, level, short, detail, url, info, ranges }) {
      const vertex = digest === "" ? (anchor ?? "") : digest;
      const about = { vertex, level, short, detail, url, ranges, ...(info === undefined ? {} : { info }) };
      if (!hasRoom(about))
        throw new RpcError(CODE.RESOURCE_EXHAUSTED, "the build has more warnings than are kept");
      add({ warnings: [create(VertexWarningSchema, about)] });
    },
    event(event) {
      if (event.kind === "note" || event.kind === "usage" || event.kind === "looking") return;
      if (event.kind === "warning") {
        if (anchor === null) return;
        const warning = warningOf(event, anchor, source);
        if (hasRoom(warning)) add({ warnings: [warning] });
        return;
      }
      if (event.kind === "vertex") {
        inputs.set(event.vertex, event.inputs);
        anchor ??= event.vertex;
      }
      const step = state.apply(event);
      if (step === null) return;
      switch (event.kind) {
        case "log": {
          keptBytes += event.data.length + MESSAGE_BYTES;
          if (keptBytes > KEPT_MAX_BYTES && kept.length > 0) dropLogs();
          const log = create(VertexLogSchema, {
            vertex: event.vertex,
            timestamp: timestamp(event.atMs),
            stream: BigInt(event.fd),
            msg: Buffer.from(event.data),
          });
          add({ logs: [log] });
          return;
        }
        case "bytes": {
          const started = step.transfers.get(event.label)?.startedMs ?? event.atMs;
          const status = create(VertexStatusSchema, {
            ID: event.label,
            name: actionOf(event.label, event.done),
            vertex: event.vertex,
            current: BigInt(event.current),
            total: BigInt(event.total ?? 0),
            timestamp: timestamp(event.atMs),
            started: timestamp(started),
            ...(event.done ? { completed: timestamp(event.atMs) } : {}),
          });
          const key = `${event.vertex} ${event.label}`;
          const before = lastOf.get(key);
          if (before !== undefined) kept[before] = NOTHING;
          lastOf.set(key, kept.length);
          add({ statuses: [status] });
          return;
        }
        default:
          add({ vertexes: [vertexOf(step)] });
      }
    },
    end() {
      isOver = true;
      add({});
    },
    shrink() {
      while (keptBytes > ENDED_MAX_BYTES && dropLogs() > 0);
    },
    kept: () => kept.filter((one) => !isEmpty(one)),
    async *read(signal) {
      for (let at = 0; ; ) {
        const next = kept[at];
        if (next !== undefined) {
          at++;
          if (!isEmpty(next)) yield next;
          continue;
        }
        if (isOver) return;
        await new Promise<void>((resolve) => {
          const on = (): void => {
            signal.removeEventListener("abort", on);
            resolve();
          };
          wake.push(on);
          signal.addEventListener("abort", on, { once: true });
        });
        signal.throwIfAborted();
      }
    },
  };

  /** The oldest half of the logs makes room. */
  function dropLogs(): number {
    let dropped = 0;
    for (const [at, one] of kept.entries()) {
      const size = one.logs.reduce((sum, { msg }) => sum + msg.length + MESSAGE_BYTES, 0);
      if (size === 0) continue;
      dropped += size;
      const first = one.logs[0];
      const words = Buffer.from("[output clipped: the daemon keeps the last part of a build's logs]\n");
      kept[at] =
        dropped === size && first !== undefined
          ? create(StatusResponseSchema, { logs: [{ ...first, msg: words }] })
          : NOTHING;
      if (dropped > KEPT_MAX_BYTES / 2) break;
    }
    keptBytes -= dropped;
    return dropped;
  }
}

/** What is done, in BuildKit's word: programs choose transfers by it. Layers are known by their digest. */
function actionOf(label: string, isDone: boolean): string {
  return /^([a-z]+)(?: |$)/.exec(label)?.[1] ?? (isDone ? "done" : "downloading");
}

function isEmpty({ vertexes, statuses, logs, warnings }: StatusResponse): boolean {
  return vertexes.length + statuses.length + logs.length + warnings.length === 0;
}

function warningOf(
  event: Extract<ProgressEvent, { kind: "warning" }>,
  vertex: Digest,
  source: SourceText | null,
) {
  const [first] = event.at;
  // As BuildKit's own frontend writes findings of its checks, and buildx's summary of warnings prints them: linter.go, LintFormatShort.
  const short = first === undefined ? event.message : `${event.message} (line ${first.start.line})`;
  return create(VertexWarningSchema, {
    vertex,
    level: 1n,
    short: Buffer.from(event.rule === "" ? event.message : `${event.rule}: ${short}`),
    detail: event.detail === "" ? [] : [Buffer.from(event.detail)],
    url: event.url,
    ...(source === null || event.at.length === 0
      ? {}
      : { info: { filename: source.file, data: Buffer.from(source.text), language: "Dockerfile" } }),
    ranges: event.at.map(rangeOf),
  });
}

function rangeOf({ start, end }: SourceRange) {
  return {
    start: { line: start.line, character: 0 },
    end: { line: end.line, character: 0 },
  };
}
