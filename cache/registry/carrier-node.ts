// Exchanges with node:http and node:https, for documents: they load in 4 ms (http) or 7 ms (https) against undici's 80 ms,
// and every cached build pays for loading, for one HEAD request.

import type { Agent as HttpAgent, ClientRequest, IncomingMessage } from "node:http";
import type { Agent as HttpsAgent } from "node:https";
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

/** Opens agents, made when first needed. Connections are kept for reuse but do not hold the process. */
export function openNodeCarrier(): Carrier {
  const agents = new Map<string, HttpAgent | HttpsAgent>();

  async function agentFor(exchange: Exchange, route: Route): Promise<HttpAgent | HttpsAgent> {
    const tls = exchange.url.protocol === "https:";
    const key = tls ? routeKey(exchange, route) : "http";
    const known = agents.get(key);
    if (known !== undefined) return known;
    let agent: HttpAgent | HttpsAgent;
    if (!tls) {
      const { Agent } = await import("node:http");
      agent = new Agent({ keepAlive: true, maxSockets: SOCKETS_MAX });
    } else {
      const { Agent } = await import("node:https");
      agent = new Agent({
        keepAlive: true,
        maxSockets: SOCKETS_MAX,
        ...tlsOptions(exchange, route),
      });
      if (route.proxy !== null) await tunnelThrough(agent as HttpsAgent, route.proxy);
    }
    agents.set(key, agent);
    return agent;
  }

  return {
    async send(exchange, route) {
      const { url } = exchange;
      const { proxy } = route;
      const agent = await agentFor(exchange, route);
      const { request } = url.protocol === "https:" ? await import("node:https") : await import("node:http");
      exchange.signal.throwIfAborted();
      // A proxy gets plain http requests whole (RFC 9112, 3.2.2); https goes through the agent's tunnel.
      const direct = proxy === null || url.protocol === "https:";
      const target = direct
        ? { host: hostOf(url), port: url.port, path: `${url.pathname}${url.search}` }
        : { host: hostOf(proxy), port: proxy.port, path: url.href };
      const headers: Record<string, string> = { ...exchange.headers, host: url.host };
      const authorization = direct ? null : proxyAuthorization(proxy);
      if (authorization !== null) headers["proxy-authorization"] = authorization;
      return await perform(exchange, route, () =>
        request({
          ...target,
          protocol: direct ? url.protocol : "http:",
          method: exchange.method,
          headers,
          agent,
        }),
      );
    },
    close() {
      for (const agent of agents.values()) agent.destroy();
      agents.clear();
    },
  };
}

/** A host as sockets take it: an IPv6 address without its brackets. */
function hostOf(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, "");
}

function perform(exchange: Exchange, route: Route, start: () => ClientRequest): Promise<Answer> {
  const { signal } = exchange;
  return new Promise((resolve, reject) => {
    const request = start();
    const watch = watchFor(exchange, (error) => request.destroy(error));
    if (route.dialTimeoutMs !== undefined) limitDial(request, route.dialTimeoutMs);
    let answered = false;
    let unsendable: { readonly error: unknown } | null = null; // the body's own source failed

    request.on("response", (response) => {
      answered = true;
      resolve(answerOf(response, watch, signal));
    });
    request.on("error", (cause) => {
      if (answered) return; // the body reports it
      watch.end();
      if (unsendable !== null) reject(unsendable.error);
      else reject(signal.aborted ? signal.reason : faultOf(cause));
    });
    // Awaited by nobody: what becomes of the request tells how it went.
    void sendBody(request, exchange, watch).catch((error: unknown) => {
      unsendable = { error };
      request.destroy(new Error("the body could not be read"));
    });
  });
}

/** Ends a request whose connection does not stand in time; one over a connection that is kept has it already. */
function limitDial(request: ClientRequest, dialTimeoutMs: number): void {
  const timer = setTimeout(
    () => request.destroy(new Fault("ETIMEDOUT", "connection timed out")),
    dialTimeoutMs,
  );
  timer.unref();
  const done = (): void => clearTimeout(timer);
  request.once("close", done).once("response", done);
  request.once("socket", (socket) => {
    if (!socket.connecting) return done();
    return void socket.once("connect", done);
  });
}

