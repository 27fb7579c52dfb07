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
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync, } from "node:fs";
import { join } from "node:path";
import { openStore } from "../../cache/store.js";
import { child, freshDirectory } from "./store-support.js";
describe("openStore", () => {
    const dir = freshDirectory();
    it("makes a private directory with a version", async () => {
        const env_1 = { stack: [], error: void 0, hasError: false };
        try {
            const root = join(dir(), "a", "store");
            const store = __addDisposableResource(env_1, await openStore(root), true);
            assert.equal(store.dir, root);
            assert.equal(statSync(root).mode & 0o777, 0o700);
            assert.equal(readFileSync(join(root, "version"), "utf8"), "1\n");
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
    it("closes a directory that others could read", async () => {
        const env_2 = { stack: [], error: void 0, hasError: false };
        try {
            chmodSync(dir(), 0o755);
            const _ = __addDisposableResource(env_2, await openStore(dir()), true);
            assert.equal(statSync(dir()).mode & 0o777, 0o700);
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
    it("does not touch a store of a newer version", async () => {
        writeFileSync(join(dir(), "version"), "2\n");
        await assert.rejects(openStore(dir()), { code: "STORE_UNUSABLE", hint: /newer tsbuild/ });
        assert.deepEqual(readdirSync(dir()), ["version"]);
    });
    it("does not settle in a directory with other things in it", async () => {
        writeFileSync(join(dir(), "letter.txt"), "dear reader");
        await assert.rejects(openStore(dir()), { code: "STORE_UNUSABLE" });
        assert.deepEqual(readdirSync(dir()), ["letter.txt"]);
    });
    it("keeps what was written, for the next who opens it", async () => {
        const env_3 = { stack: [], error: void 0, hasError: false };
        try {
            {
                const env_4 = { stack: [], error: void 0, hasError: false };
                try {
                    const store = __addDisposableResource(env_4, await openStore(dir()), true);
                    store.records.put("image", "app", { name: "app" });
                }
                catch (e_3) {
                    env_4.error = e_3;
                    env_4.hasError = true;
                }
                finally {
                    const result_3 = __disposeResources(env_4);
                    if (result_3)
                        await result_3;
                }
            }
            const again = __addDisposableResource(env_3, await openStore(dir()), true);
            assert.deepEqual(again.records.get("image", "app"), { name: "app" });
        }
        catch (e_4) {
            env_3.error = e_4;
            env_3.hasError = true;
        }
        finally {
            const result_4 = __disposeResources(env_3);
            if (result_4)
                await result_4;
        }
    });
    it("lets several processes and several openings in one process work side by side", async () => {
        const env_5 = { stack: [], error: void 0, hasError: false };
        try {
            const one = __addDisposableResource(env_5, await openStore(dir()), true);
            const two = __addDisposableResource(env_5, await openStore(dir()), true);
            one.records.put("image", "a", 1);
            await one.records.commit();
            assert.equal(two.records.get("image", "a"), 1);
            const other = child(dir(), `const store = await openStore(dir); say(String(store.records.get("image", "a")));
       store.records.put("image", "b", 2); await store[Symbol.asyncDispose]();`);
            assert.equal(await other.line(), "1");
            assert.equal(await other.ended, 0);
            assert.equal(one.records.get("image", "b"), 2);
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
    it("gives a temporary directory that is gone after closing", async () => {
        let temporary;
        {
            const env_6 = { stack: [], error: void 0, hasError: false };
            try {
                const store = __addDisposableResource(env_6, await openStore(dir()), true);
                temporary = store.tempDir();
                writeFileSync(join(temporary, "x"), "x");
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
        }
        assert.equal(existsSync(temporary), false);
    });
    it("removes what a killed process left, and names its directories for the keeper", async () => {
        const env_7 = { stack: [], error: void 0, hasError: false };
        try {
            const other = child(dir(), `const store = await openStore(dir);
       fs.writeFileSync(store.tempDir() + "/x", "x");
       const ingest = store.content.ingest(); ingest.write(Buffer.from("half"));
       const layer = store.layers.prepare(); fs.writeFileSync(layer.upper + "/f", "f");
       store.lease().addLayers([layer.id]);
       say(layer.upper); setInterval(() => {}, 1000);`);
            const upper = await other.line();
            {
                const env_8 = { stack: [], error: void 0, hasError: false };
                try {
                    const store = __addDisposableResource(env_8, await openStore(dir()), true);
                    assert.deepEqual(store.layers.discarded(), [], "a live process keeps its things");
                    assert.equal(readdirSync(join(dir(), "ingest")).length, 1);
                    assert.equal((await store.pinned()).layers.size, 1);
                }
                catch (e_7) {
                    env_8.error = e_7;
                    env_8.hasError = true;
                }
                finally {
                    const result_7 = __disposeResources(env_8);
                    if (result_7)
                        await result_7;
                }
            }
            other.process.kill("SIGKILL");
            await other.ended;
            const store = __addDisposableResource(env_7, await openStore(dir()), true);
            assert.deepEqual(readdirSync(join(dir(), "ingest")), []);
            assert.deepEqual(readdirSync(join(dir(), "tmp")), ["quarantine"]);
            assert.deepEqual(readdirSync(join(dir(), "owners")).length, 1, "only this process");
            assert.deepEqual(store.layers.discarded(), [join(upper, "..")]);
            assert.equal((await store.pinned()).layers.size, 0);
        }
        catch (e_8) {
            env_7.error = e_8;
            env_7.hasError = true;
        }
        finally {
            const result_8 = __disposeResources(env_7);
            if (result_8)
                await result_8;
        }
    });
    it("sets a database aside that is none, and starts with an empty one", async () => {
        const env_9 = { stack: [], error: void 0, hasError: false };
        try {
            mkdirSync(join(dir(), "db"), { recursive: true });
            writeFileSync(join(dir(), "version"), "1\n");
            writeFileSync(join(dir(), "db", "data.mdb"), Buffer.alloc(65536, "garbage"));
            const store = __addDisposableResource(env_9, await openStore(dir()), true);
            assert.equal(store.records.get("image", "a"), null);
            store.records.put("image", "a", 1);
            await store.records.flush();
            assert.ok(readdirSync(join(dir(), "tmp", "quarantine")).some((name) => name.endsWith(".mdb")));
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
    it("survives a database cut short", async () => {
        const env_10 = { stack: [], error: void 0, hasError: false };
        try {
            {
                const env_11 = { stack: [], error: void 0, hasError: false };
                try {
                    const store = __addDisposableResource(env_11, await openStore(dir()), true);
                    for (let i = 0; i < 2000; i++)
                        store.records.put("image", `name ${i}`, { filler: "x".repeat(200) });
                }
                catch (e_10) {
                    env_11.error = e_10;
                    env_11.hasError = true;
                }
                finally {
                    const result_10 = __disposeResources(env_11);
                    if (result_10)
                        await result_10;
                }
            }
            truncateSync(join(dir(), "db", "data.mdb"), 64 * 1024);
            const other = child(dir(), `const store = await openStore(dir);
       try { for (const _ of store.records.entries("image")); say("read"); } catch (error) { say(error.code); }
       await store[Symbol.asyncDispose]().catch(() => {});`);
            assert.equal(await other.line(), "STORE_CORRUPT");
            assert.equal(await other.ended, 0);
            const store = __addDisposableResource(env_10, await openStore(dir()), true);
            store.records.put("image", "a", 1);
            await store.records.flush();
            assert.deepEqual([...store.records.entries("image")], [{ key: "a", value: 1 }]);
        }
        catch (e_11) {
            env_10.error = e_11;
            env_10.hasError = true;
        }
        finally {
            const result_11 = __disposeResources(env_10);
            if (result_11)
                await result_11;
        }
    });
});
//# sourceMappingURL=store.test.js.map