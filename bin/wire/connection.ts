// HTTP/2 connections as gRPC needs them, over sockets and over streams inside of other connections.

import {
  type ClientHttp2Session,
  connect,
  type Http2Session,
  performServerHandshake,
  type ServerHttp2Session,
} from "node:http2";
import type { Duplex } from "node:stream";

/** Bytes on their way that need no answer: 64 KiB, the default, halves the speed of file transfers. */
const WINDOW_BYTES = 8 << 20;
const OPTIONS = {
  settings: { initialWindowSize: WINDOW_BYTES, maxHeaderListSize: 4 << 20, enablePush: false },
  // A .dockerignore of 300 lines is 300 headers; Node's default is 128.
  maxHeaderListPairs: 100_000,
  // Details of errors are headers.
  maxSendHeaderBlockLength: 16 << 20,
  maxSessionMemory: 256, // MB
} as const;
/** Streams that one connection may have open: buildx has about ten a build. */
const STREAMS_MAX = 1_000;

/** The server's side of a connection. Also for TLS without ALPN, which buildx's remote driver offers none of. */
export function serveHttp2(socket: Duplex): ServerHttp2Session {
  const session = performServerHandshake(socket, {
    ...OPTIONS,
    settings: { ...OPTIONS.settings, maxConcurrentStreams: STREAMS_MAX },
  });
  widen(session);
  return session;
}

/** The client's side of one. */
export function dialHttp2(socket: Duplex): ClientHttp2Session {
  const session = connect("http://localhost", { ...OPTIONS, createConnection: () => socket });
  session.once("connect", () => widen(session));
  // A grpc-go peer that leaves says GOAWAY with a stream id of its own, which nghttp2 calls an error.
  session.on("error", () => {});
  return session;
}

function widen(session: Http2Session): void {
  if (!session.destroyed) session.setLocalWindowSize(WINDOW_BYTES);
}
