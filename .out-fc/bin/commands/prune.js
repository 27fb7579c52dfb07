// tsbuild prune: gives disk space back. What images and running builds use stays.
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
import { createInterface } from "node:readline/promises";
import { BuildError } from "../../solver/graph/error.js";
import { parseSize } from "../flags-values.js";
import { humanSize, parseDuration, renderTable } from "../format.js";
export const command = {
    flags: {
        usage: "[OPTIONS]",
        positionals: { min: 0, max: 0 },
        flags: [
            {
                name: "all",
                short: "a",
                kind: "bool",
                help: "Also remove what can be had again at little cost (unpacked layers of images)",
            },
            {
                name: "filter",
                kind: "list",
                help: 'Only remove what matches (e.g., "until=24h", "type=exec.cachemount")',
            },
            { name: "force", short: "f", kind: "bool", help: "Do not ask" },
            {
                name: "keep-storage",
                kind: "string",
                value: "bytes",
                help: "Stop when the store is not larger than this",
            },
        ],
    },
    async run(flags, { config, signal, print, complain }) {
        const env_1 = { stack: [], error: void 0, hasError: false };
        try {
            const keep = flags.one("keep-storage");
            const keepBytes = keep === null ? null : parseSize(keep);
            const { filters, olderThanMs } = splitFilters(flags.all("filter"));
            if (!flags.bool("force") && !(await confirm(flags.bool("all"), signal))) {
                complain("nothing removed\n");
                return 1;
            }
            const { prune } = await import("../../cache/collect.js");
            const { openEngine } = await import("../engine.js");
            const engine = __addDisposableResource(env_1, await openEngine(config), true);
            const outcome = await prune(engine.store, {
                all: flags.bool("all"),
                keepBytes,
                olderThanMs,
                filters,
                signal,
            });
            await engine.removeDirectories(outcome.directories, { signal, emit: () => { } });
            const shown = outcome.removed.filter((entry) => entry.kind !== "record");
            if (shown.length > 0) {
                print(renderTable([
                    { title: "ID", of: (entry) => entry.id },
                    { title: "TYPE", of: (entry) => entry.kind },
                    { title: "SIZE", of: (entry) => humanSize(entry.sizeBytes) },
                ], shown));
            }
            print(`Total reclaimed space: ${humanSize(outcome.freedBytes)}\n`);
            return 0;
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
/** "until=24h" is an age; the other filters are the cache's. */
function splitFilters(texts) {
    const filters = [];
    let olderThanMs = null;
    for (const text of texts.flatMap((value) => value.split(","))) {
        const match = /^(?:until|unused-for)=(.*)$/.exec(text);
        if (match === null)
            filters.push(text);
        else
            olderThanMs = parseDuration(match[1] ?? "");
    }
    return { filters, olderThanMs };
}
async function confirm(all, signal) {
    if (!process.stdin.isTTY) {
        throw new BuildError("USAGE", "prune asks before it removes, and standard input is not a terminal", {
            hint: "use --force",
        });
    }
    const what = all
        ? "everything no image name leads to, and unpacked layers of images"
        : "all cache no image name leads to";
    const ask = createInterface({ input: process.stdin, output: process.stderr });
    try {
        const answer = await ask.question(`WARNING! This will remove ${what}.\nAre you sure you want to continue? [y/N] `, { signal });
        return /^y(?:es)?$/i.test(answer.trim());
    }
    finally {
        ask.close();
    }
}
//# sourceMappingURL=prune.js.map