async function sendBody(request: ClientRequest, exchange: Exchange, watch: Watch): Promise<void> {
  const { body } = exchange;
  if (body === undefined || body instanceof Uint8Array) {
    request.end(body);
    return;
  }
  for await (const chunk of body) {
    watch.touch();
    if (request.destroyed) return;
    if (!request.write(chunk)) await drained(request);
  }
  request.end();
}

/** Waits until more can be sent, or nothing more can because it was answered early or broke. */
function drained(request: ClientRequest): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      request.off("drain", done).off("close", done);
      resolve();
    };
    request.on("drain", done).on("close", done);
  });
}

function answerOf(response: IncomingMessage, watch: Watch, signal: AbortSignal): Answer {
  async function* read(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      watch.wait(true);
      for await (const chunk of response as AsyncIterable<Uint8Array>) {
        watch.wait(false); // the reader's own slowness is no silence of the other side
        yield chunk;
        watch.wait(true);
      }
      if (!response.complete)
        throw new Fault("ECONNRESET", "the connection was closed before the response was complete");
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw watch.expired ?? (error instanceof Fault ? error : faultOf(error));
    } finally {
      watch.end();
      response.destroy();
    }
  }
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    body: read(),
    async discard() {
      let left = DISCARD_MAX_BYTES;
      try {
        for await (const chunk of read()) {
          left -= chunk.length;
          if (left < 0) break;
        }
      } catch (error) {
        if (signal.aborted) throw error;
        // An answer that nobody wants may end as it likes.
      }
    },
  };
}

interface Watch {
  /** Something came or went. */
  touch(): void;
  /** Does the other side have to do something now? */
  wait(isWaiting: boolean): void;
  end(): void;
  readonly expired: Fault | null;
}

function watchFor(exchange: Exchange, destroy: (error: Error) => void): Watch {
  let expired: Fault | null = null;
  let waiting = true;
  const expire = (fault: Fault) => {
    expired = fault;
    destroy(fault);
  };
  const idle = setTimeout(() => {
    if (waiting) expire(new Fault("ETIMEDOUT", `no response within ${exchange.idleMs / 1000} s`));
    else idle.refresh();
  }, exchange.idleMs);
  const total = setTimeout(
    () => expire(new Fault("ETIMEDOUT", `not finished within ${exchange.totalMs / 1000} s`)),
    exchange.totalMs,
  );
  // The connection holds the process while somebody waits; a limit alone has no reason to.
  idle.unref();
  total.unref();
  const onAbort = () => destroy(exchange.signal.reason as Error);
  exchange.signal.addEventListener("abort", onAbort, { once: true });
  return {
    touch: () => idle.refresh(),
    wait(isWaiting) {
      waiting = isWaiting;
      if (isWaiting) idle.refresh();
    },
    end() {
      clearTimeout(idle);
      clearTimeout(total);
      exchange.signal.removeEventListener("abort", onAbort);
    },
    get expired() {
      return expired;
    },
  };
}

// https through a proxy: CONNECT makes a tunnel (RFC 9110, 9.3.6), TLS is spoken with the registry itself.
async function tunnelThrough(agent: HttpsAgent, proxy: URL): Promise<void> {
  const [{ request }, { connect }] = await Promise.all([import("node:http"), import("node:tls")]);
  const authorization = proxyAuthorization(proxy);
  type Options = { host: string; port: string | number; servername?: string; rejectUnauthorized?: boolean };
  type Callback = (error: Error | null, socket?: unknown) => void;
  const createConnection = (options: Options, callback: Callback): undefined => {
    const authority = `${options.host.includes(":") ? `[${options.host}]` : options.host}:${options.port || 443}`;
    const tunnel = request({
      host: hostOf(proxy),
      port: proxy.port || 80,
      method: "CONNECT",
      path: authority,
      headers: {
        host: authority,
        ...(authorization === null ? {} : { "proxy-authorization": authorization }),
      },
      agent: false,
    });
    tunnel.on("error", callback);
    tunnel.on("connect", (response, socket) => {
      if (response.statusCode !== 200) {
        socket.destroy();
        callback(new Fault("EPROXY", `the proxy ${proxy.host} refused with status ${response.statusCode}`));
        return;
      }
      callback(
        null,
        connect({ ...(options as object), socket, servername: options.servername ?? options.host }),
      );
    });
    tunnel.end();
    return undefined;
  };
  (agent as unknown as { createConnection: typeof createConnection }).createConnection = createConnection;
}
