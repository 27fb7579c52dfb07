// Tokens of registries: fetched by the client of a build, whose password never reaches the daemon. distribution spec, "Token
// Authentication Specification"; BuildKit, session/auth.

import { create, fromBinary } from "@bufbuild/protobuf";
import assert from "node:assert/strict";
import { createPublicKey, randomBytes, verify } from "node:crypto";
import type { ClientHttp2Session } from "node:http2";
import { connect, createServer, type AddressInfo, type Server } from "node:net";
import { join } from "node:path";
import { tokenHandlers } from "../../bin/remote/serve-token.ts";
import { serveSession } from "../../bin/remote/session-server.ts";
import { callUnary } from "../../bin/wire/client.ts";
import { dialHttp2 } from "../../bin/wire/connection.ts";
import {
  SolveRequestSchema,
  SolveResponseSchema,
} from "../../bin/wire/messages/moby/buildkit/v1/control_pb.ts";
import {
  CredentialsRequestSchema,
  CredentialsResponseSchema,
  type FetchTokenRequest,
  FetchTokenRequestSchema,
  FetchTokenResponseSchema,
  GetTokenAuthorityRequestSchema,
  GetTokenAuthorityResponseSchema,
  VerifyTokenAuthorityRequestSchema,
  VerifyTokenAuthorityResponseSchema,
} from "../../bin/wire/messages/moby/filesync/v1/auth_pb.ts";
import { type Handler, serveRpc, unary } from "../../bin/wire/server.ts";
import { CODE, RpcError } from "../../bin/wire/status.ts";
import { contextOnly } from "../../bin/engine/defaults.ts";
import { DefinitionSchema } from "../../bin/wire/messages/pb/ops_pb.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import { encodeDefinition } from "../../solver/graph/llb-definition.ts";
import { openGraph } from "../../solver/graph/llb.ts";
import { hostPlatform } from "../../solver/graph/platform.ts";
import { openWorkshop, type Workshop } from "../build/fixture.ts";
import { type DaemonShop, openDaemonShop } from "../support/daemon.ts";
import { type MisbehavingServer, startServer } from "../support/registry.ts";
import { self } from "../support/unprivileged.ts";

const AUTH = "/moby.filesync.v1.Auth";
const PASSWORD = "hunter2";
const { signal } = new AbortController();

/** A registry with one image, for who has a token; tokens are for who knows the password. */
async function startTokenRegistry(): Promise<MisbehavingServer> {
  const { os, architecture } = hostPlatform();
  const config = Buffer.from(
    JSON.stringify({ os, architecture, config: {}, rootfs: { type: "layers", diff_ids: [] } }),
  );
  const about = (bytes: Buffer, mediaType: string) => ({
    mediaType,
    digest: digestOf(bytes),
    size: bytes.length,
  });
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const manifest = Buffer.from(
    JSON.stringify({
      ...{ schemaVersion: 2, mediaType, layers: [] },
      config: about(config, "application/vnd.oci.image.config.v1+json"),
    }),
  );
  return await startServer(({ url, headers, body, method }, response) => {
    if (url.startsWith("/token")) {
      const form = new URLSearchParams(body.toString());
      const basic = `Basic ${Buffer.from(`builder:${PASSWORD}`).toString("base64")}`;
      const isKnown = headers.authorization === basic || form.get("password") === PASSWORD;
      if (!isKnown) return void response.writeHead(401).end();
      const token = { token: "good", access_token: "good", expires_in: 300 };
      return void response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(token));
    }
    if (headers.authorization !== "Bearer good") {
      const realm = `http://${headers.host}/token`;
      const challenge = `Bearer realm="${realm}",service="svc",scope="repository:app:pull"`;
      return void response.writeHead(401, { "www-authenticate": challenge }).end();
    }
    const found = url.includes("/manifests/") ? manifest : url.includes("/blobs/") ? config : null;
    if (found === null) return void response.writeHead(url === "/v2/" ? 200 : 404).end();
    const type = found === manifest ? mediaType : "application/octet-stream";
    const length = String(found.length);
    response.writeHead(200, {
      ...{ "content-type": type, "content-length": length, "docker-content-digest": digestOf(found) },
    });
    response.end(method === "HEAD" ? undefined : found);
  });
}

