// A request to a registry as the client sees it: endpoints and mirrors, authorization, redirects, attempts, errors.

import { setTimeout as delay } from "node:timers/promises";
import { BuildError, printable, redactUrl } from "../../solver/graph/error.ts";
import {
  type Endpoint,
  loginCommand,
  loginHint,
  notAccepted,
  openAuthorizer,
  parseChallenges,
} from "./auth.ts";
import { apiHost, isLoopbackHost, type Repository } from "./reference.ts";
import { type Answer, Fault, faultWords } from "./exchange.ts";
import type { Capability } from "./hosts-toml.ts";
import type { Places } from "./places.ts";
import { TOO_SLOW } from "./pace.ts";
import type { Connections } from "./blob-range.ts";
import { openConnections } from "./ranged.ts";
import { openTransport } from "./transport.ts";
import type { RegistryOptions } from "./contract.ts";

export interface Call {
  readonly method: "GET" | "HEAD" | "PUT" | "POST" | "PATCH" | "DELETE";
  /** Below /v2/REPOSITORY/ (without a repository: /v2/), or the whole URL a registry gave (an upload location). */
  readonly path: string | URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | (() => AsyncIterable<Uint8Array>);
  readonly actions: "pull" | "pull,push" | "delete";
  /** Another repository that has to be readable: the source of a mount. */
  readonly alsoPull?: string;
  /** Statuses the caller deals with; all others are errors. */
  readonly ok: readonly number[];
  /** What the user knows it as. */
  readonly name: string;
  /** The part of it this is about, such as a blob, where it may be the part that is wrong. */
  readonly part?: string;
  readonly signal: AbortSignal;
  /** false: a fault goes to the caller at once. */
  readonly retry?: boolean;
  readonly totalMs?: number;
  readonly isTransfer?: boolean;
  /** Set: the answer is read whole, as a part of the attempt, and is an error when larger. */
  readonly wholeMax?: number;
}

export interface Called extends Answer {
  readonly url: URL; // after redirects
  /** The whole body; only with `wholeMax`. */
  bytes(): Promise<Uint8Array>;
}

export interface Calls {
  call(repository: Repository, call: Call): Promise<Called>;
  /** A call that only reads: mirrors of the host are asked first. */
  read(repository: Repository, call: Omit<Call, "actions">): Promise<Called>;
  /** Waits before attempt n+1 (n from 0), or as long as the other side has asked for. */
  pause(attempt: number, signal: AbortSignal, retryAfterMs?: number | null): Promise<void>;
  unreachable(host: string, fault: Fault, name: string): BuildError;
  /** Connections to a host that transfers have. */
  connections(host: string): Connections;
  close(): void;
}

const IDLE_MS = 60_000;
// A registry may copy a whole blob to its storage before it answers the PUT that ended it.
const UPLOAD_IDLE_MS = 300_000;
const SHORT_TOTAL_MS = 60_000;
/** All attempts of one short call together, with the waiting between them. */
export const CALL_TOTAL_MS = 180_000;
const ATTEMPTS_MAX = 5;
const REDIRECTS_MAX = 10;
/** So long one that did not answer is not asked: each of an image's blobs would wait for it. */
const MIRROR_REST_MS = 60_000;
const PAUSE_FIRST_MS = 250;
const PAUSE_MAX_MS = 10_000;
/** A server that wants us to come back later than this is as good as unreachable. */
export const RETRY_AFTER_MAX_MS: number = 60_000;
const ERROR_BODY_MAX_BYTES = 64 << 10;
const SLOWEST_BYTES_PER_S = 16 << 10;

/** Total limit of a transfer: a quarter of an hour, or more for what is large. */
export function transferMs(size: number): number {
  return Math.min(Math.max(15 * 60_000, (size / SLOWEST_BYTES_PER_S) * 1000), 2 ** 31 - 1);
}

