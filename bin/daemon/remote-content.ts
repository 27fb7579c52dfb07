// Blobs of a client that is somewhere else: OCI layouts it serves through its tunnel, as containerd's content store.

import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import type { ClientHttp2Session } from "node:http2";
import type { Digest } from "../../solver/graph/digest.ts";
import type { WritableBlobs } from "../../solver/graph/session.ts";
import { callUnary, type OpenCall, openCall } from "../wire/client.ts";
import {
  InfoRequestSchema,
  InfoResponseSchema,
  ReadContentRequestSchema,
  ReadContentResponseSchema,
  WriteAction,
  WriteContentRequestSchema,
  WriteContentResponseSchema,
} from "../wire/messages/containerd/services/content/v1/content_pb.ts";
import { CODE, RpcError } from "../wire/status.ts";

const SERVICE = "/containerd.services.content.v1.Content";
const INFO = {
  path: `${SERVICE}/Info`,
  input: InfoRequestSchema,
  output: InfoResponseSchema,
} as const;
const WRITE_CONTENT = `${SERVICE}/Write`;
/** Of one message: clients take no more than 4 MiB. */
const PIECE_MAX_BYTES = 1 << 20;
/** What a client must serve to have blobs. */
export const READ_CONTENT: string = `${SERVICE}/Read`;

/** The store of a client that it calls by this id ("oci:NAME", "local:DIRECTORY", "export"); `gone` aborts when the client is. */
export function remoteBlobs(http: ClientHttp2Session, store: string, gone: AbortSignal): WritableBlobs {
  const calling = (signal: AbortSignal) => ({
    signal: AbortSignal.any([signal, gone]),
    metadata: { "buildkit-attachable-store-id": store },
  });
  return {
    kind: "elsewhere",
    async size(digest, { signal }) {
      try {
        const { info } = await callUnary(http, INFO, create(InfoRequestSchema, { digest }), calling(signal));
        return info === undefined || info.digest !== digest ? null : Number(info.size);
      } catch (error) {
        if (error instanceof RpcError && error.code === CODE.NOT_FOUND) return null;
        throw error;
      }
    },
    async *read(digest, { signal }) {
      const call = openCall(http, READ_CONTENT, calling(signal));
      try {
        await call.send(toBinary(ReadContentRequestSchema, create(ReadContentRequestSchema, { digest })));
        call.end();
        let at = 0n;
        for await (const message of call.messages()) {
          const { offset, data } = fromBinary(ReadContentResponseSchema, message);
          if (offset !== at)
            throw new RpcError(CODE.INVALID_ARGUMENT, `a piece of ${digest} is missing at ${at}`);
          at += BigInt(data.length);
          yield data;
        }
      } finally {
        call.cancel();
      }
    },
    async write({ digest, size }, open, { signal }) {
      const call = openCall(http, WRITE_CONTENT, calling(signal));
      try {
        return await writeBlob(call, { digest, size }, open);
      } catch (error) {
        if (error instanceof RpcError && error.code === CODE.ALREADY_EXISTS) return false;
        throw error;
      } finally {
        call.cancel();
      }
    },
  };
}

/** Sends a blob: what is there of it, its bytes, the end, each of the three answered. containerd's content.proto. */
async function writeBlob(
  call: OpenCall,
  { digest, size }: { readonly digest: Digest; readonly size: number },
  open: () => AsyncIterable<Uint8Array>,
): Promise<boolean> {
  const answers = call.messages();
  const about = { ref: `tsbuild-${digest}`, total: BigInt(size), expected: digest };
  const send = (request: MessageInitShape<typeof WriteContentRequestSchema>): Promise<void> =>
    call.send(toBinary(WriteContentRequestSchema, create(WriteContentRequestSchema, request)));
  const answered = async (): Promise<bigint> => {
    const { done, value } = await answers.next();
    if (done === true) throw new RpcError(CODE.UNAVAILABLE, `the client did not take ${digest}`);
    return fromBinary(WriteContentResponseSchema, value).offset;
  };
  await send({ ...about, action: WriteAction.STAT });
  /** Of an earlier attempt. */
  const known = Number(await answered());
  let at = 0;
  for await (const chunk of open()) {
    const skipped = Math.min(chunk.length, Math.max(0, known - at));
    for (let from = skipped; from < chunk.length; from += PIECE_MAX_BYTES) {
      const data = chunk.subarray(from, from + PIECE_MAX_BYTES);
      await send({ ...about, action: WriteAction.WRITE, offset: BigInt(at + from), data });
      await answered();
    }
    at += chunk.length;
  }
  await send({ ...about, action: WriteAction.COMMIT, offset: BigInt(size) });
  await answered();
  call.end();
  return true;
}
