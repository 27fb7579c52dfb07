// Calls to object store services: bounded attempts, bounded responses, no redirects, and error codes of registries,
// so that the rest of a build recognizes an error of a cache.

import { setTimeout as delay } from "node:timers/promises";
import { BuildError, type ErrorCode, printable } from "../../solver/graph/error.ts";
import {
  CALL_TOTAL_MS,
  isPassing,
  isWorthRetrying,
  pauseMs,
  RETRY_AFTER_MAX_MS,
  retryAfterMs,
} from "../registry/calls.ts";
import { type Answer, type Exchange, Fault, faultWords } from "../registry/exchange.ts";
import type { Connections } from "../registry/blob-range.ts";
import { openConnections } from "../registry/ranged.ts";
import { openTransport, type TransportOptions } from "../registry/transport.ts";

export interface WebOptions extends TransportOptions {
  /** All attempts of a call that moves no body of any size; for tests. */
  readonly callTotalMs?: number;
  /** Waiting between attempts; for tests. */
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
}

export interface WebCall {
  readonly method: Exchange["method"];
  readonly url: URL;
  /** Called again for each attempt: signatures have a time. */
  readonly headers?: () => Promise<Readonly<Record<string, string>>> | Readonly<Record<string, string>>;
  /** A stream needs its length in the headers, and is opened for each attempt. */
  readonly body?: Uint8Array | (() => AsyncIterable<Uint8Array>);
  /** Statuses the caller deals with; all others are errors. */
  readonly ok: readonly number[];
  /** What the user knows it as. Neither this nor anything else in an error has a URL's query, which may be a signature. */
  readonly name: string;
  /** Says what an error's body means, and what may help. */
  readonly explain?: (status: number, text: string) => WebProblem;
  /** A body of any size comes or goes. */
  readonly isTransfer?: boolean;
  /** Longest time of all attempts together, and of each. */
  readonly totalMs?: number;
  /** No attempt begins after that time (Date.now()). */
  readonly untilMs?: number;
  readonly signal: AbortSignal;
}

export interface WebProblem {
  readonly message: string;
  readonly hint: string | null;
  readonly code?: ErrorCode;
}

export interface WebDocument {
  readonly status: number;
  readonly headers: Answer["headers"];
  readonly bytes: Uint8Array;
}

export interface WebCalls extends Disposable {
  /** The answer, its body not read. A Fault when it breaks off later. */
  call(call: WebCall): Promise<Answer>;
  /** The whole answer, at most `maxBytes`; more is REGISTRY_PROTOCOL. */
  document(call: WebCall, maxBytes: number): Promise<WebDocument>;
  /** Waits before attempt n+1 (n from 0). */
  pause(attempt: number, signal: AbortSignal): Promise<void>;
  unreachable(name: string, url: URL, fault: Fault): BuildError;
  /** Connections to a host that transfers have. */
  connections(host: string): Connections;
}

const IDLE_MS = 60_000;
const SHORT_TOTAL_MS = 60_000;
const ATTEMPTS_MAX = 5;
const ERROR_BODY_MAX_BYTES = 64 << 10;

