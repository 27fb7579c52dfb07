import type { IncomingHttpHeaders } from "node:http";
export interface Exchange {
    readonly method: "GET" | "HEAD" | "PUT" | "POST";
    readonly url: URL;
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
export declare class Fault extends Error {
    readonly name = "Fault";
    readonly code: string;
    constructor(code: string, message: string, cause?: unknown);
}
/** Opens a transport. Connections are kept for reuse but do not hold the process. */
export declare function openTransport(options?: TransportOptions): Transport;
/**
 * Proxy rules of the environment: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY, also in lower case. Loopback is never
 * proxied. A NO_PROXY entry is a host, a domain with all below it, or "*"; host:port restricts it to that port.
 */
export declare function proxyFromEnvironment(env: Readonly<Record<string, string | undefined>>): (url: URL) => URL | null;
