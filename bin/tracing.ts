// Whether builds are traced: OpenTelemetry's variables of the environment decide. What traces is in otlp.ts, and loaded for that alone.
// https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables

import { printable } from "../solver/graph/error.ts";
import type { Environment } from "./engine/config.ts";
import type { Tracing, TracingOptions } from "./otlp.ts";

/** Variables that name where spans go. */
const ENDPOINTS = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"] as const;

/** As the specification and the exporter have it. */
const DEFAULT_ENDPOINT = "http://localhost:4318";

/** null: nobody has asked for traces. The caller disposes it, which sends what is left. */
export async function openTracing(
  env: Environment,
  options: Omit<TracingOptions, "collector">,
): Promise<Tracing | null> {
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
  const address = ENDPOINTS.map((name) => env[name]).find((one) => one) ?? DEFAULT_ENDPOINT;
  if (!URL.canParse(address)) {
    options.warn(`no traces: ${printable(JSON.stringify(address), 200)} is no URL of a collector`);
    return null;
  }
  const { startTracing } = await import("./otlp.ts");
  return startTracing({ ...options, collector: new URL(address) });
}
