// Whether a builder is still there. HTTP/2 does not always say: where an error's details do not fit into a header (nghttp2 takes 64 KiB), the
// connection is of no use any more without any event, and a machine that is gone sends nothing at all.

import type { ClientHttp2Session } from "node:http2";
import { CODE, RpcError } from "../wire/status.ts";

const PING_EVERY_MS = 1_000;
/** A daemon may be busy for a while. */
const ANSWER_WITHIN_MS = 20_000;
/** After a step has failed the next thing to come is the error of the build. */
const FAILED_WITHIN_MS = 3_000;

/** Rejects with UNAVAILABLE when the connection is lost; never resolves. Ends with the signal. */
export function watchConnection(
  http: ClientHttp2Session,
  { hasFailed, signal }: { readonly hasFailed: () => boolean; readonly signal: AbortSignal },
): Promise<never> {
  return new Promise((_, reject) => {
    let askedMs: number | null = null;
    const lose = (why: string): void => {
      stop();
      reject(new RpcError(CODE.UNAVAILABLE, why));
      http.destroy();
    };
    const timer = setInterval(() => {
      if (http.destroyed || http.closed) return lose("the connection was closed");
      if (askedMs !== null) {
        const within = hasFailed() ? FAILED_WITHIN_MS : ANSWER_WITHIN_MS;
        if (Date.now() - askedMs > within) lose("it does not answer any more");
        return;
      }
      askedMs = Date.now();
      try {
        http.ping((error) => {
          if (error === null) askedMs = null;
        });
      } catch {
        // closing: told by "close"
      }
    }, PING_EVERY_MS);
    const onClose = (): void => lose("the connection was closed");
    const stop = (): void => {
      clearInterval(timer);
      http.off("close", onClose);
    };
    http.once("close", onClose);
    signal.addEventListener("abort", stop, { once: true });
  });
}
