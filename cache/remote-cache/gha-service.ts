// The cache service of GitHub Actions, as used by the runner's toolkit and BuildKit. Entries are immutable and have a key; a lookup
// returns the entry with that key, or else the newest one whose key starts with it, from the scopes its token may read.
//
// Version 1 is REST (_apis/artifactcache), version 2 Twirp with JSON for entries and Azure's block blobs for their bytes.
// https://github.com/actions/toolkit/tree/main/packages/cache, https://github.com/tonistiigi/go-actions-cache

import { createHash } from "node:crypto";
import { BuildError, printable } from "../../solver/graph/error.ts";
import { transferMs } from "../registry/calls.ts";
import { sendBlockBlob } from "./azure-blocks.ts";
import { explainAzure as explainBlobs } from "./azure-calls.ts";
import { sendPieces } from "./pieces.ts";
import type { WebCall, WebCalls, WebDocument, WebProblem } from "./web-calls.ts";
import type { SignalOptions } from "../registry/contract.ts";

export interface ServiceAccess {
  readonly version: 1 | 2;
  /** Of the service; ends in "/". */
  readonly url: URL;
  /** Goes to this service only: never to the addresses it names for bytes. */
  readonly token: string;
  /** No call is tried again after so long. */
  readonly timeoutMs: number;
  /** Blobs of more than two pieces go in pieces; for tests. */
  readonly pieceBytes?: number;
}

export interface FoundEntry {
  readonly key: string;
  /** Where its bytes are; a secret for a while, since its query is a signature. */
  readonly url: URL;
}

export interface CacheService {
  /** The entry with this key, or else the newest whose key begins with it; null: none. */
  find(key: string, options: SignalOptions): Promise<FoundEntry | null>;
  /** Makes an entry. false: there is one with this key, or somebody is making it. */
  save(
    key: string,
    size: number,
    open: () => AsyncIterable<Uint8Array>,
    options: SignalOptions,
  ): Promise<boolean>;
}

/** What an entry is to hold; opened anew each time it is sent. */
interface EntryBytes {
  readonly size: number;
  readonly open: () => AsyncIterable<Uint8Array>;
}

/** For messages. */
export const SERVICE_NAME = "GitHub Actions cache";

const ANSWER_MAX_BYTES = 64 << 10;
/** Of what is large, so that each piece can be sent again. */
const PIECE_BYTES = 16 << 20;
const PIECES_AT_ONCE = 2;
const TRANSFER_MIN_BYTES = 1 << 20;

/** Space of keys: the toolkit hashes the paths of an entry; BuildKit's entries have none, and this instead. */
const ENTRY_VERSION = createHash("sha256").update("|go-actionscache-1.0").digest("hex");

/** Opens a service. */
export function openCacheService(access: ServiceAccess, web: WebCalls): CacheService {
  return access.version === 1 ? restService(access, web) : twirpService(access, web);
}

function restService(access: ServiceAccess, web: WebCalls): CacheService {
  const ask = (
    method: WebCall["method"],
    path: string,
    ok: readonly number[],
    signal: AbortSignal,
    body?: object,
  ): Promise<WebDocument> =>
    web.document(
      {
        ...base(access, signal),
        method,
        url: new URL(`_apis/artifactcache/${path}`, access.url),
        headers: () => ({
          ...authorization(access),
          accept: "application/json;api-version=6.0-preview.1",
          ...(body === undefined ? {} : { "content-type": "application/json" }),
        }),
        ...(body === undefined ? {} : { body: Buffer.from(JSON.stringify(body)) }),
        ok,
      },
      ANSWER_MAX_BYTES,
    );

  return {
    async find(key, { signal }) {
      const query = `keys=${encodeURIComponent(key)}&version=${ENTRY_VERSION}`;
      const answer = await ask("GET", `cache?${query}`, [200, 204], signal);
      if (answer.status === 204 || answer.bytes.length === 0) return null;
      const { cacheKey, archiveLocation } = jsonOf(answer);
      return foundEntry(key, cacheKey, archiveLocation, access);
    },
    async save(key, size, open, { signal }) {
      const wanted = { key, version: ENTRY_VERSION, cacheSize: size };
      const reserved = await ask("POST", "caches", [200, 201, 400, 409], signal, wanted);
      const { cacheId, typeKey, message } = jsonOf(reserved);
      if (reserved.status >= 400) {
        const isThere =
          reserved.status === 409 ||
          /AlreadyExists/.test(textOf(typeKey)) ||
          /already exists/i.test(textOf(message));
        if (isThere) return false;
        throw refused(message);
      }
      if (typeof cacheId !== "number" || !Number.isSafeInteger(cacheId) || cacheId <= 0)
        throw broken("it reserved an entry without an id");
      const sent = await sendPieces(
        open(),
        access.pieceBytes ?? PIECE_BYTES,
        PIECES_AT_ONCE,
        { signal },
        async ({ bytes, offset }, pieceSignal) => {
          const answer = await web.call({
            ...base(access, pieceSignal),
            method: "PATCH",
            url: new URL(`_apis/artifactcache/caches/${cacheId}`, access.url),
            headers: () => ({
              ...authorization(access),
              accept: "application/json;api-version=6.0-preview.1",
              "content-type": "application/octet-stream",
              "content-range": `bytes ${offset}-${offset + bytes.length - 1}/*`,
            }),
            body: bytes,
            ok: [200, 204],
            isTransfer: true,
            totalMs: transferMs(bytes.length),
          });
          await answer.discard();
        },
      );
      if (sent !== size) throw wrongSize(size, sent);
      await ask("POST", `caches/${cacheId}`, [200, 201, 204], signal, { size });
      return true;
    },
  };
}

