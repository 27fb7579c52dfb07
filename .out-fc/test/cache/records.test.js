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
import { openStore } from "../../cache/store.js";
import { child, freshDirectory } from "./store-support.js";
describe("records", () => {
    const dir = freshDirectory();
    it("reads its own writes at once", async () => {
        const env_1 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_1, await openStore(dir()), true);
            const { records } = store;
            assert.equal(records.get("a", "k"), null);
            records.put("a", "k", { n: 1 });
            assert.deepEqual(records.get("a", "k"), { n: 1 });
            records.remove("a", "k");
            assert.equal(records.get("a", "k"), null);
            await records.commit();
            assert.equal(records.get("a", "k"), null);
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
    it("keeps spaces apart", async () => {
        const env_2 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_2, await openStore(dir()), true);
            store.records.put("a", "k", 1);
            store.records.put("ab", "k", 2);
            store.records.put("a", "l", 3);
            await store.records.commit();
            assert.deepEqual([...store.records.entries("a")], [
                { key: "k", value: 1 },
                { key: "l", value: 3 },
            ]);
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
    it("lists what is written but not committed yet, and leaves out what is removed", async () => {
        const env_3 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_3, await openStore(dir()), true);
            store.records.put("a", "old", 1);
            store.records.put("a", "gone", 1);
            await store.records.commit();
            store.records.put("a", "new", 2);
            store.records.remove("a", "gone");
            assert.deepEqual([...store.records.entries("a")].map((entry) => entry.key).sort(), ["new", "old"]);
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
    it("stores bytes as they are", async () => {
        const env_4 = { stack: [], error: void 0, hasError: false };
        try {
            const bytes = Uint8Array.from({ length: 3000 }, (_, i) => i % 256);
            {
                const env_5 = { stack: [], error: void 0, hasError: false };
                try {
                    const store = __addDisposableResource(env_5, await openStore(dir()), true);
                    store.records.put("a", "k", bytes);
                    assert.deepEqual(store.records.get("a", "k"), bytes);
                }
                catch (e_4) {
                    env_5.error = e_4;
                    env_5.hasError = true;
                }
                finally {
                    const result_4 = __disposeResources(env_5);
                    if (result_4)
                        await result_4;
                }
            }
            const store = __addDisposableResource(env_4, await openStore(dir()), true);
            assert.deepEqual(store.records.get("a", "k"), bytes);
        }
        catch (e_5) {
            env_4.error = e_5;
            env_4.hasError = true;
        }
        finally {
            const result_5 = __disposeResources(env_4);
            if (result_5)
                await result_5;
        }
    });
    it("merges what two processes add to one value", async () => {
        const env_6 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_6, await openStore(dir()), true);
            const add = `(name) => store.records.merge("a", "k", (old) => ({ ...old, [name]: true }))`;
            const other = child(dir(), `const store = await openStore(dir); const add = ${add};
       await new Promise((resolve) => process.stdin.once("data", resolve));
       for (let i = 0; i < 200; i++) { add("child" + i); await store.records.commit(); }
       await store[Symbol.asyncDispose](); process.exit();`);
            other.process.stdin?.write("go\n");
            for (let i = 0; i < 200; i++) {
                store.records.merge("a", "k", (old) => ({ ...old, [`parent${i}`]: true }));
                await store.records.commit();
            }
            assert.equal(await other.ended, 0);
            assert.equal(Object.keys(store.records.get("a", "k") ?? {}).length, 400);
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
    it("shows a batch to others as a whole", async () => {
        const env_7 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_7, await openStore(dir()), true);
            const other = child(dir(), `const store = await openStore(dir); say("ready");
       for (let i = 0; i < 300; i++) {
         store.records.batch(["x", "y", "z"].map((key) => ({ space: "a", key, value: i })));
         await store.records.commit();
       }
       say("done"); await store[Symbol.asyncDispose]();`);
            await other.line();
            let done = false;
            const end = other.line().then(() => {
                done = true;
            });
            while (!done) {
                const seen = [...store.records.entries("a")].map((entry) => entry.value);
                assert.equal(new Set(seen).size <= 1, true, `torn batch: ${seen.join()}`);
                await new Promise((resolve) => setImmediate(resolve));
            }
            await end;
            assert.equal(await other.ended, 0);
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
    it("refuses a key the database cannot hold", async () => {
        const env_8 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_8, await openStore(dir()), true);
            assert.throws(() => store.records.put("a", "k".repeat(3000), 1), /too long/);
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
});
//# sourceMappingURL=records.test.js.map