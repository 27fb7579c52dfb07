// The client's side of gRPC over node:http2.

import { type DescMessage, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import type { ClientHttp2Session, IncomingHttpHeaders } from "node:http2";
import type { Duplex } from "node:stream";
import { readBatches, readMessages, sendMessage, sendMessages } from "./frames.ts";
import { CODE, errorIn, RpcError } from "./status.ts";

export type Metadata = Readonly<Record<string, string | readonly string[]>>;

/** A call that has begun. */
export interface OpenCall {
  send(message: Uint8Array): Promise<void>;
  sendAll(messages: readonly Uint8Array[]): Promise<void>;
  /** No more messages follow. */
  end(): void;
  /** What the server sends, until it ends the call. Throws RpcError when it ends with an error. */
  messages(): AsyncGenerator<Uint8Array, void, undefined>;
  /** The same, several at once: see readBatches(). */
  batches(): AsyncGenerator<readonly Uint8Array[], void, undefined>;
  /** Ends the call without waiting for the server. */
  cancel(): void;
  readonly stream: Duplex;
}

/** Begins a call of a method ("/package.Service/Method"). */
export function openCall(
  session: ClientHttp2Session,
  method: string,
  { signal, metadata = {} }: { readonly signal: AbortSignal; readonly metadata?: Metadata },
): OpenCall {
  if (session.closed || session.destroyed) throw new RpcError(CODE.UNAVAILABLE, "the connection is closed");
  const stream = session.request({
    ":method": "POST",
    ":path": method,
    "content-type": "application/grpc",
    te: "trailers",
    ...Object.fromEntries(
      Object.entries(metadata).map(([name, value]) => [name, typeof value === "string" ? value : [...value]]),
    ),
  });
  let ended: IncomingHttpHeaders | null = null;
  let fault: Error | null = null;
  stream.on("response", (headers) => {
    if (headers["grpc-status"] !== undefined) ended = headers;
  });
  stream.on("trailers", (headers: IncomingHttpHeaders) => {
    ended = headers;
  });
  const gone = new Promise<void>((resolve) => void stream.once("close", resolve));
  stream.on("error", (error) => {
    fault = error;
  });
  const cancel = (): void => stream.close(8 /* CANCEL */);
  if (signal.aborted) cancel();
  else signal.addEventListener("abort", cancel, { once: true });
  stream.once("close", () => signal.removeEventListener("abort", cancel));

  async function* untilEnd<T>(items: AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
    try {
      yield* items;
    } catch (error) {
      if (error instanceof RpcError) throw error;
      fault ??= error as Error;
    }
    // Trailers follow the last message; the stream may be closed before they are told.
    if (ended === null) await Promise.race([gone, once(stream, "trailers")]);
    signal.throwIfAborted();
    if (ended !== null) {
      // Nobody reads what is still to be sent, and without a window it would wait for ever.
      stream.destroy();
      const error = errorIn(ended);
      if (error !== null) throw error;
      return;
    }
    throw new RpcError(CODE.UNAVAILABLE, (fault as Error | null)?.message ?? "the connection was closed");
  }
  return {
    send: (message) => sendMessage(stream, message),
    sendAll: (messages) => sendMessages(stream, messages),
    end: () => stream.end(),
    messages: () => untilEnd(readMessages(stream)),
    batches: () => untilEnd(readBatches(stream)),
    cancel,
    stream,
  };
}

function once(stream: Duplex, event: string): Promise<void> {
  return new Promise((resolve) => void stream.once(event, () => resolve()));
}

/** A method with one message and one answer. Throws RpcError. */
export async function callUnary<I extends DescMessage, O extends DescMessage>(
  session: ClientHttp2Session,
  method: { readonly path: string; readonly input: I; readonly output: O },
  message: MessageShape<I>,
  options: { readonly signal: AbortSignal; readonly metadata?: Metadata },
): Promise<MessageShape<O>> {
  const call = openCall(session, method.path, options);
  await call.send(toBinary(method.input, message));
  call.end();
  let answer: MessageShape<O> | null = null;
  for await (const bytes of call.messages()) answer ??= fromBinary(method.output, bytes);
  if (answer === null) throw new RpcError(CODE.INTERNAL, `${method.path} gave no answer`);
  return answer;
}
