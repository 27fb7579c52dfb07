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
import { lstatSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openStatCache } from "../../cache/stat-cache.js";
import { openStore } from "../../cache/store.js";
import { digestOf } from "../../solver/graph/digest.js";
import { freshDirectory } from "./store-support.js";
describe("stat cache", () => {
    const dir = freshDirectory();
    const root = "/somewhere/context";
    const old = BigInt(Date.now() - 60_000) * 1000000n;
    const stat = {
        size: 10n,
        mtimeNs: old,
        ctimeNs: old + 1n,
        ino: 2n ** 40n,
        dev: 66305n,
        mode: 33188n,
    };
    const digest = digestOf("content");
    it("knows an unchanged file in the next build", async () => {
        const env_1 = { stack: [], error: void 0, hasError: false };
        try {
            {
                const env_2 = { stack: [], error: void 0, hasError: false };
                try {
                    const store = __addDisposableResource(env_2, await openStore(dir()), true);
                    const cache = openStatCache(store.records, root);
                    assert.equal(cache.get("src/main.c", stat), null);
                    cache.put("src/main.c", stat, digest);
                    cache.flush();
                }
                catch (e_1) {
                    env_2.error = e_1;
                    env_2.hasError = true;
                }
                finally {
                    const result_1 = __disposeResources(env_2);
                    if (result_1)
                        await result_1;
                }
            }
            const store = __addDisposableResource(env_1, await openStore(dir()), true);
            assert.equal(openStatCache(store.records, root).get("src/main.c", stat), digest);
            assert.equal(openStatCache(store.records, "/another").get("src/main.c", stat), null);
        }
        catch (e_2) {
            env_1.error = e_2;
            env_1.hasError = true;
        }
        finally {
            const result_2 = __disposeResources(env_1);
            if (result_2)
                await result_2;
        }
    });
    it("does not know a file of which anything has changed", async () => {
        const env_3 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_3, await openStore(dir()), true);
            const cache = openStatCache(store.records, root);
            cache.put("a", stat, digest);
            cache.flush();
            const next = openStatCache(store.records, root);
            const changes = [
                { size: 11n },
                { mtimeNs: old + 1n },
                { ctimeNs: old + 2n },
                { ino: 5n },
                { dev: 1n },
                { mode: 33261n },
            ];
            for (const change of changes)
                assert.equal(next.get("a", { ...stat, ...change }), null, Object.keys(change)[0]);
            assert.equal(next.get("a", { ...stat, size: 10, dev: 66305, mode: 0o100644 }), digest, "numbers are as good");
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
    it("keeps names that are not UTF-8 apart", async () => {
        const env_4 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_4, await openStore(dir()), true);
            const cache = openStatCache(store.records, root);
            cache.put(Buffer.from([0x61, 0xff]), stat, digestOf("1"));
            cache.put(Buffer.from([0x61, 0xfe]), stat, digestOf("2"));
            cache.put("aÿ", stat, digestOf("3"));
            cache.flush();
            const next = openStatCache(store.records, root);
            assert.equal(next.get(Buffer.from([0x61, 0xff]), stat), digestOf("1"));
            assert.equal(next.get(Buffer.from([0x61, 0xfe]), stat), digestOf("2"));
            assert.equal(next.get(Buffer.from("aÿ"), stat), digestOf("3"));
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
    it("does not keep files changed just before the build or during it", async () => {
        const env_5 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_5, await openStore(dir()), true);
            const path = join(dir(), "file");
            writeFileSync(path, "new");
            const cache = openStatCache(store.records, root);
            // An old mtime does not help: ctime tells when the file was really touched.
            utimesSync(path, 1, 1);
            cache.put("file", lstatSync(path, { bigint: true }), digest);
            const young = BigInt(Date.now()) * 1000000n;
            cache.put("mtime", { ...stat, mtimeNs: young }, digest);
            cache.put("future", { ...stat, mtimeNs: young + 10n ** 15n }, digest);
            cache.flush();
            const next = openStatCache(store.records, root);
            assert.equal(next.get("file", lstatSync(path, { bigint: true })), null);
            assert.equal(next.get("mtime", { ...stat, mtimeNs: young }), null);
            assert.equal(next.get("future", { ...stat, mtimeNs: young + 10n ** 15n }), digest);
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
    it("writes nothing unless flushed", async () => {
        const env_6 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_6, await openStore(dir()), true);
            openStatCache(store.records, root).put("a", stat, digest);
            assert.deepEqual([...store.records.entries("stat")], []);
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
    it("believes only long written files after the machine was started anew", async () => {
        const env_7 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_7, await openStore(dir()), true);
            const cache = openStatCache(store.records, root);
            const ancient = { ...stat, ctimeNs: old - 2n * 3600n * 10n ** 9n };
            cache.put("recent", stat, digest);
            cache.put("ancient", ancient, digest);
            cache.flush();
            const [entry] = [...store.records.entries("stat")];
            const value = Buffer.from(entry?.value);
            value.write("0123456789ab", 8, "latin1");
            store.records.put("stat", entry?.key, value);
            const next = openStatCache(store.records, root);
            assert.equal(next.get("recent", stat), null);
            assert.equal(next.get("ancient", ancient), digest);
            // What is not believed is not carried on either.
            next.put("other", stat, digest);
            next.flush();
            assert.equal(openStatCache(store.records, root).get("recent", stat), null);
            assert.equal(openStatCache(store.records, root).get("ancient", ancient), digest);
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
    it("treats a damaged value as none", async () => {
        const env_8 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_8, await openStore(dir()), true);
            const cache = openStatCache(store.records, root);
            cache.put("a", stat, digest);
            cache.flush();
            const [entry] = [...store.records.entries("stat")];
            const value = entry?.value;
            for (const damaged of [value.slice(0, 10), value.slice(0, -5), Buffer.from("TSSTgarbage".repeat(20))]) {
                store.records.put("stat", entry?.key, damaged);
                assert.equal(openStatCache(store.records, root).get("a", stat), null);
            }
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
    it("forgets files nobody asked for in many builds", async () => {
        const env_9 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_9, await openStore(dir()), true);
            const first = openStatCache(store.records, root);
            first.put("gone", stat, digest);
            first.put("stays", stat, digest);
            first.flush();
            for (let build = 0; build < 20; build++) {
                const cache = openStatCache(store.records, root);
                assert.equal(cache.get("stays", stat), digest);
                cache.put("changing", { ...stat, size: BigInt(build) }, digest);
                cache.flush();
            }
            assert.equal(openStatCache(store.records, root).get("gone", stat), null);
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
    it("reads and writes 20,000 files in a moment", async () => {
        const env_10 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_10, await openStore(dir()), true);
            const cache = openStatCache(store.records, root);
            const paths = Array.from({ length: 20_000 }, (_, i) => Buffer.from(`packages/dir-${i % 100}/some/file-${i}.ts`));
            for (const [i, path] of paths.entries())
                cache.put(path, { ...stat, ino: i }, digest);
            const start = performance.now();
            cache.flush();
            const saved = performance.now();
            const next = openStatCache(store.records, root);
            const loaded = performance.now();
            for (const [i, path] of paths.entries())
                assert.equal(next.get(path, { ...stat, ino: i }), digest);
            const times = `save ${saved - start} ms, load ${loaded - saved} ms`;
            // Ten times what it takes: a slow machine passes, a quadratic loop does not.
            assert.ok(saved - start < 400 && loaded - saved < 300, times);
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
});
//# sourceMappingURL=stat-cache.test.js.map