// containerd's content service over the blobs of the build history, for reading: nothing else of the store can be asked for by digest, since
// layers of images may be another client's.

import { create } from "@bufbuild/protobuf";
import type { HistoryFiles } from "../../cache/history-files.ts";
import { isDigest } from "../../solver/graph/digest.ts";
import {
  type Info,
  InfoRequestSchema,
  InfoResponseSchema,
  InfoSchema,
  ListContentRequestSchema,
  ListContentResponseSchema,
  ListStatusesRequestSchema,
  ListStatusesResponseSchema,
  ReadContentRequestSchema,
  ReadContentResponseSchema,
  StatusRequestSchema,
  StatusResponseSchema,
} from "../wire/messages/containerd/services/content/v1/content_pb.ts";
import { type Call, type Handlers, streaming, unary } from "../wire/server.ts";
import { CODE, RpcError } from "../wire/status.ts";
import { timestamp } from "../wire/timestamp.ts";

const SERVICE = "/containerd.services.content.v1.Content";
const CHUNK_BYTES = 1 << 20;
const INFOS_PER_MESSAGE = 100;

export function contentHandlers(history: HistoryFiles): Handlers {
  const blobOf = async (digest: string): Promise<NonNullable<Awaited<ReturnType<HistoryFiles["blob"]>>>> => {
    const blob = isDigest(digest) ? await history.blob(digest) : null;
    if (blob === null) throw new RpcError(CODE.NOT_FOUND, `content ${digest.slice(0, 100)}: not found`);
    return blob;
  };
  const readOnly = async (call: Call): Promise<void> => {
    call.stream.resume();
    throw new RpcError(CODE.FAILED_PRECONDITION, "read-only content store");
  };
  return new Map([
    ...["Update", "Delete", "Write", "Abort"].map((method) => [`${SERVICE}/${method}`, readOnly] as const),
    [
      `${SERVICE}/Info`,
      unary(InfoRequestSchema, InfoResponseSchema, async ({ digest }) => {
        using blob = await blobOf(digest);
        return create(InfoResponseSchema, { info: infoOf(blob) });
      }),
    ],
    [
      `${SERVICE}/Read`,
      streaming(ReadContentRequestSchema, ReadContentResponseSchema, async (request, send, call) => {
        using blob = await blobOf(request.digest);
        const from = Number(request.offset);
        const to = request.size > 0n ? from + Number(request.size) : blob.size;
        if (from < 0 || request.size < 0n || from > blob.size || to > blob.size)
          throw new RpcError(CODE.INVALID_ARGUMENT, `${request.digest} has ${blob.size} bytes`);
        call.begin(); // clients wait for it before the first message
        for (let at = from; at < to && !call.signal.aborted; at += CHUNK_BYTES) {
          const data = blob.read(at, Math.min(CHUNK_BYTES, to - at));
          await send(create(ReadContentResponseSchema, { offset: BigInt(at), data }));
        }
      }),
    ],
    [
      `${SERVICE}/List`,
      streaming(ListContentRequestSchema, ListContentResponseSchema, async ({ filters }, send) => {
        if (filters.some((text) => text !== ""))
          throw new RpcError(CODE.UNIMPLEMENTED, "filters of content are not supported");
        const infos = history.blobs().map(infoOf);
        for (let at = 0; at < infos.length; at += INFOS_PER_MESSAGE)
          await send(create(ListContentResponseSchema, { info: infos.slice(at, at + INFOS_PER_MESSAGE) }));
      }),
    ],
    [
      `${SERVICE}/Status`,
      unary(StatusRequestSchema, StatusResponseSchema, async ({ ref }) => {
        throw new RpcError(CODE.NOT_FOUND, `ingest ${ref.slice(0, 100)}: not found`);
      }),
    ],
    [
      `${SERVICE}/ListStatuses`,
      unary(ListStatusesRequestSchema, ListStatusesResponseSchema, async () =>
        create(ListStatusesResponseSchema),
      ),
    ],
  ]);
}

function infoOf({
  digest,
  size,
  addedAtMs,
}: {
  readonly digest: string;
  readonly size: number;
  readonly addedAtMs: number;
}): Info {
  const time = timestamp(Math.floor(addedAtMs));
  return create(InfoSchema, { digest, size: BigInt(size), createdAt: time, updatedAt: time });
}
