// The solver over the store on disk: what one process recorded is a hit for the next.
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
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openStore } from "../../cache/store.js";
import { openDraft, openLab, ran } from "./graphs.js";
describe("solver on disk", () => {
    let dir = "";
    beforeEach(() => {
        dir = mkdtempSync(join(tmpdir(), "solver-"));
    });
    afterEach(() => rmSync(dir, { recursive: true, force: true }));
    function build() {
        const graph = openDraft();
        const copied = graph.copy(graph.source("local://context"), "/a", "/in", graph.source("docker-image://base"));
        return { graph, root: graph.merge(graph.sum("last", 1, "/last", copied), graph.file("/more", 2, null)) };
    }
    it("finds in a store opened anew what was recorded before", async () => {
        for (const expected of [{ "/in": 1, last: 1, "/more": 1 }, {}]) {
            const env_1 = { stack: [], error: void 0, hasError: false };
            try {
                const store = __addDisposableResource(env_1, await openStore(dir), true);
                const lab = openLab(store);
                lab.worker.images.set("base", { "/base": 1 });
                lab.worker.live.set("context", { "/a": 5 });
                const { graph, root } = build();
                assert.deepEqual(await lab.solve(graph, root), { "/base": 1, "/in": 5, "/last": 7, "/more": 2 });
                assert.deepEqual(ran(lab), expected);
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
    });
    it("runs equal steps of two solvers once", async () => {
        const env_2 = { stack: [], error: void 0, hasError: false };
        try {
            const store = __addDisposableResource(env_2, await openStore(dir), true);
            const labs = [openLab(store), openLab(store)];
            for (const lab of labs) {
                lab.worker.images.set("base", { "/base": 1 });
                lab.worker.live.set("context", { "/a": 5 });
            }
            const { graph, root } = build();
            const [one, two] = await Promise.all(labs.map((lab) => lab.solve(graph, root)));
            assert.deepEqual(one, two);
            const counts = labs.map(ran);
            for (const name of ["/in", "last", "/more"]) {
                const times = counts.reduce((sum, count) => sum + (count[name] ?? 0), 0);
                assert.equal(times, 1, name);
            }
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
    });
});
//# sourceMappingURL=on-disk.test.js.map