// Build caches in the cache of GitHub Actions, named as in BuildKit: "buildkit-blob-1-" + digest for blobs, and for the
// document "index-" + the cache's own scope + "-1-" + hash of the ref + "#" + a number; the highest one is current, because entries
// never change. BuildKit cache/remotecache/gha/gha.go

import { BuildError } from "../../solver/graph/error.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import { transferMs } from "../registry/calls.ts";
import { rangeHeader } from "../registry/blob-range.ts";
import { resumedBlob } from "../registry/resumed.ts";
import { type CacheService, openCacheService, SERVICE_NAME, type ServiceAccess } from "./gha-service.ts";
import { type CacheScope, scopeHash, scopesOf } from "./gha-token.ts";
import { objectPlace, type ObjectStore } from "./object-place.ts";
import type { CachePlace } from "./place.ts";
import type { WebCalls } from "./web-calls.ts";
import type { SignalOptions, TransferOptions } from "../registry/contract.ts";

export interface GhaOptions {
  /** Which of several caches of a repository: scope=. */
  readonly scope: string;
  /** Keys of blobs that are there, if somebody can list them; null: each is asked for. */
  readonly knownKeys: ((options: SignalOptions) => Promise<ReadonlySet<string>>) | null;
}

const FROM = "gha:";
/** Layout of entries. */
const LAYOUT = "1";
const UPLOADS_AT_ONCE = 4;
const TRANSFER_MIN_BYTES = 1 << 20;
/** How often another job's unfinished entry is waited for. After the last it was left behind by a job that died. */
const WAITS_MAX = 6;
/** Wait for it: WebCalls.pause, about 2 s. */
const WAIT_STEP = 3;
const NUMBERS_MAX = 100;

/** The cache of a job: written in its own scope, read there and in the scopes it may read besides. */
export function ghaPlace(access: ServiceAccess, options: GhaOptions, web: WebCalls): CachePlace {
  const service = openCacheService(access, web);
  const places = scopesOf(access.token).map((scope) =>
    objectPlace(ghaStore(access, service, scope, options, web)),
  );
  const [own, ...others] = places;
  if (own === undefined) throw new Error("a token without scopes");
  return { ...own, fallbacks: others };
}

/** Who may have written what such a cache holds: the service and the scopes. Caches with different ones are not to be mixed. */
export function ghaDomain(access: ServiceAccess, scope: string): string {
  return JSON.stringify([fromOf(access), scope, scopesOf(access.token).map((one) => one.scope)]);
}

/** What RemoteBlob.from says of blobs of a service. */
export function fromOf({ version, url }: Pick<ServiceAccess, "version" | "url">): string {
  return `${FROM}${version}:${url.href}`;
}

/** Which service RemoteBlob.from means; null: none. */
export function serviceIn(from: string): Pick<ServiceAccess, "version" | "url"> | null {
  const [, version, href] = /^gha:([12]):(.*)$/.exec(from) ?? [];
  return href === undefined ? null : { version: version === "1" ? 1 : 2, url: new URL(href) };
}

/** Bytes of a blob of a service, verified. */
export function ghaBlob(
  access: ServiceAccess,
  web: WebCalls,
): (descriptor: Descriptor, options: TransferOptions) => AsyncIterable<Uint8Array> {
  const service = openCacheService(access, web);
  return (descriptor, options) => readBlob(access, service, descriptor, options, web);
}

export function blobKey({ digest }: Pick<Descriptor, "digest">): string {
  return `${BLOB_PREFIX}${digest}`;
}
/** All keys of blobs begin so. */
export const BLOB_PREFIX: string = `buildkit-blob-${LAYOUT}-`;

