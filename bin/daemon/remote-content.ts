// Blobs of a client that is somewhere else: OCI layouts it serves through its tunnel, as containerd's content store.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { ClientHttp2Session } from "node:http2";
import type { RemoteBlobs } from "../../solver/graph/session.ts";
import { callUnary, openCall } from "../wire/client.ts";
import {
  InfoRequestSchema,
  InfoResponseSchema,
  ReadContentRequestSchema,
  ReadContentResponseSchema,
} from "../wire/messages/containerd/services/content/v1/content_pb.ts";
import { CODE, RpcError } from "../wire/status.ts";

const SERVICE = "/containerd.services.content.v1.Content";
const INFO = {
  path: `${SERVICE}/Info`,
  input: InfoRequestSchema,
  output: InfoResponseSchema,
} as const;
/** What a client must serve to have blobs. */
export const READ_CONTENT: string = `${SERVICE}/Read`;

/** The store of a client that it calls by this id; `gone` aborts when the client is. */
export function remoteBlobs(http: ClientHttp2Session, store: string, gone: AbortSignal): RemoteBlobs {
  const calling = (signal: AbortSignal) => ({
    signal: AbortSignal.any([signal, gone]),
    metadata: { "buildkit-attachable-store-id": `oci:${store}` },
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
  };
}
