// The README's first command, without its `npm ci`.
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
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { temporaryDir } from "../support/store.js";
import { accounts, programDir } from "../support/unprivileged.js";
for (const account of accounts()) {
    it(`the example builds and runs as ${account.name}, without any registry`, function () {
        const env_1 = { stack: [], error: void 0, hasError: false };
        try {
            this.timeout(120_000);
            const dir = __addDisposableResource(env_1, temporaryDir(account), false);
            const foreign = account.uid !== process.getuid?.();
            const output = execFileSync(join(programDir(account), "examples", "hello.sh"), {
                encoding: "utf8",
                stdio: ["ignore", "pipe", "pipe"],
                env: { PATH: process.env.PATH, HOME: dir.path, TMPDIR: dir.path, TSBUILD_ROOT: dir.at("store") },
                ...(foreign ? { uid: account.uid, gid: account.gid } : {}),
            });
            assert.match(output, /^Hello, world!$/m);
            assert.match(output, /^Welcome, Ada and Grace!$/m);
            assert.match(output, /^hello +latest/m);
        }
        catch (e_1) {
            env_1.error = e_1;
            env_1.hasError = true;
        }
        finally {
            __disposeResources(env_1);
        }
    });
}
//# sourceMappingURL=example.test.js.map