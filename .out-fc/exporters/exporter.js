// The door of the exporters: a built image leaves the house, by several ways at once.
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
import { formatPlatform } from "../solver/graph/op.js";
import { Scope } from "../solver/graph/scope.js";
import { exportArchive } from "./oci.js";
import { exportFiles } from "./files.js";
import { goTime } from "./go-json.js";
import { annotationsFor } from "./annotations.js";
import { makeImage, makeIndex } from "./image.js";
import { pushImage } from "./registry.js";
/** Where the image store keeps names; see ImageRecord. */
export const IMAGE_SPACE = "image";
/**
 * Runs outputs side by side; the first failure stops the others. Throws OUTPUT_INVALID, OUTPUT_FAILED, REGISTRY_*, and what
 * packing throws. What was written under a final name before a failure elsewhere stays.
 */
export async function runOutputs(images, outputs, deps, context) {
    const env_1 = { stack: [], error: void 0, hasError: false };
    try {
        checkOutputs(images, outputs, deps, context);
        const scope = __addDisposableResource(env_1, new Scope(context.signal), true);
        const lease = scope.use(deps.store.lease());
        for (const image of images)
            lease.addLayers(image.layers);
        return await scope.all(outputs.map((output) => (signal) => runOutput(images, output, deps, { ...context, signal }, lease)));
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
// What can be known to be wrong is said before any work.
function checkOutputs(images, outputs, deps, context) {
    const isIndex = context.multiPlatform || images.length > 1;
    let toStdout = 0;
    for (const output of outputs) {
        if ((output.kind === "archive" || output.kind === "files") && output.dest?.kind === "stdout") {
            toStdout++;
            if (deps.stdout === null) {
                throw new BuildError("OUTPUT_INVALID", "dest file is required, refusing to write to a terminal", {
                    hint: "add dest=FILE, or redirect standard output",
                });
            }
        }
        if (output.kind === "archive" && output.format === "docker" && isIndex) {
            throw new BuildError("OUTPUT_INVALID", "docker exporter does not currently support exporting manifest lists", {
                hint: "use type=oci, or build one platform",
            });
        }
        if (output.kind === "image" &&
            output.push &&
            output.image.names.length === 0 &&
            output.danglingNamePrefix === null) {
            throw new BuildError("OUTPUT_INVALID", "tag is needed when pushing to registry", {
                hint: "add -t NAME or name=NAME",
            });
        }
        if ((output.kind === "archive" || output.kind === "image") && !isIndex) {
            const { index, indexDescriptor } = annotationsFor(output.image.annotations, null);
            if (Object.keys(index).length + Object.keys(indexDescriptor).length > 0) {
                throw new BuildError("OUTPUT_INVALID", "index annotations not supported for single platform export");
            }
        }
    }
    if (toStdout > 1)
        throw new BuildError("OUTPUT_INVALID", "only one output can go to standard output");
}
async function runOutput(images, output, deps, context, lease) {
    switch (output.kind) {
        case "cacheonly":
            return { output, descriptor: null, configDigest: null, names: [], loaderMessage: null };
        case "files":
            await exportFiles(images, output, deps, context);
            return { output, descriptor: null, configDigest: null, names: [], loaderMessage: null };
        case "archive": {
            const assembled = await assemble(images, output.image, false, deps, context, lease);
            const loaderMessage = await exportArchive(assembled, output, deps, context);
            return outcomeOf(output, assembled, output.image.names, loaderMessage);
        }
        case "image": {
            // An image that only gets a name here needs no blobs: its manifest names the plain tars, which can be made from
            // the layers at any time. Nothing is compressed before it leaves.
            const isPlain = !output.push && !output.image.compressionChosen && !output.image.forceCompression;
            const assembled = await assemble(images, output.image, isPlain, deps, context, lease);
            const names = namesOf(output, assembled.top.descriptor.digest);
            if (output.store)
                nameImage(assembled, images, output, names, deps.store, context.nowMs());
            if (output.push)
                await pushImage(assembled, output, names, deps, context);
            return outcomeOf(output, assembled, names, null);
        }
    }
}
function outcomeOf(output, assembled, names, loaderMessage) {
    return {
        output,
        descriptor: assembled.top.descriptor,
        configDigest: assembled.isIndex ? null : (assembled.images[0]?.config.descriptor.digest ?? null),
        names,
        loaderMessage,
    };
}
function namesOf(output, digest) {
    if (output.image.names.length > 0)
        return output.image.names;
    return output.danglingNamePrefix === null ? [] : [`${output.danglingNamePrefix}@${digest}`];
}
async function assemble(images, options, isPlain, deps, context, lease) {
    const env_2 = { stack: [], error: void 0, hasError: false };
    try {
        const epochSeconds = options.epochSeconds ?? context.epochSeconds;
        const remotes = new Map();
        const { signal } = context;
        // Blobs of one layer in two images are one call to the source, which shares the work.
        const makeOptions = { ociTypes: options.ociTypes, annotations: options.annotations, epochSeconds };
        const scope = __addDisposableResource(env_2, new Scope(signal), true);
        const made = await scope.all(images.map((image) => async (signal) => {
            const layers = await Promise.all(image.layers.map((id) => layerOf(id, options, epochSeconds, isPlain, deps, remotes, signal)));
            for (const { descriptor } of layers)
                lease.addBlobs([descriptor.digest]);
            return makeImage(image, layers, makeOptions);
        }));
        const isIndex = context.multiPlatform || images.length > 1;
        const only = made[0];
        if (only === undefined)
            throw new Error("no image to export");
        const top = isIndex ? makeIndex(made, makeOptions) : only.manifest;
        for (const document of new Set([top, ...made.flatMap(({ config, manifest }) => [config, manifest])])) {
            lease.addBlobs([document.descriptor.digest]);
            deps.store.content.put(document.bytes);
        }
        return { images: made, top, isIndex, remotes, created: newest(made, epochSeconds) };
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
async function layerOf(id, options, epochSeconds, isPlain, deps, remotes, signal) {
    // Ids of base layers begin so; BuildKit too leaves them alone when it rewrites times.
    const pinned = id.startsWith("d-");
    const clampTo = options.rewriteTimestamp && !pinned ? epochSeconds : null;
    const record = deps.store.layers.get(id);
    const common = { createdAtMs: record?.createdAtMs ?? null, description: record?.description ?? "" };
    if (isPlain && !pinned) {
        const { diffId, tarBytes } = await deps.layers.diffId(id, clampTo, { signal });
        const descriptor = {
            mediaType: "application/vnd.oci.image.layer.v1.tar",
            digest: diffId,
            size: tarBytes,
        };
        return { descriptor, diffId, ...common };
    }
    const { descriptor, diffId, remote } = await deps.layers.blob(id, {
        compression: options.compression,
        level: options.compressionLevel,
        force: options.forceCompression,
        epochSeconds: clampTo,
        pinned,
    }, { signal });
    if (remote !== null)
        remotes.set(descriptor.digest, remote);
    return { descriptor, diffId, ...common };
}
function newest(images, epochSeconds) {
    if (epochSeconds !== null)
        return goTime(epochSeconds * 1000);
    const times = images.map(({ created }) => Date.parse(created ?? "")).filter((ms) => !Number.isNaN(ms));
    return `${goTime(Math.max(0, ...times)).slice(0, 19)}Z`; // whole seconds: time.RFC3339
}
function nameImage(assembled, images, output, names, store, nowMs) {
    const { descriptor } = assembled.top;
    const isNamed = output.image.names.length > 0;
    const all = names.flatMap((name) => output.nameCanonical && isNamed ? [name, `${name}@${descriptor.digest}`] : [name]);
    const layers = Object.fromEntries(images.map((image) => [formatPlatform(image.platform), image.layers]));
    const changes = all.map((name) => {
        const value = { name, target: descriptor, createdAtMs: nowMs, layers };
        return { space: IMAGE_SPACE, key: name, value };
    });
    if (changes.length > 0)
        store.records.batch(changes);
}
//# sourceMappingURL=exporter.js.map