/** Opens what `openRegistry` calls with. */
export function openCalls(options: RegistryOptions): Calls {
  const transport = openTransport(options);
  const authorizer = openAuthorizer(options, transport);
  const insecureHosts = new Set(options.insecureHosts ?? []);
  // Of a host that may do without TLS: which it turned out to be.
  const schemes = new Map<string, "https" | "http">();
  const placesOf =
    options.placesOf ??
    (async (repository: Repository): Promise<Places> => ({
      mirrors: [],
      source: repository,
      target: repository,
      blockedBy: null,
      closed: null,
    }));
  /** Mirrors that could not be reached, by host: when they are asked again. */
  const silentUntil = new Map<string, number>();
  const sleep =
    options.sleep ?? ((ms, signal) => delay(ms, undefined, { signal }).catch(() => signal.throwIfAborted()));

  function endpointsOf({
    host,
    insecure = false,
    apiRoot = "/v2",
    manner = {},
  }: Repository): readonly Endpoint[] {
    const url = /^(https?):\/\/([^/]+)\/?$/.exec(host);
    const name = url?.[2] ?? host;
    const lax = insecure || insecureHosts.has(name);
    const address = `https://${apiHost(name)}`;
    if (!URL.canParse(address))
      throw new BuildError("REGISTRY_UNREACHABLE", `${printable(name, 100)}: not an address of a registry`, {
        hint: "the form is HOST[:PORT], with a port of at most 65535",
      });
    const at = (scheme: "https" | "http"): Endpoint => ({
      host: name,
      origin: new URL(`${scheme}://${apiHost(name)}`).origin,
      root: apiRoot,
      verifyTls: !lax,
      manner,
    });
    if (url !== null) return [at(url[1] as "https" | "http")];
    if (isLoopbackHost(name)) return [at("http")];
    const known = schemes.get(name);
    if (!lax) return [at("https")];
    return known === undefined ? [at("https"), at("http")] : [at(known)];
  }

  async function call(repository: Repository, request: Call): Promise<Called> {
    const { target, closed } = await placesOf(repository);
    if (request.actions !== "pull") throwIfClosed(request, "push", closed);
    return await callAt(target, request);
  }

  async function callAt(repository: Repository, request: Call): Promise<Called> {
    const endpoints = endpointsOf(repository);
    for (const [index, endpoint] of endpoints.entries()) {
      const last = index === endpoints.length - 1;
      try {
        // With another scheme still to try, one attempt has to do.
        const called = await attempts(
          endpoint,
          repository.repository,
          last ? request : { ...request, retry: false },
        );
        if (endpoints.length > 1)
          schemes.set(repository.host, endpoint.origin.startsWith("https:") ? "https" : "http");
        return called;
      } catch (error) {
        if (last || !(error instanceof Fault)) throw error;
      }
    }
    throw new Error("no endpoint");
  }

  async function read(repository: Repository, request: Omit<Call, "actions">): Promise<Called> {
    const reading: Call = { ...request, actions: "pull" };
    const { mirrors, source, blockedBy, closed } = await placesOf(repository);
    if (blockedBy !== null) {
      throw new BuildError("REGISTRY_DENIED", `${request.name}: the registry is blocked in ${blockedBy}`, {
        hint: "blocked = false there, or another image",
      });
    }
    const isByTag = typeof request.path === "string" && /^manifests\/(?!sha256:)/.test(request.path);
    let passedBy = "";
    for (const { at, byTag, byDigest } of mirrors) {
      if (!(isByTag ? byTag : byDigest) || (silentUntil.get(at.host) ?? 0) > performance.now()) continue;
      try {
        const called = await callAt(at, { ...reading, retry: false });
        if (called.status === 200 || called.status === 206) return called;
        await called.discard();
      } catch (error) {
        // A mirror that fails in any way is skipped: the registry itself has the last word.
        if (!(error instanceof Fault || error instanceof BuildError)) throw error;
        request.signal.throwIfAborted();
        if (error instanceof Fault) silentUntil.set(at.host, performance.now() + MIRROR_REST_MS);
        const words = error instanceof Fault ? faultWords(error) : error.message;
        if (passedBy === "") passedBy = `the mirror ${at.host} was tried first: ${words}`;
      }
    }
    try {
      throwIfClosed(request, isByTag ? "resolve" : "pull", closed);
      return await callAt(source, reading);
    } catch (error) {
      if (passedBy === "" || !(error instanceof BuildError)) throw error;
      throw new BuildError(error.code, `${error.message} (${passedBy})`, { cause: error, hint: error.hint });
    }
  }

  async function attempts(endpoint: Endpoint, repository: string, request: Call): Promise<Called> {
    const until = performance.now() + (request.totalMs ?? options.callTotalMs ?? CALL_TOTAL_MS);
    const leftMs = (): number => until - performance.now();
    for (let attempt = 0; ; attempt++) {
      const totalMs = Math.min(request.totalMs ?? SHORT_TOTAL_MS, Math.max(1, leftMs()));
      const isLast = request.retry === false || attempt + 1 >= attemptsFor(request);
      try {
        const called = await authorized(endpoint, repository, { ...request, totalMs });
        if (request.ok.includes(called.status)) return await whole(called, request);
        if (!isPassing(called.status))
          throw await refusal(endpoint, called, request, authorizer.sent(endpoint));
        const waitMs = retryAfterMs(called);
        const error = await refusal(endpoint, called, request, authorizer.sent(endpoint));
        if (waitMs !== null && waitMs > RETRY_AFTER_MAX_MS) throw error;
        if (request.retry === false) throw new Fault("EAGAIN", error.message, error, waitMs);
        const pause = waitMs ?? pauseMs(attempt);
        if (isLast || pause >= leftMs()) throw error;
        await sleep(pause, request.signal);
      } catch (error) {
        if (!(error instanceof Fault)) throw error;
        if (request.retry === false) throw error;
        const pause = pauseMs(attempt);
        if (isLast || pause >= leftMs() || !isWorthRetrying(error, attempt))
          throw unreachable(endpoint.host, error, request.name);
        await sleep(pause, request.signal);
      }
    }
  }

  async function authorized(endpoint: Endpoint, repository: string, request: Call): Promise<Called> {
    const { signal } = request;
    // Sorted, so that equal sets are equal keys of tokens.
    const scopes = repository === "" ? [] : [`repository:${repository}:${request.actions}`];
    if (request.alsoPull !== undefined) scopes.push(`repository:${request.alsoPull}:pull`);
    scopes.sort();
    const authorization = await authorizer.header(endpoint, scopes, { signal });
    const called = await followed(endpoint, repository, request, authorization);
    if (called.status !== 401 || new URL(called.url).origin !== endpoint.origin) return called;
    const challenges = parseChallenges(called.headers["www-authenticate"]);
    let isNews = false;
    try {
      isNews = await authorizer.learn(endpoint, challenges, scopes, authorization, { signal });
    } catch (error) {
      await called.discard();
      throw error;
    }
    if (!isNews) return called;
    await called.discard();
    return await followed(
      endpoint,
      repository,
      request,
      await authorizer.header(endpoint, scopes, { signal }),
    );
  }

  async function followed(
    endpoint: Endpoint,
    repository: string,
    request: Call,
    authorization: string | null,
  ): Promise<Called> {
    let url =
      request.path instanceof URL
        ? request.path
        : new URL(
            `${endpoint.root}/${repository === "" ? "" : `${repository}/`}${request.path}`,
            endpoint.origin,
          );
    const { manner } = endpoint;
    if (manner.namespace !== undefined && !(request.path instanceof URL))
      url.searchParams.set("ns", manner.namespace);
    for (let redirects = 0; ; redirects++) {
      // Credentials are for one origin: not for a CDN, an upload host or any other a redirect names. So are headers and client
      // certificates of hosts.toml.
      const isOwn = url.origin === endpoint.origin;
      const headers: Record<string, string> = {
        "user-agent": "tsbuild",
        ...(isOwn ? manner.headers : {}),
        "accept-encoding": "identity",
        ...request.headers,
      };
      if (authorization !== null && isOwn) headers["authorization"] = authorization;
      const answer = await transport.send({
        method: request.method,
        url,
        headers,
        ...(request.body === undefined
          ? {}
          : { body: typeof request.body === "function" ? request.body() : request.body }),
        isTransfer: request.isTransfer ?? false,
        signal: request.signal,
        idleMs: request.method === "PUT" || request.method === "PATCH" ? UPLOAD_IDLE_MS : IDLE_MS,
        totalMs: request.totalMs ?? SHORT_TOTAL_MS,
        verifyTls: endpoint.verifyTls,
        ...(isOwn ? { manner } : {}),
      });
      const encoding = answer.headers["content-encoding"];
      if (encoding !== undefined && encoding !== "identity" && request.ok.includes(answer.status)) {
        await answer.discard();
        throw unexpected(
          request.name,
          `the registry sent the content encoding ${printable(encoding, 40)}, which was not requested`,
        );
      }
      if (![301, 302, 303, 307, 308].includes(answer.status) || answer.headers.location === undefined) {
        return { ...answer, url, bytes: () => Promise.reject(new Error("not read to the end")) };
      }
      await answer.discard();
      url = redirectTarget(url, answer.headers.location, request, redirects);
    }
  }

  return {
    call,
    read,
    pause: (attempt, signal, retryAfterMs) => sleep(retryAfterMs ?? pauseMs(attempt), signal),
    unreachable,
    connections: openConnections(options.ranges),
    close: () => transport[Symbol.dispose](),
  };
}

