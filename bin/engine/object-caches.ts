// Build caches in object stores: opens them for a build, and finds their blobs again when only a layer's record refers to them. Loaded
// only when one is used.

import type { ServiceAccess } from "../../cache/remote-cache/gha-service.ts";
import type { CachePlace } from "../../cache/remote-cache/place.ts";
import type { WebCalls } from "../../cache/remote-cache/web-calls.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import type { AzureLocation, ClientLocation, GhaLocation, S3Location } from "./cache-location.ts";
import type { EngineConfig } from "./config.ts";
import type { Elsewhere, TransferOptions } from "../../cache/registry/contract.ts";

/** Caches that are no registry and no directory of this machine. */
export type ObjectLocation = S3Location | AzureLocation | GhaLocation | ClientLocation;

export interface ObjectCaches extends Disposable {
  /** Opens a cache without sending requests. Throws REGISTRY_DENIED without a service. */
  place(at: ObjectLocation): Promise<CachePlace>;
  /** What separates caches: who may have written them. */
  domain(at: ObjectLocation): Promise<string>;
  /** Can only this process read blobs, because its credentials are not in the environment, or end with a job? */
  isBorrowed(from: string): boolean;
  /** For `openRegistry`. Credentials are those a cache was opened with, else those of the environment. */
  readonly elsewhere: Elsewhere;
}

/** Proxies and authorities are those of `env`. */
export type ObjectCachesOptions = Pick<EngineConfig, "env" | "cacheKeys">;

type ReadBlob = (descriptor: Descriptor, options: TransferOptions) => AsyncIterable<Uint8Array>;

