// R1 and R2 of the threat model: whatever instant a process is killed at, the store opens and holds only whole things.
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
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { openStore } from "../../cache/store.js";
import { child, freshDirectory, never } from "./store-support.js";
describe("a process killed while it writes", () => {
    const dir = freshDirectory();
    it("leaves a store that opens and in which every blob, layer and record is whole", async () => {
        for (let round = 0; round < 8; round++) {
            const env_1 = { stack: [], error: void 0, hasError: false };
            try {
                const other = child(dir(), `import { createHash, randomBytes } from "node:crypto";
         const store = await openStore(dir);
         say("go");
         for (let i = 0; ; i++) {
           await store.exclusively("step", async () => {
             const bytes = randomBytes(200_000);
             const digest = store.content.put(bytes);
             const active = store.layers.prepare();
             fs.writeFileSync(active.upper + "/digest", digest);
             fs.writeFileSync(active.upper + "/bytes", bytes);
             const { id } = active.commit({ blobs: { plain: { mediaType: "m", digest, size: bytes.length } } });
             const record = { outputs: [[id]], name: digest, createdAtMs: 1, lastUsedMs: 1, durationMs: 1, ingredients: {} };
             store.records.batch([
               { space: "result", key: "r" + process.pid + "." + i, value: record },
               { space: "twin", key: "r" + process.pid + "." + i, value: digest },
             ]);
           }, { signal });
           if (i % 3 === 0) await store.records.commit();
           if (i === 2) say("warm");
         }`);
                await other.line();
                await other.line();
                // Another moment each round.
                await new Promise((resolve) => setTimeout(resolve, round * 7));
                other.process.kill("SIGKILL");
                assert.equal(await other.ended, "SIGKILL");
                const store = __addDisposableResource(env_1, await openStore(dir()), true);
                assert.deepEqual(readdirSync(join(dir(), "ingest")), []);
                for (const { digest, size } of store.content.list())
                    assert.equal(store.content.read(digest, size).length, size);
                const results = [...store.records.entries("result")];
                assert.ok(results.length > round, "committed records stay");
                assert.equal([...store.records.entries("twin")].length, results.length);
                for (const { key, value } of results) {
                    assert.equal(store.records.get("twin", key), value.name);
                    const [id] = value.outputs[0] ?? [];
                    assert.ok(id !== undefined && store.layers.get(id)?.unpacked === true);
                    const at = store.layers.directory(id);
                    assert.equal(readFileSync(join(at, "digest"), "utf8"), value.name);
                    assert.equal(existsSync(join(at, "bytes")), true);
                    assert.equal(store.content.has(value.name), true);
                }
                // Nobody waits for the dead.
                assert.equal(await store.exclusively("step", async () => "mine", { signal: never() }), "mine");
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
        }
    });
});
//# sourceMappingURL=commit-crash.test.js.map