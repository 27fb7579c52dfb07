// One HTTP exchange with limits: no redirects, no credentials, no retries; those are the client's.
//
// node:http and node:https, not undici: 600 MB over loopback with sha256 take 0.71 s and the same CPU time with both,
// but loading takes 4 ms (http) or 7 ms (https) against 35 ms (undici's Pool alone) or 150 ms (all of it), and a
// cached build pays for the load each time, for one HEAD request.

import type { Agent as HttpAgent, ClientRequest, IncomingHttpHeaders, IncomingMessage } from "node:http";
import type { Agent as HttpsAgent } from "node:https";

export interface Exchange {
  readonly method: "GET" | "HEAD" | "PUT" | "POST";
  readonly url: URL; // http: or https:
  readonly headers: Readonly<Record<string, string>>;
  /** Bytes to send. A stream needs its content-length in the headers. */
  readonly body?: Uint8Array | AsyncIterable<Uint8Array>;
  readonly signal: AbortSignal;
  /** Longest silence of the other side, in milliseconds: while connecting, while waiting and between two chunks. */
  readonly idleMs: number;
  /** Longest time for all of it, in milliseconds. */
  readonly totalMs: number;
  /** false: any certificate will do. */
  readonly verifyTls: boolean;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** To be read once, or given up by `discard`. A connection that ends early, is silent or late makes it throw. */
  readonly body: AsyncIterable<Uint8Array>;
  /** Ends the exchange; a short rest is read so that the connection can be used again. */
  discard(): Promise<void>;
}

export interface TransportOptions {
  /** Proxy for a URL, or null for none. See `proxyFromEnvironment`. */
  readonly proxyFor?: (url: URL) => URL | null;
  /** Certificate authorities in PEM instead of Node's own list; asked for on the first https exchange. */
  readonly certificates?: () => string | null;
}

export interface Transport {
  /** Throws a Fault when the other side cannot be reached or breaks off, `signal.reason` when aborted. */
  send(exchange: Exchange): Promise<Answer>;
  /** Ends idle connections. */
  close(): void;
}

