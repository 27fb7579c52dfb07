// Results of imported caches during one build: read in the background, used when the store has no result, and kept separate from
// local results.
//
// The content of a cache is verified (every layer against its diffId), but it cannot be verified that the content is really the output
// of its step. So results based on an imported result are recorded under separate names, which only builds with the same list of
// caches look up: a build that does not import a cache never uses any of it.

import { createHash } from "node:crypto";
import type { Digest } from "../../solver/graph/digest.ts";
import { BuildError, type ErrorCode } from "../../solver/graph/error.ts";
import type { Descriptor, LayerId } from "../../solver/graph/request.ts";
import { withRemote } from "../claims.ts";
import { type CachedLayer, type CachedResult, cachedLayerId, recordDigest } from "./config.ts";
import { type ReadCache, readCache } from "./manifest.ts";
import type { CachePlace } from "./place.ts";
import type { SignalOptions } from "../registry/contract.ts";
import type { RemoteBlob, ResultRecord, Store } from "../contract.ts";

/** A cache to import. `open` may have to load and connect. */
export interface CacheSource {
  /** For messages and to keep caches apart: docker.io/user/app:cache, /path. */
  readonly name: string;
  /** Set: what keeps caches apart instead, where one name can stand for several. */
  readonly domain?: string;
  readonly open: () => Promise<CachePlace>;
  /** Contents of cache mounts are wanted too. */
  readonly mounts: boolean;
}

export interface MountSource {
  readonly place: CachePlace;
  readonly index: Descriptor;
  readonly packs: ReadonlyMap<Digest, Descriptor>;
}

export interface ImportedResults extends AsyncDisposable {
  /** All caches are read, or given up. */
  readonly isReady: boolean;
  /** Resolves when isReady; early when the signal aborts. */
  ready(options: SignalOptions): Promise<void>;
  /** Under what a result that stands on imported ones is recorded. */
  nameOf(key: string): string;
  /** The result of a key in the caches, its layers made known to the store; nothing is fetched. null: not there. */
  find(key: string, wanted: readonly number[], nowMs: number): ResultRecord | null;
  /** Is the topmost layer of any of these results imported, or made upon such? */
  isForeign(stacks: readonly (readonly LayerId[] | null)[]): boolean;
  /** From now on the topmost layers of these are. */
  markForeign(stacks: readonly (readonly LayerId[] | null)[]): void;
  /** Content of a cache mount in the first cache that has it. */
  mount(id: string, options: SignalOptions): Promise<MountSource | null>;
  /** Other records of the caches with a result of just these layers. */
  knownAs(diffIds: readonly Digest[]): readonly Digest[];
  /** What the caches say to hold this layer: the one whose result was taken, else all of them. */
  claims(id: LayerId, options: SignalOptions): Promise<readonly RemoteBlob[]>;
  /** Could this failure be one of a cache: a layer that was promised and cannot be had? */
  mayBlame(error: unknown): boolean;
  /** From now on the build goes on as if there were no caches: nothing is found, and imported layers not here are barred. */
  giveUp(): void;
  /** Is this a layer that only a given up cache promised? */
  isBarred(id: LayerId): boolean;
}

const OF_TRANSFERS: ReadonlySet<ErrorCode> = new Set([
  "ARCHIVE_INVALID",
  "CONTEXT_MISSING", // a directory that is gone
  "DIGEST_MISMATCH",
  "IMAGE_INVALID",
  "IMAGE_UNKNOWN",
  "LIMIT_EXCEEDED",
  "REGISTRY_DENIED",
  "REGISTRY_NOT_FOUND",
  "REGISTRY_PROTOCOL",
  "REGISTRY_UNREACHABLE",
  "STORE_CORRUPT",
]);

export interface ImportOptions {
  readonly store: Store;
  readonly sources: readonly CacheSource[];
  /** Told once for each source when it has been read: null, or why it is (partly) not used. */
  readonly onRead: (source: CacheSource, problem: ImportProblem | null) => void;
}

/** absent: there is no such cache (yet). unread: nothing of it is used. in-part: what `words` are about is left out. */
export type ImportProblem =
  | { readonly kind: "absent" }
  | { readonly kind: "unread" | "in-part"; readonly words: string };

