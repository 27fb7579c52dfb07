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
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { chooseSlot } from "../../cache/cache-mounts.js";
import { openStore } from "../../cache/store.js";
import { child, freshDirectory, never } from "./store-support.js";
describe("cache mounts", () => {
    const dir = freshDirectory();
    const options = { signal: never(), seedKey: "" };
    it("keep their content from one use to the next", async () => {
        const env_1 = { stack: [], error: void 0, hasError: false };
        try {
            {
                const env_2 = { stack: [], error: void 0, hasError: false };
                try {
                    const store = __addDisposableResource(env_2, await openStore(dir()), true);
                    const hold = __addDisposableResource(env_2, await store.cacheMounts.acquire("/root/.cache", "shared", options), true);
                    assert.equal(hold.fresh, true);
                    assert.equal(statSync(hold.path).mode & 0o777, 0o755);
                    writeFileSync(join(hold.path, "file"), "kept");
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
            const hold = __addDisposableResource(env_1, await store.cacheMounts.acquire("/root/.cache", "locked", options), true);
            assert.equal(hold.fresh, false);
            assert.equal(readFileSync(join(hold.path, "file"), "utf8"), "kept");
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
    it("differ by id and by seed", async () => {
        const env_3 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_3, await openStore(dir()), true);
            const a = __addDisposableResource(env_3, await store.cacheMounts.acquire("../../a", "shared", options), true);
            const b = __addDisposableResource(env_3, await store.cacheMounts.acquire("../../b", "shared", options), true);
            const c = __addDisposableResource(env_3, await store.cacheMounts.acquire("../../a", "shared", { ...options, seedKey: "layers" }), true);
            assert.equal(new Set([a.path, b.path, c.path]).size, 3);
            for (const hold of [a, b, c])
                assert.ok(hold.path.startsWith(join(dir(), "mounts")));
            assert.deepEqual(store.cacheMounts
                .list()
                .map((mount) => `${mount.id} ${mount.inUse}`)
                .sort(), ["../../a true", "../../a true", "../../b true"]);
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
    it("shared: are one directory for all, who wait until it is filled", async () => {
        const env_4 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_4, await openStore(dir()), true);
            const first = __addDisposableResource(env_4, await store.cacheMounts.acquire("id", "shared", options), true);
            let came = false;
            const waiting = store.cacheMounts.acquire("id", "shared", options).then((hold) => {
                came = true;
                return hold;
            });
            // Something else under the mount's lock has come and gone, so the second has had its look.
            const _ = __addDisposableResource(env_4, await store.cacheMounts.acquire("id", "private", options), true);
            assert.equal(came, false);
            first.seeded();
            const second = __addDisposableResource(env_4, await waiting, true);
            assert.equal(second.path, first.path);
            assert.equal(second.fresh, false);
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
    it("private: are a directory of one's own when the first is in use", async () => {
        const env_5 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_5, await openStore(dir()), true);
            let first;
            {
                const env_6 = { stack: [], error: void 0, hasError: false };
                try {
                    const one = __addDisposableResource(env_6, await store.cacheMounts.acquire("id", "private", options), true);
                    const two = __addDisposableResource(env_6, await store.cacheMounts.acquire("id", "private", options), true);
                    assert.notEqual(one.path, two.path);
                    first = one.path;
                }
                catch (e_5) {
                    env_6.error = e_5;
                    env_6.hasError = true;
                }
                finally {
                    const result_5 = __disposeResources(env_6);
                    if (result_5)
                        await result_5;
                }
            }
            const again = __addDisposableResource(env_5, await store.cacheMounts.acquire("id", "private", options), true);
            assert.equal(again.path, first);
            assert.equal(again.fresh, false);
        }
        catch (e_6) {
            env_5.error = e_6;
            env_5.hasError = true;
        }
        finally {
            const result_6 = __disposeResources(env_5);
            if (result_6)
                await result_6;
        }
    });
    it("locked: wait for the other process, and take over when it is killed", async () => {
        const env_7 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_7, await openStore(dir()), true);
            const other = child(dir(), `const store = await openStore(dir);
       const hold = await store.cacheMounts.acquire("id", "locked", { signal, seedKey: "" });
       hold.seeded(); fs.writeFileSync(hold.path + "/file", "theirs"); say(hold.path); setInterval(() => {}, 1000);`);
            const path = await other.line();
            const controller = new AbortController();
            const aborted = store.cacheMounts.acquire("id", "locked", { ...options, signal: controller.signal });
            controller.abort(new Error("no more"));
            await assert.rejects(aborted, /no more/);
            const waiting = store.cacheMounts.acquire("id", "locked", options);
            other.process.kill("SIGKILL");
            const hold = __addDisposableResource(env_7, await waiting, true);
            assert.equal(hold.path, path);
            assert.equal(hold.fresh, false);
            assert.equal(readFileSync(join(path, "file"), "utf8"), "theirs");
            await other.ended;
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
    it("begin again when who filled them was killed half way", async () => {
        const env_8 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_8, await openStore(dir()), true);
            const other = child(dir(), `const store = await openStore(dir);
       const hold = await store.cacheMounts.acquire("id", "shared", { signal, seedKey: "" });
       fs.writeFileSync(hold.path + "/half", ""); say("half"); setInterval(() => {}, 1000);`);
            await other.line();
            other.process.kill("SIGKILL");
            await other.ended;
            const hold = __addDisposableResource(env_8, await store.cacheMounts.acquire("id", "shared", options), true);
            assert.equal(hold.fresh, true);
            assert.deepEqual(readdirSync(hold.path), []);
            assert.equal(store.layers.discarded().length, 1);
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
    it("are removed only when nobody uses them", async () => {
        const env_9 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_9, await openStore(dir()), true);
            const hold = await store.cacheMounts.acquire("id", "shared", options);
            assert.equal(await store.cacheMounts.remove(hold.path, options), null);
            await hold[Symbol.asyncDispose]();
            const place = await store.cacheMounts.remove(hold.path, options);
            assert.equal(existsSync(hold.path), false);
            assert.deepEqual(store.layers.discarded(), [place]);
            assert.deepEqual(store.cacheMounts.list(), []);
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
    it("take slots as the sharing mode says", () => {
        const slot = (number, holds, fresh = false) => ({ number, holds, fresh });
        assert.equal(chooseSlot([], "shared"), 0);
        assert.equal(chooseSlot([slot(0, ["s", "s"])], "shared"), 0);
        assert.equal(chooseSlot([slot(0, ["x"])], "shared"), 1, "beside a locked one");
        assert.equal(chooseSlot([slot(0, ["x"]), slot(1, ["s"])], "shared"), 1);
        assert.equal(chooseSlot([slot(0, ["s"], true)], "shared"), null, "being filled");
        assert.equal(chooseSlot([slot(0, [], true)], "shared"), 0, "left half filled");
        assert.equal(chooseSlot([slot(0, ["s"]), slot(3, ["x"])], "private"), 4);
        assert.equal(chooseSlot([slot(0, ["s"]), slot(3, [])], "private"), 3);
        assert.equal(chooseSlot([], "locked"), 0);
        assert.equal(chooseSlot([slot(0, ["s"])], "locked"), null);
        assert.equal(chooseSlot([slot(0, ["s"]), slot(1, [])], "locked"), 1);
    });
});
//# sourceMappingURL=cache-mounts.test.js.map