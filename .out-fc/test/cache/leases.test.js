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
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { openStore } from "../../cache/store.js";
import { digestOf } from "../../solver/graph/digest.js";
import { child, freshDirectory } from "./store-support.js";
describe("leases", () => {
    const dir = freshDirectory();
    const layer = (n) => `r-${n.toString(16).padStart(32, "0")}`;
    const blob = digestOf("blob");
    it("hold layers and blobs until disposed", async () => {
        const env_1 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_1, await openStore(dir()), true);
            {
                const env_2 = { stack: [], error: void 0, hasError: false };
                try {
                    const lease = __addDisposableResource(env_2, store.lease(), true);
                    const second = __addDisposableResource(env_2, store.lease(), true);
                    lease.addLayers([layer(1), layer(2)]);
                    lease.addBlobs([blob]);
                    second.addLayers([layer(2), layer(3)]);
                    const pinned = await store.pinned();
                    assert.deepEqual([...pinned.layers].sort(), [layer(1), layer(2), layer(3)]);
                    assert.deepEqual([...pinned.blobs], [blob]);
                    await lease[Symbol.asyncDispose]();
                    assert.deepEqual([...(await store.pinned()).layers].sort(), [layer(2), layer(3)]);
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
            const pinned = await store.pinned();
            assert.equal(pinned.layers.size + pinned.blobs.size, 0);
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
    it("are seen by other processes at once, and end with theirs", async () => {
        const env_3 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_3, await openStore(dir()), true);
            const other = child(dir(), `const store = await openStore(dir); store.lease().addLayers(["${layer(7)}"]); say("held"); setInterval(() => {}, 1000);`);
            await other.line();
            assert.deepEqual([...(await store.pinned()).layers], [layer(7)]);
            other.process.kill("SIGKILL");
            await other.ended;
            assert.equal((await store.pinned()).layers.size, 0);
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
    it("do not let the file grow without end", async () => {
        const env_4 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_4, await openStore(dir()), true);
            for (let round = 0; round < 60; round++) {
                const env_5 = { stack: [], error: void 0, hasError: false };
                try {
                    const lease = __addDisposableResource(env_5, store.lease(), true);
                    lease.addLayers(Array.from({ length: 400 }, (_, i) => layer(i)));
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
            const owners = join(dir(), "owners");
            const [file = ""] = readdirSync(owners).filter((name) => name.endsWith(".leases"));
            assert.ok(statSync(join(owners, file)).size < 2 ** 19);
            const lease = __addDisposableResource(env_4, store.lease(), true);
            lease.addLayers([layer(5)]);
            assert.deepEqual([...(await store.pinned()).layers], [layer(5)]);
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
    it("cannot be added to after the end", async () => {
        const env_6 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_6, await openStore(dir()), true);
            const lease = store.lease();
            await lease[Symbol.asyncDispose]();
            await lease[Symbol.asyncDispose]();
            assert.throws(() => lease.addLayers([layer(1)]), /ended/);
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
});
//# sourceMappingURL=leases.test.js.map