// Whether builds are traced: OpenTelemetry's variables of the environment decide. What traces is in otlp.ts, and loaded for that alone.
// https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables

import type { Environment } from "./engine/config.ts";
import type { Tracing, TracingOptions } from "./otlp.ts";

/** Variables that name where spans go. */
const ENDPOINTS = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"] as const;

/** null: nobody has asked for traces. The caller disposes it, which sends what is left. */
export async function openTracing(env: Environment, options: TracingOptions): Promise<Tracing | null> {
  if (env["OTEL_SDK_DISABLED"]?.toLowerCase() === "true") return null;
  const exporters = env["OTEL_TRACES_EXPORTER"];
  const isAsked = exporters ? exporters !== "none" : ENDPOINTS.some((name) => env[name]);
  if (!isAsked) return null;
  if (exporters && exporters !== "otlp") {
    options.warn(`no traces: OTEL_TRACES_EXPORTER=${exporters} is not supported, only otlp`);
    return null;
  }
  const protocol = env["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] || env["OTEL_EXPORTER_OTLP_PROTOCOL"];
  if (protocol && protocol !== "http/protobuf") {
    options.warn(`no traces: the protocol ${protocol} is not supported, only http/protobuf`);
    return null;
  }
  const { startTracing } = await import("./otlp.ts");
  return startTracing(options);
}
