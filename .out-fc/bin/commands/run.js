// tsbuild run: a command in an image, attached to this terminal. Nothing of it stays.
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
import { openDisplay } from "../progress.js";
import { readRunFlags, RUN_FLAGS } from "../flags-run.js";
import { openLocalSession } from "../local-session.js";
export const command = {
    flags: RUN_FLAGS,
    async run(flags, { config, cwd, signal }) {
        const env_1 = { stack: [], error: void 0, hasError: false };
        try {
            const request = await readRunFlags(flags, config.env, cwd);
            const { openEngine } = await import("../engine.js");
            const engine = __addDisposableResource(env_1, await openEngine(config), true);
            // a pull may come first, and is shown; the display is gone before the command writes
            const display = await openDisplay("auto", { stream: process.stderr, env: config.env });
            try {
                return await engine.run(request, {
                    signal,
                    session: openLocalSession(config, { directories: new Map(), secrets: [], ssh: [] }),
                    emit(event) {
                        if (event.kind !== "note" || config.verbose)
                            display.event(event);
                    },
                    stdin: request.interactive ? process.stdin : null,
                    onOutput(fd, data) {
                        display.finish();
                        (fd === 1 ? process.stdout : process.stderr).write(data);
                    },
                });
            }
            finally {
                display.finish();
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
    },
};
//# sourceMappingURL=run.js.map