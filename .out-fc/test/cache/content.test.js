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
import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync, } from "node:fs";
import { join } from "node:path";
import { openStore } from "../../cache/store.js";
import { digestOf } from "../../solver/graph/digest.js";
import { freshDirectory, never } from "./store-support.js";
describe("content", () => {
    const dir = freshDirectory();
    const data = Buffer.from("some bytes");
    const digest = digestOf(data);
    async function collect(stream) {
        const chunks = [];
        for await (const chunk of stream)
            chunks.push(chunk);
        return Buffer.concat(chunks);
    }
    it("gives back what was put, read-only, under its digest", async () => {
        const env_1 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_1, await openStore(dir()), true);
            assert.equal(store.content.has(digest), false);
            assert.equal(store.content.put(data), digest);
            assert.equal(store.content.size(digest), data.length);
            assert.deepEqual(Buffer.from(store.content.read(digest, 100)), data);
            assert.deepEqual(await collect(store.content.stream(digest, { signal: never() })), data);
            assert.deepEqual(readFileSync(store.content.path(digest)), data);
            assert.equal(statSync(store.content.path(digest)).mode & 0o777, 0o444);
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
    it("does not show a blob before commit, nor anything of it after dispose", async () => {
        const env_2 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_2, await openStore(dir()), true);
            {
                const env_3 = { stack: [], error: void 0, hasError: false };
                try {
                    const ingest = __addDisposableResource(env_3, store.content.ingest(), true);
                    ingest.write(data);
                    assert.equal(store.content.has(digest), false);
                }
                catch (e_2) {
                    env_3.error = e_2;
                    env_3.hasError = true;
                }
                finally {
                    const result_2 = __disposeResources(env_3);
                    if (result_2)
                        await result_2;
                }
            }
            assert.deepEqual(readdirSync(join(dir(), "ingest")), []);
            assert.deepEqual(readdirSync(join(dir(), "blobs", "sha256")), []);
        }
        catch (e_3) {
            env_2.error = e_3;
            env_2.hasError = true;
        }
        finally {
            const result_3 = __disposeResources(env_2);
            if (result_3)
                await result_3;
        }
    });
    it("refuses other bytes or another size than expected, and takes the right ones afterwards", async () => {
        const env_4 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_4, await openStore(dir()), true);
            {
                const env_5 = { stack: [], error: void 0, hasError: false };
                try {
                    const ingest = __addDisposableResource(env_5, store.content.ingest(), true);
                    ingest.write(Buffer.from("other data"));
                    assert.throws(() => ingest.commit({ digest }), { code: "DIGEST_MISMATCH" });
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
            {
                const env_6 = { stack: [], error: void 0, hasError: false };
                try {
                    const ingest = __addDisposableResource(env_6, store.content.ingest(), true);
                    ingest.write(data);
                    assert.throws(() => ingest.commit({ digest, size: 3 }), { code: "DIGEST_MISMATCH" });
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
            assert.equal(store.content.has(digest), false);
            const ingest = __addDisposableResource(env_4, store.content.ingest(), true);
            ingest.write(data.subarray(0, 4));
            ingest.write(data.subarray(4));
            assert.deepEqual(ingest.commit({ digest, size: data.length }), { digest, size: data.length });
            assert.equal(store.content.has(digest), true);
        }
        catch (e_6) {
            env_4.error = e_6;
            env_4.hasError = true;
        }
        finally {
            const result_6 = __disposeResources(env_4);
            if (result_6)
                await result_6;
        }
    });
    it("hashes a file filled by another process", async () => {
        const env_7 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_7, await openStore(dir()), true);
            const ingest = __addDisposableResource(env_7, store.content.ingest(), true);
            execFileSync("sh", ["-c", `printf 'some bytes' > "$1"`, "sh", ingest.path]);
            assert.deepEqual(ingest.commit({}), { digest, size: data.length });
            assert.deepEqual(Buffer.from(store.content.read(digest, 100)), data);
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
    it("takes the same blob twice", async () => {
        const env_8 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_8, await openStore(dir()), true);
            store.content.put(data);
            const ingest = __addDisposableResource(env_8, store.content.ingest(), true);
            ingest.write(data);
            ingest.commit({ digest });
            assert.deepEqual(Buffer.from(store.content.read(digest, 100)), data);
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
    it("finds a damaged blob when reading it whole, sets it aside, and takes it anew", async () => {
        const env_9 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_9, await openStore(dir()), true);
            store.content.put(data);
            chmodSync(store.content.path(digest), 0o644);
            writeFileSync(store.content.path(digest), "some byteZ");
            assert.throws(() => store.content.read(digest, 100), { code: "STORE_CORRUPT" });
            assert.equal(store.content.has(digest), false);
            assert.equal(existsSync(join(dir(), "tmp", "quarantine", `blob-${digest.slice(7)}`)), true);
            store.content.put(data);
            assert.deepEqual(Buffer.from(store.content.read(digest, 100)), data);
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
    it("finds a blob cut short while streaming it", async () => {
        const env_10 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_10, await openStore(dir()), true);
            const large = Buffer.alloc(3 * 2 ** 20, "large");
            const name = store.content.put(large);
            assert.deepEqual(await collect(store.content.stream(name, { signal: never() })), large);
            chmodSync(store.content.path(name), 0o644);
            truncateSync(store.content.path(name), 2 ** 20);
            await assert.rejects(collect(store.content.stream(name, { signal: never() })), { code: "STORE_CORRUPT" });
            assert.equal(store.content.has(name), false);
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
    it("heals a damaged blob by putting it again", async () => {
        const env_11 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_11, await openStore(dir()), true);
            store.content.put(data);
            chmodSync(store.content.path(digest), 0o644);
            writeFileSync(store.content.path(digest), "some byteZ");
            store.content.put(data);
            assert.deepEqual(Buffer.from(store.content.read(digest, 100)), data);
        }
        catch (e_11) {
            env_11.error = e_11;
            env_11.hasError = true;
        }
        finally {
            const result_11 = __disposeResources(env_11);
            if (result_11)
                await result_11;
        }
    });
    it("does not read more than allowed, nor what is not there", async () => {
        const env_12 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_12, await openStore(dir()), true);
            assert.throws(() => store.content.read(digest, 100), { code: "STORE_CORRUPT" });
            store.content.put(data);
            assert.throws(() => store.content.read(digest, 3), { code: "LIMIT_EXCEEDED" });
        }
        catch (e_12) {
            env_12.error = e_12;
            env_12.hasError = true;
        }
        finally {
            const result_12 = __disposeResources(env_12);
            if (result_12)
                await result_12;
        }
    });
    it("stops streaming when the signal aborts", async () => {
        const env_13 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_13, await openStore(dir()), true);
            const name = store.content.put(Buffer.alloc(3 * 2 ** 20));
            const controller = new AbortController();
            const reason = new Error("enough");
            await assert.rejects((async () => {
                for await (const _ of store.content.stream(name, { signal: controller.signal }))
                    controller.abort(reason);
            })(), reason);
        }
        catch (e_13) {
            env_13.error = e_13;
            env_13.hasError = true;
        }
        finally {
            const result_13 = __disposeResources(env_13);
            if (result_13)
                await result_13;
        }
    });
    it("says that the disk is full, and works on when there is space again", () => {
        // A file system of 1 MiB that only this process sees; as an ordinary user in a user namespace of its own.
        const url = new URL("../../cache/store.js", import.meta.url).href;
        const code = `
      import { openStore } from ${JSON.stringify(url)};
      import { rmSync } from "node:fs";
      const store = await openStore(process.argv[1] + "/store");
      const tell = (work) => { try { work(); return "fine"; } catch (error) { return error.code + (error.hint ? " with hint" : ""); } };
      const told = [tell(() => store.content.put(Buffer.alloc(2 ** 20 * 2, 1)))];
      const small = store.content.put(Buffer.from("small"));
      told.push(store.content.has(small) ? "whole" : "missing", store.content.list().length);
      store.records.put("a", "k", "x".repeat(2 ** 21));
      told.push(await store.records.flush().then(() => "fine", (error) => error.code));
      store.records.put("a", "k", "small");
      await store.records.flush();
      told.push(store.records.get("a", "k"));
      await store[Symbol.asyncDispose]();
      console.log(JSON.stringify(told));`;
        const unshare = process.getuid?.() === 0 ? "-m" : "-rm";
        const output = execFileSync("unshare", [
            unshare,
            "sh",
            "-c",
            `mount -t tmpfs -o size=1m none "$1" && exec "$2" --input-type=module -e "$3" "$1"`,
            "sh",
            dir(),
            process.execPath,
            code,
        ], { encoding: "utf8" });
        assert.deepEqual(JSON.parse(output), ["STORE_FULL with hint", "whole", 1, "STORE_FULL", "small"]);
    });
});
//# sourceMappingURL=content.test.js.map