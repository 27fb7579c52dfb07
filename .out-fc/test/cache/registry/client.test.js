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
import { randomBytes } from "node:crypto";
import { openRegistry } from "../../../cache/registry/client.js";
import { pullLayer } from "../../../cache/registry/image.js";
import { parseReference } from "../../../cache/registry/reference.js";
import { digestOf } from "../../../solver/graph/digest.js";
import { bytesOf, collect, openFixture } from "../../exporters/fixture.js";
import { REGISTRY_USER, startRegistry, startServer } from "../../support/registry.js";
const signal = new AbortController().signal;
const LAYER = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const describeBlob = (data) => ({
    mediaType: LAYER,
    digest: digestOf(data),
    size: data.length,
});
const manifestOf = (config) => Buffer.from(JSON.stringify({
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: { ...describeBlob(config), mediaType: "application/vnd.oci.image.config.v1+json" },
    layers: [],
}));
/** A client that notes how long it would have waited. */
function client(change = {}) {
    const waits = [];
    const registry = openRegistry({
        credentials: async () => null,
        sleep: async (ms, aborted) => {
            aborted.throwIfAborted();
            waits.push(ms);
        },
        ...change,
    });
    return { ...registry, waits };
}
const basic = async () => ({ kind: "basic", ...REGISTRY_USER });
describe("the registry client with docker-registry", () => {
    it("sends blobs once, mounts them elsewhere, and gets them back", async () => {
        const env_1 = { stack: [], error: void 0, hasError: false };
        try {
            const server = __addDisposableResource(env_1, await startRegistry(), true);
            const registry = client();
            const data = randomBytes(3_000_000);
            const descriptor = describeBlob(data);
            const one = parseReference(`${server.host}/a/one`);
            const two = parseReference(`${server.host}/a/two`);
            const open = () => bytesOf(data);
            assert.equal(await registry.uploadBlob(one, descriptor, open, { signal }), "uploaded");
            assert.equal(await registry.uploadBlob(one, descriptor, open, { signal }), "exists");
            assert.equal(await registry.uploadBlob(two, descriptor, open, { signal, mountFrom: ["a/none", "a/one"] }), "mounted");
            assert.ok((await collect(registry.blob(two, descriptor, { signal }))).equals(data));
            assert.equal(await registry.hasBlob(two, digestOf("other"), { signal }), false);
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
    });
    it("resolves a tag to its digest and says what is missing", async () => {
        const env_2 = { stack: [], error: void 0, hasError: false };
        try {
            const server = __addDisposableResource(env_2, await startRegistry(), true);
            const registry = client();
            const config = Buffer.from("{}");
            const reference = parseReference(`${server.host}/a/app:1`);
            await registry.uploadBlob(reference, describeBlob(config), () => bytesOf(config), { signal });
            const manifest = manifestOf(config);
            await registry.putManifest(reference, "1", manifest, MANIFEST, { signal });
            const descriptor = await registry.resolve(reference, { signal });
            assert.deepEqual(descriptor, { mediaType: MANIFEST, digest: digestOf(manifest), size: manifest.length });
            const fetched = await registry.manifest({ ...reference, digest: descriptor.digest }, { signal });
            assert.ok(manifest.equals(fetched.bytes));
            await assert.rejects(registry.resolve(parseReference(`${server.host}/a/absent:1`), { signal }), {
                code: "REGISTRY_NOT_FOUND",
                message: `${server.host}/a/absent:1: not found`,
            });
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
    it("logs in with a password, and tells of docker login without one", async () => {
        const env_3 = { stack: [], error: void 0, hasError: false };
        try {
            const server = __addDisposableResource(env_3, await startRegistry({ auth: true }), true);
            const data = randomBytes(100);
            const repository = parseReference(`${server.host}/private/app`);
            const send = (registry) => registry.uploadBlob(repository, describeBlob(data), () => bytesOf(data), { signal });
            await assert.rejects(send(client()), {
                code: "REGISTRY_DENIED",
                hint: new RegExp(`docker login ${server.host}$`),
            });
            const wrong = async () => ({ kind: "basic", username: "builder", password: "no" });
            await assert.rejects(send(client({ credentials: wrong })), (error) => {
                assert.equal(error.code, "REGISTRY_DENIED");
                assert.ok(!JSON.stringify(error).includes("YnVpbGRlc") && !error.message.includes("builder"));
                return true;
            });
            assert.equal(await send(client({ credentials: basic })), "uploaded");
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
    });
    it("asks a mirror first and the registry when the mirror has nothing", async () => {
        const env_4 = { stack: [], error: void 0, hasError: false };
        try {
            const server = __addDisposableResource(env_4, await startRegistry(), true);
            const mirror = __addDisposableResource(env_4, await startServer((_request, response) => void response.writeHead(404).end()), true);
            const registry = client({ mirrors: { [server.host]: [mirror.host] } });
            const data = randomBytes(100);
            const repository = parseReference(`${server.host}/a/app`);
            await registry.uploadBlob(repository, describeBlob(data), () => bytesOf(data), { signal });
            assert.ok((await collect(registry.blob(repository, describeBlob(data), { signal }))).equals(data));
            assert.deepEqual(mirror.requests.map(({ method }) => method), ["GET"]);
        }
        catch (e_4) {
            env_4.error = e_4;
            env_4.hasError = true;
        }
        finally {
            const result_4 = __disposeResources(env_4);
            if (result_4)
                await result_4;
        }
    });
});
describe("the registry client with a registry that misbehaves", () => {
    const data = randomBytes(200_000);
    const blob = describeBlob(data);
    const serve = (handle) => startServer(handle);
    const repositoryOf = (host) => parseReference(`${host}/a/app:1`);
    it("refuses a blob of another digest, keeps nothing of it, and takes an honest answer later", async () => {
        const env_5 = { stack: [], error: void 0, hasError: false };
        try {
            const server = __addDisposableResource(env_5, await serve((_request, response, count) => {
                response.end(count === 0 ? Buffer.alloc(data.length) : data);
            }), true);
            const fixture = __addDisposableResource(env_5, await openFixture(), true);
            const remote = { descriptor: blob, from: `${server.host}/a/app` };
            await assert.rejects(pullLayer(remote, fixture.store, fixture.registry, { signal }), {
                code: "DIGEST_MISMATCH",
            });
            assert.equal(fixture.store.content.has(blob.digest), false);
            await pullLayer(remote, fixture.store, fixture.registry, { signal });
            assert.equal(fixture.store.content.size(blob.digest), data.length);
        }
        catch (e_5) {
            env_5.error = e_5;
            env_5.hasError = true;
        }
        finally {
            const result_5 = __disposeResources(env_5);
            if (result_5)
                await result_5;
        }
    });
    it("resumes a download that broke, asking only for the rest", async () => {
        const env_6 = { stack: [], error: void 0, hasError: false };
        try {
            const server = __addDisposableResource(env_6, await serve((request, response, count) => {
                const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
                response.writeHead(from > 0 ? 206 : 200, {
                    "content-length": data.length - from,
                    ...(from > 0 ? { "content-range": `bytes ${from}-${data.length - 1}/${data.length}` } : {}),
                });
                if (count < 3)
                    response.write(data.subarray(from, from + 50_000), () => response.destroy());
                else
                    response.end(data.subarray(from));
            }), true);
            const seen = [];
            const got = await collect(client().blob(repositoryOf(server.host), blob, { signal, onBytes: (current) => seen.push(current) }));
            assert.ok(got.equals(data));
            assert.equal(server.requests.length, 4);
            assert.ok(server.requests.slice(1).every(({ headers }) => headers.range !== undefined));
            assert.equal(seen.at(-1), data.length);
        }
        catch (e_6) {
            env_6.error = e_6;
            env_6.hasError = true;
        }
        finally {
            const result_6 = __disposeResources(env_6);
            if (result_6)
                await result_6;
        }
    });
    it("passes by what it has when a server answers a range with everything", async () => {
        const env_7 = { stack: [], error: void 0, hasError: false };
        try {
            const server = __addDisposableResource(env_7, await serve((_request, response, count) => {
                response.writeHead(200, { "content-length": data.length });
                if (count === 0)
                    response.write(data.subarray(0, 70_000), () => response.destroy());
                else
                    response.end(data);
            }), true);
            assert.ok((await collect(client().blob(repositoryOf(server.host), blob, { signal }))).equals(data));
        }
        catch (e_7) {
            env_7.error = e_7;
            env_7.hasError = true;
        }
        finally {
            const result_7 = __disposeResources(env_7);
            if (result_7)
                await result_7;
        }
    });
    it("gives up a download that never goes on", async () => {
        const env_8 = { stack: [], error: void 0, hasError: false };
        try {
            const server = __addDisposableResource(env_8, await serve((_request, response) => {
                response.writeHead(200, { "content-length": data.length });
                response.flushHeaders();
                response.destroy();
            }), true);
            await assert.rejects(collect(client().blob(repositoryOf(server.host), blob, { signal })), {
                code: "REGISTRY_UNREACHABLE",
            });
            assert.ok(server.requests.length <= 30);
        }
        catch (e_8) {
            env_8.error = e_8;
            env_8.hasError = true;
        }
        finally {
            const result_8 = __disposeResources(env_8);
            if (result_8)
                await result_8;
        }
    });
    it("stops reading a blob that does not end", async () => {
        const env_9 = { stack: [], error: void 0, hasError: false };
        try {
            let sent = 0;
            const server = __addDisposableResource(env_9, await serve((_request, response) => {
                const chunk = Buffer.alloc(65536);
                const more = () => {
                    while (!response.destroyed && response.write(chunk))
                        sent += chunk.length;
                };
                response.on("drain", more);
                more();
            }), true);
            await assert.rejects(collect(client().blob(repositoryOf(server.host), blob, { signal })), {
                code: "REGISTRY_PROTOCOL",
                message: /sent more than the 200000 bytes/,
            });
            assert.ok(sent < 100_000_000);
        }
        catch (e_9) {
            env_9.error = e_9;
            env_9.hasError = true;
        }
        finally {
            const result_9 = __disposeResources(env_9);
            if (result_9)
                await result_9;
        }
    });
    it("stops reading a manifest that does not end", async () => {
        const env_10 = { stack: [], error: void 0, hasError: false };
        try {
            const server = __addDisposableResource(env_10, await serve((_request, response) => {
                response.writeHead(200, { "content-type": MANIFEST });
                const more = () => {
                    while (!response.destroyed && response.write(" ".repeat(65536)))
                        ;
                };
                response.on("drain", more);
                more();
            }), true);
            await assert.rejects(client().manifest(repositoryOf(server.host), { signal }), {
                code: "REGISTRY_PROTOCOL",
                message: /more than 4194304 bytes/,
            });
        }
        catch (e_10) {
            env_10.error = e_10;
            env_10.hasError = true;
        }
        finally {
            const result_10 = __disposeResources(env_10);
            if (result_10)
                await result_10;
        }
    });
    it("does not believe the digest header of a manifest", async () => {
        const env_11 = { stack: [], error: void 0, hasError: false };
        try {
            const manifest = manifestOf(Buffer.from("{}"));
            const server = __addDisposableResource(env_11, await serve((_request, response) => {
                response
                    .writeHead(200, { "content-type": MANIFEST, "docker-content-digest": digestOf("another") })
                    .end(manifest);
            }), true);
            await assert.rejects(client().manifest(repositoryOf(server.host), { signal }), {
                code: "DIGEST_MISMATCH",
            });
            const pinned = { ...repositoryOf(server.host), digest: digestOf("pinned") };
            await assert.rejects(client().resolve(pinned, { signal }), { code: "DIGEST_MISMATCH" });
        }
        catch (e_11) {
            env_11.error = e_11;
            env_11.hasError = true;
        }
        finally {
            const result_11 = __disposeResources(env_11);
            if (result_11)
                await result_11;
        }
    });
    it("refuses a manifest whose content type says index, and a document that is both", async () => {
        const env_12 = { stack: [], error: void 0, hasError: false };
        try {
            const both = Buffer.from(JSON.stringify({ ...JSON.parse(manifestOf(Buffer.from("{}")).toString()), manifests: [] }));
            const server = __addDisposableResource(env_12, await serve((_request, response, count) => {
                const type = count === 0 ? "application/vnd.oci.image.index.v1+json" : MANIFEST;
                response
                    .writeHead(200, { "content-type": type })
                    .end(count === 0 ? manifestOf(Buffer.from("{}")) : both);
            }), true);
            const registry = client();
            await assert.rejects(registry.manifest(repositoryOf(server.host), { signal }), { code: "IMAGE_INVALID" });
            await assert.rejects(registry.manifest(repositoryOf(server.host), { signal }), {
                code: "IMAGE_INVALID",
                message: /both a manifest and an index/,
            });
        }
        catch (e_12) {
            env_12.error = e_12;
            env_12.hasError = true;
        }
        finally {
            const result_12 = __disposeResources(env_12);
            if (result_12)
                await result_12;
        }
    });
    it("waits as long as a 429 says, and not for hours", async () => {
        const env_13 = { stack: [], error: void 0, hasError: false };
        try {
            const server = __addDisposableResource(env_13, await serve((request, response, count) => {
                if (request.url.includes("patient") && count > 0)
                    response.end(data);
                else
                    response.writeHead(429, { "retry-after": request.url.includes("patient") ? "7" : "7200" }).end("{}");
            }), true);
            const registry = client();
            const at = (name) => collect(registry.blob(parseReference(`${server.host}/${name}`), blob, { signal }));
            assert.ok((await at("patient")).equals(data));
            assert.deepEqual(registry.waits, [7000]);
            await assert.rejects(at("hasty"), { code: "REGISTRY_UNREACHABLE", message: /limits requests/ });
            assert.equal(registry.waits.length, 1);
        }
        catch (e_13) {
            env_13.error = e_13;
            env_13.hasError = true;
        }
        finally {
            const result_13 = __disposeResources(env_13);
            if (result_13)
                await result_13;
        }
    });
    it("tries a server fault again, a bounded number of times", async () => {
        const env_14 = { stack: [], error: void 0, hasError: false };
        try {
            const server = __addDisposableResource(env_14, await serve((_request, response) => void response.writeHead(503).end()), true);
            const registry = client();
            await assert.rejects(registry.resolve(repositoryOf(server.host), { signal }), {
                code: "REGISTRY_UNREACHABLE",
            });
            assert.equal(server.requests.length, 5);
            assert.ok(registry.waits.every((ms, i) => ms >= 180 * 2 ** i && ms <= 320 * 2 ** i));
        }
        catch (e_14) {
            env_14.error = e_14;
            env_14.hasError = true;
        }
        finally {
            const result_14 = __disposeResources(env_14);
            if (result_14)
                await result_14;
        }
    });
    it("shows no control characters of a registry's message", async () => {
        const env_15 = { stack: [], error: void 0, hasError: false };
        try {
            const server = __addDisposableResource(env_15, await serve((_request, response) => {
                response
                    .writeHead(403)
                    .end(JSON.stringify({ errors: [{ code: "DENIED", message: "no\u001b[2J" + "x".repeat(1000) }] }));
            }), true);
            await assert.rejects(collect(client().blob(repositoryOf(server.host), blob, { signal })), (error) => {
                assert.match(error.message, /DENIED: no/);
                assert.ok(!error.message.includes("\u001b") && error.message.length < 500);
                return true;
            });
        }
        catch (e_15) {
            env_15.error = e_15;
            env_15.hasError = true;
        }
        finally {
            const result_15 = __disposeResources(env_15);
            if (result_15)
                await result_15;
        }
    });
    it("does not send credentials after a redirect to another origin, nor to an upload host", async () => {
        const env_16 = { stack: [], error: void 0, hasError: false };
        try {
            const other = __addDisposableResource(env_16, await serve((request, response) => {
                response
                    .writeHead(request.method === "PUT" ? 201 : 200)
                    .end(request.method === "GET" ? data : undefined);
            }), true);
            const server = __addDisposableResource(env_16, await serve((request, response) => {
                if (request.headers.authorization === undefined)
                    response.writeHead(401, { "www-authenticate": 'Basic realm="r"' }).end();
                else if (request.method === "GET")
                    response.writeHead(307, { location: `${other.origin}/blob` }).end();
                else if (request.method === "POST")
                    response.writeHead(202, { location: `${other.origin}/upload?state=1` }).end();
                else
                    response.writeHead(404).end();
            }), true);
            const registry = client({ credentials: basic });
            assert.ok((await collect(registry.blob(repositoryOf(server.host), blob, { signal }))).equals(data));
            await registry.uploadBlob(repositoryOf(server.host), blob, () => bytesOf(data), { signal });
            assert.deepEqual(other.requests.map(({ method, headers }) => [method, headers.authorization]), [
                ["GET", undefined],
                ["PUT", undefined],
            ]);
            assert.ok(other.requests[1]?.body.equals(data));
            assert.match(other.requests[1]?.url ?? "", /^\/upload\?state=1&digest=sha256%3A/);
        }
        catch (e_16) {
            env_16.error = e_16;
            env_16.hasError = true;
        }
        finally {
            const result_16 = __disposeResources(env_16);
            if (result_16)
                await result_16;
        }
    });
    it("follows no endless redirects and none to other schemes", async () => {
        const env_17 = { stack: [], error: void 0, hasError: false };
        try {
            const server = __addDisposableResource(env_17, await serve((request, response) => {
                const location = request.url.includes("/file/") ? "file:///etc/passwd" : request.url;
                response.writeHead(302, { location }).end();
            }), true);
            for (const name of ["file", "loop"]) {
                await assert.rejects(collect(client().blob(parseReference(`${server.host}/${name}/x`), blob, { signal })), { code: "REGISTRY_PROTOCOL" });
            }
            assert.ok(server.requests.length < 15);
        }
        catch (e_17) {
            env_17.error = e_17;
            env_17.hasError = true;
        }
        finally {
            const result_17 = __disposeResources(env_17);
            if (result_17)
                await result_17;
        }
    });
    it("refuses an answer that is compressed without having been asked for", async () => {
        const env_18 = { stack: [], error: void 0, hasError: false };
        try {
            const server = __addDisposableResource(env_18, await serve((_request, response) => void response.writeHead(200, { "content-encoding": "gzip" }).end(data)), true);
            await assert.rejects(collect(client().blob(repositoryOf(server.host), blob, { signal })), {
                code: "REGISTRY_PROTOCOL",
            });
        }
        catch (e_18) {
            env_18.error = e_18;
            env_18.hasError = true;
        }
        finally {
            const result_18 = __disposeResources(env_18);
            if (result_18)
                await result_18;
        }
    });
    it("says that nothing listens there", async () => {
        const server = await serve(() => { });
        await server[Symbol.asyncDispose]();
        await assert.rejects(client().resolve(repositoryOf(server.host), { signal }), {
            code: "REGISTRY_UNREACHABLE",
            message: /connection refused/,
        });
    });
    it("ends at once when cancelled, in the middle of a transfer", async () => {
        const env_19 = { stack: [], error: void 0, hasError: false };
        try {
            const server = __addDisposableResource(env_19, await serve((_request, response) => {
                response.writeHead(200, { "content-length": data.length });
                response.write(data.subarray(0, 1000));
            }), true);
            const controller = new AbortController();
            const reading = (async () => {
                for await (const _chunk of client().blob(repositoryOf(server.host), blob, {
                    signal: controller.signal,
                }))
                    controller.abort(new Error("enough"));
            })();
            await assert.rejects(reading, { message: "enough" });
        }
        catch (e_19) {
            env_19.error = e_19;
            env_19.hasError = true;
        }
        finally {
            const result_19 = __disposeResources(env_19);
            if (result_19)
                await result_19;
        }
    });
    it("begins an upload again when the connection broke", async () => {
        const env_20 = { stack: [], error: void 0, hasError: false };
        try {
            let stored = Buffer.alloc(0);
            const server = __addDisposableResource(env_20, await serve((request, response, count) => {
                if (request.method === "HEAD")
                    response.writeHead(404).end();
                else if (request.method === "POST")
                    response.writeHead(202, { location: "/upload" }).end();
                else if (count === 0)
                    response.destroy();
                else {
                    stored = request.body;
                    response.writeHead(201).end();
                }
            }), true);
            assert.equal(await client().uploadBlob(repositoryOf(server.host), blob, () => bytesOf(data), { signal }), "uploaded");
            assert.equal(digestOf(stored), blob.digest);
        }
        catch (e_20) {
            env_20.error = e_20;
            env_20.hasError = true;
        }
        finally {
            const result_20 = __disposeResources(env_20);
            if (result_20)
                await result_20;
        }
    });
    it("sends nothing as whole that is shorter than it says", async () => {
        const env_21 = { stack: [], error: void 0, hasError: false };
        try {
            const server = __addDisposableResource(env_21, await serve((request, response) => {
                if (request.method === "HEAD")
                    response.writeHead(404).end();
                else
                    response.writeHead(request.method === "POST" ? 202 : 201, { location: "/upload" }).end();
            }), true);
            await assert.rejects(client().uploadBlob(repositoryOf(server.host), blob, () => bytesOf(data.subarray(1)), { signal }), { code: "STORE_CORRUPT" });
        }
        catch (e_21) {
            env_21.error = e_21;
            env_21.hasError = true;
        }
        finally {
            const result_21 = __disposeResources(env_21);
            if (result_21)
                await result_21;
        }
    });
});
//# sourceMappingURL=client.test.js.map