/** Begins to read the caches at once. Never rejects: what cannot be read is said and skipped. */
export function openImports(options: ImportOptions): ImportedResults {
  const { store, sources } = options;
  const controller = new AbortController();
  const caches: { readonly place: CachePlace; readonly cache: ReadCache; readonly mounts: boolean }[] = [];
  const domain = createHash("sha256")
    .update(JSON.stringify(sources.map(({ name, domain: own }) => own ?? name)))
    .digest("hex")
    .slice(0, 16);
  const foreign = new Set<LayerId>();
  const used = new Set<LayerId>();
  let isReady = false;
  let gaveUp = false;
  let names: Map<string, Digest[]> | null = null;
  /** By layer: what the cache says whose result was taken. */
  const taken = new Map<LayerId, RemoteBlob>();
  let said: ReadonlyMap<LayerId, readonly RemoteBlob[]> | null = null;

  const reading = Promise.all(sources.map(read)).then((found) => {
    caches.push(...found.flatMap((one) => one ?? []));
    isReady = true;
  });

  async function read(source: CacheSource): Promise<(typeof caches)[number] | null> {
    try {
      const place = await source.open();
      const cache = await readCache(place, { signal: controller.signal });
      const [ignored] = cache?.ignored ?? [];
      const part: ImportProblem | null = ignored === undefined ? null : { kind: "in-part", words: ignored };
      options.onRead(source, cache === null ? { kind: "absent" } : part);
      return cache === null ? null : { place, cache, mounts: source.mounts };
    } catch (error) {
      const words = error instanceof Error ? error.message : String(error);
      options.onRead(source, { kind: "unread", words });
      return null;
    }
  }

  function lookUp(
    key: string,
    wanted: readonly number[],
  ): { place: CachePlace; results: Map<number, CachedResult> } | null {
    for (const { place, cache } of caches) {
      const results = new Map<number, CachedResult>();
      for (const output of wanted) {
        const result = cache.results.get(recordDigest(key, output));
        if (result !== undefined) results.set(output, result);
      }
      if (results.size === wanted.length) return { place, results };
    }
    return null;
  }

  function register(layer: CachedLayer, from: string, nowMs: number): LayerId {
    const id = cachedLayerId(layer);
    const remote: RemoteBlob = { descriptor: layer.descriptor, from };
    if (!taken.has(id)) taken.set(id, remote);
    const known = store.layers.get(id);
    const remotes = withRemote(known, remote);
    // Said for this build only: what was unpacked here is known better.
    const isMeasured = layer.isBase || known?.unpacked === true || (known?.verified ?? []).length > 0;
    const tarBytes = isMeasured ? null : layer.tarBytes;
    const isNews = tarBytes !== null && known?.tarBytes?.[""] !== tarBytes;
    if (remotes === null && !isNews && known?.diffId === layer.diffId) return id;
    // A time in the future would keep it from ever being the oldest.
    const createdAtMs = Math.min(layer.createdAtMs, nowMs);
    store.layers.update(id, {
      diffId: layer.diffId,
      ...(remotes === null ? {} : { remotes }),
      ...(isNews ? { tarBytes: { ...known?.tarBytes, "": tarBytes } } : {}),
      ...(known === null && createdAtMs > 0 ? { createdAtMs } : {}),
      description: known?.description || (layer.description ?? `imported from ${from}`),
    });
    return id;
  }

  function saidByAll(): ReadonlyMap<LayerId, readonly RemoteBlob[]> {
    const all = new Map<LayerId, RemoteBlob[]>();
    const seen = new Set<string>();
    for (const { place, cache } of caches) {
      for (const layer of [...cache.results.values()].flatMap(({ layers }) => layers)) {
        const id = cachedLayerId(layer);
        const key = `${id} ${layer.descriptor.digest} ${place.from}`;
        if (seen.has(key)) continue;
        seen.add(key);
        all.set(id, [...(all.get(id) ?? []), { descriptor: layer.descriptor, from: place.from }]);
      }
    }
    return all;
  }

  return {
    get isReady() {
      return isReady;
    },
    async ready({ signal }) {
      if (isReady || signal.aborted) return;
      const aborted = new Promise<void>((resolve) =>
        signal.addEventListener("abort", () => resolve(), { once: true }),
      );
      await Promise.race([reading, aborted]);
    },
    nameOf: (key) => `${domain}:${key}`,
    find(key, wanted, nowMs) {
      if (!isReady || gaveUp) return null;
      const found = lookUp(key, wanted);
      if (found === null) return null;
      const outputs: (readonly LayerId[] | null)[] = [];
      for (let index = 0; index <= Math.max(...wanted); index++) {
        const result = found.results.get(index);
        outputs.push(
          result === undefined
            ? null
            : result.layers.map((layer) => register(layer, found.place.from, nowMs)),
        );
      }
      const times = [...found.results.values()].map((result) => result.createdAtMs);
      const createdAtMs = Math.min(nowMs, Math.max(0, ...times));
      return {
        outputs,
        createdAtMs,
        durationMs: 0,
        lastUsedMs: nowMs,
        name: `imported from ${found.place.name}`,
        ingredients: {},
      };
    },
    isForeign: (stacks) => stacks.some((stack) => stack?.some((id) => foreign.has(id)) ?? false),
    markForeign(stacks) {
      for (const stack of stacks) {
        const top = stack?.at(-1);
        if (top !== undefined) foreign.add(top);
        for (const id of stack ?? []) used.add(id);
      }
    },
    async mount(id, signalOptions) {
      await this.ready(signalOptions);
      for (const { place, cache, mounts } of caches) {
        const index = mounts ? cache.mounts.get(id) : undefined;
        if (index !== undefined) return { place, index, packs: cache.packs };
      }
      return null;
    },
    knownAs(diffIds) {
      if (names === null) {
        names = new Map();
        for (const { cache } of caches) {
          for (const [digest, { layers }] of cache.results) {
            const stack = layers.map(({ diffId }) => diffId).join();
            names.set(stack, [...(names.get(stack) ?? []), digest]);
          }
        }
      }
      return names.get(diffIds.join()) ?? [];
    },
    async claims(id, signalOptions) {
      const own = taken.get(id);
      if (own !== undefined && !gaveUp) return [own];
      await this.ready(signalOptions);
      if (gaveUp) return [];
      said ??= saidByAll();
      return said.get(id) ?? [];
    },
    mayBlame: (error) => !gaveUp && error instanceof BuildError && OF_TRANSFERS.has(error.code),
    giveUp() {
      gaveUp = true;
    },
    isBarred: (id) => gaveUp && id.startsWith("r-") && used.has(id),
    async [Symbol.asyncDispose]() {
      controller.abort(new Error("the build has ended"));
      await reading;
    },
  };
}
