// One HTTP exchange with limits: no redirects, no credentials, no retries; those are up to the caller.

import type { IncomingHttpHeaders } from "node:http";
import { printable } from "../../solver/graph/error.ts";
import type { ClientCertificate, Manner } from "./reference.ts";

export interface Exchange {
  readonly method: "GET" | "HEAD" | "PUT" | "POST" | "PATCH" | "DELETE";
  readonly url: URL; // http: or https:
  readonly headers: Readonly<Record<string, string>>;
  /** Bytes to send. A stream needs its content-length in the headers. */
  readonly body?: Uint8Array | AsyncIterable<Uint8Array>;
  /** A body of any size comes or goes, such as a layer: worth the loading of what moves it fastest. */
  readonly isTransfer?: boolean;
  readonly signal: AbortSignal;
  /** Longest silence of the other side, in milliseconds: while connecting, while waiting and between two chunks. */
  readonly idleMs: number;
  /** Longest time for all of it, in milliseconds. */
  readonly totalMs: number;
  /** false: any certificate will do. */
  readonly verifyTls: boolean;
  /** What is for the host of `url` alone. Its headers are the caller's to add. */
  readonly manner?: Manner;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** To be read once, or given up by `discard`. A connection that ends early, is silent or late makes it throw. */
  readonly body: AsyncIterable<Uint8Array>;
  /** Ends the exchange; a short rest is read so that the connection can be used again. */
  discard(): Promise<void>;
}

/** One way to make an exchange. */
export interface Carrier {
  /** Throws a Fault when the other side cannot be reached or breaks off, `signal.reason` when aborted. */
  send(exchange: Exchange, route: Route): Promise<Answer>;
  /** Ends idle connections. */
  close(): void;
}

/** How the other side is reached. */
export interface Route {
  readonly proxy: URL | null;
  /** Certificate authorities in PEM instead of Node's own list. */
  readonly ca: readonly string[] | null;
  /** Certificates the other side may ask for. Of several with keys of one kind OpenSSL offers one: the first. */
  readonly clients?: readonly ClientCertificate[];
  /** Longest time until a connection stands, in milliseconds; omitted: CONNECT_TIMEOUT_MS or `idleMs`. */
  readonly dialTimeoutMs?: number;
}

/** The other side was not reached or broke off. `code` is an errno name or one of Node's TLS codes. */
export class Fault extends Error {
  override readonly name = "Fault";
  readonly code: string;
  /** The other side wants to be asked again after that time, in milliseconds; null: it says nothing. */
  readonly retryAfterMs: number | null;
  constructor(code: string, message: string, cause?: unknown, retryAfterMs: number | null = null) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }
}

/** What happened, for an error of the user. */
export function faultWords(fault: Fault): string {
  return printable(FAULT_WORDS[fault.code] ?? fault.message, 200);
}
const FAULT_WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ENOTFOUND: "no such host",
  EAI_AGAIN: "the name cannot be looked up right now",
  ECONNRESET: "the connection broke",
  EHOSTUNREACH: "no route to the host",
  ENETUNREACH: "the network is unreachable",
  EPIPE: "the connection broke",
};

/** Any error as a Fault. */
export function faultOf(error: unknown): Fault {
  if (error instanceof Fault) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  return new Fault(code ?? "EPROTO", message, error);
}

/** Most sockets for an origin; how many transfers run is decided above. */
export const SOCKETS_MAX = 16;
/** Most bytes of an answer nobody wants that are read to keep its connection. */
export const DISCARD_MAX_BYTES: number = 64 << 10;

/** What agents and pools are told apart by. */
export function routeKey({ verifyTls }: Exchange, { proxy, ca, clients, dialTimeoutMs }: Route): string {
  return JSON.stringify([verifyTls, proxy?.href ?? null, ca, clients ?? [], dialTimeoutMs ?? null]);
}

/** Options of a TLS connection to the other side itself, not to a proxy. */
export function tlsOptions({ verifyTls }: Exchange, { ca, clients = [] }: Route): TlsOptions {
  // OpenSSL has one place for each kind of key: SSL_CTX_use_certificate(3).
  const offered = clients.filter(
    ({ kind }, index) => clients.findIndex((one) => one.kind === kind) === index,
  );
  return {
    rejectUnauthorized: verifyTls,
    ...(ca === null ? {} : { ca: [...ca] }),
    ...(offered.length === 0
      ? {}
      : { cert: offered.map(({ cert }) => cert), key: offered.map(({ key }) => key) }),
  };
}
interface TlsOptions {
  readonly rejectUnauthorized: boolean;
  readonly ca?: string[];
  readonly cert?: string[];
  readonly key?: string[];
}
