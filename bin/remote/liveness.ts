// Whether a builder is still there. HTTP/2 does not always say: where an error's details do not fit into a header (nghttp2 takes 64 KiB), the
// connection is of no use any more without any event, and a machine that is gone sends nothing at all.
//
// A builder asks every few seconds whether its client is well (Health.Check in the session), so silence is a sign. Pings are for doubt only:
// grpc-go's servers close a connection (ENHANCE_YOUR_CALM) after the third within five minutes that it has sent nothing between.

import type { ClientHttp2Session } from "node:http2";
import { CODE, RpcError } from "../wire/status.ts";

const LOOK_EVERY_MS = 500;
/** Silence that makes doubt: four questions of BuildKit's have not come. */
const SILENT_MS = 20_000;
/** After a step has failed the next thing to come is the error of the build. */
const SILENT_FAILED_MS = 2_000;
/** For the answer to a ping; a daemon may be busy. */
const ANSWER_WITHIN_MS = 20_000;
const ANSWER_FAILED_MS = 3_000;
const PINGS_APART_MS = 5 * 60_000;

/** When something was last heard of a builder. */
export interface Hearing {
  heard(): void;
  readonly lastMs: number;
}

export function openHearing(): Hearing {
  let lastMs = Date.now();
  return {
    heard() {
      lastMs = Date.now();
    },
    get lastMs() {
      return lastMs;
    },
  };
}

/** Rejects with UNAVAILABLE when the connection is lost; never resolves. Ends with the signal. `hasFailed`: has a step? */
export function watchConnection(
  http: ClientHttp2Session,
  {
    hearing,
    hasFailed,
    signal,
  }: { readonly hearing: Hearing; readonly hasFailed: () => boolean; readonly signal: AbortSignal },
): Promise<never> {
  return new Promise((_, reject) => {
    /** When it was asked what it has not answered. */
    let askedMs: number | null = null;
    let lastPing: { readonly atMs: number; readonly heardMs: number } | null = null;
    const lose = (why: string): void => {
      stop();
      reject(new RpcError(CODE.UNAVAILABLE, why));
      http.destroy();
    };
    const ask = (now: number): void => {
      const isSame = lastPing !== null && lastPing.heardMs === hearing.lastMs;
      if (isSame && lastPing !== null && now - lastPing.atMs < PINGS_APART_MS) return;
      lastPing = { atMs: now, heardMs: hearing.lastMs };
      askedMs = now;
      try {
        http.ping((error) => {
          if (error === null) askedMs = null;
        });
      } catch {
        // closing: told by "close"
      }
    };
    const look = (): void => {
      if (http.destroyed || http.closed) return lose("the connection was closed");
      const now = Date.now();
      if (askedMs !== null && hearing.lastMs > askedMs) askedMs = null;
      if (askedMs !== null) {
        if (now - askedMs > (hasFailed() ? ANSWER_FAILED_MS : ANSWER_WITHIN_MS))
          lose("it does not answer any more");
        return;
      }
      if (now - hearing.lastMs > (hasFailed() ? SILENT_FAILED_MS : SILENT_MS)) ask(now);
    };
    const timer = setInterval(look, LOOK_EVERY_MS);
    const onClose = (): void => lose("the connection was closed");
    const stop = (): void => {
      clearInterval(timer);
      http.off("close", onClose);
    };
    http.once("close", onClose);
    signal.addEventListener("abort", stop, { once: true });
  });
}
