// pull and push between the local image store and registries.
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
import { IMAGE_SPACE, runOutputs } from "../exporters/exporter.js";
import { parseOutput } from "../exporters/output-grammar.js";
import { loadImage } from "../cache/registry/image.js";
import { formatReference, parseReference, withDefaultTag } from "../cache/registry/reference.js";
import { digestOf } from "../solver/graph/digest.js";
import { BuildError } from "../solver/graph/error.js";
import { formatPlatform } from "../solver/graph/op.js";
import { openWorker } from "../worker/worker.js";
import { machinePlatform } from "./engine-source.js";
import { resolvConfFor } from "./host-network.js";
import { openLayerSource } from "./layer-source.js";
import { findImage } from "./local-images.js";
/** Fetches manifest, config and layers and gives them their name. Throws REGISTRY_*, PLATFORM_UNSUPPORTED. */
export async function pullImage(parts, reference, platform, options) {
    const env_1 = { stack: [], error: void 0, hasError: false };
    try {
        const { store } = parts;
        const context = { signal: options.signal, session: options.session, emit: options.emit };
        const named = withDefaultTag(parseReference(reference));
        const name = formatReference(named);
        const wanted = platform ?? machinePlatform();
        const registry = await parts.registry(options.session);
        const worker = __addDisposableResource(env_1, transferWorker(parts, options), true);
        const lease = __addDisposableResource(env_1, store.lease(), true);
        const vertex = digestOf(`pull ${name}`);
        options.emit({ kind: "vertex", vertex, name: `pull ${name}`, inputs: [], at: [] });
        options.emit({ kind: "started", vertex, atMs: Date.now() });
        const image = await worker.images.load(`docker-image://${name}`, {}, wanted, options);
        const loaded = await loadImage(registry, store, { ...named, tag: null, digest: image.digest }, wanted, { signal: options.signal, lease });
        lease.addLayers(image.layers);
        await Promise.all(image.layers.map((id) => worker.unpacker.blob(id, vertex, context)));
        const target = loaded.manifestDescriptor;
        const record = { name, target, createdAtMs: Date.now(), layers: { [formatPlatform(wanted)]: image.layers } };
        store.records.put(IMAGE_SPACE, name, record);
        options.emit({ kind: "done", vertex, atMs: Date.now() });
        return target;
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
/** Sends an image under its name; layers are packed as gzip on the way. Throws IMAGE_UNKNOWN, REGISTRY_*. */
export async function pushImage(parts, reference, options) {
    const env_2 = { stack: [], error: void 0, hasError: false };
    try {
        const { store } = parts;
        const context = { signal: options.signal, session: options.session, emit: options.emit };
        const found = findImage(store, reference);
        const images = found.manifests.map(({ config, descriptor }) => {
            const platform = descriptor.platform ?? { os: config.os, architecture: config.architecture, ...(config.variant ? { variant: config.variant } : {}) };
            const layers = found.record.layers[formatPlatform(platform)] ?? Object.values(found.record.layers)[0];
            if (layers === undefined)
                throw new BuildError("STORE_CORRUPT", `${reference}: the layers of the image are not known`);
            return { platform, layers, config };
        });
        const worker = __addDisposableResource(env_2, transferWorker(parts, options), true);
        const name = formatReference(withDefaultTag(parseReference(reference)));
        const output = parseOutput(`type=image,name=${name},push=true,store=false`);
        const vertex = digestOf(`push ${name}`);
        options.emit({ kind: "vertex", vertex, name: `pushing ${name}`, inputs: [], at: [] });
        options.emit({ kind: "started", vertex, atMs: Date.now() });
        const [outcome] = await runOutputs(images, [output], {
            store,
            registry: await parts.registry(options.session),
            layers: openLayerSource({
                store,
                keeper: parts.keeper,
                fetch: async (id, signal) => store.content.path(await worker.unpacker.blob(id, null, { ...context, signal })),
                unpack: async (id, signal) => {
                    const [dir] = await worker.unpacker.directories([id], vertex, { ...context, signal });
                    if (dir === undefined)
                        throw new Error("no directory");
                    return dir;
                },
                pinnedCompressor: false,
            }),
            files: async () => {
                throw new Error("a push writes no files");
            },
            stdout: null,
            loaders: [],
            env: parts.config.env,
        }, {
            signal: options.signal,
            emit: options.emit,
            vertex,
            multiPlatform: images.length > 1,
            epochSeconds: null,
            nowMs: Date.now,
        });
        options.emit({ kind: "done", vertex, atMs: Date.now() });
        if (outcome?.descriptor == null)
            throw new Error("the push gave no image");
        return outcome.descriptor;
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
}
function transferWorker(parts, options) {
    return openWorker({
        store: parts.store,
        keeper: parts.keeper,
        registry: () => parts.registry(options.session),
        entitlements: new Set(),
        resolveMode: "pull",
        resolvConf: resolvConfFor,
        defaultNetwork: "host",
        defaultPlatform: machinePlatform(),
    });
}
//# sourceMappingURL=engine-transfer.js.map