/** Throws when hosts.toml does not trust the registry itself with it. */
function throwIfClosed({ name }: Pick<Call, "name">, what: Capability, closed: Places["closed"]): void {
  if (closed === null || !closed.to.includes(what)) return;
  const words = { resolve: "resolve tags", pull: "be pulled from", push: "be pushed to" }[what];
  throw new BuildError("REGISTRY_DENIED", `${name}: ${closed.file} does not allow the registry to ${words}`, {
    hint: `add ${JSON.stringify(what)} to the top-level list of capabilities in that file`,
  });
}

function redirectTarget(from: URL, location: string, request: Call, redirects: number): URL {
  if (redirects >= REDIRECTS_MAX) throw unexpected(request.name, `more than ${REDIRECTS_MAX} redirects`);
  const target = URL.canParse(location, from.href) ? new URL(location, from) : null;
  const fine =
    target !== null &&
    (target.protocol === "https:" || (target.protocol === "http:" && from.protocol === "http:")) &&
    (request.method === "GET" || request.method === "HEAD" || target.origin === from.origin);
  if (!fine) {
    const where = printable(
      redactUrl(target === null ? location : `${target.origin}${target.pathname}`),
      200,
    );
    throw unexpected(request.name, `the registry redirects to an address that is not allowed: ${where}`);
  }
  target.username = "";
  target.password = "";
  return target;
}

