var __addDisposableResource = (this && this.__addDisposableResource) || function (env, value, async) {
    if (value !== null && value !== void 0) {
        if (typeof value !== "object" && typeof value !== "function") throw new TypeError("Object expected.");
        var dispose, inner;
        if (async) {
            if (!Symbol.asyncDispose) throw new TypeError("Symbol.asyncDispose is not defined.");
            dispose = value[Symbol.asyncDispose];
        }
        if (dispose === void 0) {
            if (!Symbol.dispose) throw new TypeError("Symbol.dispose is not defined.");
            dispose = value[Symbol.dispose];
            if (async) inner = dispose;
        }
        if (typeof dispose !== "function") throw new TypeError("Object not disposable.");
        if (inner) dispose = function() { try { inner.call(this); } catch (e) { return Promise.reject(e); } };
        env.stack.push({ value: value, dispose: dispose, async: async });
    }
    else if (async) {
        env.stack.push({ async: true });
    }
    return value;
};
var __disposeResources = (this && this.__disposeResources) || (function (SuppressedError) {
    return function (env) {
        function fail(e) {
            env.error = env.hasError ? new SuppressedError(e, env.error, "An error was suppressed during disposal.") : e;
            env.hasError = true;
        }
        var r, s = 0;
        function next() {
            while (r = env.stack.pop()) {
                try {
                    if (!r.async && s === 1) return s = 0, env.stack.push(r), Promise.resolve().then(next);
                    if (r.dispose) {
                        var result = r.dispose.call(r.value);
                        if (r.async) return s |= 2, Promise.resolve(result).then(next, function(e) { fail(e); return next(); });
                    }
                    else s |= 1;
                }
                catch (e) {
                    fail(e);
                }
            }
            if (s === 1) return env.hasError ? Promise.reject(env.error) : Promise.resolve();
            if (env.hasError) throw env.error;
        }
        return next();
    };
})(typeof SuppressedError === "function" ? SuppressedError : function (error, suppressed, message) {
    var e = new Error(message);
    return e.name = "SuppressedError", e.error = error, e.suppressed = suppressed, e;
});
import assert from "node:assert/strict";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { prune, usage } from "../../cache/collect.js";
import { parseFilters } from "../../cache/prune-filter.js";
import { openStore } from "../../cache/store.js";
import { child, freshDirectory, never } from "./store-support.js";
describe("collect", () => {
    const dir = freshDirectory();
    const options = {
        all: false,
        keepBytes: null,
        olderThanMs: null,
        filters: [],
        signal: never(),
    };
    const now = Date.now();
    function layer(store, name, change = {}) {
        const active = store.layers.prepare();
        writeFileSync(join(active.upper, "file"), name);
        return active.commit({ description: name, sizeBytes: 100, createdAtMs: 1000, ...change }).id;
    }
    function result(store, key, layers, lastUsedMs) {
        const record = {
            outputs: [layers],
            createdAtMs: 1000,
            durationMs: 1,
            lastUsedMs,
            name: `RUN ${key}`,
            ingredients: {},
        };
        store.records.put("result", key, record);
    }
    function image(store, name, layers) {
        const put = (value) => store.content.put(Buffer.from(JSON.stringify(value)));
        const config = put({ architecture: "amd64" });
        const blob = store.content.put(Buffer.from(`layer of ${name}`));
        const manifest = put({ config: { digest: config }, layers: [{ digest: blob }] });
        const index = put({ manifests: [{ digest: manifest }] });
        store.records.put("image", name, {
            name,
            target: { mediaType: "application/vnd.oci.image.index.v1+json", digest: index, size: 1 },
            createdAtMs: 2000,
            layers: { "linux/amd64": layers },
        });
        return [config, blob, manifest, index];
    }
    const kindsOf = async (store) => (await usage(store)).map((entry) => `${entry.kind} ${entry.description}`);
    it("lists everything, least recently used first", async () => {
        const env_1 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_1, await openStore(dir()), true);
            const base = layer(store, "base");
            const step = layer(store, "step");
            result(store, "one", [base], 5000);
            result(store, "two", [base, step], 4000);
            (await store.cacheMounts.acquire("/cache", "shared", { signal: never(), seedKey: "" }))[Symbol.asyncDispose]();
            const entries = await usage(store);
            assert.deepEqual(entries.map((entry) => `${entry.kind} ${entry.description} ${entry.shared}`), [
                "record RUN two false",
                "layer step false",
                "record RUN one false",
                "layer base true",
                "cache-mount cache mount /cache false",
            ]);
            assert.ok(entries.every((entry) => entry.reclaimable && !entry.inUse));
            assert.equal(entries.find((entry) => entry.id === base)?.sizeBytes, 100);
        }
        catch (e_1) {
            env_1.error = e_1;
            env_1.hasError = true;
        }
        finally {
            const result_1 = __disposeResources(env_1);
            if (result_1)
                await result_1;
        }
    });
    it("never removes what an image needs", async () => {
        const env_2 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_2, await openStore(dir()), true);
            const kept = layer(store, "kept");
            const gone = layer(store, "gone");
            const blobs = image(store, "app", [kept]);
            const loose = store.content.put(Buffer.from("loose"));
            result(store, "step", [kept, gone], 1);
            const outcome = await prune(store, { ...options, all: true });
            assert.deepEqual(outcome.removedLayers, [gone]);
            assert.deepEqual(outcome.removedBlobs, [loose]);
            assert.equal(store.content.has(loose), false);
            for (const blob of blobs)
                assert.equal(store.content.has(blob), true);
            assert.equal(store.layers.get(kept)?.unpacked, true);
            assert.equal(existsSync(join(store.layers.directory(kept), "file")), true);
            assert.equal(store.layers.get(gone), null);
            assert.equal(existsSync(store.layers.directory(gone)), false);
            assert.equal(store.records.get("result", "step"), null);
            assert.deepEqual(outcome.directories, store.layers.discarded());
            assert.equal(outcome.directories.length, 1);
            assert.equal(existsSync(join(outcome.directories[0] ?? "", "fs", "file")), true, "the keeper deletes it");
        }
        catch (e_2) {
            env_2.error = e_2;
            env_2.hasError = true;
        }
        finally {
            const result_2 = __disposeResources(env_2);
            if (result_2)
                await result_2;
        }
    });
    it("never removes what a live process has leased", async () => {
        const env_3 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_3, await openStore(dir()), true);
            const held = layer(store, "held");
            const blob = store.content.put(Buffer.from("held blob"));
            const below = store.content.put(Buffer.from("{}"));
            const manifest = store.content.put(Buffer.from(JSON.stringify({ layers: [{ digest: below }] })));
            result(store, "step", [held], 1);
            await store.records.commit();
            const other = child(dir(), `const store = await openStore(dir); const lease = store.lease();
       lease.addLayers(["${held}"]); lease.addBlobs(["${blob}", "${manifest}"]); say("held"); setInterval(() => {}, 1000);`);
            await other.line();
            const outcome = await prune(store, { ...options, all: true });
            assert.deepEqual([...outcome.removedLayers, ...outcome.removedBlobs], []);
            assert.equal(store.layers.get(held)?.unpacked, true);
            for (const digest of [blob, manifest, below])
                assert.equal(store.content.has(digest), true);
            other.process.kill("SIGKILL");
            await other.ended;
            const after = await prune(store, { ...options, all: true });
            assert.deepEqual(after.removedLayers, [held]);
            assert.equal(after.removedBlobs.length, 3);
            assert.deepEqual(await kindsOf(store), []);
        }
        catch (e_3) {
            env_3.error = e_3;
            env_3.hasError = true;
        }
        finally {
            const result_3 = __disposeResources(env_3);
            if (result_3)
                await result_3;
        }
    });
    it("puts back what is leased while it is being removed", async () => {
        const env_4 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_4, await openStore(dir()), true);
            const ids = [layer(store, "a"), layer(store, "b"), layer(store, "c")];
            const blob = store.content.put(Buffer.from("blob"));
            const lease = __addDisposableResource(env_4, store.lease(), true);
            // The collector looks at the leases three times: in its survey, before it moves files and after. The lease comes in between.
            for (const look of [2, 3]) {
                let looks = 0;
                const id = ids[look - 2];
                const slow = {
                    ...store,
                    async pinned() {
                        if (++looks === look) {
                            lease.addLayers([id]);
                            if (look === 3)
                                lease.addBlobs([blob]);
                        }
                        return await store.pinned();
                    },
                };
                const outcome = await prune(slow, { ...options, filters: look === 2 ? [`id=${id}`] : [] });
                assert.equal(outcome.removedLayers.includes(id), false);
                assert.equal(store.layers.get(id)?.unpacked, true);
                assert.equal(existsSync(join(store.layers.directory(id), "file")), true);
            }
            assert.equal(store.content.has(blob), true);
            assert.equal(store.layers.get(ids[2]), null);
        }
        catch (e_4) {
            env_4.error = e_4;
            env_4.hasError = true;
        }
        finally {
            const result_4 = __disposeResources(env_4);
            if (result_4)
                await result_4;
        }
    });
    it("stops when the store is small enough, taking the oldest first", async () => {
        const env_5 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_5, await openStore(dir()), true);
            const used = [3, 1, 2].map((n) => {
                const id = layer(store, `n${n}`, { createdAtMs: n * 1000, sizeBytes: 1000 });
                return [n, id];
            });
            const outcome = await prune(store, { ...options, keepBytes: 2000 });
            assert.deepEqual(outcome.removedLayers, [used.find(([n]) => n === 1)?.[1]]);
            assert.equal(outcome.freedBytes, 1000);
            assert.deepEqual((await prune(store, { ...options, keepBytes: 2000 })).removed, []);
        }
        catch (e_5) {
            env_5.error = e_5;
            env_5.hasError = true;
        }
        finally {
            const result_5 = __disposeResources(env_5);
            if (result_5)
                await result_5;
        }
    });
    it("spares what was used lately", async () => {
        const env_6 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_6, await openStore(dir()), true);
            const old = layer(store, "old");
            const fresh = layer(store, "fresh");
            result(store, "step", [fresh], now);
            const outcome = await prune(store, { ...options, olderThanMs: 3_600_000 });
            assert.deepEqual(outcome.removedLayers, [old]);
            assert.equal(store.layers.get(fresh)?.unpacked, true);
            assert.notEqual(store.records.get("result", "step"), null);
        }
        catch (e_6) {
            env_6.error = e_6;
            env_6.hasError = true;
        }
        finally {
            const result_6 = __disposeResources(env_6);
            if (result_6)
                await result_6;
        }
    });
    it("keeps a layer that can be unpacked again, and the results that lead to it", async () => {
        const env_7 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_7, await openStore(dir()), true);
            const digest = store.content.put(Buffer.from("blob of base"));
            const descriptor = { mediaType: "m", digest, size: 12 };
            const base = layer(store, "base", { blobs: { gzip: descriptor } });
            result(store, "step", [base], 1000);
            await prune(store, { ...options, filters: ["type=regular"] });
            assert.equal(existsSync(store.layers.directory(base)), false);
            assert.equal(store.layers.get(base)?.unpacked, false);
            assert.notEqual(store.records.get("result", "step"), null);
            // Without its blob it is lost.
            await prune(store, { ...options, filters: ["type=blob"] });
            assert.equal(store.layers.get(base), null);
            assert.equal(store.records.get("result", "step"), null);
        }
        catch (e_7) {
            env_7.error = e_7;
            env_7.hasError = true;
        }
        finally {
            const result_7 = __disposeResources(env_7);
            if (result_7)
                await result_7;
        }
    });
    it("with all, packs image layers down to their blobs", async () => {
        const env_8 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_8, await openStore(dir()), true);
            const digest = store.content.put(Buffer.from("blob of base"));
            const base = layer(store, "base", { blobs: { gzip: { mediaType: "m", digest, size: 12 } } });
            image(store, "app", [base]);
            await prune(store, options);
            assert.equal(store.layers.get(base)?.unpacked, true);
            await prune(store, { ...options, all: true });
            assert.equal(store.layers.get(base)?.unpacked, false);
            assert.equal(store.content.has(digest), true);
        }
        catch (e_8) {
            env_8.error = e_8;
            env_8.hasError = true;
        }
        finally {
            const result_8 = __disposeResources(env_8);
            if (result_8)
                await result_8;
        }
    });
    it("removes cache mounts nobody uses", async () => {
        const env_9 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_9, await openStore(dir()), true);
            const held = __addDisposableResource(env_9, await store.cacheMounts.acquire("/held", "shared", { signal: never(), seedKey: "" }), true);
            const free = await store.cacheMounts.acquire("/free", "shared", { signal: never(), seedKey: "" });
            await free[Symbol.asyncDispose]();
            const outcome = await prune(store, { ...options, filters: ["type=exec.cachemount"] });
            assert.deepEqual(outcome.removed.map((entry) => entry.description), ["cache mount /free"]);
            assert.equal(existsSync(held.path), true);
            assert.equal(existsSync(free.path), false);
        }
        catch (e_9) {
            env_9.error = e_9;
            env_9.hasError = true;
        }
        finally {
            const result_9 = __disposeResources(env_9);
            if (result_9)
                await result_9;
        }
    });
    it("clears up directories without a record that a power cut left", async () => {
        const env_10 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_10, await openStore(dir()), true);
            const orphan = layer(store, "orphan");
            const young = layer(store, "young");
            store.records.remove("layer", orphan);
            store.records.remove("layer", young);
            const outer = join(store.layers.directory(orphan), "..");
            for (const name of readdirSync(outer))
                if (name.startsWith("boot-"))
                    (await import("node:fs")).rmSync(join(outer, name));
            await prune(store, options);
            assert.equal(existsSync(outer), false);
            assert.equal(existsSync(store.layers.directory(young)), true, "its record may be on the way");
        }
        catch (e_10) {
            env_10.error = e_10;
            env_10.hasError = true;
        }
        finally {
            const result_10 = __disposeResources(env_10);
            if (result_10)
                await result_10;
        }
    });
    it("filters by field", () => {
        const entry = {
            id: "r-1",
            kind: "cache-mount",
            sizeBytes: 1,
            shared: false,
            inUse: true,
            reclaimable: false,
            lastUsedMs: 0,
            description: "cache mount /root",
        };
        const matches = (...filters) => parseFilters(filters)(entry);
        assert.equal(matches(), true);
        assert.equal(matches("type=exec.cachemount"), true);
        assert.equal(matches("type==cache-mount", "inuse"), true);
        assert.equal(matches("type=cache-mount,shared"), false);
        assert.equal(matches("shared=false", "private"), true);
        assert.equal(matches("description~=/root$"), true);
        assert.equal(matches("id!=r-1"), false);
        assert.throws(() => parseFilters(["colour=red"]), { code: "USAGE" });
        assert.throws(() => parseFilters(["description~=("]), { code: "USAGE" });
    });
});
//# sourceMappingURL=collect.test.js.map