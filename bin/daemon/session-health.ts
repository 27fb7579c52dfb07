// Whether a client is still there: it is asked, because behind a proxy nothing else tells.

import { create } from "@bufbuild/protobuf";
import type { ClientHttp2Session } from "node:http2";
import { callUnary } from "../wire/client.ts";
import {
  HealthCheckRequestSchema,
  HealthCheckResponseSchema,
} from "../wire/messages/grpc/health/v1/health_pb.ts";

/** How often a client is asked, and what counts as no answer. */
export interface HealthChecks {
  readonly everyMs: number;
  readonly withinMs: number;
  /** Checks without an answer, one after the other, that end the session. */
  readonly misses: number;
}

export const USUAL_CHECKS: HealthChecks = { everyMs: 5_000, withinMs: 15_000, misses: 2 };
const CHECKS_MIN_MS = 1_000;
const CHECKS_MAX_MS = 60 * 60 * 1000;

/** The checks a client wants: x-buildkit-session-health-custom-timeout, in milliseconds, at least a second as in BuildKit; the usual ones for
 *  anything but a positive number. */
export function healthChecksOf(header: string | undefined): HealthChecks {
  if (header === undefined || !/^\+?\d{1,9}$/.test(header) || Number(header) === 0) return USUAL_CHECKS;
  const ms = Math.min(Math.max(Number(header), CHECKS_MIN_MS), CHECKS_MAX_MS);
  return { everyMs: ms, withinMs: ms, misses: 1 };
}

const CHECK = {
  path: "/grpc.health.v1.Health/Check",
  input: HealthCheckRequestSchema,
  output: HealthCheckResponseSchema,
} as const;

/** Ends the connection when its client no longer answers. The checks end with it, or when the function that is returned is called. */
export function watchHealth(http: ClientHttp2Session, checks: HealthChecks, gone: AbortSignal): () => void {
  let missed = 0;
  const timer = setInterval(() => {
    const within = AbortSignal.any([gone, AbortSignal.timeout(checks.withinMs)]);
    callUnary(http, CHECK, create(HealthCheckRequestSchema), { signal: within }).then(
      () => {
        missed = 0;
      },
      () => {
        if (++missed >= checks.misses) http.destroy();
      },
    );
  }, checks.everyMs).unref();
  const stop = (): void => clearInterval(timer);
  http.once("close", stop);
  return stop;
}