async function whole(called: Called, request: Call): Promise<Called> {
  if (request.wholeMax === undefined || called.status !== 200) return called;
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of called.body) {
    size += chunk.length;
    if (size > request.wholeMax) {
      throw unexpected(request.name, `the registry sent a document of more than ${request.wholeMax} bytes`);
    }
    chunks.push(chunk);
  }
  const bytes = Buffer.concat(chunks);
  return { ...called, bytes: () => Promise.resolve(bytes) };
}

/** Statuses of faults that can pass. RFC 9110 section 15, RFC 6585. */
export function isPassing(status: number): boolean {
  return [408, 425, 429, 500, 502, 503, 504].includes(status);
}

function attemptsFor(request: Call): number {
  return request.body === undefined || request.body instanceof Uint8Array ? ATTEMPTS_MAX : 1;
}

/** A name that does not exist and a certificate that does not fit stay so; a refused connection may be a restart. */
export function isWorthRetrying(fault: Fault, attempt: number): boolean {
  if (fault.code === "ENOTFOUND" || fault.code === "EPROXY") return false;
  if (fault.code === TOO_SLOW) return attempt < 1;
  if (/CERT|SSL|TLS|SELF_SIGNED|SIGNATURE/.test(fault.code)) return false;
  return fault.code === "ECONNREFUSED" ? attempt < 2 : true;
}

/** Wait before attempt n+1 (n from 0). */
export function pauseMs(attempt: number): number {
  const full = Math.min(PAUSE_FIRST_MS * 2 ** attempt, PAUSE_MAX_MS);
  return full * (0.75 + Math.random() * 0.5); // so that many clients do not come back at once
}

/** RFC 9110, 10.2.3: seconds or a date. null: nothing is said. */
export function retryAfterMs(answer: Answer): number | null {
  const text = answer.headers["retry-after"];
  if (text === undefined) return null;
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  const date = Date.parse(text);
  return Number.isNaN(date) ? null : Math.max(0, date - Date.now());
}

