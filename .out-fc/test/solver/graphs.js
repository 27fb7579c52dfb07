// Words to write arithmetic graphs with, and one call to solve them.
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
import PQueue from "p-queue";
import { makeVertex } from "../../solver/graph/llb.js";
import { openSolver } from "../../solver/solver.js";
import { openMemoryStore } from "../support/memory-store.js";
import { openArithmetic } from "../support/arithmetic.js";
export const EXEC = {
    ...{
        kind: "exec",
        args: [],
        env: [],
        cwd: "/",
        user: "",
        proxyEnv: null,
        extraHosts: [],
        hostname: "",
        ulimits: [],
    },
    ...{
        cgroupParent: "",
        validExitCodes: [],
        mounts: [],
        network: "sandbox",
        security: "sandbox",
        secretEnv: [],
        devices: [],
    },
};
export const COPY = {
    ...{
        kind: "copy",
        from: 0,
        base: null,
        output: 0,
        src: "/",
        dest: "/",
        owner: null,
        mode: null,
        modeStr: "",
    },
    ...{
        followSymlink: false,
        dirCopyContents: true,
        attemptUnpack: false,
        createDestPath: true,
        allowWildcard: true,
    },
    ...{ allowEmptyWildcard: true, timestampNs: null, includePatterns: [], excludePatterns: [] },
    ...{ alwaysReplaceExistingDestPaths: false, requiredPaths: [] },
};
export function openDraft() {
    const vertices = new Map();
    const notes = new Map();
    const add = (vertex) => {
        vertices.set(vertex.digest, vertex);
        return { vertex: vertex.digest, output: 0 };
    };
    const present = (inputs) => inputs.filter((input) => input !== null);
    return {
        source: (identifier, attrs = {}) => add(makeVertex({ kind: "source", identifier, attrs }, null, [])),
        sum(name, amount, where, root, mounts = [], also = {}) {
            const inputs = present([root, ...mounts]);
            const first = root === null ? 0 : 1;
            const bind = (input, target, readonly, output) => ({
                ...{ kind: "bind", selector: "/", input, target, readonly, output },
            });
            const all = [
                bind(root === null ? null : 0, "/", false, 0),
                ...mounts.map((_, index) => bind(first + index, `/mnt/${index}`, true, null)),
            ];
            const args = ["sum", name, String(amount), where];
            return add(makeVertex({ ...EXEC, args, mounts: all, ...also }, null, inputs));
        },
        file(path, number, base) {
            const data = new TextEncoder().encode(String(number));
            const action = {
                ...{ kind: "mkfile", path, mode: 0o644, data, owner: null, timestampNs: null },
                ...{ base: base === null ? null : 0, output: 0 },
            };
            return add(makeVertex({ kind: "file", actions: [action] }, null, present([base])));
        },
        copy(from, src, dest, base, platform) {
            const action = { ...COPY, src, dest, base: base === null ? null : 1 };
            return add(makeVertex({ kind: "file", actions: [action] }, platform ?? null, present([from, base])));
        },
        merge: (...inputs) => add(makeVertex({ kind: "merge", inputs: inputs.map((_, index) => index) }, null, inputs)),
        diff: (lower, upper) => add(makeVertex({ kind: "diff", lower: 0, upper: 1 }, null, [lower, upper])),
        note(input, note) {
            notes.set(input.vertex, { name: "", ignoreCache: false, at: [], group: null, ...note });
        },
        definition: () => ({ vertices, notes, root: null }),
    };
}
const NO_SESSION = {
    directory: () => "/",
    secret: async () => null,
    sshSocket: () => null,
    credentials: async () => null,
};
export function contextOf(events = [], signal, session = NO_SESSION) {
    return { signal: signal ?? new AbortController().signal, session, emit: (event) => events.push(event) };
}
/** A solver over a calculating worker; several labs may share a store. */
export function openLab(store = openMemoryStore(), nowMs = Date.now, width = 2) {
    const worker = openArithmetic(store);
    let queues = null;
    const limits = async () => {
        queues ??= {
            exec: new PQueue({ concurrency: width }),
            file: new PQueue({ concurrency: width }),
            source: new PQueue({ concurrency: width }),
        };
        return queues;
    };
    const solver = openSolver({ worker, store, limits, nowMs });
    return {
        ...{ store, worker, solver },
        async solve(graph, roots, options = {}) {
            const env_1 = { stack: [], error: void 0, hasError: false };
            try {
                const all = Array.isArray(roots) ? roots : [roots];
                const request = { definition: graph.definition(), noCache: options.noCache ?? false };
                const solution = __addDisposableResource(env_1, await solver.solve(request, all, options.context ?? contextOf(), {
                    ...(options.onResult === undefined ? {} : { onResult: options.onResult }),
                }), true);
                const [first] = solution.results;
                return first === undefined ? {} : worker.read(first);
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
        },
    };
}
/** Names and counts of what ran since the last call. */
export function ran(lab) {
    const runs = Object.fromEntries(lab.worker.runs);
    lab.worker.runs.clear();
    return runs;
}
//# sourceMappingURL=graphs.js.map