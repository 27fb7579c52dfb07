// How exchanges are carried: documents by node:http, transfers by undici; proxies and certificate authorities for both.

import type { Answer, Carrier, Exchange } from "./exchange.ts";

export interface TransportOptions {
  /** Proxy for a URL, or null for none. See `proxyFromEnvironment`. */
  readonly proxyFor?: (url: URL) => URL | null;
  /** All certificate authorities for a host[:port], in PEM; null: Node's own list. Asked once for each. See `hostCertificates`. */
  readonly certificates?: (host: string) => Promise<readonly string[] | null>;
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
  const authorities = new Map<string, Promise<readonly string[] | null>>();

  async function authoritiesOf(url: URL): Promise<readonly string[] | null> {
    if (url.protocol !== "https:" || options.certificates === undefined) return null;
    let found = authorities.get(url.host);
    if (found === undefined) {
      found = options.certificates(url.host);
      authorities.set(url.host, found);
    }
    return await found;
  }

  return {
    async send(exchange) {
      exchange.signal.throwIfAborted();
      if (exchange.isTransfer) transfers ??= import("./carrier-undici.ts").then((m) => m.openUndiciCarrier());
      else documents ??= import("./carrier-node.ts").then((m) => m.openNodeCarrier());
      const carrier = await ((exchange.isTransfer ? transfers : documents) as Promise<Carrier>);
      const { url } = exchange;
      const route = { proxy: options.proxyFor?.(url) ?? null, ca: await authoritiesOf(url) };
      return await carrier.send(exchange, route);
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