describe("tokens of registries", function () {
  this.timeout(60_000);
  let shop: Workshop;
  let clients: DaemonShop;
  let registry: MisbehavingServer;
  let http: ClientHttp2Session;
  let image: string;

  before(async () => {
    shop = await openWorkshop(self());
    clients = await openDaemonShop(shop);
    http = dialHttp2(connect({ path: clients.socket }));
  });
  after(async () => {
    http.close();
    const { code, stderr } = await clients.stop();
    await clients[Symbol.asyncDispose]();
    shop[Symbol.dispose]();
    assert.equal(code, 0, stderr);
    assert.doesNotMatch(stderr, /internal error/);
  });
  beforeEach(async () => {
    registry = await startTokenRegistry();
    image = `${registry.host}/app:1`;
  });
  afterEach(() => registry[Symbol.asyncDispose]());

  it("come from the client where it has an authority, else the daemon uses its credentials", async () => {
    for (const hasAuthority of [true, false]) {
      const asked: FetchTokenRequest[] = [];
      let shared = 0;
      const handlers: [string, Handler][] = [
        [
          `${AUTH}/GetTokenAuthority`,
          unary(GetTokenAuthorityRequestSchema, GetTokenAuthorityResponseSchema, async ({ Salt }) => {
            assert.equal(Salt.length, 32);
            if (!hasAuthority) throw new RpcError(CODE.UNAVAILABLE, "client side tokens disabled");
            return create(GetTokenAuthorityResponseSchema, { PublicKey: randomBytes(32) });
          }),
        ],
        [
          `${AUTH}/FetchToken`,
          unary(FetchTokenRequestSchema, FetchTokenResponseSchema, async (request) => {
            asked.push(request);
            return create(FetchTokenResponseSchema, { Token: "good", ExpiresIn: 300n });
          }),
        ],
        [
          `${AUTH}/Credentials`,
          unary(CredentialsRequestSchema, CredentialsResponseSchema, async () => {
            shared++;
            return create(CredentialsResponseSchema, { Username: "builder", Secret: PASSWORD });
          }),
        ],
      ];
      const id = randomBytes(8).toString("hex");
      await using session = serveSession(http, handlers, { id, sharedKey: "", heard: () => {}, signal });
      await resolve(http, id, image);
      assert.equal(session.failure(), null);
      assert.equal(shared, hasAuthority ? 0 : 1);
      assert.deepEqual(
        asked.map(({ ClientID, Host, Realm, Service, Scopes }) => [ClientID, Host, Realm, Service, Scopes]),
        hasAuthority
          ? [["buildkit-client", registry.host, `${registry.origin}/token`, "svc", ["repository:app:pull"]]]
          : [],
      );
      assert.equal(
        registry.requests.filter(({ url }) => url.startsWith("/token")).length,
        hasAuthority ? 0 : 1,
      );
    }
  });

  it("are fetched by docker buildx and by our command themselves", async () => {
    const auth = Buffer.from(`builder:${PASSWORD}`).toString("base64");
    const config = JSON.stringify({ auths: { [registry.host]: { auth } } });
    const home = shop.context("docker", { "config.json": config });
    const dir = shop.context("from", { Dockerfile: `FROM ${image}\nCOPY Dockerfile /\n` });
    const env = { DOCKER_CONFIG: home, BUILDX_CONFIG: join(shop.at("home"), "buildx") };
    const buildx = await clients.start(["build", "--builder", "ts", dir], "", env).outcome;
    assert.equal(buildx.code, 0, buildx.stderr);
    const tokens = () => registry.requests.filter(({ url }) => url.startsWith("/token"));
    const [first] = tokens();
    assert.doesNotMatch(first?.headers["user-agent"] ?? "", /tsbuild/);
    const flags = [
      "build",
      "--builder",
      `unix://${clients.socket}`,
      "--no-cache",
      "-o",
      "type=cacheonly",
      dir,
    ];
    const own = await shop.run(flags, { env });
    assert.equal(own.code, 0, own.stderr);
    assert.ok(tokens().length > 1);
    const wrong = shop.context("wrong", { "config.json": config.replace(auth, "YTpi") });
    const refused = await shop.run(flags, { env: { DOCKER_CONFIG: wrong } });
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /the client got no token: .*does not accept the user name or password/);
  });
});

/** Resolves an image in a build of its own. */
async function resolve(http: ClientHttp2Session, session: string, image: string): Promise<void> {
  const graph = openGraph();
  const note = { name: "image", ignoreCache: false, at: [], group: null };
  const source = { kind: "source", identifier: `docker-image://${image}`, attrs: {} } as const;
  const root = graph.add(source, hostPlatform(), [], note);
  await callUnary(
    http,
    {
      path: "/moby.buildkit.v1.Control/Solve",
      input: SolveRequestSchema,
      output: SolveResponseSchema,
    },
    create(SolveRequestSchema, {
      ...{ Ref: randomBytes(8).toString("hex"), Session: session },
      Definition: fromBinary(DefinitionSchema, encodeDefinition(graph.definition(root))),
    }),
    { signal },
  );
}

