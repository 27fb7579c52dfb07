// http(s) sources: one file by URL. Pinned by the received content, so an unchanged file keeps later steps cached.

import { pipeline } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { createGunzip } from "node:zlib";
import { BuildError, redactUrl } from "../../solver/graph/error.ts";
import { type Digest, digestOf } from "../../solver/graph/digest.ts";
import type { SourceOp } from "../../solver/graph/op.ts";
import type { CallContext, LayerId } from "../../solver/graph/request.ts";
import { type Session, UPLOAD_HOST } from "../../solver/graph/session.ts";
import { openAnswers, type Tasks } from "../../solver/graph/tasks.ts";
import { type Answer, type Exchange, Fault } from "../../cache/registry/exchange.ts";
import { TOO_SLOW } from "../../cache/registry/pace.ts";
import type { Transport } from "../../cache/registry/transport.ts";
import type { Pin } from "../contract.ts";
import type { Keeper } from "../keeper/keeper.ts";
import { digestIn, lookIn, refuse } from "./attributes.ts";
import { receive } from "./receive.ts";
import { safeName, singleFileLayer } from "./single-file.ts";
import type { Store } from "../../cache/contract.ts";

/** Largest file taken from a URL. */
export const DOWNLOAD_MAX_BYTES: number = 64 * 1024 ** 3;
const REDIRECTS_MAX = 10;
const IDLE_TIMEOUT_MS = 60_000;
/** For a whole file, however large and slow, in all attempts; slower than SLOWEST none may be (cache/registry/pace.ts). */
const TOTAL_TIMEOUT_MS = 24 * 3600_000;
const ATTEMPTS = 4;
/** Servers that treat builders differently know BuildKit: the comment has its product token. RFC 9110, 10.1.5. */
const USER_AGENT = "tsbuild (compatible; buildkit/v0.32)";
/** Headers a client may set; others are left out. */
const HEADERS: readonly string[] = ["accept", "user-agent"];

/** What is remembered of a URL between builds. */
interface Remembered {
  readonly digest: Digest;
  readonly etag: string | null;
  readonly lastModified: string | null;
  readonly filename: string;
  readonly mtimeSeconds: number;
}

/** Opens what downloads go through: proxies, authorities. The caller disposes it. */
export type OpenTransport = () => Promise<Transport>;

/** Downloads (or revalidates) the file; the pin names content, name and mode. */
export async function pinHttp(
  op: SourceOp,
  store: Store,
  context: CallContext,
  transport: OpenTransport,
): Promise<Pin> {
  const known = await download(op, store, context, transport);
  return { digest: pinDigest(op, known), result: null, material: known.digest };
}

/** The file as a blob of the content store, its name, and the time its server gives it (epoch seconds; null: none). Throws SOURCE_FAILED,
 *  LIMIT_EXCEEDED. */
export async function downloadHttp(
  op: SourceOp,
  store: Store,
  context: CallContext,
  transport: OpenTransport,
  maxBytes: number = DOWNLOAD_MAX_BYTES,
): Promise<{ readonly digest: Digest; readonly filename: string; readonly modifiedSeconds: number | null }> {
  const { digest, filename, lastModified, mtimeSeconds } = await download(
    op,
    store,
    context,
    transport,
    maxBytes,
  );
  return { digest, filename, modifiedSeconds: lastModified === null ? null : mtimeSeconds };
}

/** The file as a blob whose bytes have been compared now, for who reads them from the disk. */
export async function downloadWhole(
  op: SourceOp,
  store: Store,
  context: CallContext,
  transport: OpenTransport,
): Promise<Digest> {
  return (await wholeDownload(op, store, context, transport)).digest;
}

/** A layer with the file in its root. */
export async function fetchHttp(
  op: SourceOp,
  store: Store,
  context: CallContext,
  { transport, keeper }: { readonly transport: OpenTransport; readonly keeper: () => Keeper },
): Promise<LayerId> {
  const known = await wholeDownload(op, store, context, transport);
  const { digest, filename: name, mtimeSeconds } = known;
  const file = { digest, name, mtimeSeconds, ...lookIn(op.attrs) };
  return await singleFileLayer(file, store, keeper, redactUrl(op.identifier), context);
}

