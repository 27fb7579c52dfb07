// The session of a build: an HTTP/2 server inside of a call of the builder, which asks it for files, secrets and credentials and hands it
// the results.

import { randomBytes } from "node:crypto";
import type { ClientHttp2Session } from "node:http2";
import { BuildError } from "../../solver/graph/error.ts";
import { openCall } from "../wire/client.ts";
import { type Handler, serveRpc } from "../wire/server.ts";
import { CODE, RpcError } from "../wire/status.ts";
import { openTunnel } from "../wire/tunnel.ts";

const METHOD = "/moby.buildkit.v1.Control/Session";
const HEADER = "x-docker-expose-session";
const ID_CHARS = 25;

export interface SessionServer extends AsyncDisposable {
  /** What failed on this side first: the builder's words for it are second-hand. */
  failure(): BuildError | null;
  /** Resolves when the builder is gone. */
  readonly closed: Promise<void>;
}

/** Base-36, as clients of BuildKit name builds and sessions. */
export function newId(): string {
  const bytes = randomBytes(ID_CHARS);
  return Array.from(bytes, (byte) => (byte % 36).toString(36)).join("");
}

/** Serves a session until it is disposed. `sharedKey`: names the directories between builds; heard: called for each call of the builder. */
export function serveSession(
  connection: ClientHttp2Session,
  handlers: readonly (readonly [string, Handler])[],
  {
    id,
    sharedKey,
    heard,
    signal,
  }: {
    readonly id: string;
    readonly sharedKey: string;
    readonly heard: () => void;
    readonly signal: AbortSignal;
  },
): SessionServer {
  let failed: BuildError | null = null;
  const tell = (error: unknown): void => {
    if (error instanceof BuildError) failed ??= error;
    else if (!(error instanceof RpcError))
      failed ??= new BuildError("OUTPUT_FAILED", error instanceof Error ? error.message : String(error), {
        cause: error,
      });
  };
  const guarded = new Map(handlers.map(([method, handler]) => [method, inWords(handler, tell, heard)]));
  const call = openCall(connection, METHOD, {
    signal,
    metadata: {
      [`${HEADER}-uuid`]: id,
      [`${HEADER}-sharedkey`]: sharedKey,
      // One header each: a joined one is not split by BuildKit.
      [`${HEADER}-grpc-method`]: handlers.map(([method]) => method),
    },
  });
  const tunnel = openTunnel(call, { onEnd: () => call.end() });
  const { session, closed } = serveRpc(tunnel, guarded, { onFault: tell });
  return {
    failure: () => failed,
    closed,
    async [Symbol.asyncDispose]() {
      session.destroy();
      tunnel.destroy(); // which ends the call
      // The builder ends it as well; where it does not, or what it still said stays unread, this side does.
      const end = setTimeout(() => call.stream.destroy(), END_WITHIN_MS);
      if (!call.stream.destroyed) await new Promise<void>((resolve) => call.stream.once("close", resolve));
      clearTimeout(end);
    },
  };
}
const END_WITHIN_MS = 200;

/** A failure of ours is told to the builder in its words, and remembered. */
function inWords(handler: Handler, tell: (error: unknown) => void, heard: () => void): Handler {
  return async (call) => {
    heard();
    try {
      await handler(call);
    } catch (error) {
      if (error instanceof RpcError || call.signal.aborted) throw error;
      tell(error);
      const message = error instanceof Error ? error.message : String(error);
      throw new RpcError(CODE.UNKNOWN, message, [], error);
    }
  };
}
