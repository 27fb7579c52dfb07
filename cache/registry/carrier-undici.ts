// Exchanges with undici: blobs and files of any size. The only file that imports it, loaded only for transfers.
//
// Its Agent and request are imported from single files: all of undici (fetch, WebSocket, caches, mocks, and with them Node's own
// copy of it) takes 80 ms to load instead of 25, and its heap makes garbage collection more expensive during transfers: 600 MB
// take 1.7 s of CPU time instead of 1.2.

import type { Readable } from "node:stream";
import type { Agent, buildConnector, Dispatcher } from "undici";
import {
  type Answer,
  type Carrier,
  DISCARD_MAX_BYTES,
  type Exchange,
  Fault,
  faultOf,
  type Route,
  routeKey,
  SOCKETS_MAX,
  tlsOptions,
} from "./exchange.ts";
import { proxyAuthorization } from "./proxy.ts";

const CONNECT_TIMEOUT_MS = 30_000;
const READ_AHEAD_BYTES = 256 << 10;
const POOL = { connections: SOCKETS_MAX, pipelining: 1 } as const;

type Request = (this: Dispatcher, options: Dispatcher.RequestOptions) => Promise<Dispatcher.ResponseData>;
interface Connections {
  readonly dispatcher: Dispatcher;
  readonly request: Request;
}

/** Opens pools of connections, one for each origin, made when first needed. */
export function openUndiciCarrier(): Carrier {
  const known = new Map<string, Promise<Connections>>();

  function connectionsFor(exchange: Exchange, route: Route): Promise<Connections> {
    const key = routeKey(exchange, route);
    let connections = known.get(key);
    if (connections === undefined) {
      connections =
        route.proxy === null ? connect(exchange, route) : connectThrough(route.proxy, exchange, route);
      known.set(key, connections);
    }
    return connections;
  }

  return {
    async send(exchange, route) {
      return await perform(await connectionsFor(exchange, route), exchange);
    },
    close() {
      // Nobody waits until idle connections are gone; requests are told by their own errors.
      for (const connections of known.values()) {
        void connections.then(({ dispatcher }) => dispatcher.destroy()).catch(() => {});
      }
      known.clear();
    },
  };
}

async function connect(exchange: Exchange, route: Route): Promise<Connections> {
  const options: Agent.Options = { ...POOL, connect: connectOptions(exchange, route) };
  try {
    const [{ default: Agent }, { default: request }] = await Promise.all([
      import("undici/lib/dispatcher/agent.js"),
      import("undici/lib/api/api-request.js"),
    ]);
    return { dispatcher: new Agent(options), request };
  } catch (error) {
    // Another version may have its files elsewhere, and no fault but a longer start.
    const { code } = error as NodeJS.ErrnoException;
    if (
      code !== "ERR_PACKAGE_PATH_NOT_EXPORTED" &&
      code !== "ERR_MODULE_NOT_FOUND" &&
      code !== "MODULE_NOT_FOUND"
    )
      throw error;
    const { Agent } = await import("undici");
    const dispatcher = new Agent(options);
    return { dispatcher, request: dispatcher.request };
  }
}

// A tunnel is made with the whole package's `connect`.
async function connectThrough(proxy: URL, exchange: Exchange, route: Route): Promise<Connections> {
  const { ProxyAgent } = await import("undici");
  const tls = connectOptions(exchange, route);
  const token = proxyAuthorization(proxy);
  const uri = new URL(proxy);
  uri.username = uri.password = "";
  const dispatcher = new ProxyAgent({
    ...POOL,
    uri: uri.href,
    ...(token === null ? {} : { token }),
    proxyTunnel: false, // plain http goes to the proxy whole (RFC 9112, 3.2.2), https through a tunnel
    requestTls: tls,
    // What is for the other side alone is not shown to a proxy on the way.
    proxyTls: connectOptions(exchange, { ...route, clients: [] }),
  });
  return { dispatcher, request: dispatcher.request };
}

