// tsbuild build: flags to a request, events to the display, the report to what was asked for.
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
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MAIN_DIRECTORY, readBuildFlags } from "../build-request.js";
import { colourTable } from "../colours.js";
import { resolveContext } from "../context-source.js";
import { BUILD_FLAGS } from "../flags-build.js";
import { openLocalSession } from "../local-session.js";
import { openDisplay, progressMode } from "../progress.js";
import { BuildError } from "../../solver/graph/error.js";
export const command = {
    flags: BUILD_FLAGS,
    async run(flags, context) {
        const mode = flags.bool("quiet") ? "quiet" : progressMode(flags.one("progress"), context.config.env);
        const display = await openDisplay(mode, { stream: process.stderr, env: context.config.env });
        const sources = new Map();
        const warnings = [];
        let outcome;
        try {
            outcome = await build(flags, context, display, sources, warnings);
        }
        catch (error) {
            display.finish();
            if (context.signal.aborted)
                throw error; // cancelling is not failing
            return complain(error, context, display, sources);
        }
        display.finish();
        const { report, request } = outcome;
        if (report.answer !== null)
            return printAnswer(report.answer, request, context, sources);
        if (mode !== "quiet" && mode !== "rawjson")
            await printWarnings(warnings, context, sources);
        writeResults(flags, report);
        if (flags.bool("quiet"))
            context.print(`${report.configDigest ?? report.imageDigest ?? ""}\n`);
        return 0;
    },
};
async function build(flags, context, display, sources, warnings) {
    const env_1 = { stack: [], error: void 0, hasError: false };
    try {
        const { config, cwd, signal } = context;
        const { directories, ...asked } = await readBuildFlags(flags, config.env, cwd);
        const { openEngine } = await import("../engine.js");
        const engine = __addDisposableResource(env_1, await openEngine(config), true);
        let scratch = null;
        try {
            const where = await resolveContext(flags.positionals[0] ?? "", flags.one("file"), {
                cwd,
                stdin: process.stdin,
                tempDir: () => (scratch ??= mkdtempSync(join(engine.store.tempDir(), "stdin-"))),
                signal,
            });
            const session = openLocalSession(config, {
                directories: where.context.kind === "directory"
                    ? new Map([...directories, [MAIN_DIRECTORY, where.context.path]])
                    : directories,
                secrets: asked.secrets,
                ssh: asked.ssh,
            });
            const request = Object.freeze({
                ...asked,
                ...where,
                outputs: await readOutputs(flags, cwd),
                session,
            });
            const report = await engine.build(request, {
                signal,
                onSource: (source) => void sources.set(source.file, source),
                emit(event) {
                    if (event.kind === "warning")
                        warnings.push(event);
                    if (event.kind !== "note" || config.verbose)
                        display.event(event);
                },
            });
            return { report, request };
        }
        finally {
            if (scratch !== null)
                rmSync(scratch, { recursive: true, force: true });
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
async function complain(error, { config, complain: write }, display, sources) {
    const { renderFailure } = await import("../excerpt.js");
    const colours = process.stderr.isTTY ? colourTable(config.env) : null;
    const solving = display.state.steps.size > 0 || sources.size > 0;
    const prefix = solving ? "failed to build: failed to solve: " : "failed to build: ";
    write(renderFailure(error, { sources, state: display.state, colours, prefix, debug: config.debug }));
    return error instanceof BuildError && error.code === "USAGE" ? (error.exitCode ?? 1) : 1;
}
async function printAnswer(answer, request, { config, print, complain: write }, sources) {
    const [{ renderCall }, { renderFailure }] = await Promise.all([
        import("../call-output.js"),
        import("../excerpt.js"),
    ]);
    const { text, exitCode, error } = renderCall(answer, request.call);
    print(text);
    if (error !== null) {
        if (answer.kind === "check")
            sources.set(answer.result.source.file, answer.result.source);
        const colours = process.stderr.isTTY ? colourTable(config.env) : null;
        write(renderFailure(error, { sources, state: null, colours, prefix: "", debug: config.debug }));
    }
    return exitCode;
}
/** The list buildx prints below a build; with --debug each with what it means and its lines. */
async function printWarnings(warnings, { config, complain: write }, sources) {
    if (warnings.length === 0)
        return;
    const { renderWarnings } = await import("../excerpt.js");
    write(renderWarnings(warnings, {
        sources,
        colours: process.stderr.isTTY ? colourTable(config.env) : null,
        debug: config.debug,
    }));
}
function writeResults(flags, report) {
    const iidFile = flags.one("iidfile");
    const metadataFile = flags.one("metadata-file");
    if (iidFile)
        writeResult(iidFile, report.configDigest ?? report.imageDigest ?? "");
    if (metadataFile)
        writeResult(metadataFile, `${JSON.stringify(report.metadata, null, 2)}\n`);
}
function writeResult(path, text) {
    try {
        writeFileSync(path, text);
    }
    catch (cause) {
        throw new BuildError("OUTPUT_FAILED", `cannot write ${path}: ${cause.message}`, { cause });
    }
}
/** --output, --push and --load as one list. */
async function readOutputs(flags, cwd) {
    const push = flags.bool("push");
    const load = flags.bool("load");
    const texts = [...flags.all("output")];
    if (texts.length === 0 && !push && !load)
        return [];
    const { readOutputFlags } = await import("../output-flags.js");
    return readOutputFlags(texts, { push, load, cwd });
}
//# sourceMappingURL=build.js.map