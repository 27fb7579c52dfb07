// A Store without a disk, for properties that need thousands of builds. Blobs, layers, records, leases and locks behave according to
// the contract (test/suites/store.ts); there are no files, so functions that return paths throw.

import { type Digest, digestOf, hexOf } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { LayerId } from "../../solver/graph/request.ts";
import { unlessAborted } from "../../solver/graph/scope.ts";
import type { LayerRecord, Store } from "../../cache/contract.ts";

export interface MemoryStore extends Store {
  /** Writes so far, by space; several at once count once. */
  readonly writes: { readonly spaces: readonly string[] }[];
  /** Layers that leases hold now. */
  held(): ReadonlySet<LayerId>;
  /** Takes a layer away, as collection would. */
  forget(id: LayerId): void;
}

/** A fresh, empty store. */
export function openMemoryStore(): MemoryStore {
  const blobs = new Map<Digest, Uint8Array>();
  const layers = new Map<LayerId, LayerRecord>();
  /** JSON, or bytes as a whole. */
  const spaces = new Map<string, Map<string, string | Uint8Array>>();
  const locks = new Map<string, Promise<void>>();
  const leases = new Set<Set<LayerId>>();
  const writes: { readonly spaces: readonly string[] }[] = [];
  const noFiles = (): never => {
    throw new Error("a store in memory has no files");
  };
  const space = (name: string): Map<string, string | Uint8Array> => {
    let found = spaces.get(name);
    if (found === undefined) spaces.set(name, (found = new Map()));
    return found;
  };
  const valueOf = <T>(kept: string | Uint8Array): T =>
    (typeof kept === "string" ? JSON.parse(kept) : kept.slice()) as T;
  const get = <T>(name: string, key: string): T | null => {
    const kept = space(name).get(key);
    return kept === undefined ? null : valueOf<T>(kept);
  };
  const put = (name: string, key: string, value: unknown): void => {
    if (value === null) space(name).delete(key);
    else space(name).set(key, value instanceof Uint8Array ? value.slice() : JSON.stringify(value));
  };
  const blob = (digest: Digest): Uint8Array => {
    const data = blobs.get(digest);
    if (data === undefined) throw new BuildError("STORE_CORRUPT", `${digest} is not in the store`);
    return data;
  };

  return {
    dir: "/nowhere",
    writes,
    held: () => new Set([...leases].flatMap((lease) => [...lease])),
    forget: (id) => layers.delete(id),
    content: {
      has: (digest) => blobs.has(digest),
      size: (digest) => blobs.get(digest)?.length ?? null,
      read(digest, maxBytes) {
        const data = blob(digest);
        if (data.length > maxBytes) throw new BuildError("LIMIT_EXCEEDED", `${digest} is too large`);
        return data;
      },
      async *stream(digest) {
        yield blob(digest);
      },
      isWhole: async (digest) => blobs.has(digest),
      path: noFiles,
      put(data) {
        const digest = digestOf(data);
        blobs.set(digest, Uint8Array.from(data));
        return digest;
      },
      ingest: noFiles,
    },
    layers: {
      get: (id) => layers.get(id) ?? null,
      update(id, change) {
        const before = layers.get(id) ?? {
          ...{
            diffId: null,
            unpacked: false,
            sizeBytes: 0,
            createdAtMs: 0,
            blobs: {},
            diffIds: {},
            remotes: [],
          },
          description: "",
        };
        const record = { ...before, ...change, id };
        layers.set(id, record);
        return record;
      },
      directory: noFiles,
      prepare: noFiles,
      idOf: (diffId) => `d-${hexOf(diffId)}` as LayerId,
      made: () => null,
      list: () => [...layers.values()],
      unsynced: () => [],
      markSynced: () => {},
      isOfOtherIds: () => false,
      discarded: () => [],
      leftovers: () => [],
    },
    records: {
      get,
      put(name, key, value) {
        writes.push({ spaces: [name] });
        put(name, key, value);
      },
      batch(changes) {
        writes.push({ spaces: changes.map((change) => change.space) });
        for (const change of changes) put(change.space, change.key, change.value);
      },
      remove: (name, key) => void space(name).delete(key),
      merge(name, key, change) {
        const value = change(get(name, key));
        put(name, key, value);
        return value;
      },
      commit: async () => {},
      flush: async () => {},
      *entries<T>(name: string) {
        for (const [key, kept] of space(name)) yield { key, value: valueOf<T>(kept) };
      },
    },
    cacheMounts: { acquire: noFiles, read: async () => null, list: () => [], forget: async () => [] },
    syncedFiles: { acquire: noFiles, read: async () => null, list: () => [], forget: async () => [] },
    lease() {
      const held = new Set<LayerId>();
      leases.add(held);
      return {
        addLayers: (ids) => {
          if (!leases.has(held)) throw new Error("the lease has ended");
          for (const id of ids) held.add(id);
        },
        addBlobs: () => {},
        [Symbol.asyncDispose]: async () => void leases.delete(held),
      };
    },
    async exclusively(key, work, { signal }) {
      signal.throwIfAborted();
      const before = locks.get(key) ?? null;
      let leave = (): void => {};
      const own = new Promise<void>((resolve) => {
        leave = resolve;
      });
      // Who gives up in line lets those behind go on when the one before has done.
      const turn = before === null ? own : before.then(() => own);
      locks.set(key, turn);
      try {
        if (before !== null) await unlessAborted(before, signal);
        return await work();
      } finally {
        leave();
        if (locks.get(key) === turn) locks.delete(key);
      }
    },
    isFull: () => false,
    tempDir: noFiles,
    [Symbol.asyncDispose]: async () => {},
  };
}
