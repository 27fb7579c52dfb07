// Metrics in Prometheus' text format. Loaded only where they are asked for; the only importer of prom-client.

import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import type { BuildEnded, BuildResult, Gauges, StepResult } from "./metering.ts";

export interface Metrics {
  readonly ended: BuildEnded;
  readonly contentType: string;
  text(): Promise<string>;
}

/** Seconds: builds that are fully cached take a tenth of one, others minutes. */
const BUILD_BUCKETS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600];
const RESULTS: readonly BuildResult[] = ["succeeded", "failed", "cancelled"];
const STEP_RESULTS: readonly StepResult[] = ["done", "cached", "failed", "cancelled"];

/** Counts from now on. Names and units: prometheus.io/docs/practices/naming. */
export function openMetrics(version: string, gauges: Gauges): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });

  new Gauge({
    ...{ name: "tsbuild_info", help: "Version of the daemon", labelNames: ["version"], registers },
  }).set({ version }, 1);
  const builds = new Counter({
    ...{ name: "tsbuild_builds_total", help: "Builds that have ended, by result", registers },
    labelNames: ["result"],
  });
  const durations = new Histogram({
    ...{ name: "tsbuild_build_duration_seconds", help: "Time from the request to the answer", registers },
    labelNames: ["result"],
    buckets: BUILD_BUCKETS,
  });
  const steps = new Counter({
    name: "tsbuild_steps_total",
    help: "Steps of builds that have ended; a step that several builds share counts for each of them",
    labelNames: ["result"],
    registers,
  });
  // From the first scrape on: a counter that appears with its first event has no rate for it.
  for (const result of RESULTS) builds.inc({ result }, 0);
  for (const result of STEP_RESULTS) steps.inc({ result }, 0);

  const gauge = (name: string, help: string, value: () => number): void => {
    new Gauge({
      ...{ name, help, registers },
      collect() {
        this.set(value());
      },
    });
  };
  const total = (name: string, help: string, value: () => number): void => {
    new Counter({
      ...{ name, help, registers },
      collect() {
        this.reset();
        this.inc(value());
      },
    });
  };
  gauge("tsbuild_builds_running", "Builds that are running", gauges.builds);
  gauge("tsbuild_sessions", "Sessions of clients", gauges.sessions);
  gauge("tsbuild_connections", "Connections of clients", gauges.connections);
  total("tsbuild_received_bytes_total", "Bytes received from clients", gauges.receivedBytes);
  total("tsbuild_sent_bytes_total", "Bytes sent to clients", gauges.sentBytes);
  gauge("tsbuild_disk_size_bytes", "Size of the file system of the store", () => gauges.disk().total);
  gauge("tsbuild_disk_used_bytes", "Use of the file system of the store", () => gauges.disk().used);
  new Gauge({
    name: "tsbuild_store_bytes",
    help: "Size of the store by what it is, at most a minute old",
    labelNames: ["kind"],
    registers,
    async collect() {
      this.reset();
      for (const [kind, bytes] of await gauges.storeBytes()) this.set({ kind }, bytes);
    },
  });
  return {
    ended({ result, seconds, steps: ran }) {
      builds.inc({ result });
      durations.observe({ result }, seconds);
      for (const one of STEP_RESULTS) steps.inc({ result: one }, ran[one]);
    },
    contentType: registry.contentType,
    text: () => registry.metrics(),
  };
}