function twirpService(access: ServiceAccess, web: WebCalls): CacheService {
  const ask = (method: string, body: object, ok: readonly number[], signal: AbortSignal) =>
    web.document(
      {
        ...base(access, signal),
        method: "POST",
        url: new URL(`twirp/github.actions.results.api.v1.CacheService/${method}`, access.url),
        headers: () => ({ ...authorization(access), "content-type": "application/json" }),
        body: Buffer.from(JSON.stringify(body)),
        ok,
      },
      ANSWER_MAX_BYTES,
    );

  return {
    async find(key, { signal }) {
      const wanted = { key, restore_keys: [key], version: ENTRY_VERSION };
      const answer = await ask("GetCacheEntryDownloadURL", wanted, [200, 404], signal);
      const { ok, matched_key: matched, signed_download_url: url } = jsonOf(answer);
      return answer.status === 404 || ok !== true ? null : foundEntry(key, matched, url, access);
    },
    async save(key, size, open, { signal }) {
      const entry = { key, version: ENTRY_VERSION };
      const reserved = await ask("CreateCacheEntry", entry, [200, 409], signal);
      const { ok, signed_upload_url: url } = jsonOf(reserved);
      if (reserved.status === 409 || ok !== true) return false;
      await sendBlocks(web, access, signedUrl(url, access), { size, open }, signal);
      // int64 is text in proto3's JSON.
      const done = await ask(
        "FinalizeCacheEntryUpload",
        { ...entry, size_bytes: String(size) },
        [200],
        signal,
      );
      if (jsonOf(done)["ok"] !== true) throw broken("it did not accept an uploaded entry");
      return true;
    },
  };
}

/** The bytes of an entry, under the address that the service has signed. */
async function sendBlocks(
  web: WebCalls,
  access: ServiceAccess,
  url: URL,
  entry: EntryBytes,
  signal: AbortSignal,
): Promise<void> {
  const blockBytes = access.pieceBytes ?? PIECE_BYTES;
  await sendBlockBlob(entry, { blockBytes, signal }, async (block) => {
    const target = new URL(url);
    // As text: what is signed stays as it came.
    for (const [name, value] of block.query) target.search += `&${name}=${encodeURIComponent(value)}`;
    const answer = await web.call({
      ...base(access, block.signal),
      method: "PUT",
      url: target,
      headers: () => ({ ...block.headers, "content-length": String(block.size) }),
      body: block.body,
      ok: [200, 201],
      explain: explainAzure,
      isTransfer: block.size > TRANSFER_MIN_BYTES,
      totalMs: transferMs(block.size),
    });
    await answer.discard();
  });
}

function base({ timeoutMs }: ServiceAccess, signal: AbortSignal) {
  return { name: SERVICE_NAME, explain, untilMs: Date.now() + timeoutMs, signal };
}

function authorization({ token }: ServiceAccess): Readonly<Record<string, string>> {
  return { authorization: `Bearer ${token}` };
}

function foundEntry(asked: string, key: unknown, url: unknown, access: ServiceAccess): FoundEntry | null {
  if (key === undefined || key === "") return null;
  if (typeof key !== "string" || !key.startsWith(asked))
    throw broken("it returned a different entry than requested");
  return { key, url: signedUrl(url, access) };
}

/** An address out of an answer. Plain http is for services that are themselves spoken to that way. */
function signedUrl(text: unknown, access: ServiceAccess): URL {
  const url = typeof text === "string" && URL.canParse(text) ? new URL(text) : null;
  const isSafe =
    url !== null &&
    url.username === "" &&
    (url.protocol === "https:" || (url.protocol === "http:" && access.url.protocol === "http:"));
  if (isSafe) return url;
  const where = url === null ? "" : `: ${printable(`${url.protocol}//${url.host}`, 200)}`;
  throw broken(`it returned an address that is not allowed${where}`);
}

function jsonOf({ bytes }: WebDocument): Readonly<Record<string, unknown>> {
  try {
    const text = Buffer.from(bytes)
      .toString("utf8")
      .replace(/^\uFEFF/, "");
    const json = JSON.parse(text === "" ? "{}" : text) as unknown;
    if (typeof json === "object" && json !== null) return json as Record<string, unknown>;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw broken("its response is not a JSON object");
}

/** Errors of Twirp ({code, msg}) and of the REST service ({message}). */
function explain(status: number, text: string): WebProblem {
  let message = "";
  try {
    const json = JSON.parse(text.replace(/^\uFEFF/, "")) as { msg?: unknown; message?: unknown };
    message = textOf(json.msg) || textOf(json.message);
  } catch {
    // the status says enough
  }
  const hint = "the token (ACTIONS_RUNTIME_TOKEN) is valid for one job only";
  return { message, hint: status === 401 || status === 403 ? hint : null };
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function explainAzure(status: number, text: string): WebProblem {
  return { ...explainBlobs(status, text), hint: null }; // the service signs the addresses
}

function broken(problem: string): BuildError {
  return new BuildError("REGISTRY_PROTOCOL", `${SERVICE_NAME}: ${problem}`);
}

function refused(message: unknown): BuildError {
  return new BuildError(
    "REGISTRY_PROTOCOL",
    `${SERVICE_NAME}: an entry was refused: ${printable(textOf(message), 200)}`,
  );
}

function wrongSize(size: number, sent: number): BuildError {
  return new BuildError("STORE_CORRUPT", `a blob of ${size} bytes has ${sent} on disk`);
}
