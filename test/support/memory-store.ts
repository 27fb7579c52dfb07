// A Store without a disk, for properties that need thousands of builds. Layers, records, leases and locks behave according to the
// contract; there are no files, so functions that return paths throw.

import type { LayerRecord, Store } from "../../cache/store.ts";
import { type Digest, digestOf, hexOf } from "../../solver/graph/digest.ts";
import type { LayerId } from "../../solver/graph/request.ts";

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
  const spaces = new Map<string, Map<string, string>>();
  const locks = new Map<string, Promise<unknown>>();
  const leases = new Set<Set<LayerId>>();
  const writes: { readonly spaces: readonly string[] }[] = [];
  const noFiles = (): never => {
    throw new Error("a store in memory has no files");
  };
  const space = (name: string): Map<string, string> => {
    let found = spaces.get(name);
    if (found === undefined) spaces.set(name, (found = new Map()));
    return found;
  };
  const get = <T>(name: string, key: string): T | null => {
    const text = space(name).get(key);
    return text === undefined ? null : (JSON.parse(text) as T);
  };
  const put = (name: string, key: string, value: unknown): void => {
    if (value === null) space(name).delete(key);
    else space(name).set(key, JSON.stringify(value));
  };
  const blob = (digest: Digest): Uint8Array => blobs.get(digest) ?? noFiles();

  return {
    dir: "/nowhere",
    writes,
    held: () => new Set([...leases].flatMap((lease) => [...lease])),
    forget: (id) => layers.delete(id),
    content: {
      has: (digest) => blobs.has(digest),
      size: (digest) => blobs.get(digest)?.length ?? null,
      read: blob,
      async *stream(digest) {
        yield blob(digest);
      },
      isWhole: async (digest) => blobs.has(digest),
      path: noFiles,
      put(data) {
        const digest = digestOf(data);
        blobs.set(digest, data);
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
        for (const [key, text] of space(name)) yield { key, value: JSON.parse(text) as T };
      },
    },
    cacheMounts: { acquire: noFiles, read: async () => null, list: () => [] },
    lease() {
      const held = new Set<LayerId>();
      leases.add(held);
      return {
        addLayers: (ids) => {
          for (const id of ids) held.add(id);
        },
        addBlobs: () => {},
        [Symbol.asyncDispose]: async () => void leases.delete(held),
      };
    },
    async exclusively(key, work, { signal }) {
      while (locks.has(key)) {
        await locks.get(key)?.then(
          () => {},
          () => {},
        );
        signal.throwIfAborted();
      }
      const running = work();
      locks.set(key, running);
      try {
        return await running;
      } finally {
        locks.delete(key);
      }
    },
    isFull: () => false,
    tempDir: noFiles,
    [Symbol.asyncDispose]: async () => {},
  };
}