function ghaStore(
  access: ServiceAccess,
  service: CacheService,
  { scope, canWrite }: CacheScope,
  options: GhaOptions,
  web: WebCalls,
): ObjectStore {
  const name = `${SERVICE_NAME} ${JSON.stringify(options.scope)}${scope === "" ? "" : ` of ${scope}`}`;
  const indexKey = `index-${options.scope}-${LAYOUT}-${scopeHash(scope)}#`;
  let known: Promise<ReadonlySet<string>> | null = null;

  const throwIfReadOnly = (): void => {
    if (canWrite) return;
    throw new BuildError("REGISTRY_DENIED", `${name}: the token of this job is read-only`, {
      hint: "jobs for pull requests from forks cannot write caches; use ignore-error=true if that is acceptable",
    });
  };

  async function isThere(descriptor: Descriptor, { signal }: SignalOptions): Promise<boolean> {
    const key = blobKey(descriptor);
    if (options.knownKeys !== null) {
      known ??= options.knownKeys({ signal });
      return (await known).has(key);
    }
    return (await service.find(key, { signal }))?.key === key;
  }

  return {
    name,
    from: fromOf(access),
    uploadsAtOnce: UPLOADS_AT_ONCE,
    async document(maxBytes, { signal }) {
      const found = await service.find(indexKey, { signal });
      if (found === null) return null;
      const answer = await web.document(
        { method: "GET", url: found.url, ok: [200], name, untilMs: Date.now() + access.timeoutMs, signal },
        maxBytes,
      );
      return answer.bytes;
    },
    async putDocument(bytes, { signal }) {
      throwIfReadOnly();
      const open = () => once(bytes);
      let waits = 0;
      for (let skipped = 0; skipped <= NUMBERS_MAX; ) {
        const newest = await service.find(indexKey, { signal });
        const number = (newest === null ? 0 : numberOf(newest.key, indexKey)) + 1 + skipped;
        if (await service.save(`${indexKey}${number}`, bytes.length, open, { signal })) return;
        // Another job is writing that number; after a while, it has not lived to finish it.
        if (waits++ < WAITS_MAX) await web.pause(WAIT_STEP, signal);
        else skipped += 1;
      }
      throw new BuildError("REGISTRY_PROTOCOL", `${name}: no free index for its new state`);
    },
    blob: (descriptor, transfer) => readBlob(access, service, descriptor, transfer, web),
    async putBlob(descriptor, open, { signal }) {
      throwIfReadOnly();
      if (await isThere(descriptor, { signal })) return false;
      const key = blobKey(descriptor);
      if (await service.save(key, descriptor.size, open, { signal })) return true;
      // Another job is sending the same. Should it fail, builds that need this blob go on without the cache.
      for (let waits = 0; waits < WAITS_MAX; waits++) {
        if ((await service.find(key, { signal }))?.key === key) break;
        await web.pause(WAIT_STEP, signal);
      }
      return false;
    },
  };
}

function numberOf(key: string, indexKey: string): number {
  const text = key.slice(indexKey.length);
  if (!/^\d{1,15}$/.test(text))
    throw new BuildError("REGISTRY_PROTOCOL", `${SERVICE_NAME}: an entry has a name that is not a cache key`);
  return Number(text);
}

/** So long parts of a blob come from the same address. */
const FOUND_MS = 30_000;

function readBlob(
  access: ServiceAccess,
  service: CacheService,
  descriptor: Descriptor,
  { signal, onBytes }: TransferOptions,
  web: WebCalls,
): AsyncIterable<Uint8Array> {
  const key = blobKey(descriptor);
  const name = `${SERVICE_NAME} ${descriptor.digest}`;
  let { url } = access;
  let foundAtMs = Number.NEGATIVE_INFINITY;
  return resumedBlob({
    descriptor,
    name,
    sender: "the service",
    async ask(range) {
      // The address is signed for some minutes only: anew after a fault, and now and then for parts.
      if (range.end === null || performance.now() - foundAtMs > FOUND_MS) {
        const found = await service.find(key, { signal: range.signal });
        if (found?.key !== key) {
          throw new BuildError("REGISTRY_NOT_FOUND", `${name}: not found`, {
            hint: "GitHub evicts caches that were not used for a week, and the oldest ones when a repository exceeds its limit",
          });
        }
        url = found.url;
        foundAtMs = performance.now();
      }
      return await web.call({
        method: "GET",
        url,
        headers: () => rangeHeader(range),
        ok: [200, 206],
        name,
        isTransfer: descriptor.size > TRANSFER_MIN_BYTES,
        totalMs: transferMs(descriptor.size),
        untilMs: Date.now() + access.timeoutMs,
        signal: range.signal,
      });
    },
    unreachable: (fault) => web.unreachable(name, url, fault),
    pause: (attempt, own) => web.pause(attempt, own),
    totalMs: transferMs(descriptor.size),
    onBytes,
    connections: web.connections(url.host),
    signal,
  });
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
