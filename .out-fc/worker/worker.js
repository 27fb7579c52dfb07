// The door of the worker: makes one op happen. Contracts first; openWorker() below.
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
import { existsSync } from "node:fs";
import { pullLayer } from "../cache/registry/image.js";
import { digestOf, parseDigest } from "../solver/graph/digest.js";
import { BuildError } from "../solver/graph/error.js";
import { formatPlatform } from "../solver/graph/op.js";
import { openUnpacker } from "./layers.js";
import { runExecOp } from "./ops/exec.js";
import { layersDigest, openImageSource } from "./sources/image.js";
import { openLocalSource } from "./sources/local.js";
/** The worker of this machine. Disposing it does not end the keeper, which belongs to who made it. */
export function openWorker(options) {
    const { store, keeper } = options;
    const images = openImageSource(store, options.registry, options.resolveMode);
    const local = openLocalSource(store);
    // New layers are held from before they are visible until the worker closes; by then the records that name them exist.
    const lease = store.lease();
    const prepareHeld = () => {
        const active = store.layers.prepare();
        lease.addLayers([active.id]);
        return active;
    };
    const unpacker = openUnpacker(store, keeper, async (remote, transfer) => pullLayer(remote, store, await options.registry(), transfer));
    /** Files of the asker as a layer, for mounts: made once per content. */
    const materialized = async (files, context) => {
        const selector = { kind: "subtree", path: "/" };
        const digest = await local.digest(files, [selector], context.session, context);
        return store.exclusively(`materialize ${digest}`, async () => {
            const env_1 = { stack: [], error: void 0, hasError: false };
            try {
                const known = store.records.get("materialized", digest);
                if (known !== null && store.layers.get(known)?.unpacked === true)
                    return [known];
                const active = __addDisposableResource(env_1, prepareHeld(), true);
                const outcome = await keeper().run({
                    kind: "materialize",
                    tree: treeOfFiles(files, context.session),
                    selector: "/",
                    upper: active.upper,
                });
                const record = active.commit({ unpacked: true, createdAtMs: Date.now(), description: `files of ${files.name}` });
                // Files that changed meanwhile are another content: the record says what was really read.
                store.records.put("materialized", outcome.readDigest ?? digest, record.id);
                return [record.id];
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
        }, { signal: context.signal });
    };
    const layersOf = async (result, context) => result.kind === "layers" ? result.layers : materialized(result, context);
    const directories = async (result, vertex, context) => unpacker.directories(await layersOf(result, context), vertex, context);
    const treeOf = async (result, vertex, context) => result.kind === "files"
        ? treeOfFiles(result, context.session)
        : { kind: "layers", dirs: await directories(result, vertex, context) };
    const runFile = async (vertex, op, inputs, context, name) => {
        const env_2 = { stack: [], error: void 0, hasError: false };
        try {
            const first = op.actions[0];
            const last = op.actions.at(-1);
            if (first === undefined || last === undefined)
                throw new Error("a file op without actions");
            op.actions.forEach((action, index) => {
                const chained = index === 0 || action.base === inputs.length + index - 1;
                if (!chained || (action.output !== null && action !== last)) {
                    throw new BuildError("SOURCE_FAILED", "a file op whose actions are not one chain is not supported");
                }
            });
            const base = first.base === null ? null : inputs[first.base];
            const [baseLayers, trees] = await Promise.all([
                base === null || base === undefined ? [] : layersOf(base, context),
                Promise.all(inputs.map(async (input, index) => usesInput(op, index) ? treeOf(input, vertex.digest, context) : null)),
            ]);
            const dirs = await unpacker.directories(baseLayers, vertex.digest, context);
            const active = __addDisposableResource(env_2, prepareHeld(), true);
            const outcome = await keeper().run({
                kind: "file",
                base: dirs,
                upper: active.upper,
                work: active.work,
                inputs: trees,
                actions: op.actions,
                times: { epochSeconds: null },
            });
            context.signal.throwIfAborted();
            const record = active.commit({ unpacked: true, createdAtMs: Date.now(), description: name });
            const result = { kind: "layers", layers: [...baseLayers, record.id] };
            const outputs = [];
            outputs[last.output ?? 0] = result;
            return { outputs, readDigest: outcome.readDigest };
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
    const pinSource = async (op, platform, context) => {
        const scheme = op.identifier.slice(0, op.identifier.indexOf("://"));
        switch (scheme) {
            case "docker-image":
            case "oci-layout": {
                const image = await images.load(op.identifier, op.attrs, platform ?? options.defaultPlatform, context);
                return { digest: layersDigest(image.layers), result: { kind: "layers", layers: image.layers } };
            }
            case "local":
                return { digest: null, result: local.result(op, context.session) };
            case "http":
            case "https":
                return (await import("./sources/http.js")).pinHttp(op, store, context);
            case "git":
                return (await import("./sources/git.js")).pinGit(op, store, context);
            default:
                throw new BuildError("SOURCE_FAILED", `sources of the kind "${scheme}" are not supported`);
        }
    };
    const runSource = async (op, context) => {
        const scheme = op.identifier.slice(0, op.identifier.indexOf("://"));
        const layer = scheme === "git"
            ? await (await import("./sources/git.js")).fetchGit(op, store, context)
            : await (await import("./sources/http.js")).fetchHttp(op, store, context);
        return { outputs: [{ kind: "layers", layers: [layer] }], readDigest: null };
    };
    return {
        images,
        unpacker,
        layersOf,
        pin: (op, platform, _vertex, context) => pinSource(op, platform, context),
        async contentDigest(result, selectors, context) {
            if (result.kind === "files")
                return local.digest(result, selectors, context.session, context);
            const vertex = layersDigest(result.layers);
            // What layers hold never changes, so what was picked out of them once is known for ever.
            const key = digestOf(JSON.stringify([result.layers, selectors]));
            const known = store.records.get("selection", key);
            if (known !== null)
                return known;
            const dirs = await unpacker.directories(result.layers, vertex, context);
            const digest = parseDigest(await keeper().run({ kind: "select", tree: { kind: "layers", dirs }, selectors }));
            store.records.put("selection", key, digest);
            return digest;
        },
        async run(vertex, inputs, context, name) {
            const { op } = vertex;
            switch (op.kind) {
                case "file":
                    return runFile(vertex, op, inputs, context, name);
                case "exec": {
                    const network = op.network === "sandbox" ? options.defaultNetwork : op.network;
                    checkPlatform(vertex.platform, options.defaultPlatform);
                    const outputs = await runExecOp(vertex, op, inputs, {
                        store,
                        keeper,
                        entitlements: options.entitlements,
                        network,
                        resolvConf: options.resolvConf,
                        directories: (input) => directories(input, vertex.digest, context),
                        layersOf: (input) => layersOf(input, context),
                        name,
                        lease,
                    }, context);
                    return { outputs, readDigest: null };
                }
                case "source":
                    return runSource(op, context);
                case "merge":
                case "diff":
                case "build":
                    throw new BuildError("SOURCE_FAILED", `this ${op.kind} step is not supported`);
            }
        },
        warm() {
            keeper();
        },
        async [Symbol.asyncDispose]() {
            local.flush();
            await lease[Symbol.asyncDispose]();
        },
    };
}
function treeOfFiles(files, session) {
    return { kind: "files", root: session.directory(files.name), excludes: files.excludes, includes: files.includes };
}
/** Is the input read by an action, other than as the base of the first? */
function usesInput(op, index) {
    return op.actions.some((action) => {
        const owner = "owner" in action ? action.owner : null;
        const names = [owner?.user, owner?.group].some((one) => one?.kind === "name" && one.input === index);
        return names || (action.kind === "copy" && action.from === index);
    });
}
/** Programs of another architecture run only where the kernel has an emulator for them. binfmt_misc(5) */
function checkPlatform(platform, own) {
    if (platform === null || platform.architecture === own.architecture)
        return;
    if (own.architecture === "amd64" && platform.architecture === "386")
        return;
    const names = { arm64: "aarch64", amd64: "x86_64", arm: "arm", riscv64: "riscv64", ppc64le: "ppc64le", s390x: "s390x", "386": "i386", mips64le: "mips64el", loong64: "loongarch64" };
    const emulator = names[platform.architecture];
    const dir = "/proc/sys/fs/binfmt_misc";
    if (emulator !== undefined && existsSync(`${dir}/qemu-${emulator}`))
        return;
    throw new BuildError("PLATFORM_UNSUPPORTED", `RUN for ${formatPlatform(platform)} needs an emulator on this ${formatPlatform(own)} machine (exec format error)`, {
        hint: "apt-get install qemu-user-static binfmt-support (as root), or build the stage with FROM --platform=$BUILDPLATFORM",
    });
}
//# sourceMappingURL=worker.js.map