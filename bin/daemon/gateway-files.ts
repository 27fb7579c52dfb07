// Files of results and of containers, as the gateway is asked for them: the same calls, whose names end differently.

import { create } from "@bufbuild/protobuf";
import type { TreeAnswer, TreeQuestion } from "../engine/request.ts";
import {
  type FileRange,
  ReadDirRequestSchema,
  ReadDirResponseSchema,
  ReadFileRequestSchema,
  ReadFileResponseSchema,
  StatFileRequestSchema,
  StatFileResponseSchema,
} from "../wire/messages/moby/buildkit/v1/frontend/gateway_pb.ts";
import { type Call, type Handler, unary } from "../wire/server.ts";
import { CODE, RpcError } from "../wire/status.ts";
import { statOf } from "./stat.ts";

export const SERVICE = "/moby.buildkit.v1.frontend.LLBBridge";
/** As much of a file as one message takes, with room for the rest of it. */
const FILE_MAX_BYTES = 16 << 20;

/** The part of a file that is asked for. Throws INVALID_ARGUMENT. */
function filePart(range: FileRange | undefined): TreeQuestion {
  const offset = Math.min(Number(range?.Offset ?? 0n), Number.MAX_SAFE_INTEGER); // behind the end of any file
  const length = range === undefined || range.Length === 0n ? null : Number(range.Length);
  if (offset < 0 || (length ?? 0) < 0)
    throw new RpcError(CODE.INVALID_ARGUMENT, "a range of a file is not negative");
  return { kind: "file", offset, length, maxBytes: FILE_MAX_BYTES };
}

/** Where a file is: in a result, or in a mount of a container, by their ids. */
export interface FilePlace {
  readonly id: string;
  readonly mount: number;
  readonly path: string;
}

/** ReadFile, ReadDir and StatFile, with `suffix` behind each name. */
export function fileHandlers(
  suffix: "" | "Container",
  look: (call: Call, place: FilePlace, question: TreeQuestion) => Promise<TreeAnswer>,
): [string, Handler][] {
  return [
    [
      `${SERVICE}/ReadFile${suffix}`,
      unary(ReadFileRequestSchema, ReadFileResponseSchema, async (message, call) => {
        const { Ref: id, FilePath: path, MountIndex: mount, Range } = message;
        const answer = await look(call, { id, mount, path }, filePart(Range));
        return create(ReadFileResponseSchema, answer.kind === "file" ? { Data: answer.data } : {});
      }),
    ],
    [
      `${SERVICE}/ReadDir${suffix}`,
      unary(ReadDirRequestSchema, ReadDirResponseSchema, async (message, call) => {
        const { Ref: id, DirPath: path, MountIndex: mount, IncludePattern: pattern } = message;
        const answer = await look(call, { id, mount, path }, { kind: "list", pattern });
        return create(ReadDirResponseSchema, {
          entries: answer.kind === "list" ? answer.entries.map(statOf) : [],
        });
      }),
    ],
    [
      `${SERVICE}/StatFile${suffix}`,
      unary(StatFileRequestSchema, StatFileResponseSchema, async (message, call) => {
        const { Ref: id, Path: path, MountIndex: mount } = message;
        const answer = await look(call, { id, mount, path }, { kind: "stat" });
        return create(StatFileResponseSchema, answer.kind === "stat" ? { stat: statOf(answer.entry) } : {});
      }),
    ],
  ];
}
