// `tsbuild run`: a built or pulled image started in the same sandbox that RUN uses.
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
import { isAbsolute, join } from "node:path";
import { digestOf } from "../solver/graph/digest.js";
import { BuildError } from "../solver/graph/error.js";
import { openWorker } from "../worker/worker.js";
import { machinePlatform } from "./engine-source.js";
import { resolvConfFor } from "./host-network.js";
const DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const SHM_BYTES = 64 << 20;
/** Runs the command; its file changes are thrown away. Returns the exit code. Throws IMAGE_UNKNOWN, EXEC_FAILED… */
export async function runImage(parts, request, options) {
    const env_1 = { stack: [], error: void 0, hasError: false };
    try {
        const { store } = parts;
        const context = { signal: options.signal, session: options.session, emit: options.emit };
        parts.keeper(); // starts while the image is looked up
        const worker = __addDisposableResource(env_1, openWorker({
            store,
            keeper: parts.keeper,
            registry: async () => {
                if (request.pull === "never") {
                    throw new BuildError("IMAGE_UNKNOWN", `No such image: ${request.image}`, { hint: "'tsbuild images' lists the local ones" });
                }
                return parts.registry(options.session);
            },
            entitlements: new Set(),
            resolveMode: request.pull === "always" ? "pull" : "default",
            resolvConf: resolvConfFor,
            defaultNetwork: "host",
            defaultPlatform: machinePlatform(),
        }), true);
        const lease = __addDisposableResource(env_1, store.lease(), true);
        const image = await worker.images.load(`docker-image://${request.image}`, {}, request.platform ?? machinePlatform(), options);
        lease.addLayers(image.layers);
        const dirs = await worker.unpacker.directories(image.layers, digestOf(`run ${request.image}`), context);
        const { config } = JSON.parse(new TextDecoder().decode(image.config));
        const entrypoint = request.entrypoint === null ? (config.Entrypoint ?? []) : request.entrypoint === "" ? [] : [request.entrypoint];
        const command = request.args.length > 0 ? request.args : request.entrypoint === null ? (config.Cmd ?? []) : [];
        const args = [...entrypoint, ...command];
        if (args.length === 0) {
            throw new BuildError("USAGE", "no command specified", { hint: `tsbuild run ${request.image} COMMAND`, exitCode: 125 });
        }
        const workdir = request.workdir ?? (config.WorkingDir || "/");
        if (!isAbsolute(workdir))
            throw new BuildError("USAGE", `the working directory '${workdir}' is invalid, it needs to be an absolute path`, { exitCode: 125 });
        const network = request.network === "default" ? "host" : request.network;
        const active = __addDisposableResource(env_1, store.layers.prepare(), true);
        const mounts = [
            ...request.tmpfs.map(({ target, sizeBytes }) => ({ kind: "tmpfs", target, sizeBytes })),
            ...request.volumes.map(({ source, target, readonly }) => ({
                kind: "directory",
                target,
                path: source,
                readonly,
                owner: null,
                fileAllowed: true,
            })),
        ];
        if (request.shmSizeBytes !== null && request.shmSizeBytes !== SHM_BYTES) {
            mounts.unshift({ kind: "tmpfs", target: "/dev/shm", sizeBytes: request.shmSizeBytes });
        }
        const feeding = new AbortController();
        let stopResizing = () => { };
        try {
            const outcome = await parts.keeper().exec({
                rootfs: { dirs, upper: active.upper, work: active.work, readonly: request.readonlyRoot },
                args,
                env: withDefaultPath(mergeEnv(config.Env ?? [], request.env)),
                cwd: join("/", workdir),
                user: request.user ?? config.User ?? "",
                hostname: request.hostname ?? digestOf(`${process.pid} ${performance.now()}`).slice(7, 19),
                extraHosts: request.extraHosts,
                resolvConf: resolvConfFor(network),
                network,
                security: "sandbox",
                mounts,
                rlimits: request.ulimits,
                tty: request.tty ? { rows: process.stdout.rows || 24, columns: process.stdout.columns || 80 } : null,
                stdin: options.stdin !== null,
                devices: [],
            }, {
                signal: options.signal,
                onOutput: options.onOutput,
                onStart(control) {
                    if (options.stdin !== null)
                        void feed(control, options.stdin, feeding.signal);
                    if (request.tty) {
                        const resize = () => control.resize(process.stdout.rows || 24, process.stdout.columns || 80);
                        process.stdout.on("resize", resize);
                        stopResizing = () => process.stdout.off("resize", resize);
                    }
                },
            });
            return outcome.code ?? 128 + (outcome.signal ?? 0);
        }
        finally {
            feeding.abort();
            stopResizing();
        }
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
/** Sends standard input until it or the command ends. Owned by the command: nobody waits for it. */
async function feed(control, input, signal) {
    try {
        for await (const chunk of input) {
            if (signal.aborted)
                return;
            control.stdin(chunk);
        }
        control.stdin(null);
    }
    catch {
        // Input that breaks is input that ends; the command's exit code tells what it made of it.
        if (!signal.aborted)
            control.stdin(null);
    }
}
/** Later entries replace earlier ones of the same name. */
function mergeEnv(base, added) {
    const merged = new Map();
    for (const entry of [...base, ...added])
        merged.set(entry.slice(0, Math.max(0, entry.indexOf("="))), entry);
    return [...merged.values()];
}
function withDefaultPath(env) {
    return env.some((entry) => entry.startsWith("PATH=")) ? env : [DEFAULT_PATH, ...env];
}
//# sourceMappingURL=engine-run.js.map