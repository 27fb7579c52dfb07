// The server's side of gRPC over node:http2. Handlers are called by the path of their method.

import { type DescMessage, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import type { ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import type { Duplex } from "node:stream";
import { serveHttp2 } from "./connection.ts";
import { readBatches, readMessages, sendMessage, sendMessages } from "./frames.ts";
import { CODE, RpcError, trailersOf } from "./status.ts";

/** One call. */
export interface Call {
  /** Values of a header in their order; gRPC repeats headers, and values may have commas. */
  header(name: string): readonly string[];
  messages(): AsyncGenerator<Uint8Array, void, undefined>;
  /** The same, several at once: see readBatches(). */
  batches(): AsyncGenerator<readonly Uint8Array[], void, undefined>;
  send(message: Uint8Array): Promise<void>;
  sendAll(messages: readonly Uint8Array[]): Promise<void>;
  /** Sends the headers of the answer now: clients wait for them. Later calls do nothing. */
  begin(headers?: Readonly<Record<string, string>>): void;
  /** Aborts when the client cancels, its deadline passes, or the connection ends. */
  readonly signal: AbortSignal;
  readonly stream: Duplex;
}

/** Answers a call. What it throws becomes the call's status: an RpcError as it is, anything else INTERNAL. */
export type Handler = (call: Call) => Promise<void>;
export type Handlers = ReadonlyMap<string, Handler>;

/** A method with one message and one answer. */
export function unary<I extends DescMessage, O extends DescMessage>(
  input: I,
  output: O,
  answer: (message: MessageShape<I>, call: Call) => Promise<MessageShape<O>>,
): Handler {
  return async (call) => {
    const message = await onlyMessage(input, call);
    const answered = await answer(message, call);
    await call.send(toBinary(output, answered));
  };
}

/** A method with one message and a stream of answers. */
export function streaming<I extends DescMessage, O extends DescMessage>(
  input: I,
  output: O,
  answer: (
    message: MessageShape<I>,
    send: (answer: MessageShape<O>) => Promise<void>,
    call: Call,
  ) => Promise<void>,
): Handler {
  return async (call) => {
    const message = await onlyMessage(input, call);
    await answer(message, (one) => call.send(toBinary(output, one)), call);
  };
}

async function onlyMessage<I extends DescMessage>(input: I, call: Call): Promise<MessageShape<I>> {
  for await (const bytes of call.messages()) {
    try {
      return fromBinary(input, bytes);
    } catch (cause) {
      throw new RpcError(CODE.INVALID_ARGUMENT, `not a ${input.name}`, [], cause);
    }
  }
  throw new RpcError(CODE.INVALID_ARGUMENT, "the call has no message");
}

export interface Served {
  readonly session: ServerHttp2Session;
  /** Resolves when the connection is gone. */
  readonly closed: Promise<void>;
}

/** Serves a connection. onFault: told of errors that are no RpcError. */
export function serveRpc(
  socket: Duplex,
  handlers: Handlers,
  { onFault }: { readonly onFault: (error: unknown) => void },
): Served {
  socket.on("error", () => {}); // told by "close"
  const session = serveHttp2(socket);
  session.on("error", () => {}); // a client that is gone
  session.on("stream", ((
    stream: ServerHttp2Stream,
    _headers: unknown,
    _flags: number,
    raw: readonly string[],
  ) => {
    void serveStream(stream, raw, handlers, onFault);
  }) as (stream: ServerHttp2Stream) => void); // the types of Node 20 do not know the raw headers
  const closed = new Promise<void>((resolve) => void session.once("close", resolve));
  return { session, closed };
}

async function serveStream(
  stream: ServerHttp2Stream,
  rawHeaders: readonly string[],
  handlers: Handlers,
  onFault: (error: unknown) => void,
): Promise<void> {
  const header = (name: string): readonly string[] =>
    rawHeaders.flatMap((one, at) => (at % 2 === 0 && one === name ? [rawHeaders[at + 1] ?? ""] : []));
  const controller = new AbortController();
  const cancelled = (): void => controller.abort(new RpcError(CODE.CANCELLED, "context canceled"));
  stream.on("error", cancelled).on("aborted", cancelled).on("close", cancelled);
  const deadline = timerOf(header("grpc-timeout")[0], () => {
    controller.abort(new RpcError(CODE.DEADLINE_EXCEEDED, "context deadline exceeded"));
  });
  let trailers: Record<string, string> = {};
  stream.on("wantTrailers", () => stream.sendTrailers(trailers));
  const begin = (more: Readonly<Record<string, string>> = {}): void => {
    if (stream.headersSent || stream.destroyed) return;
    stream.respond(
      { ":status": 200, "content-type": contentType(header("content-type")[0]), ...more },
      { waitForTrailers: true },
    );
  };
  const call: Call = {
    header,
    messages: () => readMessages(stream),
    batches: () => readBatches(stream),
    async send(message) {
      begin();
      await sendMessage(stream, message);
    },
    async sendAll(messages) {
      begin();
      await sendMessages(stream, messages);
    },
    begin,
    signal: controller.signal,
    stream,
  };
  let failure: RpcError | null = null;
  try {
    const path = header(":path")[0] ?? "";
    const handler = handlers.get(path);
    if (handler === undefined) throw new RpcError(CODE.UNIMPLEMENTED, `unknown method ${path}`);
    await handler(call);
  } catch (error) {
    if (error instanceof RpcError) failure = error;
    else {
      if (!controller.signal.aborted) onFault(error);
      failure = new RpcError(CODE.INTERNAL, error instanceof Error ? error.message : String(error));
    }
  } finally {
    clearTimeout(deadline);
  }
  if (stream.destroyed) return;
  trailers = trailersOf(failure);
  if (stream.headersSent) stream.end();
  else if (failure === null) {
    begin();
    stream.end();
  } else {
    stream.respond(
      { ":status": 200, "content-type": contentType(header("content-type")[0]), ...trailers },
      { endStream: true },
    );
  }
  stream.resume(); // what the client still sends
}

/** As the client writes it: connect's clients have "application/grpc+proto". */
function contentType(asked: string | undefined): string {
  return asked !== undefined && /^application\/grpc(\+proto)?$/.test(asked) ? asked : "application/grpc";
}

const TIMEOUT_UNITS_MS: Readonly<Record<string, number>> = {
  n: 1e-6,
  u: 1e-3,
  m: 1,
  S: 1_000,
  M: 60_000,
  H: 3_600_000,
};

function timerOf(text: string | undefined, onLate: () => void): NodeJS.Timeout | undefined {
  const match = /^(\d{1,8})([numSMH])$/.exec(text ?? "");
  if (match === null) return undefined;
  const ms = Number(match[1]) * (TIMEOUT_UNITS_MS[match[2] ?? ""] ?? 0);
  return setTimeout(onLate, Math.min(Math.ceil(ms), 2 ** 31 - 1)).unref();
}
