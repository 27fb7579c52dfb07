// The cache service of GitHub Actions for tests, both versions, strict: entries never change, sizes and ranges are checked, a job
// sees the scopes of its token and writes its own. Bytes are stored by a second server with signed URLs, which refuses
// requests that contain a token.

import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface ActionsRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
}

export interface ActionsEntry {
  readonly key: string;
  readonly version: string;
  readonly scope: string;
  /** null: reserved, not finished. */
  bytes: Buffer | null;
}

export interface ActionsCache extends AsyncDisposable {
  /** http://127.0.0.1:PORT/ */
  readonly url: string;
  readonly entries: ActionsEntry[];
  readonly requests: ActionsRequest[];
  /** A token of a job with these scopes: [ref, may it write]. */
  token(...scopes: readonly (readonly [string, boolean])[]): string;
  /** Set: answers itself (true), and the service does not see the request. */
  intercept: ((request: ActionsRequest, response: ServerResponse) => boolean) | null;
}

interface Upload {
  readonly entry: ActionsEntry;
  readonly chunks: Map<number, Buffer>;
  readonly blocks: Map<string, Buffer>;
  staged: Buffer | null;
}

type Scopes = readonly { readonly Scope: string; readonly Permission: number }[];

/** Starts the two servers, without entries. */
export async function startActionsCache(): Promise<ActionsCache> {
  const entries: ActionsEntry[] = [];
  const requests: ActionsRequest[] = [];
  const uploads: Upload[] = [];
  const signatures = new Map<string, { readonly entry: ActionsEntry; readonly upload: Upload | null }>();
  const tokens = new Map<string, Scopes>();
  const running = { intercept: null as ActionsCache["intercept"] };

  const service = await listening((request, response) => serve(request, response, answerService));
  const storage = await listening((request, response) => serve(request, response, answerStorage));

  async function serve(
    incoming: IncomingMessage,
    response: ServerResponse,
    answer: (request: ActionsRequest, url: URL) => Answer,
  ): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const { method = "", url = "", headers } = incoming;
    const request = { method, url, headers, body: Buffer.concat(chunks) };
    requests.push(request);
    if (running.intercept?.(request, response) === true) return;
    const [status, body, more = {}] = answer(request, new URL(url, addressOf(service)));
    if (body === null || body instanceof Buffer) {
      response.writeHead(status, more).end(body ?? undefined);
    } else {
      response.writeHead(status, { "content-type": "application/json", ...more }).end(JSON.stringify(body));
    }
  }

  function answerService(request: ActionsRequest, url: URL): Answer {
    const scopes = tokens.get(/^Bearer (.+)$/.exec(request.headers.authorization ?? "")?.[1] ?? "");
    if (scopes === undefined) return [401, { code: "unauthenticated", msg: "unknown token" }];
    const twirp = /^\/twirp\/github\.actions\.results\.api\.v1\.CacheService\/(\w+)$/.exec(url.pathname)?.[1];
    if (twirp !== undefined) return answerTwirp(twirp, request, scopes);
    const rest = /^\/_apis\/artifactcache\/(.*)$/.exec(url.pathname)?.[1];
    if (rest === undefined) return [404, { message: "no such resource" }];
    if (request.headers.accept !== "application/json;api-version=6.0-preview.1")
      return [400, { message: "no api-version" }];
    return answerRest(rest, request, url, scopes);
  }

  function answerTwirp(method: string, request: ActionsRequest, scopes: Scopes): Answer {
    const body = JSON.parse(request.body.toString()) as Record<string, unknown>;
    const { key, version } = body;
    if (request.headers["content-type"] !== "application/json" || !isKey(key) || !isVersion(version))
      return [400, { code: "malformed", msg: "bad request" }];
    switch (method) {
      case "GetCacheEntryDownloadURL": {
        const keys = body["restore_keys"] as string[];
        const found = find([key, ...keys], version, scopes);
        if (found === null) return [200, { ok: false, signed_download_url: "", matched_key: "" }];
        return [200, { ok: true, signed_download_url: signed(found, null), matched_key: found.key }];
      }
      case "CreateCacheEntry": {
        const upload = reserve(key, version, scopes);
        if (upload === "denied") return [403, { code: "permission_denied", msg: "the token may only read" }];
        if (upload === "exists")
          return [409, { code: "already_exists", msg: "cache entry with the same key exists" }];
        return [200, { ok: true, signed_upload_url: signed(upload.entry, upload) }];
      }
      case "FinalizeCacheEntryUpload": {
        const upload = uploads.find(({ entry }) => isSame(entry, key, version, scopes));
        if (upload === undefined || upload.entry.bytes !== null)
          return [404, { code: "not_found", msg: "nothing reserved" }];
        if (typeof body["size_bytes"] !== "string" || Number(body["size_bytes"]) !== upload.staged?.length)
          return [400, { code: "invalid_argument", msg: "the size is another" }];
        upload.entry.bytes = upload.staged;
        return [200, { ok: true, entry_id: String(entries.indexOf(upload.entry)) }];
      }
      default:
        return [404, { code: "bad_route", msg: method }];
    }
  }

  function answerRest(path: string, request: ActionsRequest, url: URL, scopes: Scopes): Answer {
    if (request.method === "GET" && path === "cache") {
      const keys = (url.searchParams.get("keys") ?? "").split(",");
      const version = url.searchParams.get("version");
      if (!isVersion(version) || !keys.every(isKey)) return [400, { message: "bad request" }];
      const found = find(keys, version, scopes);
      if (found === null) return [204, null];
      const { key: cacheKey, scope } = found;
      return [200, { cacheKey, scope, archiveLocation: signed(found, null) }];
    }
    if (request.method === "POST" && path === "caches") {
      const { key, version } = JSON.parse(request.body.toString()) as Record<string, unknown>;
      if (!isKey(key) || !isVersion(version)) return [400, { message: "bad request" }];
      const upload = reserve(key, version, scopes);
      if (upload === "denied") return [403, { message: "the token may only read" }];
      if (upload === "exists") {
        const typeKey = "ArtifactCacheItemAlreadyExistsException";
        return [409, { message: `Cache already exists. Key: ${key}`, typeKey }];
      }
      return [201, { cacheId: uploads.indexOf(upload) + 1 }];
    }
    const upload = uploads[Number(/^caches\/(\d+)$/.exec(path)?.[1]) - 1];
    if (upload === undefined || upload.entry.bytes !== null) return [404, { message: "nothing reserved" }];
    if (request.method === "PATCH") {
      const [, first, last] = /^bytes (\d+)-(\d+)\/\*$/.exec(request.headers["content-range"] ?? "") ?? [];
      if (Number(last) - Number(first) + 1 !== request.body.length) return [400, { message: "bad range" }];
      upload.chunks.set(Number(first), request.body);
      return [204, null];
    }
    if (request.method !== "POST") return [405, { message: "bad method" }];
    const chunks = [...upload.chunks].sort(([a], [b]) => a - b);
    let offset = 0;
    for (const [first, bytes] of chunks) {
      if (first !== offset) return [400, { message: "a range is missing" }];
      offset += bytes.length;
    }
    const { size } = JSON.parse(request.body.toString()) as { size: unknown };
    if (size !== offset) return [400, { message: "the size is another" }];
    upload.entry.bytes = Buffer.concat(chunks.map(([, bytes]) => bytes));
    return [204, null];
  }

  function answerStorage({ method, headers, body }: ActionsRequest, url: URL): Answer {
    const sig = url.searchParams.get("sig") ?? "";
    const known = signatures.get(sig);
    if (headers.authorization !== undefined)
      return [400, Buffer.from("<Error><Code>InvalidAuthenticationInfo</Code></Error>")];
    if (known === undefined) return [403, Buffer.from("<Error><Code>AuthenticationFailed</Code></Error>")];
    const { entry, upload } = known;
    if (method === "GET" && upload === null && entry.bytes !== null) {
      const first = Number(/^bytes=(\d+)-$/.exec(headers.range ?? "")?.[1] ?? -1);
      const size = entry.bytes.length;
      if (first < 0) return [200, entry.bytes];
      if (first >= size) return [416, null];
      return [206, entry.bytes.subarray(first), { "content-range": `bytes ${first}-${size - 1}/${size}` }];
    }
    if (method !== "PUT" || upload === null || entry.bytes !== null) return [405, null];
    if (headers["content-length"] !== String(body.length)) return [411, null];
    const comp = url.searchParams.get("comp");
    const id = url.searchParams.get("blockid") ?? "";
    if (comp === "block") {
      const [other] = upload.blocks.keys();
      if (id === "" || (other !== undefined && other.length !== id.length))
        return [400, Buffer.from("<Error><Code>InvalidBlockId</Code></Error>")];
      upload.blocks.set(id, body);
      return [201, null];
    }
    if (comp === "blocklist") {
      const ids = [...body.toString().matchAll(/<Latest>([^<]+)<\/Latest>/g)].map(([, one = ""]) => one);
      const blocks = ids.map((one) => upload.blocks.get(one));
      if (blocks.includes(undefined))
        return [400, Buffer.from("<Error><Code>InvalidBlockList</Code></Error>")];
      upload.staged = Buffer.concat(blocks as Buffer[]);
      return [201, null];
    }
    if (headers["x-ms-blob-type"] !== "BlockBlob")
      return [400, Buffer.from("<Error><Code>MissingRequiredHeader</Code></Error>")];
    upload.staged = body;
    return [201, null];
  }

  /** The own scope first, then the others; in each the key itself, then what begins with it, the newest first. */
  function find(keys: readonly string[], version: string, scopes: Scopes): ActionsEntry | null {
    const whole = entries.filter((entry) => entry.bytes !== null && entry.version === version).reverse();
    for (const { Scope: scope, Permission: permission } of scopes) {
      if ((permission & 1) === 0) continue;
      const own = whole.filter((entry) => entry.scope === scope);
      for (const key of keys) {
        const found =
          own.find((entry) => entry.key === key) ?? own.find((entry) => entry.key.startsWith(key));
        if (found !== undefined) return found;
      }
    }
    return null;
  }

  function reserve(key: string, version: string, scopes: Scopes): Upload | "denied" | "exists" {
    const scope = writable(scopes);
    if (scope === undefined) return "denied";
    if (entries.some((entry) => isSame(entry, key, version, scopes))) return "exists";
    const entry: ActionsEntry = { key, version, scope, bytes: null };
    entries.push(entry);
    const upload: Upload = { entry, chunks: new Map(), blocks: new Map(), staged: null };
    uploads.push(upload);
    return upload;
  }

  function isSame(entry: ActionsEntry, key: unknown, version: unknown, scopes: Scopes): boolean {
    return entry.key === key && entry.version === version && entry.scope === writable(scopes);
  }

  function signed(entry: ActionsEntry, upload: Upload | null): string {
    const sig = `${randomBytes(12).toString("base64")}+/=`;
    signatures.set(sig, { entry, upload });
    return `${addressOf(storage)}container/blob?sv=2024-01-01&sig=${encodeURIComponent(sig)}`;
  }

  return Object.assign(running, {
    url: addressOf(service),
    entries,
    requests,
    token(...scopes: readonly (readonly [string, boolean])[]) {
      const ac: Scopes = scopes.map(([Scope, canWrite]) => ({ Scope, Permission: canWrite ? 3 : 1 }));
      const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
      const token = `${part({ alg: "none" })}.${part({ ac: JSON.stringify(ac) })}.${randomBytes(16).toString("hex")}`;
      tokens.set(token, ac);
      return token;
    },
    async [Symbol.asyncDispose]() {
      for (const server of [service, storage]) {
        const closed = once(server, "close");
        server.close();
        server.closeAllConnections();
        await closed;
      }
    },
  });
}

type Answer = readonly [
  status: number,
  body: object | Buffer | null,
  headers?: Readonly<Record<string, string>>,
];

function writable(scopes: Scopes): string | undefined {
  return scopes.find(({ Permission: permission }) => (permission & 2) !== 0)?.Scope;
}

function isKey(key: unknown): key is string {
  return typeof key === "string" && key.length > 0 && key.length <= 512 && !key.includes(",");
}

function isVersion(version: unknown): version is string {
  return typeof version === "string" && /^[0-9a-f]{64}$/.test(version);
}

async function listening(
  answer: (incoming: IncomingMessage, response: ServerResponse) => Promise<void>,
): Promise<Server> {
  const server = createServer((incoming, response) => {
    answer(incoming, response).catch((error: Error) => response.destroy(error));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

function addressOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}
