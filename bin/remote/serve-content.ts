// containerd's content store in the session: blobs of OCI layouts for the builder, and blobs it writes into one (caches, type=oci,tar=false).

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { EmptySchema, type Timestamp, TimestampSchema } from "@bufbuild/protobuf/wkt";
import { createHash } from "node:crypto";
import { closeSync, fstatSync, readSync } from "node:fs";
import {
  openDirectory,
  openDirectoryIn,
  openRegularIn,
  writeAll,
  writeWholeIn,
} from "../../cache/outside.ts";
import { blobPath, problemWith } from "../../cache/registry/layout.ts";
import { type Digest, hexOf, isDigest } from "../../solver/graph/digest.ts";
import { makeOutputDirectory, outputError } from "../../exporters/file-output.ts";
import {
  AbortRequestSchema,
  InfoRequestSchema,
  InfoResponseSchema,
  ReadContentRequestSchema,
  ReadContentResponseSchema,
  WriteAction,
  type WriteContentRequest,
  WriteContentRequestSchema,
  WriteContentResponseSchema,
} from "../wire/messages/containerd/services/content/v1/content_pb.ts";
import { type Call, type Handler, streaming, unary } from "../wire/server.ts";
import { CODE, RpcError } from "../wire/status.ts";

const SERVICE = "/containerd.services.content.v1.Content";
const PIECE_BYTES = 1 << 20;
const FILE_MODE = 0o644;

/** An OCI layout. */
export interface ServedLayout {
  readonly path: string; // absolute
  readonly writable: boolean;
}

/** The store that a call means is told by its header. */
export function contentHandlers(stores: ReadonlyMap<string, ServedLayout>): [string, Handler][] {
  const storeOf = (call: Call): ServedLayout => {
    const [id = ""] = call.header("buildkit-attachable-store-id");
    const store = stores.get(id);
    if (store === undefined) throw new RpcError(CODE.NOT_FOUND, `no content store ${JSON.stringify(id)}`);
    return store;
  };
  return [
    [
      `${SERVICE}/Info`,
      unary(InfoRequestSchema, InfoResponseSchema, async ({ digest }, call) => {
        const fd = openBlob(storeOf(call), digestOf(digest));
        try {
          return create(InfoResponseSchema, { info: { digest, size: BigInt(fstatSync(fd).size) } });
        } finally {
          closeSync(fd);
        }
      }),
    ],
    [
      `${SERVICE}/Read`,
      streaming(ReadContentRequestSchema, ReadContentResponseSchema, async (request, send, call) => {
        const fd = openBlob(storeOf(call), digestOf(request.digest));
        try {
          call.begin();
          const size = fstatSync(fd).size;
          const end = request.size > 0n ? Math.min(size, Number(request.offset + request.size)) : size;
          for (let at = Number(request.offset); at < end; ) {
            const buffer = Buffer.allocUnsafe(Math.min(PIECE_BYTES, end - at));
            const count = readSync(fd, buffer, 0, buffer.length, at);
            if (count === 0) break;
            call.signal.throwIfAborted();
            const data = buffer.subarray(0, count);
            await send(create(ReadContentResponseSchema, { offset: BigInt(at), data }));
            at += count;
          }
        } finally {
          closeSync(fd);
        }
      }),
    ],
    [`${SERVICE}/Write`, (call) => writeBlob(call, storeOf(call))],
    [`${SERVICE}/Abort`, unary(AbortRequestSchema, EmptySchema, async () => create(EmptySchema))],
  ];
}

function digestOf(text: string): Digest {
  if (!isDigest(text))
    throw new RpcError(CODE.INVALID_ARGUMENT, `not a sha256 digest: ${JSON.stringify(text)}`);
  return text;
}