/** The file, downloaded again when the bytes on the disk are no longer those that came (threat model R3). */
async function wholeDownload(
  op: SourceOp,
  store: Store,
  context: CallContext,
  transport: OpenTransport,
): Promise<Remembered> {
  const known = await download(op, store, context, transport);
  if (await store.content.isWhole(known.digest, context)) return known;
  answers.delete(context.session);
  const again = await download(op, store, context, transport);
  if (again.digest === known.digest) return again;
  throw new BuildError("CONTEXT_CHANGED", `${redactUrl(op.identifier)} changed during the build`, {
    hint: "run the build again",
  });
}

function pinDigest(op: SourceOp, known: Remembered): Digest {
  const { uid, gid } = lookIn(op.attrs);
  return digestOf(
    JSON.stringify([
      "tsbuild.http.v1",
      known.digest,
      known.filename,
      known.mtimeSeconds,
      op.attrs["http.perm"] ?? "0600",
      ...(uid === 0 && gid === 0 ? [] : [uid, gid]),
    ]),
  );
}

/** By who asked: a URL is one file for all of a build, and asked for again by the next. */
const answers = new WeakMap<Session, Tasks<Remembered>>();

function download(
  op: SourceOp,
  store: Store,
  context: CallContext,
  transport: OpenTransport,
  maxBytes = DOWNLOAD_MAX_BYTES,
): Promise<Remembered> {
  const { session, signal } = context;
  const known = answers.get(session) ?? openAnswers<Remembered>();
  answers.set(session, known);
  return known.share(JSON.stringify([op.identifier, op.attrs, maxBytes]), signal, (shared) =>
    fetchFile({ op, store, context: { ...context, signal: shared }, maxBytes }, transport),
  );
}

/** What is downloaded, and for whom. */
interface Wish {
  readonly op: SourceOp;
  readonly store: Store;
  readonly context: CallContext;
  readonly maxBytes: number;
}