/** Opens what calls with; nothing is loaded or connected before the first. Disposing ends idle connections. */
export function openWebCalls(options: WebOptions): WebCalls {
  const transport = openTransport(options);
  const sleep =
    options.sleep ?? ((ms, signal) => delay(ms, undefined, { signal }).catch(() => signal.throwIfAborted()));

  async function attempt(call: WebCall): Promise<Answer> {
    const { body, signal } = call;
    return await transport.send({
      method: call.method,
      url: call.url,
      headers: {
        "user-agent": "tsbuild",
        "accept-encoding": "identity",
        ...(body instanceof Uint8Array ? { "content-length": String(body.length) } : {}),
        ...(await call.headers?.()),
      },
      ...(body === undefined ? {} : { body: typeof body === "function" ? body() : body }),
      isTransfer: call.isTransfer ?? false,
      signal,
      idleMs: IDLE_MS,
      totalMs: call.totalMs ?? SHORT_TOTAL_MS,
      verifyTls: true,
    });
  }

  async function attempts<T>(call: WebCall, use: (answer: Answer) => Promise<T>): Promise<T> {
    const until = performance.now() + (call.totalMs ?? options.callTotalMs ?? CALL_TOTAL_MS);
    const leftMs = (): number => until - performance.now();
    for (let number = 0; ; number++) {
      const totalMs = Math.min(call.totalMs ?? SHORT_TOTAL_MS, Math.max(1, leftMs()));
      const isLast = number + 1 >= ATTEMPTS_MAX || Date.now() >= (call.untilMs ?? Number.POSITIVE_INFINITY);
      try {
        const answer = await attempt({ ...call, totalMs });
        if (call.ok.includes(answer.status)) return await use(answer);
        const waitMs = isPassing(answer.status) ? (retryAfterMs(answer) ?? pauseMs(number)) : null;
        const error = await refusal(answer, call);
        if (isLast || waitMs === null || waitMs > RETRY_AFTER_MAX_MS || waitMs >= leftMs()) throw error;
        await sleep(waitMs, call.signal);
      } catch (error) {
        if (!(error instanceof Fault)) throw error;
        const pause = pauseMs(number);
        if (isLast || pause >= leftMs() || !isWorthRetrying(error, number))
          throw unreachable(call.name, call.url, error);
        await sleep(pause, call.signal);
      }
    }
  }

  return {
    call: (call) => attempts(call, async (answer) => answer),
    document: (call, maxBytes) =>
      attempts(call, async (answer) => {
        const bytes = await readAll(answer, maxBytes);
        if (bytes === null) {
          throw new BuildError(
            "REGISTRY_PROTOCOL",
            `${call.name}: ${call.url.host} sent more than ${maxBytes} bytes`,
          );
        }
        return { status: answer.status, headers: answer.headers, bytes };
      }),
    pause: (number, signal) => sleep(pauseMs(number), signal),
    unreachable,
    connections: openConnections(),
    [Symbol.dispose]: () => transport[Symbol.dispose](),
  };
}

/** null: there is more. */
async function readAll(answer: Answer, maxBytes: number): Promise<Uint8Array | null> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of answer.body) {
    size += chunk.length;
    if (size > maxBytes) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function refusal(answer: Answer, call: WebCall): Promise<BuildError> {
  const { status } = answer;
  const { host } = call.url;
  let text = "";
  try {
    text = Buffer.from((await readAll(answer, ERROR_BODY_MAX_BYTES)) ?? []).toString("utf8");
  } catch (error) {
    if (!(error instanceof Fault)) throw error; // the status says enough
  }
  const said = call.explain?.(status, text) ?? { message: "", hint: null };
  const tail = said.message === "" ? "" : `: ${printable(said.message, 200)}`;
  const error = (code: ErrorCode, message: string, hint: string | null): BuildError =>
    new BuildError(said.code ?? code, `${call.name}: ${message}${tail}`, { hint: said.hint ?? hint });
  if (status === 401 || status === 403)
    return error("REGISTRY_DENIED", `${host} denied access (${status})`, null);
  if (status === 404) return error("REGISTRY_NOT_FOUND", `${host} does not have it (404)`, null);
  if (status === 429)
    return error("REGISTRY_UNREACHABLE", `${host} limits requests (429)`, "wait, then build again");
  if (isPassing(status) || status >= 500) {
    const hint = "the service has a problem; try again later";
    return error("REGISTRY_UNREACHABLE", `${host} answered with status ${status}`, hint);
  }
  return error(
    "REGISTRY_PROTOCOL",
    `unexpected status ${status} from ${call.method} ${call.url.origin}${call.url.pathname}`,
    null,
  );
}

function unreachable(name: string, url: URL, fault: Fault): BuildError {
  return new BuildError("REGISTRY_UNREACHABLE", `${name}: cannot reach ${url.host}: ${faultWords(fault)}`, {
    cause: fault,
    hint: "check the network, the address and the proxy settings",
  });
}
