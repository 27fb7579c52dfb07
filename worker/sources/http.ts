// http(s) sources: one file by URL. Pinned by the content that came, so an unchanged file keeps everything cached.

import { createHash } from "node:crypto";
import { chmodSync, constants, copyFileSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { BuildError, redactUrl } from "../../solver/graph/error.ts";
import { type Digest, digestFromHex, digestOf, parseDigest } from "../../solver/graph/digest.ts";
import type { SourceOp } from "../../solver/graph/op.ts";
import type { CallContext, LayerId } from "../../solver/graph/request.ts";
import { openTransport, type Transport } from "../../cache/registry/transport.ts";
import type { Store } from "../../cache/store.ts";
import type { Pin } from "../worker.ts";

/** Largest file taken from a URL. */
export const DOWNLOAD_MAX_BYTES: number = 64 * 1024 ** 3;
const REDIRECTS_MAX = 10;
const IDLE_TIMEOUT_MS = 60_000;
/** For a whole file, however large and slow. */
const TOTAL_TIMEOUT_MS = 24 * 3600_000;
const ATTEMPTS = 4;

/** What is remembered of a URL between builds. */
interface Remembered {
  readonly digest: Digest;
  readonly etag: string | null;
  readonly lastModified: string | null;
  readonly filename: string;
  readonly mtimeSeconds: number;
}

/** Downloads (or revalidates) the file; the pin names content, name and mode. */
export async function pinHttp(op: SourceOp, store: Store, context: CallContext): Promise<Pin> {
  const known = await download(op, store, context);
  return { digest: pinDigest(op, known), result: null };
}

/** The file as a blob of the content store. */
export async function downloadHttp(op: SourceOp, store: Store, context: CallContext): Promise<Digest> {
  return (await download(op, store, context)).digest;
}

/** A layer with the file in its root. */
export async function fetchHttp(op: SourceOp, store: Store, context: CallContext): Promise<LayerId> {
  const known = await download(op, store, context);
  await using active = store.layers.prepare();
  const file = join(active.upper, known.filename);
  copyFileSync(store.content.path(known.digest), file, constants.COPYFILE_FICLONE);
  chmodSync(file, op.attrs["http.perm"] === undefined ? 0o600 : Number.parseInt(op.attrs["http.perm"], 8));
  utimesSync(file, known.mtimeSeconds, known.mtimeSeconds);
  utimesSync(active.upper, known.mtimeSeconds, known.mtimeSeconds);
  const record = active.commit({
    unpacked: true,
    createdAtMs: Date.now(),
    description: redactUrl(op.identifier),
  });
  return record.id;
}

function pinDigest(op: SourceOp, known: Remembered): Digest {
  return digestOf(
    JSON.stringify([
      "tsbuild.http.v1",
      known.digest,
      known.filename,
      known.mtimeSeconds,
      op.attrs["http.perm"] ?? "0600",
    ]),
  );
}

const inFlight = new WeakMap<Store, Map<string, Promise<Remembered>>>();

/** One download per URL and build process. */
function download(op: SourceOp, store: Store, context: CallContext): Promise<Remembered> {
  const tasks = inFlight.get(store) ?? new Map<string, Promise<Remembered>>();
  inFlight.set(store, tasks);
  const key = JSON.stringify([op.identifier, op.attrs]);
  const known = tasks.get(key);
  if (known !== undefined) return known;
  const task = fetchFile(op, store, context);
  tasks.set(key, task);
  task.catch(() => tasks.delete(key));
  return task;
}

async function fetchFile(op: SourceOp, store: Store, context: CallContext): Promise<Remembered> {
  const url = op.identifier;
  const checksum = op.attrs["http.checksum"];
  const wanted = checksum === undefined || checksum === "" ? null : parseDigest(checksum);
  const recordKey = digestOf(JSON.stringify([url, op.attrs["http.filename"] ?? ""]));
  const remembered = store.records.get<Remembered>("http", recordKey);
  const usable = remembered !== null && store.content.has(remembered.digest) ? remembered : null;
  // A file known by its checksum needs no network.
  if (usable !== null && wanted !== null && usable.digest === wanted) return usable;

  const headers: Record<string, string> = { "user-agent": "tsbuild", "accept-encoding": "identity" };
  if (usable?.etag) headers["if-none-match"] = usable.etag;
  else if (usable?.lastModified) headers["if-modified-since"] = usable.lastModified;

  using transport = openTransport();
  for (let attempt = 1; ; attempt++) {
    try {
      const fetched = await transfer(transport, url, headers, usable, op, store, context);
      if (wanted !== null && fetched.digest !== wanted) {
        throw new BuildError(
          "CHECKSUM_MISMATCH",
          `digest mismatch ${fetched.digest}: ${wanted} (${redactUrl(url)})`,
          {
            hint: "the file at the URL is not the one --checksum names",
          },
        );
      }
      store.records.put("http", recordKey, fetched);
      return fetched;
    } catch (error) {
      if (error instanceof BuildError || context.signal.aborted || attempt >= ATTEMPTS)
        throw reachable(error, url);
      await new Promise((resolve) => setTimeout(resolve, 200 * 2 ** attempt));
    }
  }
}

async function transfer(
  transport: Transport,
  address: string,
  headers: Readonly<Record<string, string>>,
  usable: Remembered | null,
  op: SourceOp,
  store: Store,
  context: CallContext,
): Promise<Remembered> {
  let url = new URL(address);
  for (let hop = 0; ; hop++) {
    if (url.protocol !== "http:" && url.protocol !== "https:") {
      throw new BuildError(
        "SOURCE_FAILED",
        `${redactUrl(address)} leads to the unsupported ${redactUrl(url.href)}`,
      );
    }
    const authorization = hop === 0 || url.username !== "" ? await authorizationFor(url, context) : null;
    const credentials = authorization === null ? {} : { authorization };
    const target = new URL(url.href);
    target.username = "";
    target.password = "";
    target.hash = "";
    const answer = await transport.send({
      method: "GET",
      url: target,
      headers: { ...headers, ...credentials },
      isTransfer: usable === null, // a file that is here is mostly the same still
      signal: context.signal,
      idleMs: IDLE_TIMEOUT_MS,
      totalMs: TOTAL_TIMEOUT_MS,
      verifyTls: true,
    });
    const { status } = answer;
    const one = (name: string): string | null => {
      const value = answer.headers[name];
      return (Array.isArray(value) ? value[0] : value) ?? null;
    };
    if (status === 304 && usable !== null) {
      await answer.discard();
      return usable;
    }
    const location = one("location");
    if ([301, 302, 303, 307, 308].includes(status) && location !== null) {
      await answer.discard();
      if (hop >= REDIRECTS_MAX)
        throw new BuildError("SOURCE_FAILED", `${redactUrl(address)}: more than ${REDIRECTS_MAX} redirects`);
      url = new URL(location, target); // credentials of the first URL do not follow (threat model C5)
      continue;
    }
    if (status < 200 || status >= 300) {
      await answer.discard();
      if (status === 429 || status >= 500) throw new Error(`status ${status}`);
      throw new BuildError("SOURCE_FAILED", `invalid response status ${status} for ${redactUrl(address)}`);
    }
    await using ingest = store.content.ingest();
    const hash = createHash("sha256");
    let size = 0;
    for await (const chunk of answer.body) {
      size += chunk.length;
      if (size > DOWNLOAD_MAX_BYTES)
        throw new BuildError(
          "LIMIT_EXCEEDED",
          `${redactUrl(address)} is larger than ${DOWNLOAD_MAX_BYTES} bytes`,
        );
      hash.update(chunk);
      ingest.write(chunk);
    }
    const length = one("content-length");
    if (length !== null && Number(length) !== size) throw new Error(`${size} of ${length} bytes came`);
    const digest = digestFromHex(hash.digest("hex"));
    ingest.commit({ digest, size, trusted: true });
    const lastModified = one("last-modified");
    const modifiedMs = lastModified === null ? Number.NaN : Date.parse(lastModified);
    return {
      digest,
      etag: one("etag"),
      lastModified,
      filename: safeName(
        op.attrs["http.filename"] ??
          dispositionName(one("content-disposition")) ??
          lastSegment(new URL(address)),
      ),
      mtimeSeconds: Number.isNaN(modifiedMs) ? 0 : Math.floor(modifiedMs / 1000),
    };
  }
}

/** From the URL, else from the asker's secrets HTTP_AUTH_HEADER_HOST or HTTP_AUTH_TOKEN_HOST, as BuildKit names them. */
async function authorizationFor(url: URL, { session }: CallContext): Promise<string | null> {
  if (url.username !== "") {
    const pair = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
    return `Basic ${Buffer.from(pair).toString("base64")}`;
  }
  const text = (data: Uint8Array): string => new TextDecoder().decode(data).trim();
  const header = await session.secret(`HTTP_AUTH_HEADER_${url.hostname}`);
  if (header !== null) return text(header);
  const token = await session.secret(`HTTP_AUTH_TOKEN_${url.hostname}`);
  return token === null ? null : `Bearer ${text(token)}`;
}

/** One path component, never anything else (threat model P3). */
function safeName(name: string): string {
  const last = name.split("/").pop() ?? "";
  return last === "" || last === "." || last === ".." || last.includes("\0") ? "download" : last;
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
