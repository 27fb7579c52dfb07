// Messages of gRPC in a stream of bytes: one byte of flags, four of length, the message (doc/PROTOCOL-HTTP2.md, "Length-Prefixed-Message").

import type { Duplex } from "node:stream";
import { CODE, RpcError } from "./status.ts";

/** Of one message, in either direction: what BuildKit's daemon and clients accept. */
export const MESSAGE_MAX_BYTES: number = 16 << 20;
const HEAD_BYTES = 5;

/** The message with its head. */
export function framed(message: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(HEAD_BYTES + message.length);
  frame[0] = 0;
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, HEAD_BYTES);
  return frame;
}

/** Writes one message; resolves when the stream takes more. What is wrong with the stream is told by its end. */
export async function sendMessage(stream: Duplex, message: Uint8Array): Promise<void> {
  await write(stream, framed(message));
}

/** The same for several, as one piece of bytes: that of a listing of 20,000 files takes half the time. */
export async function sendMessages(stream: Duplex, messages: readonly Uint8Array[]): Promise<void> {
  if (messages.length > 0) await write(stream, Buffer.concat(messages.map(framed)));
}

async function write(stream: Duplex, bytes: Buffer): Promise<void> {
  if (stream.destroyed || stream.writableEnded) throw new RpcError(CODE.CANCELLED, "the call is over");
  if (stream.write(bytes)) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      stream.off("drain", done).off("close", done);
      resolve();
    };
    stream.on("drain", done).on("close", done);
  });
}

/** The messages of a stream until its other side ends it. Throws RpcError: RESOURCE_EXHAUSTED for one that is too long, UNIMPLEMENTED for a
 *  compressed one, INTERNAL for one that is cut off. */
export async function* readMessages(stream: Duplex): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const batch of readBatches(stream)) for (const message of batch) yield message; // yield* waits once more for each
}

/** The same, all that have come together at once: for calls with very many small ones. */
export async function* readBatches(stream: Duplex): AsyncGenerator<readonly Uint8Array[], void, undefined> {
  let pending: Buffer[] = [];
  let bytes = 0;
  /** What is to be there before it is worth a look: of a large message all of it, so that its pieces are put together once. */
  let needed = HEAD_BYTES;
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    pending.push(chunk as Buffer);
    bytes += (chunk as Buffer).length;
    if (bytes < needed) continue;
    const all = pending.length === 1 ? (pending[0] as Buffer) : Buffer.concat(pending);
    const batch: Uint8Array[] = [];
    let fault: RpcError | null = null;
    let at = 0;
    needed = HEAD_BYTES;
    while (bytes - at >= HEAD_BYTES) {
      const length = all.readUInt32BE(at + 1);
      if (all[at] !== 0) fault = new RpcError(CODE.UNIMPLEMENTED, "compressed messages are not supported");
      else if (length > MESSAGE_MAX_BYTES)
        fault = new RpcError(CODE.RESOURCE_EXHAUSTED, `a message of ${length} bytes is too long`);
      if (fault !== null) break;
      if (bytes - at - HEAD_BYTES < length) {
        needed = HEAD_BYTES + length;
        break;
      }
      batch.push(all.subarray(at + HEAD_BYTES, at + HEAD_BYTES + length));
      at += HEAD_BYTES + length;
    }
    if (batch.length > 0) yield batch;
    if (fault !== null) throw fault;
    pending = at < all.length ? [all.subarray(at)] : [];
    bytes -= at;
  }
  if (bytes > 0) throw new RpcError(CODE.INTERNAL, "a message is cut off");
}
