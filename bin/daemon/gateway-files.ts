// Files of results and of containers, as the gateway is asked for them.

import type { TreeQuestion } from "../engine/request.ts";
import type { FileRange } from "../wire/messages/moby/buildkit/v1/frontend/gateway_pb.ts";
import { CODE, RpcError } from "../wire/status.ts";

export const SERVICE = "/moby.buildkit.v1.frontend.LLBBridge";
/** As much of a file as one message takes, with room for the rest of it. */
const FILE_MAX_BYTES = 16 << 20;

/** The part of a file that is asked for. Throws INVALID_ARGUMENT. */
export function filePart(range: FileRange | undefined): TreeQuestion {
  const offset = Number(range?.Offset ?? 0n);
  const length = range === undefined || range.Length === 0n ? null : Number(range.Length);
  if (offset < 0 || (length ?? 0) < 0)
    throw new RpcError(CODE.INVALID_ARGUMENT, "a range of a file is not negative");
  return { kind: "file", offset, length, maxBytes: FILE_MAX_BYTES };
}
