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
import { isTokenServiceOf, parseChallenges } from "../../../cache/registry/auth.js";
import { openRegistry } from "../../../cache/registry/client.js";
import { parseReference } from "../../../cache/registry/reference.js";
import { digestOf } from "../../../solver/graph/digest.js";
import { startServer } from "../../support/registry.js";
const signal = new AbortController().signal;
const endpoint = (host, scheme = "https") => ({
    host,
    origin: `${scheme}://${host}`,
    verifyTls: true,
});
describe("challenges", () => {
    it("are read with quotes, commas and several schemes", () => {
        const read = parseChallenges('Bearer realm="https://a/t?x=1,2",service="s \\"q\\"", scope=a:b:c , Basic realm="r"');
        assert.deepEqual(read.map(({ scheme, params }) => [scheme, params.get("realm"), params.get("service")]), [
            ["bearer", "https://a/t?x=1,2", 's "q"'],
            ["basic", "r", undefined],
        ]);
    });
    it("of garbage are few and fast", () => {
        const start = performance.now();
        for (const text of [
            'Bearer realm="',
            "=".repeat(1e5),
            ",".repeat(1e5),
            '"'.repeat(1e5),
            "a ".repeat(1e5),
        ])
            parseChallenges(text);
        assert.ok(performance.now() - start < 200);
    });
});
describe("token services", () => {
    const cases = [
        ["ghcr.io", "https://ghcr.io/token", true],
        ["registry.gitlab.com", "https://gitlab.com/jwt/auth", true],
        ["registry.example.com", "https://auth.example.com/token", true],
        ["registry.example.com", "https://example.com.evil.net/token", false],
        ["registry.example.com", "http://registry.example.com/token", false],
        ["a.co.uk", "https://b.co.uk/token", false],
        ["r.a.co.uk", "https://t.a.co.uk/token", true],
        ["one.github.io", "https://two.github.io/token", false],
        ["10.0.0.1", "https://10.0.0.2/token", false],
        ["localhost:5000", "https://evil.example/token", false],
    ];
    for (const [host, realm, expected] of cases) {
        it(`${expected ? "may" : "may not"} see the credentials of ${host}: ${realm}`, () => {
            assert.equal(isTokenServiceOf(endpoint(host), new URL(realm)), expected);
        });
    }
    it("of Docker Hub is auth.docker.io", () => {
        const hub = { host: "docker.io", origin: "https://registry-1.docker.io", verifyTls: true };
        assert.ok(isTokenServiceOf(hub, new URL("https://auth.docker.io/token")));
    });
});
describe("tokens", () => {
    /** A registry that wants a bearer token and its own token service; counts tokens given. */
    const startWithTokens = (realmOf, expiresIn = 300) => {
        const state = { given: 0 };
        const server = startServer((request, response) => {
            const url = new URL(request.url, "http://x");
            if (url.pathname === "/token") {
                state.given++;
                const body = JSON.stringify({ token: `t${state.given}`, expires_in: expiresIn });
                response.writeHead(200, { "content-type": "application/json" }).end(body);
            }
            else if (request.headers.authorization === undefined ||
                request.headers.authorization === "Bearer revoked") {
                const realm = realmOf(`http://${request.headers.host}`);
                response.writeHead(401, { "www-authenticate": `Bearer realm="${realm}",service="svc"` }).end();
            }
            else
                response.writeHead(200).end();
        });
        return { server, state };
    };
    const has = (registry, host, name = "a/app") => registry.hasBlob(parseReference(`${host}/${name}`), digestOf("x"), { signal });
    it("are fetched once for many requests of one repository, with the password", async () => {
        const env_1 = { stack: [], error: void 0, hasError: false };
        try {
            const { server, state } = startWithTokens((origin) => `${origin}/token`);
            const running = __addDisposableResource(env_1, await server, true);
            const credentials = async () => ({ kind: "basic", username: "u", password: "p" });
            const registry = openRegistry({ credentials });
            await has(registry, running.host);
            await Promise.all(Array.from({ length: 5 }, () => has(registry, running.host)));
            assert.equal(state.given, 1);
            const asked = running.requests.find(({ url }) => url.startsWith("/token"));
            assert.equal(asked?.headers.authorization, `Basic ${Buffer.from("u:p").toString("base64")}`);
            assert.match(decodeURIComponent(asked?.url ?? ""), /service=svc&scope=repository:a\/app:pull$/);
            await has(registry, running.host, "b/app");
            assert.equal(state.given, 2);
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
    it("are fetched without the password from a service of another site", async () => {
        const env_2 = { stack: [], error: void 0, hasError: false };
        try {
            const elsewhere = __addDisposableResource(env_2, await startServer((_request, response) => void response.end(JSON.stringify({ access_token: "t" }))), true);
            const { server } = startWithTokens(() => `http://127.0.0.1:${elsewhere.host.split(":")[1]}/token`);
            const running = __addDisposableResource(env_2, await server, true);
            const registry = openRegistry({
                credentials: async () => ({ kind: "basic", username: "u", password: "p" }),
            });
            assert.equal(await has(registry, running.host), true);
            assert.equal(elsewhere.requests.length, 1);
            assert.equal(elsewhere.requests[0]?.headers.authorization, undefined);
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
    it("come from an identity token by a form", async () => {
        const env_3 = { stack: [], error: void 0, hasError: false };
        try {
            const { server } = startWithTokens((origin) => `${origin}/token`);
            const running = __addDisposableResource(env_3, await server, true);
            const registry = openRegistry({ credentials: async () => ({ kind: "identity-token", token: "id-1" }) });
            assert.equal(await has(registry, running.host), true);
            const asked = running.requests.find(({ url }) => url === "/token");
            assert.equal(asked?.method, "POST");
            assert.equal(new URLSearchParams(asked?.body.toString()).get("refresh_token"), "id-1");
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
    it("that a service refuses end in a hint to log in", async () => {
        const env_4 = { stack: [], error: void 0, hasError: false };
        try {
            const server = __addDisposableResource(env_4, await startServer((request, response) => {
                if (request.url.startsWith("/token"))
                    response.writeHead(401).end();
                else
                    response
                        .writeHead(401, {
                        "www-authenticate": `Bearer realm="http://${request.headers.host}/token?key=k1"`,
                    })
                        .end();
            }), true);
            const registry = openRegistry({ credentials: async () => null });
            await assert.rejects(has(registry, server.host), (error) => {
                assert.equal(error.code, "REGISTRY_DENIED");
                assert.match(error.hint, /docker login localhost/);
                assert.ok(!error.message.includes("k1"));
                return true;
            });
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
//# sourceMappingURL=auth.test.js.map