function connectOptions(exchange: Exchange, route: Route): buildConnector.BuildOptions {
  return { ...tlsOptions(exchange, route), timeout: route.dialTimeoutMs ?? CONNECT_TIMEOUT_MS };
}

async function perform({ dispatcher, request }: Connections, exchange: Exchange): Promise<Answer> {
  const { url, idleMs, totalMs } = exchange;
  exchange.signal.throwIfAborted();
  const limits = new AbortController();
  const timer = setTimeout(
    () => limits.abort(new Fault("ETIMEDOUT", `not finished within ${totalMs / 1000} s`)),
    totalMs,
  );
  timer.unref();
  const onAbort = () => limits.abort(exchange.signal.reason);
  exchange.signal.addEventListener("abort", onAbort, { once: true });
  const end = () => {
    clearTimeout(timer);
    exchange.signal.removeEventListener("abort", onAbort);
  };
  const outgoing = bodyOf(exchange);
  const failure = (error: unknown): unknown => {
    if (outgoing.failed !== null) return outgoing.failed.error;
    return limits.signal.aborted ? limits.signal.reason : undiciFault(error, idleMs);
  };

  let answer: Dispatcher.ResponseData;
  try {
    answer = await request.call(dispatcher, {
      origin: url.origin,
      path: `${url.pathname}${url.search}`,
      method: exchange.method,
      headers: exchange.headers,
      body: outgoing.body,
      // Of the other side alone: neither runs while our own body or reader is slow.
      headersTimeout: idleMs,
      bodyTimeout: idleMs,
      signal: limits.signal,
      highWaterMark: READ_AHEAD_BYTES,
    });
  } catch (error) {
    end();
    throw failure(error);
  }
  const { body } = answer;
  async function* read(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      yield* body as AsyncIterable<Uint8Array>;
    } catch (error) {
      throw failure(error);
    } finally {
      end();
    }
  }
  return {
    status: answer.statusCode,
    headers: answer.headers as Answer["headers"],
    body: read(),
    async discard() {
      try {
        await body.dump({ limit: DISCARD_MAX_BYTES });
      } catch {
        // An answer that nobody wants may end as it likes.
        exchange.signal.throwIfAborted();
      } finally {
        end();
      }
    },
  };
}

/** What undici may send, and the error of the body's own source, once it had one. */
function bodyOf({ body }: Exchange): {
  readonly body: Uint8Array | Readable | null;
  readonly failed: { readonly error: unknown } | null;
} {
  if (body === undefined || body instanceof Uint8Array) return { body: body ?? null, failed: null };
  let failed: { readonly error: unknown } | null = null;
  async function* noting(data: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      yield* data;
    } catch (error) {
      failed = { error };
      throw error;
    }
  }
  return {
    body: noting(body) as unknown as Readable, // any iterable will do; its types know streams only
    get failed() {
      return failed;
    },
  };
}

/** undici's own codes in the words of the system, which callers know. */
function undiciFault(error: unknown, idleMs: number): Fault {
  const { code, message } = error as NodeJS.ErrnoException;
  switch (code) {
    case "UND_ERR_CONNECT_TIMEOUT":
      return new Fault("ETIMEDOUT", "connection timed out", error);
    case "UND_ERR_HEADERS_TIMEOUT":
    case "UND_ERR_BODY_TIMEOUT":
      return new Fault("ETIMEDOUT", `no response within ${idleMs / 1000} s`, error);
    case "UND_ERR_SOCKET":
    case "UND_ERR_RES_CONTENT_LENGTH_MISMATCH":
      return new Fault("ECONNRESET", "the connection was closed before the response was complete", error);
    case "UND_ERR_ABORTED": {
      const refused = /^Proxy response \((\d+)\)/.exec(message)?.[1];
      return refused === undefined
        ? new Fault("ECONNRESET", message, error)
        : new Fault("EPROXY", `the proxy refused with status ${refused}`, error);
    }
    default:
      return code?.startsWith("UND_ERR_") || code?.startsWith("HPE_")
        ? new Fault("EPROTO", message, error)
        : faultOf(error);
  }
}
