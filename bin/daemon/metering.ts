// What a daemon counts for its operator, as far as somebody asks: metrics (prometheus.ts).

import { printable } from "../../solver/graph/error.ts";
import type { StatusResponse } from "../wire/messages/moby/buildkit/v1/control_pb.ts";
import { CODE, type RpcError } from "../wire/status.ts";

export type BuildResult = "succeeded" | "failed" | "cancelled";
/** `done`: it ran, in this build or in another one that had the same step at the same time. */
export type StepResult = "done" | "cached" | "failed" | "cancelled";

export interface EndedBuild {
  readonly result: BuildResult;
  readonly seconds: number;
  readonly steps: Readonly<Record<StepResult, number>>;
}

/** What a log may say of a build. */
export interface LoggedBuild {
  readonly name: string;
  /** As frontendName(). */
  readonly frontend: string | null;
  /** Who its client is; "": not known. */
  readonly peer: string;
}

/** A frontend by its name, one in an image by that too; null: the client has a graph, or asks for a frontend later. */
export function frontendName(
  frontend: string,
  { source = "" }: Readonly<Record<string, string>>,
): string | null {
  if (frontend === "") return null;
  return printable(frontend === "gateway.v0" && source !== "" ? `${frontend} (${source})` : frontend, 300);
}

/** Told of each build that ends. */
export type BuildEnded = (build: EndedBuild) => void;

/** What is asked when somebody wants to know. */
export interface Gauges {
  readonly builds: () => number;
  readonly sessions: () => number;
  readonly connections: () => number;
  /** Of all connections so far. */
  readonly receivedBytes: () => number;
  readonly sentBytes: () => number;
  /** By what it is: layers, blobs, cache mounts… */
  readonly storeBytes: () => Promise<ReadonlyMap<string, number>>;
  readonly disk: () => { readonly total: number; readonly used: number };
}

/** How a build ended, and its steps out of its progress. */
export function endedBuild(
  error: RpcError | null,
  beganMs: number,
  progress: readonly StatusResponse[],
): EndedBuild {
  const result = error === null ? "succeeded" : error.code === CODE.CANCELLED ? "cancelled" : "failed";
  const last = new Map<string, StepResult>();
  for (const { vertexes } of progress)
    for (const { digest, cached, completed, error: fault } of vertexes) {
      if (completed === undefined) continue;
      last.set(
        digest,
        fault === "" ? (cached ? "cached" : "done") : isCancel(fault) ? "cancelled" : "failed",
      );
    }
  const steps = { done: 0, cached: 0, failed: 0, cancelled: 0 };
  for (const one of last.values()) steps[one]++;
  return { result, seconds: (performance.now() - beganMs) / 1000, steps };
}

/** The progress says it in the words of Go's contexts (status-stream.ts). */
function isCancel(error: string): boolean {
  return error === "context canceled";
}