/** Names are looked up below the layout's directory, and no link is followed. */
function openBlob({ path }: ServedLayout, digest: Digest): number {
  let fd: number | null = null;
  try {
    const top = openDirectory(path);
    try {
      fd = openRegularIn(top, blobPath(digest));
    } finally {
      closeSync(top);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") {
      const problem = problemWith(blobPath(digest), error);
      throw new RpcError(CODE.UNKNOWN, `cannot read the OCI layout ${path}: ${problem}`, [], error);
    }
  }
  if (fd === null) throw new RpcError(CODE.NOT_FOUND, `${digest} is not in the OCI layout ${path}`);
  return fd;
}

function isThere(layout: ServedLayout, digest: Digest): boolean {
  try {
    closeSync(openBlob(layout, digest));
    return true;
  } catch (error) {
    if (error instanceof RpcError && error.code === CODE.NOT_FOUND) return false;
    throw error;
  }
}

/** One blob: STAT, then WRITEs, then COMMIT. It appears when all of it is there and has the digest it was announced with. */
async function writeBlob(call: Call, layout: ServedLayout): Promise<void> {
  if (!layout.writable) throw new RpcError(CODE.PERMISSION_DENIED, "the content store is read-only");
  const requests = requestsOf(call);
  const first = await requests.next();
  if (first.done === true) throw new RpcError(CODE.INVALID_ARGUMENT, "nothing is written");
  const digest = digestOf(first.value.expected);
  if (isThere(layout, digest)) throw new RpcError(CODE.ALREADY_EXISTS, `content ${digest}: already exists`);
  const startedAt = now();
  let offset = 0;
  const answer = (action: WriteAction, total: bigint): Promise<void> =>
    call.send(
      toBinary(
        WriteContentResponseSchema,
        create(WriteContentResponseSchema, {
          ...{ action, total, startedAt, updatedAt: now(), offset: BigInt(offset) },
          digest: action === WriteAction.COMMIT ? digest : "",
        }),
      ),
    );
  const fds: number[] = [];
  try {
    makeOutputDirectory(layout.path);
    const top = openDirectory(layout.path);
    fds.push(top);
    const blobs = openDirectoryIn(top, "blobs/sha256", { make: true });
    fds.push(blobs);
    let total = first.value.total;
    await writeWholeIn(
      blobs,
      hexOf(digest),
      async (fd) => {
        const hash = createHash("sha256");
        for (let request = first.value; ; ) {
          const { action, data } = request;
          if (request.total > 0n) total = request.total;
          if (data.length > 0) {
            if (request.offset !== BigInt(offset))
              throw new RpcError(
                CODE.FAILED_PRECONDITION,
                `data at ${request.offset}, ${offset} were expected`,
              );
            writeAll(fd, data);
            hash.update(data);
            offset += data.length;
          }
          if (action === WriteAction.COMMIT) {
            if (request.total > 0n && request.total !== BigInt(offset))
              throw new RpcError(
                CODE.FAILED_PRECONDITION,
                `${offset} bytes of ${request.total} were written`,
              );
            const found = hash.digest("hex");
            if (found !== hexOf(digest))
              throw new RpcError(CODE.FAILED_PRECONDITION, `sha256:${found} was written as ${digest}`);
            return;
          }
          await answer(action, total);
          const next = await requests.next();
          if (next.done === true) throw new RpcError(CODE.CANCELLED, "the blob was not committed");
          request = next.value;
        }
      },
      FILE_MODE,
    );
    await answer(WriteAction.COMMIT, total);
    for await (const { action } of requests) await answer(action, total);
  } catch (error) {
    if (error instanceof RpcError) throw error;
    throw outputError(error, layout.path, call.signal);
  } finally {
    for (const fd of fds) closeSync(fd);
  }
}

async function* requestsOf(call: Call): AsyncGenerator<WriteContentRequest, void, undefined> {
  for await (const bytes of call.messages()) yield fromBinary(WriteContentRequestSchema, bytes);
}

function now(): Timestamp {
  const ms = Date.now();
  return create(TimestampSchema, { seconds: BigInt(Math.floor(ms / 1000)), nanos: (ms % 1000) * 1_000_000 });
}