/** Disposing ends idle connections. */
export function openObjectCaches({ env, cacheKeys }: ObjectCachesOptions): ObjectCaches {
  let web: Promise<WebCalls> | null = null;
  const readers = new Map<string, ReadBlob>();
  const borrowed = new Set<string>();
  const opening = new Set<Promise<unknown>>();

  const useWeb = (): Promise<WebCalls> => {
    web ??= Promise.all([
      import("../../cache/remote-cache/web-calls.ts"),
      import("./registry-client.ts").then(({ transportOptions }) => transportOptions(env)),
    ]).then(([{ openWebCalls }, transport]) => openWebCalls(transport));
    return web;
  };

  async function s3Place(at: S3Location): Promise<CachePlace> {
    const [{ s3Store }, { bucketBase }, { objectPlace }] = await Promise.all([
      import("../../cache/remote-cache/s3.ts"),
      import("../../cache/remote-cache/s3-calls.ts"),
      import("../../cache/remote-cache/object-place.ts"),
    ]);
    const endpoint = at.endpoint === null ? null : new URL(at.endpoint);
    const name = `s3://${at.bucket}/${at.prefix}`;
    const bucket = {
      name,
      bucket: at.bucket,
      region: at.region,
      base: bucketBase(at.bucket, at.region, endpoint, at.usePathStyle),
      credentials: async () => at.credentials() ?? (await cacheKeys.s3(name)),
    };
    const store = s3Store(bucket, at, { ...at, nowMs: Date.now }, await useWeb());
    readers.set(store.from, store.blob);
    if (at.credentials() !== null) borrowed.add(store.from);
    return objectPlace(store);
  }

  async function azurePlace(at: AzureLocation): Promise<CachePlace> {
    const [{ azureStore }, { objectPlace }] = await Promise.all([
      import("../../cache/remote-cache/azblob.ts"),
      import("../../cache/remote-cache/object-place.ts"),
    ]);
    const account = new URL(at.account);
    account.search = at.sas();
    const { accountName, container, key } = at;
    const name = `azblob:${at.account.replace(/\/$/, "")}/${container}`;
    const store = azureStore({ name, account, accountName, container, key }, at, at, await useWeb());
    readers.set(store.from, store.blob);
    borrowed.add(store.from);
    return objectPlace(store);
  }

  async function ghaPlace(at: GhaLocation): Promise<CachePlace> {
    const [gha, calls, access] = await Promise.all([
      import("../../cache/remote-cache/gha.ts"),
      useWeb(),
      accessOf(at),
    ]);
    const { listing } = at;
    const place = gha.ghaPlace(
      access,
      {
        scope: at.scope,
        knownKeys:
          listing === null
            ? null
            : async (options) => {
                const [{ listBlobKeys }, { scopesOf }] = await Promise.all([
                  import("../../cache/remote-cache/gha-keys.ts"),
                  import("../../cache/remote-cache/gha-token.ts"),
                ]);
                const refs = scopesOf(access.token).map(({ scope }) => scope);
                const repository = {
                  repository: listing.repository,
                  url: directory(listing.url),
                  token: listing.token(),
                };
                return listBlobKeys({ ...repository, refs }, calls, options);
              },
      },
      calls,
    );
    readers.set(place.from, gha.ghaBlob(access, calls));
    borrowed.add(place.from);
    return place;
  }

  async function placeOfClient(at: ClientLocation): Promise<CachePlace> {
    const { clientPlace } = await import("../../cache/remote-cache/client-place.ts");
    const blobs = at.blobs();
    const from = `client:${at.domain}`;
    readers.set(from, ({ digest }, { signal }) => fromClient(blobs.read(digest, { signal }), signal));
    borrowed.add(from);
    return clientPlace(blobs, { name: at.name, from, digest: at.digest });
  }

  /** A blob in a record, of a cache this process has not opened. */
  async function readerFor(from: string): Promise<ReadBlob> {
    if (from.startsWith("client:"))
      throw new BuildError("REGISTRY_DENIED", "a layer is in a cache that only the client of its build has", {
        hint: "build the image again",
      });
    if (from.startsWith("azblob:"))
      throw new BuildError("REGISTRY_DENIED", "a layer is in an Azure cache whose keys only its build had", {
        hint: "build the image again",
      });
    const calls = await useWeb();
    const { s3Blob } = await import("../../cache/remote-cache/s3.ts");
    const s3 = s3Blob(from, () => cacheKeys.s3("a layer in S3"), calls);
    if (s3 !== null) return s3;
    const { ghaBlob, serviceIn } = await import("../../cache/remote-cache/gha.ts");
    const service = serviceIn(from);
    const own = await cacheKeys.actions();
    // The token in the environment is only for the service in the environment, not for that of another cache.
    if (service !== null && own.service !== null) {
      const access = await accessOf(own);
      if (access.version === service.version && access.url.href === service.url.href)
        return ghaBlob(access, calls);
    }
    throw new BuildError(
      "REGISTRY_DENIED",
      "a layer is in a GitHub Actions cache that only the job that imported it can read",
      { hint: "build the image again" },
    );
  }

  function opened(at: ObjectLocation): Promise<CachePlace> {
    switch (at.kind) {
      case "s3":
        return s3Place(at);
      case "azblob":
        return azurePlace(at);
      case "client":
        return placeOfClient(at);
      case "gha":
        return ghaPlace(at);
    }
  }

  return {
    async place(at) {
      const place = opened(at);
      opening.add(place);
      return await place.finally(() => opening.delete(place));
    },
    async domain(at) {
      if (at.kind === "client") return `client ${at.domain}`;
      if (at.kind === "gha") {
        const { ghaDomain } = await import("../../cache/remote-cache/gha.ts");
        return at.service === null ? `gha:${at.scope}` : ghaDomain(await accessOf(at), at.scope);
      }
      const { from } = await opened(at);
      return JSON.stringify([from, at.manifestsPrefix, at.names[0]]);
    },
    isBorrowed: (from) => borrowed.has(from),
    elsewhere(from, descriptor, options) {
      if (!/^(?:s3:|azblob:|gha:[12]:)https?:\/\/|^client:/.test(from)) return null;
      return read();
      async function* read(): AsyncGenerator<Uint8Array, void, undefined> {
        await Promise.allSettled(opening); // one of them may bring the keys
        const reader = readers.get(from) ?? (await readerFor(from));
        readers.set(from, reader);
        yield* reader(descriptor, options);
      }
    },
    [Symbol.dispose]() {
      void web?.then((calls) => calls[Symbol.dispose]());
      web = null;
    },
  };
}

/** What a client cannot give is missing in its cache, and no failure of the build. */
async function* fromClient(
  data: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* data;
  } catch (cause) {
    if (signal.aborted || cause instanceof BuildError || !(cause instanceof Error)) throw cause;
    throw new BuildError("CONTEXT_MISSING", cause.message, { cause });
  }
}

async function accessOf({ service, timeoutMs }: GhaLocation): Promise<ServiceAccess> {
  if (service === null) {
    const { WITHOUT_SERVICE } = await import("./cache-location.ts");
    throw new BuildError("REGISTRY_DENIED", WITHOUT_SERVICE[0], { hint: WITHOUT_SERVICE[1] });
  }
  const { version, url, token } = service;
  return { version, url: directory(url), token: token(), timeoutMs };
}

/** With "/" at its end: paths go below it. */
function directory(url: string): URL {
  return new URL(url.endsWith("/") ? url : `${url}/`);
}
