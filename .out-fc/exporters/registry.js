// Push: blobs side by side, then configs, manifests, and names last, so that a name never stands for something unfinished.
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
import { formatRepository, parseReference } from "../cache/registry/reference.js";
import { Scope } from "../solver/graph/scope.js";
import { blobBytes, layersOf } from "./assembled.js";
/** Registries answer HEAD fast and PUT slowly; more at once gain nothing and hold memory. */
const UPLOADS_AT_ONCE = 6;
/** Pushes an image under all names. What a registry has is not sent; other repositories of it are mounted from. Throws REGISTRY_*. */
export async function pushImage(assembled, output, names, deps, context) {
    // Names of one repository share all but the last step; a second repository of a host mounts from the first.
    const references = names.map((name) => ({
        ...parseReference(name),
        ...(output.insecure ? { insecure: true } : {}),
    }));
    const byRepository = groupByRepository(references);
    const pushed = [];
    for (const group of byRepository.values()) {
        const [first] = group;
        if (first === undefined)
            continue;
        await pushBlobs(assembled, first, pushed, deps, context);
        await pushManifests(assembled, group, output.pushByDigest, deps, context.signal);
        pushed.push(first);
    }
}
async function pushBlobs(assembled, repository, pushed, deps, context) {
    const env_1 = { stack: [], error: void 0, hasError: false };
    try {
        const scope = __addDisposableResource(env_1, new Scope(context.signal), true);
        const waiting = [...layersOf(assembled), ...configsOf(assembled)];
        const work = async (signal) => {
            for (let descriptor = waiting.shift(); descriptor !== undefined; descriptor = waiting.shift()) {
                await pushBlob(assembled, descriptor, repository, pushed, deps, { ...context, signal });
            }
        };
        await scope.all(Array.from({ length: Math.min(UPLOADS_AT_ONCE, waiting.length) }, () => work));
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
async function pushBlob(assembled, descriptor, repository, pushed, deps, { signal, emit, vertex, nowMs }) {
    const label = `pushing layer ${descriptor.digest}`;
    const report = (current, done) => {
        if (vertex === null)
            return;
        emit({ kind: "bytes", vertex, label, atMs: nowMs(), current, total: descriptor.size, done });
    };
    const mountFrom = pushed.filter(({ host }) => host === repository.host).map((one) => one.repository);
    const remote = assembled.remotes.get(descriptor.digest);
    if (remote !== undefined && !remote.from.startsWith("oci-layout:")) {
        const from = parseReference(remote.from);
        if (from.host === repository.host)
            mountFrom.push(from.repository);
    }
    await deps.registry.uploadBlob(repository, descriptor, () => blobBytes(assembled, descriptor, deps, signal), {
        signal,
        mountFrom: [...new Set(mountFrom)],
        onBytes: (current) => report(current, false),
    });
    report(descriptor.size, true);
}
async function pushManifests(assembled, names, byDigest, deps, signal) {
    const [repository] = names;
    if (repository === undefined)
        return;
    const put = (name, { bytes, descriptor }) => deps.registry.putManifest(repository, name, bytes, descriptor.mediaType, { signal });
    if (assembled.isIndex) {
        for (const { manifest } of assembled.images)
            await put(manifest.descriptor.digest, manifest);
    }
    const { digest } = assembled.top.descriptor;
    const tags = byDigest ? [digest] : [...new Set(names.map(({ tag }) => tag ?? digest))];
    for (const tag of tags)
        await put(tag, assembled.top);
}
function configsOf(assembled) {
    const configs = new Map();
    for (const { config } of assembled.images)
        configs.set(config.descriptor.digest, config.descriptor);
    return [...configs.values()];
}
function groupByRepository(references) {
    const groups = new Map();
    for (const reference of references) {
        const key = formatRepository(reference);
        groups.set(key, [...(groups.get(key) ?? []), reference]);
    }
    return groups;
}
//# sourceMappingURL=registry.js.map