// One build: frontend, solver, exporters, in the order of ARCHITECTURE's walk.
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
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { mergeDefinitions } from "../solver/graph/definition.js";
import { digestOf } from "../solver/graph/digest.js";
import { BuildError, redactUrl } from "../solver/graph/error.js";
import { openGraph } from "../solver/graph/llb.js";
import { openSolver } from "../solver/solver.js";
import { openWorker } from "../worker/worker.js";
import { contextSource, frontendOptions, gitAddress, machinePlatform, sourceDateEpoch } from "./engine-source.js";
import { resolvConfFor } from "./host-network.js";
import { openLayerSource } from "./layer-source.js";
import { normalizeName } from "./local-images.js";
/** Builds what was asked. Throws BuildError for what the user is to be told; everything started has ended by then. */
export async function runBuild(parts, asked, options) {
    const env_1 = { stack: [], error: void 0, hasError: false };
    try {
        const request = await fetchHttpContext(parts, asked, options);
        const session = await sessionWithContext(parts, request);
        const context = { signal: options.signal, session, emit: options.emit };
        let registry = null;
        const worker = __addDisposableResource(env_1, openWorker({
            store: parts.store,
            keeper: parts.keeper,
            registry: () => (registry ??= parts.registry(session)),
            entitlements: new Set(request.allow),
            resolveMode: request.pull ? "pull" : "default",
            resolvConf: resolvConfFor,
            defaultNetwork: "host",
            defaultPlatform: machinePlatform(),
        }), true);
        const solver = openSolver({ worker, store: parts.store, limits: parts.limits, nowMs: Date.now });
        const frontend = await import("../frontend/frontend.js");
        const host = frontendHost(parts, worker, solver, context);
        const source = contextSource(request);
        const readRemote = async (path) => {
            return host.readFile(sourceGraph(source), path, { signal: options.signal });
        };
        const epochSeconds = await epochOf(request, source, () => readRemote(".tsbuild-fetch"), parts, context);
        const frontendRequest = await frontendOptions(request, session, source, readRemote, epochSeconds);
        const text = { file: frontendRequest.dockerfile.name, text: new TextDecoder().decode(frontendRequest.dockerfile.data) };
        options.onSource(text);
        if (request.call.name !== "build") {
            return { ...EMPTY_REPORT, answer: await answerCall(frontend, request, frontendRequest, host, text, options.signal) };
        }
        const converted = await frontend.convert(frontendRequest, host, { signal: options.signal });
        const report = await solveAndExport(parts, worker, solver, converted, request, frontendRequest.sourceDateEpoch, context, () => (registry ??= parts.registry(session)));
        for (const warning of converted.warnings) {
            options.emit({ kind: "warning", rule: warning.rule, message: warning.detail, detail: warning.description, url: warning.url, at: [warning.at] });
        }
        return report;
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
/** The main context alone, as something to be solved. */
function sourceGraph(source) {
    const graph = openGraph();
    const note = { name: `[internal] load remote build context ${redactUrl(source.identifier)}`, ignoreCache: false, at: [], group: null };
    return graph.definition(graph.add(source, null, [], note));
}
/** SOURCE_DATE_EPOCH in seconds: a number, "context" for the time of a git commit, 0 for --reproducible without one. */
async function epochOf(request, source, fetch, parts, context) {
    if (request.sourceDateEpoch !== "context")
        return sourceDateEpoch(request);
    if (!source.identifier.startsWith("git://")) {
        throw new BuildError("USAGE", "SOURCE_DATE_EPOCH=context needs a build context that has a time: a git repository");
    }
    await fetch();
    const { gitTime } = await import("../worker/sources/git.js");
    return gitTime(source, parts.store, context);
}
const EMPTY_REPORT = {
    imageDigest: null,
    configDigest: null,
    descriptor: null,
    names: [],
    metadata: {},
    answer: null,
};
async function answerCall(frontend, request, options, host, source, signal) {
    switch (request.call.name) {
        case "check":
            return { kind: "check", result: await frontend.check(options, host, { signal }) };
        case "outline":
            return { kind: "outline", outline: await frontend.outline(options, host, { signal }), source };
        case "targets":
            return { kind: "targets", targets: await frontend.targets(options, host, { signal }), source };
        case "build":
            throw new Error("a build is no call");
    }
}
/** A context behind an http URL is either a tar or just a Dockerfile, as BuildKit decides by its content. */
async function fetchHttpContext(parts, request, options) {
    if (request.context.kind !== "remote" || gitAddress(request.context.url) !== null)
        return request;
    const [{ downloadHttp }, { isArchive }] = await Promise.all([
        import("../worker/sources/http.js"),
        import("../cache/layers/archive.js"),
    ]);
    const digest = await downloadHttp(contextSource(request), parts.store, { ...options, session: request.session });
    const path = parts.store.content.path(digest);
    if (await isArchive(path))
        return { ...request, context: { kind: "archive", path } };
    const data = parts.store.content.read(digest, 16 << 20);
    return { ...request, context: { kind: "empty" }, dockerfile: { kind: "bytes", data } };
}
/** A context that came through standard input, or none at all, is a directory of the store for this build. */
async function sessionWithContext(parts, request) {
    const { context, session } = request;
    if (context.kind !== "empty" && context.kind !== "archive")
        return session;
    const dir = join(parts.store.tempDir(), `context-${digestOf(`${process.pid} ${performance.now()}`).slice(7, 19)}`);
    mkdirSync(dir, { mode: 0o700 });
    if (context.kind === "archive") {
        const { extractContext } = await import("./context-archive.js");
        await extractContext(context.path, dir);
    }
    return {
        directory: (name) => (name === "context" ? dir : session.directory(name)),
        secret: (id) => session.secret(id),
        sshSocket: (id) => session.sshSocket(id),
        credentials: (hostName) => session.credentials(hostName),
    };
}
function frontendHost(parts, worker, solver, context) {
    return {
        async resolveImage(identifier, attrs, platform, { signal, vertexName }) {
            const vertex = digestOf(`resolve ${identifier}`);
            const at = (kind) => context.emit({ kind, vertex, atMs: Date.now() });
            context.emit({ kind: "vertex", vertex, name: vertexName, inputs: [], at: [] });
            at("started");
            try {
                const image = await worker.images.load(identifier, attrs, platform, { signal });
                at("done");
                return { digest: image.digest, config: image.config };
            }
            catch (error) {
                if (error instanceof BuildError)
                    context.emit({ kind: "failed", vertex, atMs: Date.now(), error });
                throw error;
            }
        },
        async readFile(source, path) {
            const layers = await solveLayers(solver, worker, source, context);
            const vertex = source.root?.vertex;
            if (vertex === undefined)
                return null;
            const dirs = await worker.unpacker.directories(layers, vertex, context);
            return parts.keeper().run({ kind: "read", dirs, path, maxBytes: 16 << 20 });
        },
    };
}
async function solveLayers(solver, worker, definition, context) {
    const env_2 = { stack: [], error: void 0, hasError: false };
    try {
        if (definition.root === null)
            return [];
        const solution = __addDisposableResource(env_2, await solver.solve({ definition, noCache: false }, [definition.root], context), true);
        const [result] = solution.results;
        return result === undefined ? [] : worker.layersOf(result, context);
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
async function solveAndExport(parts, worker, solver, converted, request, 
// Not the one a Dockerfile gives as a default: that is no wish of the user for the times of the base's history.
epochSeconds, context, registry) {
    const env_3 = { stack: [], error: void 0, hasError: false };
    try {
        const { store } = parts;
        const outputs = await outputsOf(request, epochSeconds);
        const layers = openLayerSource({
            store,
            keeper: parts.keeper,
            fetch: async (id, signal) => store.content.path(await worker.unpacker.blob(id, null, { ...context, signal })),
            unpack: async (id, signal) => {
                const [dir] = await worker.unpacker.directories([id], digestOf(`unpack ${id}`), { ...context, signal });
                if (dir === undefined)
                    throw new Error("no directory");
                return dir;
            },
            pinnedCompressor: request.reproducible,
        });
        const roots = converted.images.flatMap(({ definition }) => (definition.root === null ? [] : [definition.root]));
        const definition = mergeDefinitions(converted.images.map((image) => image.definition));
        const solution = __addDisposableResource(env_3, await solver.solve({ definition, noCache: request.noCache }, roots, context), true);
        const results = [...solution.results];
        const images = [];
        for (const image of converted.images) {
            const result = image.definition.root === null ? { kind: "layers", layers: [] } : results.shift();
            if (result === undefined)
                throw new Error("the solver gave fewer results than roots");
            images.push({ platform: image.platform, layers: await worker.layersOf(result, context), config: image.config });
        }
        const { runOutputs } = await import("../exporters/exporter.js");
        const vertex = digestOf(`export ${request.tags.join(",")}`);
        context.emit({ kind: "vertex", vertex, name: exportName(outputs), inputs: roots.map((root) => root.vertex), at: [] });
        context.emit({ kind: "started", vertex, atMs: Date.now() });
        try {
            const outcomes = await runOutputs(images, outputs, {
                store,
                layers,
                registry: await registry(),
                files: async ({ trees, form, dest, epochSeconds: clamp }, { signal }) => {
                    const ready = await Promise.all(trees.map(async ({ layers: ids, folder }) => ({
                        folder,
                        dirs: await worker.unpacker.directories(ids, vertex, { ...context, signal }),
                    })));
                    await parts.keeper().run({ kind: "export", trees: ready, form, dest, epochSeconds: clamp });
                },
                stdout: process.stdout.isTTY ? null : process.stdout,
                loaders: [["docker", "load"], ["podman", "load"]],
                env: parts.config.env,
            }, {
                signal: context.signal,
                emit: context.emit,
                vertex,
                multiPlatform: converted.multiPlatform,
                epochSeconds,
                nowMs: Date.now,
            });
            context.emit({ kind: "done", vertex, atMs: Date.now() });
            return reportOf(outcomes);
        }
        catch (error) {
            if (error instanceof BuildError)
                context.emit({ kind: "failed", vertex, atMs: Date.now(), error });
            throw error;
        }
    }
    catch (e_3) {
        env_3.error = e_3;
        env_3.hasError = true;
    }
    finally {
        const result_3 = __disposeResources(env_3);
        if (result_3)
            await result_3;
    }
}
/** What was asked for with -o, else the local image store; with the names, annotations and times of the other flags. */
async function outputsOf(request, epochSeconds) {
    const { parseOutput } = await import("../exporters/output-grammar.js");
    const names = request.tags.map(normalizeName);
    const complete = (image) => ({
        ...image,
        names: image.names.length > 0 ? image.names : names,
        annotations: [...image.annotations, ...request.annotations],
        ...(request.reproducible ? { rewriteTimestamp: true, epochSeconds: image.epochSeconds ?? epochSeconds } : {}),
    });
    const outputs = request.outputs.length > 0 ? request.outputs : [parseOutput("type=image")];
    return outputs.map((output) => {
        if (output.kind === "image" || output.kind === "archive")
            return { ...output, image: complete(output.image) };
        return output.kind === "files" && request.reproducible ? { ...output, epochSeconds: output.epochSeconds ?? epochSeconds } : output;
    });
}
function exportName(outputs) {
    return outputs.every((output) => output.kind === "files") ? "exporting to client" : "exporting to image";
}
function reportOf(outcomes) {
    const image = outcomes.find((outcome) => outcome.descriptor !== null);
    if (image === undefined || image.descriptor === null)
        return EMPTY_REPORT;
    const names = [...new Set(outcomes.flatMap((outcome) => outcome.names))];
    const digest = image.descriptor.digest;
    return {
        imageDigest: digest,
        configDigest: image.configDigest,
        descriptor: image.descriptor,
        names,
        metadata: {
            ...(image.configDigest === null ? {} : { "containerimage.config.digest": image.configDigest }),
            "containerimage.descriptor": image.descriptor,
            "containerimage.digest": digest,
            ...(names.length > 0 ? { "image.name": names.join(",") } : {}),
        },
        answer: null,
    };
}
//# sourceMappingURL=engine-build.js.map