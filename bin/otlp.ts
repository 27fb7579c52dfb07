// Spans of builds and their steps, sent by OTLP over HTTP. Loaded only where they are asked for (tracing.ts); the only importer of
// OpenTelemetry's packages, which read addresses, headers, limits and samplers from the environment themselves.

import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { ROOT_CONTEXT, type Span, SpanStatusCode, trace } from "@opentelemetry/api";
import { parseTraceParent, setGlobalErrorHandler, TraceState } from "@opentelemetry/core";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { detectResources, envDetector, resourceFromAttributes } from "@opentelemetry/resources";
import { BasicTracerProvider, BatchSpanProcessor } from "@opentelemetry/sdk-trace-base";
import type { ProgressEvent } from "../solver/graph/event.ts";
import { withoutCredentials } from "./without-credentials.ts";

export interface TracingOptions {
  readonly service: string;
  readonly version: () => string;
  /** Where spans go. */
  readonly collector: URL;
  /** Told what keeps spans from going where they should. */
  readonly warn: (text: string) => void;
}

/** W3C Trace Context: what a client sends along with its request. */
export interface ParentTrace {
  readonly traceparent: string | undefined;
  readonly tracestate: string | undefined;
}

export interface Tracing extends AsyncDisposable {
  /** Begins the span of a build, in the client's trace where there is one. */
  build(attributes: Readonly<Record<string, string>>, parent: ParentTrace): BuildTrace;
}

export interface BuildTrace {
  /** Takes the progress of the build: each step is a span below it. */
  event(event: ProgressEvent): void;
  /** Ends the span. `error`: what the build failed with; "": it did not. */
  end(outcome: { readonly error: string; readonly cancelled: boolean }): void;
}

/** For the last spans, at the end of the process: a collector that is slow does not hold a command up. One that is not there does not at all: the exporter
 *  would try again after a second, as often as its timeout allows. */
const LAST_SPANS_MS = 3_000;
const NAME_MAX_CHARS = 1_000;

export function startTracing({ service, version: versionOf, collector, warn }: TracingOptions): Tracing {
  const version = versionOf();
  let isTold = false;
  const tell = (text: string): void => {
    if (isTold) return; // once: a collector that is down is so for many batches
    isTold = true;
    warn(text);
  };
  setGlobalErrorHandler((error) =>
    tell(`spans are lost: ${error instanceof Error ? error.message : JSON.stringify(error)}`),
  );
  const resource = resourceFromAttributes({ "service.name": service, "service.version": version }).merge(
    detectResources({ detectors: [envDetector] }),
  );
  const processor = new BatchSpanProcessor(new OTLPTraceExporter());
  const provider = new BasicTracerProvider({ resource, spanProcessors: [processor] });
  const tracer = provider.getTracer("tsbuild", version);

  return {
    build(attributes, parent) {
      const span = tracer.startSpan("build", { attributes }, contextOf(parent));
      const inside = trace.setSpan(ROOT_CONTEXT, span);
      const names = new Map<string, string>();
      const steps = new Map<string, Span>();
      const ended = new Set<string>();
      const begin = (vertex: string, startTime: number): Span => {
        const known = steps.get(vertex);
        if (known !== undefined) return known;
        const name = withoutCredentials(names.get(vertex) ?? vertex).slice(0, NAME_MAX_CHARS);
        const step = tracer.startSpan(name, { startTime, attributes: { vertex } }, inside);
        steps.set(vertex, step);
        return step;
      };
      return {
        event(event) {
          switch (event.kind) {
            case "vertex":
              names.set(event.vertex, event.name);
              return;
            case "bytes":
            case "log":
            case "looking":
            case "note":
            case "warning":
              return;
            case "started":
              if (!ended.has(event.vertex)) begin(event.vertex, event.atMs);
              return;
            case "usage":
              steps.get(event.vertex)?.setAttributes({
                "process.cpu.time": event.cpuMs / 1000,
                "process.memory.peak": event.peakBytes,
              });
              return;
            case "cached":
            case "done":
            case "cancelled":
            case "failed": {
              if (ended.has(event.vertex)) return; // the first word stands: "cached" may be followed by "done"
              ended.add(event.vertex);
              const step = begin(event.vertex, event.atMs);
              step.setAttributes({
                "tsbuild.cached": event.kind === "cached",
                "tsbuild.cancelled": event.kind === "cancelled",
              });
              if (event.kind === "failed")
                step.setStatus({
                  code: SpanStatusCode.ERROR,
                  message: withoutCredentials(event.error.message),
                });
              step.end(event.atMs);
              steps.delete(event.vertex);
              return;
            }
          }
        },
        end({ error, cancelled }) {
          for (const step of steps.values()) step.end();
          steps.clear();
          span.setAttribute("tsbuild.cancelled", cancelled);
          if (error !== "")
            span.setStatus({ code: SpanStatusCode.ERROR, message: withoutCredentials(error) });
          span.end();
        },
      };
    },
    async [Symbol.asyncDispose]() {
      const sent = provider.shutdown().catch((error: unknown) => {
        tell(`spans are lost: ${error instanceof Error ? error.message : String(error)}`);
      });
      const over = new AbortController();
      const late = delay(LAST_SPANS_MS, undefined, { signal: over.signal }).then(
        () => tell(`the last spans could not be sent to the collector within ${LAST_SPANS_MS / 1000} s`),
        () => {}, // they were sent
      );
      const refused = refusal(collector, over.signal).then((why) =>
        tell(`spans are lost: the collector ${collector.host} cannot be reached (${why})`),
      );
      await Promise.race([sent, late, refused]);
      over.abort();
    },
  };
}

/** Resolves when nobody listens at an address; never where somebody does, or when it is aborted. */
function refusal(to: URL, signal: AbortSignal): Promise<string> {
  const port = Number(to.port || (to.protocol === "https:" ? 443 : 80));
  return new Promise((resolve) => {
    const socket = connect({ host: to.hostname.replace(/^\[|\]$/g, ""), port, signal });
    socket.once("connect", () => socket.destroy());
    socket.once("error", ({ code }: NodeJS.ErrnoException) => {
      if (code === "ECONNREFUSED" || code === "ENOTFOUND") resolve(code);
    });
  });
}

function contextOf({ traceparent, tracestate }: ParentTrace): typeof ROOT_CONTEXT {
  const parent = traceparent === undefined ? null : parseTraceParent(traceparent);
  if (parent === null) return ROOT_CONTEXT;
  const state = tracestate ? { traceState: new TraceState(tracestate) } : {};
  return trace.setSpanContext(ROOT_CONTEXT, { ...parent, ...state, isRemote: true });
}
