// gRPC's health service, for load balancers and probes (grpc/health/v1/health.proto). It speaks of the daemon as a whole, which has the empty
// name.

import { create } from "@bufbuild/protobuf";
import {
  HealthCheckRequestSchema,
  HealthCheckResponse_ServingStatus as Status,
  HealthCheckResponseSchema,
  HealthListRequestSchema,
  HealthListResponseSchema,
} from "../wire/messages/grpc/health/v1/health_pb.ts";
import { type Handlers, streaming, unary } from "../wire/server.ts";
import { CODE, RpcError } from "../wire/status.ts";

const SERVICE = "/grpc.health.v1.Health";

/** draining: aborts when the daemon takes no new connections. */
export function healthHandlers(draining: AbortSignal): Handlers {
  const answer = (status: Status) => create(HealthCheckResponseSchema, { status });
  const current = (): Status => (draining.aborted ? Status.NOT_SERVING : Status.SERVING);
  return new Map([
    [
      `${SERVICE}/Check`,
      unary(HealthCheckRequestSchema, HealthCheckResponseSchema, async ({ service }) => {
        if (service !== "") throw new RpcError(CODE.NOT_FOUND, "unknown service");
        return answer(current());
      }),
    ],
    [
      `${SERVICE}/List`,
      unary(HealthListRequestSchema, HealthListResponseSchema, async () =>
        create(HealthListResponseSchema, { statuses: { "": answer(current()) } }),
      ),
    ],
    [
      `${SERVICE}/Watch`,
      streaming(HealthCheckRequestSchema, HealthCheckResponseSchema, async ({ service }, send, call) => {
        await send(answer(service === "" ? current() : Status.SERVICE_UNKNOWN));
        const ends = AbortSignal.any([call.signal, draining]);
        if (!ends.aborted)
          await new Promise<void>((resolve) => {
            ends.addEventListener("abort", () => resolve(), { once: true });
          });
        if (service === "" && !call.signal.aborted) await send(answer(current()));
      }),
    ],
  ]);
}
