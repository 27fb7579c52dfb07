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
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync, } from "node:fs";
import { join } from "node:path";
import { openStore } from "../../cache/store.js";
import { digestOf } from "../../solver/graph/digest.js";
import { needs } from "../support/needs.js";
import { child, freshDirectory } from "./store-support.js";
describe("layers", () => {
    const dir = freshDirectory();
    function makeLayer(store, text, as) {
        const active = store.layers.prepare();
        writeFileSync(join(active.upper, "file"), text);
        return active.commit({ description: text }, as);
    }
    /** What a power cut followed by a start does to records: they were written in another boot. */
    function ofAnotherBoot(store, id) {
        store.records.merge("layer", id, (old) => ({ ...old, boot: "0123456789ab" }));
        const outer = join(store.layers.directory(id), "..");
        for (const name of readdirSync(outer)) {
            if (name.startsWith("boot-"))
                renameSync(join(outer, name), join(outer, "boot-0123456789ab"));
        }
    }
    it("appear under their id with commit, not before", async () => {
        const env_1 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_1, await openStore(dir()), true);
            const old = process.umask(0o077);
            const active = store.layers.prepare();
            process.umask(old);
            assert.equal(statSync(active.upper).mode & 0o777, 0o755);
            writeFileSync(join(active.upper, "file"), "text");
            assert.equal(store.layers.get(active.id), null);
            assert.equal(existsSync(store.layers.directory(active.id)), false);
            const record = active.commit({ description: "RUN", sizeBytes: 4 });
            assert.deepEqual(store.layers.get(active.id), record);
            assert.equal(record.unpacked, true);
            assert.equal(record.description, "RUN");
            assert.equal(readFileSync(join(store.layers.directory(active.id), "file"), "utf8"), "text");
            await active[Symbol.asyncDispose]();
            assert.equal(existsSync(store.layers.directory(active.id)), true);
            assert.deepEqual(readdirSync(join(dir(), "active")), []);
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
    it("are gone when disposed without commit", async () => {
        const env_2 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_2, await openStore(dir()), true);
            {
                const env_3 = { stack: [], error: void 0, hasError: false };
                try {
                    const active = __addDisposableResource(env_3, store.layers.prepare(), true);
                    mkdirSync(join(active.upper, "sub"));
                    writeFileSync(join(active.upper, "sub", "file"), "text");
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
            assert.deepEqual(readdirSync(join(dir(), "active")), []);
            assert.deepEqual(store.layers.discarded(), []);
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
    it("are left to the keeper when this process may not delete them", () => {
        // As an ordinary user, with a directory of another user inside: what subordinate ids look like from outside.
        const url = new URL("../../cache/store.js", import.meta.url).href;
        const code = `
      import { openStore } from ${JSON.stringify(url)};
      import fs from "node:fs";
      import { execFileSync } from "node:child_process";
      process.setegid(65534); process.seteuid(65534);
      const store = await openStore(process.argv[1] + "/store");
      const active = store.layers.prepare();
      process.seteuid(0);
      fs.mkdirSync(active.upper + "/foreign"); fs.writeFileSync(active.upper + "/foreign/file", "");
      process.seteuid(65534);
      await active[Symbol.asyncDispose]();
      const listed = store.layers.discarded();
      process.seteuid(0);
      for (const path of listed) fs.rmSync(path, { recursive: true });
      process.seteuid(65534);
      console.log(JSON.stringify([listed.length, store.layers.discarded().length]));
      await store[Symbol.asyncDispose]();`;
        chmodSync(dir(), 0o777);
        const node = [process.execPath, "--input-type=module", "-e", code, dir()];
        if (process.getuid?.() !== 0)
            needs("newuidmap");
        // Not root: a user namespace with a range of ids from /etc/subuid.
        const [command = "", ...args] = process.getuid?.() === 0
            ? node
            : ["unshare", "-r", "--map-auto", "--setuid", "0", "--setgid", "0", ...node];
        assert.deepEqual(JSON.parse(execFileSync(command, args, { encoding: "utf8" })), [1, 0]);
        if (process.getuid?.() !== 0) {
            execFileSync("unshare", ["-r", "--map-auto", "rm", "-rf", join(dir(), "store")]);
        }
    });
    it("can be committed whatever mode their root directory got", async () => {
        const env_4 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_4, await openStore(dir()), true);
            const active = store.layers.prepare();
            chmodSync(active.upper, 0o555);
            // overlayfs leaves this behind.
            mkdirSync(join(active.work, "work"), { mode: 0 });
            active.commit({});
            assert.equal(statSync(store.layers.directory(active.id)).mode & 0o777, 0o555);
            assert.equal(existsSync(join(store.layers.directory(active.id), "..", "work")), false);
            chmodSync(store.layers.directory(active.id), 0o755);
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
    it("keep the first directory when two commit the same layer", async () => {
        const env_5 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_5, await openStore(dir()), true);
            const id = store.layers.idOf(digestOf("diff"));
            assert.equal(id, `d-${digestOf("diff").slice(7)}`);
            makeLayer(store, "first", id);
            makeLayer(store, "second", id);
            assert.equal(readFileSync(join(store.layers.directory(id), "file"), "utf8"), "first");
            assert.deepEqual(readdirSync(join(dir(), "active")), []);
            assert.equal(store.layers.list().length, 1);
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
    it("merge what is learned about them", async () => {
        const env_6 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_6, await openStore(dir()), true);
            const id = store.layers.idOf(digestOf("diff"));
            const descriptor = { mediaType: "m", digest: digestOf("blob"), size: 4 };
            store.layers.update(id, { remotes: [{ descriptor, from: "registry.example/app" }] });
            store.layers.update(id, { blobs: { gzip: descriptor } });
            store.layers.update(id, { blobs: { plain: descriptor }, sizeBytes: 7 });
            const record = store.layers.get(id);
            assert.deepEqual(Object.keys(record?.blobs ?? {}).sort(), ["gzip", "plain"]);
            assert.equal(record?.remotes.length, 1);
            assert.equal(record?.sizeBytes, 7);
            assert.equal(record?.unpacked, false);
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
    it("that were not synced before a power cut are not believed afterwards", async () => {
        const env_7 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_7, await openStore(dir()), true);
            const lost = makeLayer(store, "lost").id;
            const kept = makeLayer(store, "kept").id;
            const packed = makeLayer(store, "packed").id;
            const descriptor = { mediaType: "m", digest: digestOf("blob"), size: 4 };
            store.layers.update(packed, { blobs: { gzip: descriptor } });
            assert.deepEqual(store.layers.unsynced().sort(), [lost, kept, packed].sort());
            store.layers.markSynced([kept]);
            for (const id of [lost, kept, packed])
                ofAnotherBoot(store, id);
            assert.deepEqual(store.layers.unsynced(), []);
            assert.equal(store.layers.get(lost), null);
            assert.equal(store.layers.get(kept)?.unpacked, true);
            assert.equal(store.layers.get(packed)?.unpacked, false, "its blob can be unpacked again");
            assert.deepEqual(store.layers
                .list()
                .map((record) => record.id)
                .sort(), [kept, packed].sort());
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
    it("replace the torn directory of a power cut", async () => {
        const env_8 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_8, await openStore(dir()), true);
            const id = store.layers.idOf(digestOf("diff"));
            makeLayer(store, "torn", id);
            ofAnotherBoot(store, id);
            assert.equal(store.layers.get(id), null);
            makeLayer(store, "whole", id);
            assert.equal(readFileSync(join(store.layers.directory(id), "file"), "utf8"), "whole");
            assert.equal(store.layers.get(id)?.unpacked, true);
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
    it("made by another process a moment ago are taken over, though their record is not there yet", async () => {
        const env_9 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_9, await openStore(dir()), true);
            const id = store.layers.idOf(digestOf("diff"));
            makeLayer(store, "first", id);
            store.records.remove("layer", id);
            makeLayer(store, "second", id);
            assert.equal(readFileSync(join(store.layers.directory(id), "file"), "utf8"), "first");
            assert.equal(store.layers.get(id)?.unpacked, true);
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
    it("never lie outside the store", async () => {
        const env_10 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_10, await openStore(dir()), true);
            assert.throws(() => store.layers.directory("../../etc"), /not a layer id/);
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
    it("committed by two processes at once are one layer", async () => {
        const env_11 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_11, await openStore(dir()), true);
            const id = store.layers.idOf(digestOf("diff"));
            const body = `
      const store = await openStore(dir);
      const active = store.layers.prepare();
      fs.writeFileSync(active.upper + "/file", "same");
      say("ready"); await new Promise((resolve) => process.stdin.once("data", resolve));
      active.commit({}, "${id}"); await store[Symbol.asyncDispose](); process.exit();`;
            const others = [child(dir(), body), child(dir(), body)];
            await Promise.all(others.map((other) => other.line()));
            for (const other of others)
                other.process.stdin?.write("go\n");
            assert.deepEqual(await Promise.all(others.map((other) => other.ended)), [0, 0]);
            assert.equal(readFileSync(join(store.layers.directory(id), "file"), "utf8"), "same");
            assert.deepEqual(readdirSync(join(dir(), "active")), []);
            rmSync(join(store.layers.directory(id), "file"));
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
});
//# sourceMappingURL=layer-store.test.js.map