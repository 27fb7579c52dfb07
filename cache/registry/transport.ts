// Transport of exchanges: documents by node:http, transfers by undici; proxies and certificate authorities for both.

import type { Authorities, HostCertificates } from "./certificates.ts";
import type { Answer, Carrier, Exchange, Route } from "./exchange.ts";
import { type Pace, pacedIn, pacedOut, SLOWEST, SLOWEST_UPLOAD } from "./pace.ts";

export interface TransportOptions {
  /** Proxy for a URL, or null for none. See `proxyFromEnvironment`. */
  readonly proxyFor?: (url: URL) => URL | null;
  /** Certificates for a host[:port]. Asked once for each. See `hostCertificates`. */
  readonly certificates?: (host: string) => Promise<HostCertificates>;
  /** Node's own authorities, or what stands in their place, as a list. See `environmentAuthorities`. */
  readonly authorities?: Authorities;
  /** Slowest that the other side may be; for tests. */
  readonly pace?: Pace;
}

/** Disposing ends idle connections. */
export interface Transport extends Disposable {
  /** Throws a Fault when the other side cannot be reached or breaks off, `signal.reason` when aborted. */
  send(exchange: Exchange): Promise<Answer>;
}

/** Opens a transport. Connections are kept for reuse but do not hold the process. */
export function openTransport(options: TransportOptions = {}): Transport {
  let documents: Promise<Carrier> | null = null;
  let transfers: Promise<Carrier> | null = null;
  const certificates = new Map<string, Promise<HostCertificates>>();

  async function certificatesOf(url: URL): Promise<HostCertificates> {
    if (options.certificates === undefined) return { ca: null, clients: [] };
    let found = certificates.get(url.host);
    if (found === undefined) {
      found = options.certificates(url.host);
      certificates.set(url.host, found);
    }
    return await found;
  }

  async function routeOf({ url, manner = {} }: Exchange): Promise<Route> {
    const proxy = manner.proxy ?? options.proxyFor?.(url) ?? null;
    const { dialTimeoutMs } = manner;
    const route = { proxy, ca: null, ...(dialTimeoutMs === undefined ? {} : { dialTimeoutMs }) };
    if (url.protocol !== "https:") return route;
    const { ca, clients } = await certificatesOf(url);
    const own = (await manner.tls?.()) ?? { ca: [], clients: [] };
    const all = own.ca.length === 0 ? ca : [...(ca ?? (await options.authorities?.(true)) ?? []), ...own.ca];
    return { ...route, ca: all, clients: [...own.clients, ...clients] };
  }

  return {
    async send(exchange) {
      exchange.signal.throwIfAborted();
      if (exchange.isTransfer) transfers ??= import("./carrier-undici.ts").then((m) => m.openUndiciCarrier());
      else documents ??= import("./carrier-node.ts").then((m) => m.openNodeCarrier());
      const carrier = await ((exchange.isTransfer ? transfers : documents) as Promise<Carrier>);
      const route = await routeOf(exchange);
      const answer = await carrier.send(paced(exchange, options.pace ?? SLOWEST_UPLOAD), route);
      return { ...answer, body: pacedIn(answer.body, options.pace ?? SLOWEST) };
    },
    [Symbol.dispose]() {
      for (const carrier of [documents, transfers]) {
        // One that could not be loaded has told so to `send`.
        void carrier?.then(
          (one) => one.close(),
          () => {},
        );
      }
      documents = transfers = null;
    },
  };
}

/** The exchange, ended when the other side takes a body of any size too slowly. */
function paced(exchange: Exchange, pace: Pace): Exchange {
  const { body } = exchange;
  if (body === undefined || body instanceof Uint8Array) return exchange;
  const slow = new AbortController();
  return {
    ...exchange,
    body: pacedOut(body, pace, (fault) => slow.abort(fault)),
    signal: AbortSignal.any([exchange.signal, slow.signal]),
  };
}
