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
import { appendFileSync, lstatSync, readdirSync, readFileSync, readlinkSync, symlinkSync, unlinkSync, writeFileSync, } from "node:fs";
import { join } from "node:path";
import { openStore } from "../../cache/store.js";
import { child, freshDirectory, never } from "./store-support.js";
describe("exclusively", () => {
    const dir = freshDirectory();
    it("runs work of one key one after the other, in the order asked, and other keys beside it", async () => {
        const env_1 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_1, await openStore(dir()), true);
            const seen = [];
            const work = (name) => async () => {
                seen.push(`+${name}`);
                await new Promise((resolve) => setImmediate(resolve));
                seen.push(`-${name}`);
                return name;
            };
            const signal = never();
            let freeOther = () => undefined;
            const other = store.exclusively("other", () => new Promise((resolve) => void (freeOther = resolve)), { signal });
            const results = await Promise.all(["a", "b", "c"].map((name) => store.exclusively("key", work(name), { signal })));
            assert.deepEqual(results, ["a", "b", "c"]);
            assert.deepEqual(seen, ["+a", "-a", "+b", "-b", "+c", "-c"]);
            freeOther();
            await other;
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
    it("passes a failure to its caller only", async () => {
        const env_2 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_2, await openStore(dir()), true);
            const signal = never();
            const first = store.exclusively("key", () => Promise.reject(new Error("mine")), { signal });
            const second = store.exclusively("key", () => Promise.resolve(2), { signal });
            await assert.rejects(first, /mine/);
            assert.equal(await second, 2);
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
    it("rejects at once when aborted in line, and lets those behind go on", async () => {
        const env_3 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_3, await openStore(dir()), true);
            let free = () => undefined;
            const first = store.exclusively("key", () => new Promise((resolve) => void (free = resolve)), {
                signal: never(),
            });
            const controller = new AbortController();
            let ran = false;
            const second = store.exclusively("key", async () => {
                ran = true;
            }, { signal: controller.signal });
            const third = store.exclusively("key", () => Promise.resolve(3), { signal: never() });
            controller.abort(new Error("no more"));
            await assert.rejects(second, /no more/);
            free();
            await first;
            assert.equal(await third, 3);
            assert.equal(ran, false);
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
    it("never lets two processes in at once", async () => {
        const env_4 = { stack: [], error: void 0, hasError: false };
        try {
            const _ = __addDisposableResource(env_4, await openStore(dir()), true);
            const log = join(dir(), "log");
            writeFileSync(log, "");
            const body = (name) => `
      const store = await openStore(dir);
      for (let i = 0; i < 40; i++) {
        await store.exclusively("key", async () => {
          fs.appendFileSync(${JSON.stringify(log)}, "+${name}\\n");
          await new Promise((resolve) => setImmediate(resolve));
          fs.appendFileSync(${JSON.stringify(log)}, "-${name}\\n");
        }, { signal });
      }
      await store[Symbol.asyncDispose]();`;
            const others = ["a", "b", "c"].map((name) => child(dir(), body(name)));
            assert.deepEqual(await Promise.all(others.map((other) => other.ended)), [0, 0, 0]);
            const lines = readFileSync(log, "utf8").trim().split("\n");
            assert.equal(lines.length, 240);
            for (let i = 0; i < lines.length; i += 2)
                assert.equal(lines[i + 1], `-${lines[i]?.slice(1)}`);
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
    it("makes records of the work visible to the next process that holds the key", async () => {
        const env_5 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_5, await openStore(dir()), true);
            const other = child(dir(), `const store = await openStore(dir);
       await store.exclusively("key", async () => { say("in"); store.records.put("a", "k", 1); }, { signal });
       say("out"); setInterval(() => {}, 1000);`);
            await other.line();
            const seen = await store.exclusively("key", async () => store.records.get("a", "k"), { signal: never() });
            assert.equal(seen, 1);
            other.process.kill();
            await other.ended;
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
    it("takes over the lock of a killed process, one taker at a time", async () => {
        const env_6 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_6, await openStore(dir()), true);
            for (let round = 0; round < 3; round++) {
                const other = child(dir(), `const store = await openStore(dir);
         await store.exclusively("key", () => { say("in"); return new Promise(() => setInterval(() => {}, 1000)); }, { signal });`);
                await other.line();
                let inside = 0;
                const takers = Array.from({ length: 4 }, async () => {
                    const env_7 = { stack: [], error: void 0, hasError: false };
                    try {
                        const mine = __addDisposableResource(env_7, await openStore(dir()), true);
                        await mine.exclusively("key", async () => {
                            assert.equal(++inside, 1);
                            await new Promise((resolve) => setImmediate(resolve));
                            inside--;
                        }, { signal: never() });
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
                other.process.kill("SIGKILL");
                await Promise.all(takers);
                await other.ended;
            }
            assert.deepEqual(readdirSync(join(store.dir, "locks")), []);
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
    it("waits for a live holder until aborted", async () => {
        const env_8 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_8, await openStore(dir()), true);
            const other = child(dir(), `const store = await openStore(dir);
       await store.exclusively("key", () => { say("in"); return new Promise(() => setInterval(() => {}, 1000)); }, { signal });`);
            await other.line();
            const controller = new AbortController();
            const waiting = store.exclusively("key", () => Promise.resolve("mine"), { signal: controller.signal });
            controller.abort(new Error("no more"));
            await assert.rejects(waiting, /no more/);
            other.process.kill("SIGKILL");
            await other.ended;
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
    it("does not take the lock of a process of another pid namespace while its socket answers", async () => {
        const env_9 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_9, await openStore(dir()), true);
            const other = __addDisposableResource(env_9, await openStore(dir()), true);
            // A foreign owner: same boot, other namespace, whose socket is that of a process that lives.
            const owners = join(dir(), "owners");
            const socket = readdirSync(owners).find((name) => name.endsWith(".sock"));
            const foreign = socket.replace(/^([0-9a-f]{12})\.\d+\./, "$1.1.").replace(/\.sock$/, "");
            symlinkSync(join(owners, socket), join(owners, `${foreign}.sock`));
            let held = Promise.resolve();
            await store.exclusively("key", async () => {
                const [name = ""] = readdirSync(join(dir(), "locks"));
                const lock = join(dir(), "locks", name);
                // The lock passes into foreign hands while we hold it, as if it had always been theirs.
                unlinkSync(lock);
                symlinkSync(`${foreign}/1`, lock);
                const controller = new AbortController();
                held = other.exclusively("key", () => Promise.resolve("stolen"), { signal: controller.signal });
                // Long enough for several looks at the lock.
                await new Promise((resolve) => setTimeout(resolve, 150));
                assert.equal(readlinkSync(lock), `${foreign}/1`);
                controller.abort(new Error("not taken"));
                await assert.rejects(held, /not taken/);
            }, { signal: never() });
            // Its socket gone, it is dead.
            symlinkSync(`${foreign}/2`, join(dir(), "locks", "x"));
            unlinkSync(join(owners, `${foreign}.sock`));
            appendFileSync(join(owners, `${foreign}.leases`), "l 0 r-1\n");
            const late = __addDisposableResource(env_9, await openStore(dir()), true);
            assert.equal(lstatSync(join(dir(), "locks", "x"), { throwIfNoEntry: false }), undefined);
            assert.equal((await late.pinned()).layers.size, 0);
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
});
//# sourceMappingURL=locks.test.js.map