describe("the token authority of our command", () => {
  let registry: MisbehavingServer;
  let server: Server;
  let http: ClientHttp2Session;
  let hasCredentials = true;
  const session = {
    ...contextOnly({ kind: "empty" }),
    credentials: async () =>
      hasCredentials ? ({ kind: "basic", username: "builder", password: PASSWORD } as const) : null,
  };

  before(async () => {
    registry = await startTokenRegistry();
    server = createServer({ allowHalfOpen: true }, (socket) => {
      serveRpc(socket, new Map(tokenHandlers(session, { env: {}, secret: "s" })), {
        onFault: assert.ifError,
      });
    });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    http = dialHttp2(connect((server.address() as AddressInfo).port, "127.0.0.1"));
  });
  after(async () => {
    http.destroy();
    server.close();
    await registry[Symbol.asyncDispose]();
  });
  beforeEach(() => {
    hasCredentials = true;
  });

  const authority = async (Host: string, Salt: Buffer): Promise<Buffer> => {
    const method = {
      path: `${AUTH}/GetTokenAuthority`,
      input: GetTokenAuthorityRequestSchema,
      output: GetTokenAuthorityResponseSchema,
    };
    const asked = create(GetTokenAuthorityRequestSchema, { Host, Salt });
    return Buffer.from((await callUnary(http, method, asked, { signal })).PublicKey);
  };
  const fetch = (change: object = {}) =>
    callUnary(
      http,
      {
        path: `${AUTH}/FetchToken`,
        input: FetchTokenRequestSchema,
        output: FetchTokenResponseSchema,
      },
      create(FetchTokenRequestSchema, {
        ...{
          Host: registry.host,
          Realm: `${registry.origin}/token`,
          Service: "svc",
          Scopes: ["repository:app:pull"],
        },
        ...change,
      }),
      { signal },
    );

  it("signs for a host what only this user can, and shows who has no credentials as one", async () => {
    const Salt = randomBytes(32);
    const key = await authority("a.test", Salt);
    assert.notDeepEqual(await authority("b.test", Salt), key);
    assert.notDeepEqual(await authority("a.test", randomBytes(32)), key);
    const Payload = randomBytes(32);
    const { Signed } = await callUnary(
      http,
      {
        path: `${AUTH}/VerifyTokenAuthority`,
        input: VerifyTokenAuthorityRequestSchema,
        output: VerifyTokenAuthorityResponseSchema,
      },
      create(VerifyTokenAuthorityRequestSchema, { Host: "a.test", Salt, Payload }),
      { signal },
    );
    const jwk = { kty: "OKP", crv: "Ed25519", x: key.toString("base64url") };
    const publicKey = createPublicKey({ key: jwk, format: "jwk" });
    assert.ok(verify(null, Payload, publicKey, Signed.subarray(0, 64)));
    assert.deepEqual(Buffer.from(Signed.subarray(64)), Payload);
    hasCredentials = false;
    assert.deepEqual(await authority("a.test", Salt), await authority("b.test", Salt));
  });

  it("gives tokens, and the password to the token service of the registry alone", async () => {
    const { Token, ExpiresIn } = await fetch();
    assert.deepEqual([Token, ExpiresIn > 60n], ["good", true]);
    const before = registry.requests.length;
    // The builder says which service it is.
    await assert.rejects(fetch({ Host: "registry.example" }), { code: CODE.FAILED_PRECONDITION });
    await assert.rejects(fetch({ Host: "127.0.0.1:1" }), { code: CODE.PERMISSION_DENIED });
    await assert.rejects(fetch({ Realm: "file:///etc/passwd" }), { code: CODE.INVALID_ARGUMENT });
    await assert.rejects(fetch({ Host: "a@b/c" }), { code: CODE.INVALID_ARGUMENT });
    const later = registry.requests.slice(before);
    assert.deepEqual(
      later.map(({ headers }) => headers.authorization),
      [undefined],
    );
  });

  it("is none where the environment says so", () => {
    const env = { BUILDKIT_NO_CLIENT_TOKEN: "1" };
    assert.deepEqual(tokenHandlers(session, { env, secret: "s" }), []);
  });
});
