import assert from "node:assert/strict";
import { isTokenServiceOf, parseChallenges } from "../../../cache/registry/auth.ts";
import { openRegistry } from "../../../cache/registry/client.ts";
import { parseReference } from "../../../cache/registry/reference.ts";
import type { Credentials } from "../../../solver/graph/session.ts";
import { digestOf } from "../../../solver/graph/digest.ts";
import { startServer } from "../../support/registry.ts";

const signal = new AbortController().signal;
const endpoint = (host: string, scheme = "https") => ({
  host,
  origin: `${scheme}://${host}`,
  root: "/v2",
  verifyTls: true,
  manner: {},
});

describe("challenges", () => {
  it("are read with quotes, commas and several schemes", () => {
    const read = parseChallenges(
      'Bearer realm="https://a/t?x=1,2",service="s \\"q\\"", scope=a:b:c , Basic realm="r"',
    );
    assert.deepEqual(
      read.map(({ scheme, params }) => [scheme, params.get("realm"), params.get("service")]),
      [
        ["bearer", "https://a/t?x=1,2", 's "q"'],
        ["basic", "r", undefined],
      ],
    );
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
    assert.ok(performance.now() - start < 5000);
  });
});

describe("token services", () => {
  const cases: readonly (readonly [string, string, boolean])[] = [
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
    const hub = { ...endpoint("docker.io"), origin: "https://registry-1.docker.io" };
    assert.ok(isTokenServiceOf(hub, new URL("https://auth.docker.io/token")));
  });
});

describe("tokens", () => {
  /** A registry that wants a bearer token and its own token service; counts tokens given. */
  const startWithTokens = (realmOf: (origin: string) => string, expiresIn = 300) => {
    const state = { given: 0 };
    const server = startServer((request, response) => {
      const url = new URL(request.url, "http://x");
      if (url.pathname === "/token") {
        state.given++;
        const body = JSON.stringify({ token: `t${state.given}`, expires_in: expiresIn });
        response.writeHead(200, { "content-type": "application/json" }).end(body);
      } else if (
        request.headers.authorization === undefined ||
        request.headers.authorization === "Bearer revoked"
      ) {
        const realm = realmOf(`http://${request.headers.host}`);
        response.writeHead(401, { "www-authenticate": `Bearer realm="${realm}",service="svc"` }).end();
      } else response.writeHead(200).end();
    });
    return { server, state };
  };
  const has = (registry: ReturnType<typeof openRegistry>, host: string, name = "a/app") =>
    registry.hasBlob(parseReference(`${host}/${name}`), digestOf("x"), { signal });

  it("are fetched once for many requests of one repository, with the password", async () => {
    const { server, state } = startWithTokens((origin) => `${origin}/token`);
    await using running = await server;
    const credentials = async (): Promise<Credentials> => ({ kind: "basic", username: "u", password: "p" });
    const registry = openRegistry({ credentials });
    await has(registry, running.host);
    await Promise.all(Array.from({ length: 5 }, () => has(registry, running.host)));
    assert.equal(state.given, 1);
    const asked = running.requests.find(({ url }) => url.startsWith("/token"));
    assert.equal(asked?.headers.authorization, `Basic ${Buffer.from("u:p").toString("base64")}`);
    assert.match(decodeURIComponent(asked?.url ?? ""), /service=svc&scope=repository:a\/app:pull$/);
    await has(registry, running.host, "b/app");
    assert.equal(state.given, 2);
  });

  it("are fetched without the password from a service of another site", async () => {
    await using elsewhere = await startServer(
      (_request, response) => void response.end(JSON.stringify({ access_token: "t" })),
    );
    const { server } = startWithTokens(() => `http://127.0.0.1:${elsewhere.host.split(":")[1]}/token`);
    await using running = await server;
    const registry = openRegistry({
      credentials: async () => ({ kind: "basic", username: "u", password: "p" }),
    });
    assert.equal(await has(registry, running.host), true);
    assert.equal(elsewhere.requests.length, 1);
    assert.equal(elsewhere.requests[0]?.headers.authorization, undefined);
  });

  it("come from an identity token by a form", async () => {
    const { server } = startWithTokens((origin) => `${origin}/token`);
    await using running = await server;
    const registry = openRegistry({ credentials: async () => ({ kind: "identity-token", token: "id-1" }) });
    assert.equal(await has(registry, running.host), true);
    const asked = running.requests.find(({ url }) => url === "/token");
    assert.equal(asked?.method, "POST");
    assert.equal(new URLSearchParams(asked?.body.toString()).get("refresh_token"), "id-1");
  });

  it("that a service refuses end in a hint to log in", async () => {
    await using server = await startServer((request, response) => {
      if (request.url.startsWith("/token")) response.writeHead(401).end();
      else
        response
          .writeHead(401, {
            "www-authenticate": `Bearer realm="http://${request.headers.host}/token?key=k1"`,
          })
          .end();
    });
    const registry = openRegistry({ credentials: async () => null });
    await assert.rejects(has(registry, server.host), (error: Error & { code: string; hint: string }) => {
      assert.equal(error.code, "REGISTRY_DENIED");
      assert.match(error.hint, /no credentials .* tsbuild login localhost/);
      assert.ok(!error.message.includes("k1"));
      return true;
    });
  });

  it("that a service does not accept are told from none, and from too few rights", async () => {
    const challenge = (host: string | undefined) => ({
      "www-authenticate": `Bearer realm="http://${host}/token",service="s"`,
    });
    await using server = await startServer((request, response) => {
      const isRight = request.headers.authorization === `Basic ${Buffer.from("u:right").toString("base64")}`;
      if (request.url.startsWith("/token"))
        response.writeHead(isRight ? 200 : 401).end(JSON.stringify({ token: "t", expires_in: 300 }));
      else response.writeHead(401, challenge(request.headers.host)).end();
    });
    const as = (password: string) =>
      openRegistry({ credentials: async () => ({ kind: "basic", username: "u", password }) });
    await assert.rejects(has(as("wrong"), server.host), {
      code: "REGISTRY_DENIED",
      message: /the token service \S+ does not accept the user name or password it was sent \(401\)/,
      hint: /log in again: tsbuild login localhost/,
    });
    await assert.rejects(has(as("right"), server.host), {
      code: "REGISTRY_DENIED",
      message: /access denied/,
      hint: /you are logged in to localhost:\d+, but that account is not allowed to pull here/,
    });
  });
});
