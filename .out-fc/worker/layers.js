// Layers made ready to be mounted: fetched and unpacked, side by side, each once over all processes of the store.
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
import { BuildError } from "../solver/graph/error.js";
/** Opens the unpacker. */
export function openUnpacker(store, keeper, fetch) {
    const running = new Map();
    /** Everybody who wants the same thing here shares one task; it goes on while one of them still waits. */
    const once = (key, work) => {
        const known = running.get(key);
        if (known !== undefined)
            return known;
        const task = work().finally(() => running.delete(key));
        running.set(key, task);
        return task;
    };
    const fetchOne = async (record, vertex, context) => {
        const local = Object.values(record.blobs).find((blob) => store.content.has(blob.digest));
        if (local !== undefined)
            return local.digest;
        const remote = record.remotes[0];
        if (remote === undefined) {
            throw new BuildError("STORE_CORRUPT", `a layer of the image is neither in the store nor known to a registry (${record.description})`, {
                hint: "pull or build the image again",
            });
        }
        const { digest, size } = remote.descriptor;
        await once(`fetch ${digest}`, async () => {
            let last = 0;
            const report = (current, done) => {
                if (vertex === null)
                    return;
                const atMs = Date.now();
                if (!done && atMs - last < 100)
                    return;
                last = atMs;
                context.emit({ kind: "bytes", vertex, label: `sha256:${digest.slice(7, 19)}`, atMs, current, total: size, done });
            };
            await fetch(remote, { signal: context.signal, onBytes: (current) => report(current, false) });
            report(size, true);
        });
        return digest;
    };
    const unpackOne = (id, vertex, context) => once(`unpack ${id}`, () => store.exclusively(`unpack ${id}`, async () => {
        const env_1 = { stack: [], error: void 0, hasError: false };
        try {
            const record = store.layers.get(id);
            if (record === null)
                throw new BuildError("STORE_CORRUPT", `layer ${id} is not in the store`);
            if (record.unpacked)
                return; // another process was quicker
            const digest = await fetchOne(record, vertex, context);
            const mediaType = record.remotes.find((remote) => remote.descriptor.digest === digest)?.descriptor.mediaType ??
                Object.values(record.blobs).find((blob) => blob.digest === digest)?.mediaType ??
                "";
            const active = __addDisposableResource(env_1, store.layers.prepare(), true);
            const outcome = await keeper().run({
                kind: "apply",
                blob: store.content.path(digest),
                mediaType,
                diffId: record.diffId,
                dir: active.upper,
            });
            context.signal.throwIfAborted();
            active.commit({ ...record, unpacked: true, diffId: outcome.diffId, sizeBytes: outcome.sizeBytes }, id);
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
    }, { signal: context.signal }));
    return {
        async directories(layers, vertex, context) {
            const missing = layers.filter((id) => store.layers.get(id)?.unpacked !== true);
            const results = await Promise.allSettled(missing.map((id) => unpackOne(id, vertex, context)));
            for (const result of results)
                if (result.status === "rejected")
                    throw result.reason;
            // A merge may name one layer twice; overlayfs refuses that, and the upper one covers the lower.
            return layers.filter((id, index) => layers.lastIndexOf(id) === index).map((id) => store.layers.directory(id));
        },
        async blob(layer, vertex, context) {
            const record = store.layers.get(layer);
            if (record === null)
                throw new BuildError("STORE_CORRUPT", `layer ${layer} is not in the store`);
            return fetchOne(record, vertex, context);
        },
    };
}
//# sourceMappingURL=layers.js.map