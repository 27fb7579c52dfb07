// Layers as blobs for the exporters: packed by the keeper, once per form, remembered in the layer's record.
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
const MEDIA_TYPES = {
    gzip: "application/vnd.oci.image.layer.v1.tar+gzip",
    zstd: "application/vnd.oci.image.layer.v1.tar+zstd",
    uncompressed: "application/vnd.oci.image.layer.v1.tar",
};
/** Opens the source. Equal calls at one time share one packing. */
export function openLayerSource(deps) {
    const { store } = deps;
    const running = new Map();
    const once = (key, work) => {
        const known = running.get(key);
        if (known !== undefined)
            return known;
        const task = work().finally(() => running.delete(key));
        running.set(key, task);
        return task;
    };
    const recordOf = (id) => {
        const record = store.layers.get(id);
        if (record === null)
            throw new BuildError("STORE_CORRUPT", `layer ${id} is not in the store`);
        return record;
    };
    const pack = async (id, compression, level, epochSeconds, signal) => {
        const env_1 = { stack: [], error: void 0, hasError: false };
        try {
            const dir = await deps.unpack(id, signal);
            const ingest = __addDisposableResource(env_1, compression === null ? null : store.content.ingest(), true);
            signal.throwIfAborted();
            const outcome = await deps.keeper().run({
                kind: "pack",
                dir,
                out: ingest?.path ?? null,
                compression: compression ?? "uncompressed",
                level,
                epochSeconds,
                pinned: deps.pinnedCompressor,
            });
            signal.throwIfAborted();
            const record = recordOf(id);
            const times = epochSeconds === null ? "" : `epoch=${epochSeconds}`;
            const changes = epochSeconds === null
                ? { diffId: outcome.diffId, sizeBytes: record.sizeBytes || outcome.tarBytes, tarBytes: { ...record.tarBytes, [times]: outcome.tarBytes } }
                : { diffIds: { ...record.diffIds, [times]: outcome.diffId }, tarBytes: { ...record.tarBytes, [times]: outcome.tarBytes } };
            if (ingest === null || compression === null || outcome.digest === null || outcome.size === null) {
                store.layers.update(id, changes);
                return { diffId: outcome.diffId, tarBytes: outcome.tarBytes, descriptor: null };
            }
            ingest.commit({ digest: outcome.digest, size: outcome.size, trusted: true });
            const descriptor = { mediaType: MEDIA_TYPES[compression], digest: outcome.digest, size: outcome.size };
            store.layers.update(id, { ...changes, blobs: { ...record.blobs, [formKey(compression, level, epochSeconds, deps.pinnedCompressor)]: descriptor } });
            return { diffId: outcome.diffId, tarBytes: outcome.tarBytes, descriptor };
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
    };
    const recompress = async (id, compression, level, diffId, key, signal) => {
        const env_2 = { stack: [], error: void 0, hasError: false };
        try {
            const blob = await deps.fetch(id, signal);
            const ingest = __addDisposableResource(env_2, store.content.ingest(), true);
            const outcome = await deps.keeper().run({ kind: "recompress", blob, out: ingest.path, compression, level, pinned: deps.pinnedCompressor });
            signal.throwIfAborted();
            if (outcome.diffId !== diffId || outcome.digest === null || outcome.size === null) {
                throw new BuildError("DIGEST_MISMATCH", `a layer of the base image has the diffId ${outcome.diffId}, its config says ${diffId}`);
            }
            ingest.commit({ digest: outcome.digest, size: outcome.size, trusted: true });
            const descriptor = { mediaType: MEDIA_TYPES[compression], digest: outcome.digest, size: outcome.size };
            store.layers.update(id, { blobs: { ...recordOf(id).blobs, [key]: descriptor } });
            return descriptor;
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
    };
    return {
        async diffId(id, epochSeconds, { signal }) {
            const record = recordOf(id);
            const times = epochSeconds === null ? "" : `epoch=${epochSeconds}`;
            const known = epochSeconds === null ? record.diffId : (record.diffIds[times] ?? null);
            const tarBytes = record.tarBytes?.[times];
            if (known !== null && tarBytes !== undefined)
                return { diffId: known, tarBytes };
            return once(`diff ${id} ${times}`, () => pack(id, null, null, epochSeconds, signal));
        },
        async blob(id, variant, { signal }) {
            const { compression, level, epochSeconds } = variant;
            const record = recordOf(id);
            const diffId = epochSeconds === null ? record.diffId : (record.diffIds[`epoch=${epochSeconds}`] ?? null);
            const key = formKey(compression, level, epochSeconds, deps.pinnedCompressor);
            const known = record.blobs[key];
            if (known !== undefined && diffId !== null && store.content.has(known.digest)) {
                return { descriptor: known, diffId, remote: null };
            }
            // Without force a base layer leaves as it came.
            const original = variant.pinned ? record.remotes[0] : undefined;
            if (original !== undefined && diffId !== null && (!variant.force || isForm(original, compression))) {
                return {
                    descriptor: plainDescriptor(original.descriptor),
                    diffId,
                    remote: store.content.has(original.descriptor.digest) ? null : original,
                };
            }
            return once(`blob ${id} ${key}`, async () => {
                if (original !== undefined && diffId !== null) {
                    return { descriptor: await recompress(id, compression, level, diffId, key, signal), diffId, remote: null };
                }
                const packed = await pack(id, compression, level, epochSeconds, signal);
                if (packed.descriptor === null)
                    throw new Error("packing gave no blob");
                return { descriptor: packed.descriptor, diffId: packed.diffId, remote: null };
            });
        },
    };
}
function formKey(compression, level, epochSeconds, pinned) {
    return `${compression}${level === null ? "" : `-${level}`}${epochSeconds === null ? "" : `+epoch=${epochSeconds}`}${pinned ? "+pinned" : ""}`;
}
function isForm(remote, compression) {
    const type = remote.descriptor.mediaType;
    if (compression === "gzip")
        return /[+.]gzip$/.test(type);
    if (compression === "zstd")
        return /[+.]zstd$/.test(type);
    return /\.tar$/.test(type);
}
function plainDescriptor({ mediaType, digest, size }) {
    return { mediaType, digest, size };
}
//# sourceMappingURL=layer-source.js.map