async function fetchFile(wish: Wish, openOne: OpenTransport): Promise<Remembered> {
  const { op, store, context } = wish;
  const url = op.identifier;
  refuse(op.attrs, "http.sig.");
  const wanted = digestIn(op.attrs, "http.checksum");
  // Never from the network, whatever host has that name there: locks do not list what the client sends itself.
  if (new URL(url).host === UPLOAD_HOST) return await fetchUpload(wish, wanted);
  const own = HEADERS.flatMap((name) => {
    const value = headerIn(op, name);
    return value === undefined ? [] : [[name, value] as const];
  });
  // Another file may come where another kind is asked for.
  const recordKey = digestOf(
    JSON.stringify([url, op.attrs["http.filename"] ?? "", ...(own.length === 0 ? [] : [own])]),
  );
  const remembered = store.records.get<Remembered>("http", recordKey);
  const usable = remembered !== null && store.content.has(remembered.digest) ? remembered : null;
  // A file known by its checksum needs no network.
  if (usable !== null && wanted !== null && usable.digest === wanted) return usable;

  const headers: Record<string, string> = {
    // The tags of some servers depend on the encoding: always the same one, BuildKit's.
    ...{ "user-agent": USER_AGENT, "accept-encoding": "gzip" },
    ...Object.fromEntries(own),
  };
  if (usable?.etag) headers["if-none-match"] = usable.etag;
  else if (usable?.lastModified) headers["if-modified-since"] = usable.lastModified;

  using transport = await openOne();
  if (usable?.etag && (await isStill(transport, wish, headers, usable.etag))) {
    if (wanted === null || wanted === usable.digest) return usable;
  }
  const until = performance.now() + TOTAL_TIMEOUT_MS;
  for (let attempt = 1; ; attempt++) {
    try {
      const fetched = await transfer(transport, wish, headers, usable);
      if (wanted !== null && fetched.digest !== wanted) {
        throw new BuildError(
          "CHECKSUM_MISMATCH",
          `digest mismatch ${fetched.digest}: ${wanted} (${redactUrl(url)})`,
          {
            hint: "the file at the URL does not match --checksum, or what the lock file says",
          },
        );
      }
      store.records.put("http", recordKey, fetched);
      return fetched;
    } catch (error) {
      context.signal.throwIfAborted();
      const isSlow = error instanceof Fault && error.code === TOO_SLOW && attempt > 1;
      if (error instanceof BuildError || isSlow || attempt >= ATTEMPTS || performance.now() >= until)
        throw reachable(error, url);
      const { signal } = context;
      await delay(200 * 2 ** attempt, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  }
}

/** What the client sends itself: once, so it is neither asked for again nor remembered. */
async function fetchUpload(
  { op, store, context: { session, signal }, maxBytes }: Wish,
  wanted: Digest | null,
): Promise<Remembered> {
  const { identifier: address, attrs } = op;
  const url = new URL(address);
  if (session.upload === undefined)
    throw new BuildError("SOURCE_FAILED", `${redactUrl(address)}: nothing was sent under this address`, {
      hint: `${UPLOAD_HOST} stands for what the client of a build sends; it is no host of a network`,
    });
  const data = session.upload(url, { signal });
  const digest = await receive(data, store, { address, maxBytes });
  if (wanted !== null && digest !== wanted)
    throw new BuildError("CHECKSUM_MISMATCH", `digest mismatch ${digest}: ${wanted} (${redactUrl(address)})`);
  const filename = safeName(attrs["http.filename"] ?? lastSegment(url));
  return { digest, etag: null, lastModified: null, filename, mtimeSeconds: 0 };
}

async function transfer(
  transport: Transport,
  wish: Wish,
  headers: Readonly<Record<string, string>>,
  usable: Remembered | null,
): Promise<Remembered> {
  const { op, store, maxBytes } = wish;
  const address = op.identifier;
  const answer = await request(transport, wish, { method: "GET", headers, isTransfer: usable === null });
  const { status } = answer;
  const one = (name: string): string | null => headerOf(answer, name);
  if (status === 304 && usable !== null) {
    await answer.discard();
    return usable;
  }
  if (status < 200 || status >= 300) {
    await answer.discard();
    if (status === 429 || status >= 500) throw new Error(`status ${status}`);
    throw new BuildError("SOURCE_FAILED", `invalid response status ${status} for ${redactUrl(address)}`);
  }
  let received = 0;
  async function* counted(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of answer.body) {
      received += chunk.length;
      yield chunk;
    }
  }
  const isPacked = /^(?:x-)?gzip$/i.test(one("content-encoding") ?? "");
  const length = one("content-length");
  const digest = await receive(isPacked ? unpacked(counted()) : counted(), store, {
    address,
    maxBytes,
    isWhole() {
      if (length !== null && Number(length) !== received)
        throw new Error(`received ${received} of ${length} bytes`);
    },
  });
  const modifiedMs = Date.parse(one("last-modified") ?? "");
  return {
    digest,
    etag: one("etag"),
    lastModified: Number.isNaN(modifiedMs) ? null : one("last-modified"),
    filename: safeName(
      op.attrs["http.filename"] ??
        dispositionName(one("content-disposition")) ??
        lastSegment(new URL(address)),
    ),
    mtimeSeconds: Number.isNaN(modifiedMs) ? 0 : Math.floor(modifiedMs / 1000),
  };
}

/** Is the file still the one with this tag? Asked without its content, as some servers give tags and take no conditions. Whatever goes wrong
 *  here, the download says better. */
async function isStill(
  transport: Transport,
  wish: Wish,
  headers: Readonly<Record<string, string>>,
  etag: string,
): Promise<boolean> {
  try {
    const answer = await request(transport, wish, { method: "HEAD", headers, isTransfer: false });
    await answer.discard();
    const now = headerOf(answer, "etag");
    if (answer.status === 304) return now === null || tagOf(now) === tagOf(etag);
    return answer.status === 200 && now !== null && tagOf(now) === tagOf(etag);
  } catch {
    wish.context.signal.throwIfAborted();
    return false;
  }
}

/** What a weak tag says is enough: it came with these bytes. */
function tagOf(etag: string): string {
  return etag.replace(/^W\//, "");
}

/** One request with its redirects; the answer is the last one's. */
async function request(
  transport: Transport,
  { op, context }: Wish,
  { method, headers, isTransfer }: Pick<Exchange, "method" | "headers"> & { readonly isTransfer: boolean },
): Promise<Answer> {
  const address = op.identifier;
  let url = new URL(address);
  for (let hop = 0; ; hop++) {
    if (url.protocol !== "http:" && url.protocol !== "https:") {
      throw new BuildError(
        "SOURCE_FAILED",
        `${redactUrl(address)} redirects to the unsupported address ${redactUrl(url.href)}`,
      );
    }
    const authorization =
      hop === 0 || url.username !== ""
        ? await authorizationFor(url, hop === 0 ? (op.attrs["http.authheadersecret"] ?? "") : "", context)
        : null;
    const credentials = authorization === null ? {} : { authorization };
    const target = new URL(url.href);
    target.username = "";
    target.password = "";
    target.hash = "";
    const answer = await transport.send({
      method,
      url: target,
      headers: { ...headers, ...credentials },
      isTransfer, // a file that is here is mostly the same still
      signal: context.signal,
      idleMs: IDLE_TIMEOUT_MS,
      totalMs: TOTAL_TIMEOUT_MS,
      verifyTls: true,
    });
    const location = headerOf(answer, "location");
    if (![301, 302, 303, 307, 308].includes(answer.status) || location === null) return answer;
    await answer.discard();
    if (hop >= REDIRECTS_MAX)
      throw new BuildError("SOURCE_FAILED", `${redactUrl(address)}: more than ${REDIRECTS_MAX} redirects`);
    url = new URL(location, target); // credentials of the first URL do not follow (threat model C5)
  }
}

function headerOf({ headers }: Answer, name: string): string | null {
  const value = headers[name];
  return (Array.isArray(value) ? value[0] : value) ?? null;
}

/** A body that its server packed for the way. */
function unpacked(body: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  return pipeline(body, createGunzip(), () => {}); // its errors are told to who reads
}

/** A header the client sets, as names of headers are compared. */
function headerIn({ attrs }: SourceOp, wanted: string): string | undefined {
  const name = Object.keys(attrs).find((one) => one.toLowerCase() === `http.header.${wanted}`);
  const value = name === undefined ? undefined : attrs[name];
  if (value === undefined || /^[\t\x20-\x7e\u0080-\u00ff]*$/.test(value)) return value;
  throw new BuildError(
    "SOURCE_FAILED",
    `the header ${wanted} of a download has characters that no header has`,
  );
}

/** From the URL, else from the secret that the client names, else from its secrets HTTP_AUTH_HEADER_HOST or HTTP_AUTH_TOKEN_HOST, as
 *  BuildKit names them. Throws SECRET_MISSING. */
async function authorizationFor(url: URL, secret: string, { session }: CallContext): Promise<string | null> {
  if (url.username !== "") {
    const pair = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
    return `Basic ${Buffer.from(pair).toString("base64")}`;
  }
  const text = (data: Uint8Array): string => new TextDecoder().decode(data).trim();
  if (secret !== "") {
    const named = await session.secret(secret);
    if (named === null)
      throw new BuildError("SECRET_MISSING", `secret ${secret} for ${redactUrl(url.href)}: not found`);
    return text(named);
  }
  const header = await session.secret(`HTTP_AUTH_HEADER_${url.hostname}`);
  if (header !== null) return text(header);
  const token = await session.secret(`HTTP_AUTH_TOKEN_${url.hostname}`);
  return token === null ? null : `Bearer ${text(token)}`;
}

function dispositionName(header: string | null): string | null {
  return header === null ? null : (/filename="?([^";]+)"?/i.exec(header)?.[1] ?? null);
}

function lastSegment(url: URL): string {
  const segment = url.pathname.split("/").pop() ?? "";
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment; // not valid percent encoding: taken as it is
  }
}

function reachable(error: unknown, url: string): unknown {
  if (error instanceof BuildError || (error instanceof Error && error.name === "AbortError")) return error;
  return new BuildError(
    "SOURCE_FAILED",
    `failed to fetch ${redactUrl(url)}: ${error instanceof Error ? error.message : String(error)}`,
    { cause: error },
  );
}