/** The other side was not reached or broke off. `code` is an errno name or one of Node's TLS codes. */
export class Fault extends Error {
  override readonly name = "Fault";
  readonly code: string;
  constructor(code: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

const DISCARD_MAX_BYTES = 64 << 10;
// Bounds sockets for each origin; how many transfers run is decided above.
const SOCKETS_MAX = 16;

/** Opens a transport. Connections are kept for reuse but do not hold the process. */
export function openTransport(options: TransportOptions = {}): Transport {
  const agents = new Map<string, HttpAgent | HttpsAgent>();

  async function agentFor(url: URL, verifyTls: boolean, proxy: URL | null): Promise<HttpAgent | HttpsAgent> {
    const tls = url.protocol === "https:";
    const key = `${tls} ${verifyTls} ${proxy?.href ?? ""}`;
    const known = agents.get(key);
    if (known !== undefined) return known;
    let agent: HttpAgent | HttpsAgent;
    if (!tls) {
      const { Agent } = await import("node:http");
      agent = new Agent({ keepAlive: true, maxSockets: SOCKETS_MAX });
    } else {
      const { Agent } = await import("node:https");
      const ca = options.certificates?.() ?? null;
      agent = new Agent({
        keepAlive: true,
        maxSockets: SOCKETS_MAX,
        rejectUnauthorized: verifyTls,
        ...(ca === null ? {} : { ca }),
      });
      if (proxy !== null) await tunnelThrough(agent as HttpsAgent, proxy);
    }
    agents.set(key, agent);
    return agent;
  }

  return {
    async send(exchange) {
      exchange.signal.throwIfAborted();
      const { url } = exchange;
      const proxy = options.proxyFor?.(url) ?? null;
      const agent = await agentFor(url, exchange.verifyTls, proxy);
      const { request } = url.protocol === "https:" ? await import("node:https") : await import("node:http");
      // A proxy gets plain http requests whole (RFC 9112, 3.2.2); https goes through the agent's tunnel.
      const direct = proxy === null || url.protocol === "https:";
      const target = direct
        ? { host: url.hostname.replace(/^\[|\]$/g, ""), port: url.port, path: `${url.pathname}${url.search}` }
        : { host: proxy.hostname, port: proxy.port, path: url.href };
      const headers: Record<string, string> = { ...exchange.headers, host: url.host };
      if (!direct && proxy.username !== "") headers["proxy-authorization"] = basicHeader(proxy);
      return await perform(exchange, () =>
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

function perform(exchange: Exchange, start: () => ClientRequest): Promise<Answer> {
  const { signal } = exchange;
  return new Promise((resolve, reject) => {
    const request = start();
    const watch = watchFor(exchange, (error) => request.destroy(error));
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

async function sendBody(request: ClientRequest, exchange: Exchange, watch: Watch): Promise<void> {
  const { body } = exchange;
  if (body === undefined || body instanceof Uint8Array) {
    request.end(body);
    return;
  }
  for await (const chunk of body) {
    watch.touch();
    if (request.destroyed) return;
    if (!request.write(chunk)) {
      await new Promise<void>((resolve) => {
        request.once("drain", resolve);
        request.once("close", resolve); // answered early or broken: nothing more can be sent
      });
    }
  }
  request.end();
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
        throw new Fault("ECONNRESET", "the connection ended before the whole answer came");
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
    if (waiting) expire(new Fault("ETIMEDOUT", `no answer within ${exchange.idleMs / 1000} s`));
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

function faultOf(error: unknown): Fault {
  if (error instanceof Fault) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  return new Fault(code ?? "EPROTO", message, error);
}

// https through a proxy: CONNECT makes a tunnel (RFC 9110, 9.3.6), TLS is spoken with the registry itself.
async function tunnelThrough(agent: HttpsAgent, proxy: URL): Promise<void> {
  const [{ request }, { connect }] = await Promise.all([import("node:http"), import("node:tls")]);
  type Options = { host: string; port: string | number; servername?: string; rejectUnauthorized?: boolean };
  type Callback = (error: Error | null, socket?: unknown) => void;
  const createConnection = (options: Options, callback: Callback): undefined => {
    const authority = `${options.host.includes(":") ? `[${options.host}]` : options.host}:${options.port || 443}`;
    const tunnel = request({
      host: proxy.hostname.replace(/^\[|\]$/g, ""),
      port: proxy.port || 80,
      method: "CONNECT",
      path: authority,
      headers: {
        host: authority,
        ...(proxy.username === "" ? {} : { "proxy-authorization": basicHeader(proxy) }),
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

function basicHeader(url: URL): string {
  const text = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  return `Basic ${Buffer.from(text).toString("base64")}`;
}

/**
 * Proxy rules of the environment: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY, also in lower case. Loopback is never
 * proxied. A NO_PROXY entry is a host, a domain with all below it, or "*"; host:port restricts it to that port.
 */
export function proxyFromEnvironment(
  env: Readonly<Record<string, string | undefined>>,
): (url: URL) => URL | null {
  const read = (name: string) => env[name.toLowerCase()] || env[name] || "";
  const exceptions = read("NO_PROXY")
    .split(",")
    .map((entry) => entry.trim().toLowerCase())
    .filter((entry) => entry !== "");
  return (url) => {
    const text = read(url.protocol === "https:" ? "HTTPS_PROXY" : "HTTP_PROXY") || read("ALL_PROXY");
    if (text === "") return null;
    const host = url.hostname.toLowerCase();
    if (host === "localhost" || host === "[::1]" || host.startsWith("127.")) return null;
    const port = url.port || (url.protocol === "https:" ? "443" : "80");
    const excepted = exceptions.some((entry) => {
      if (entry === "*") return true;
      const [name = "", onlyPort] = entry.split(/:(?=\d+$)/);
      const domain = name.replace(/^\*?\./, "");
      return (
        (onlyPort === undefined || onlyPort === port) && (host === domain || host.endsWith(`.${domain}`))
      );
    });
    if (excepted) return null;
    const withScheme = text.includes("://") ? text : `http://${text}`;
    return URL.canParse(withScheme) ? new URL(withScheme) : null;
  };
}
