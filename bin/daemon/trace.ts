// OpenTelemetry's TraceService: clients send the spans of a command at its end. They are taken, and kept nowhere.

import type { Handlers } from "../wire/server.ts";
import { CODE, RpcError } from "../wire/status.ts";

/** ExportTraceServiceResponse: everything was taken. */
const TAKEN = new Uint8Array();

export function traceHandlers(): Handlers {
  return new Map([
    [
      "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
      async (call) => {
        for await (const _ of call.messages()) {
          await call.send(TAKEN);
          return;
        }
        throw new RpcError(CODE.INVALID_ARGUMENT, "the call has no message");
      },
    ],
  ]);
}