async function refusal(
  endpoint: Endpoint,
  called: Called,
  request: Call,
  sent: "basic" | "bearer" | null,
): Promise<BuildError> {
  const said = await serverMessage(called);
  const { status } = called;
  const tail = said === "" ? "" : `: ${said}`;
  if (status === 401 || status === 403) {
    // By "basic" it is the password itself that was examined; a token was already given for it.
    if (status === 401 && sent === "basic")
      return notAccepted(request.name, endpoint.host, "the registry", status);
    const verb = request.actions === "pull,push" ? "push" : request.actions;
    return new BuildError(
      "REGISTRY_DENIED",
      `${request.name}: ${verb} access denied, repository does not exist or may require authorization${tail}`,
      {
        hint:
          sent === null
            ? loginHint(endpoint.host)
            : `you are logged in to ${endpoint.host}, but that account is not allowed to ${verb} here; to use another: ${loginCommand(endpoint.host)}`,
      },
    );
  }
  if (status === 404)
    return new BuildError("REGISTRY_NOT_FOUND", `${request.name}${partOf(request)}: not found${tail}`);
  if (status === 429) {
    return new BuildError(
      "REGISTRY_UNREACHABLE",
      `${request.name}: the registry ${endpoint.host} limits requests (429)${tail}`,
      {
        hint:
          sent === null
            ? `wait, or log in for a higher limit: ${loginCommand(endpoint.host)}`
            : "wait, and try again",
      },
    );
  }
  if (status >= 500 || isPassing(status)) {
    return new BuildError(
      "REGISTRY_UNREACHABLE",
      `${request.name}: the registry ${endpoint.host} answered with status ${status}${tail}`,
      {
        hint: "the registry has a problem; try again later",
      },
    );
  }
  return unexpected(
    `${request.name}${partOf(request)}`,
    `unexpected status ${status} from ${request.method} ${redactUrl(`${called.url.origin}${called.url.pathname}`)}${tail}`,
  );
}

function partOf({ part }: Call): string {
  return part === undefined ? "" : ` (${part})`;
}

/** Errors as the distribution spec ("Error codes") has them, made short and printable. */
async function serverMessage(called: Called): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of called.body) {
      size += chunk.length;
      chunks.push(chunk);
      if (size > ERROR_BODY_MAX_BYTES) break;
    }
    const json = JSON.parse(Buffer.concat(chunks).toString("utf8")) as {
      errors?: { code?: unknown; message?: unknown }[];
    };
    const first = json.errors?.[0];
    const text = [first?.code, first?.message]
      .filter((part) => typeof part === "string" && part !== "")
      .join(": ");
    return printable(text, 200);
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError || error instanceof Fault) return "";
    throw error;
  }
}

function unreachable(host: string, fault: Fault, name: string): BuildError {
  const tls = /CERT|SSL|TLS|SELF_SIGNED|SIGNATURE|EPROTO/.test(fault.code);
  // What a server says that wants a certificate of ours, or another: RFC 8446, 6.2. Node has the alert in code or message.
  const wantsOurs =
    /alert[ _](?:certificate[ _]required|handshake[ _]failure|(?:bad|unknown|unsupported)[ _]c)/i.test(
      `${fault.code} ${fault.message}`,
    );
  return new BuildError(
    "REGISTRY_UNREACHABLE",
    `${name}: cannot reach the registry ${host}: ${faultWords(fault)}`,
    {
      cause: fault,
      hint: wantsOurs
        ? `the registry requires a different client certificate; put it in ~/.config/containers/certs.d/${host}/client.cert, with its key next to it as client.key`
        : tls
          ? `the registry's certificate is not trusted; put its certificate authority in ~/.config/containers/certs.d/${host}/ca.crt, or set SSL_CERT_FILE`
          : "check the network, the name of the registry and the proxy settings",
    },
  );
}

/** The registry did something it may not do. */
export function unexpected(name: string, problem: string): BuildError {
  return new BuildError("REGISTRY_PROTOCOL", `${name}: ${problem}`);
}
