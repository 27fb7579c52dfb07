// A Store without a disk, for properties that need thousands of builds. Layers, records, leases and locks behave as the
// contract says; there are no files, so what hands out paths throws.
import { digestOf, hexOf } from "../../solver/graph/digest.js";
/** A fresh, empty store. */
export function openMemoryStore() {
    const blobs = new Map();
    const layers = new Map();
    const spaces = new Map();
    const locks = new Map();
    const leases = new Set();
    const writes = [];
    const noFiles = () => {
        throw new Error("a store in memory has no files");
    };
    const space = (name) => {
        let found = spaces.get(name);
        if (found === undefined)
            spaces.set(name, (found = new Map()));
        return found;
    };
    const get = (name, key) => {
        const text = space(name).get(key);
        return text === undefined ? null : JSON.parse(text);
    };
    const put = (name, key, value) => {
        if (value === null)
            space(name).delete(key);
        else
            space(name).set(key, JSON.stringify(value));
    };
    const blob = (digest) => blobs.get(digest) ?? noFiles();
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
            idOf: (diffId) => `d-${hexOf(diffId)}`,
            list: () => [...layers.values()],
            unsynced: () => [],
            markSynced: () => { },
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
                for (const change of changes)
                    put(change.space, change.key, change.value);
            },
            remove: (name, key) => void space(name).delete(key),
            merge(name, key, change) {
                const value = change(get(name, key));
                put(name, key, value);
                return value;
            },
            commit: async () => { },
            flush: async () => { },
            *entries(name) {
                for (const [key, text] of space(name))
                    yield { key, value: JSON.parse(text) };
            },
        },
        cacheMounts: { acquire: noFiles, list: () => [] },
        lease() {
            const held = new Set();
            leases.add(held);
            return {
                addLayers: (ids) => {
                    for (const id of ids)
                        held.add(id);
                },
                addBlobs: () => { },
                [Symbol.asyncDispose]: async () => void leases.delete(held),
            };
        },
        async exclusively(key, work, { signal }) {
            while (locks.has(key)) {
                await locks.get(key)?.then(() => { }, () => { });
                signal.throwIfAborted();
            }
            const running = work();
            locks.set(key, running);
            try {
                return await running;
            }
            finally {
                locks.delete(key);
            }
        },
        tempDir: noFiles,
        [Symbol.asyncDispose]: async () => { },
    };
}
//# sourceMappingURL=memory-store.js.map