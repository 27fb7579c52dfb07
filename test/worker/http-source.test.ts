import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { openTransport } from "../../cache/registry/transport.ts";
import { openStore } from "../../cache/store.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import type { SourceOp } from "../../solver/graph/op.ts";
import type { CallContext } from "../../solver/graph/request.ts";
import { downloadHttp, fetchHttp, pinHttp } from "../../worker/sources/http.ts";
import { type Request, startServer } from "../support/registry.ts";
import { NO_SESSION } from "../support/session.ts";
import type { Store } from "../../cache/contract.ts";

const data = randomBytes(3_000_000);
const secrets: Readonly<Record<string, string>> = { HTTP_AUTH_TOKEN_localhost: "t-1" };
let context: CallContext = {
  signal: new AbortController().signal,
  session: {
    ...NO_SESSION,
    secret: async (id) => (secrets[id] === undefined ? null : Buffer.from(secrets[id])),
  },
  emit: () => {},
};
/** Without proxies. */
const direct = async () => openTransport();
const source = (identifier: string, attrs: SourceOp["attrs"] = {}): SourceOp => ({
  kind: "source",
  identifier,
  attrs,
});

describe("files by URL", () => {
  let dir = "";
  let store: Store;
  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), "tsbuild-http-"));
    store = await openStore(join(dir, "store"));
  });
  afterEach(async () => {
    await store[Symbol.asyncDispose]();
    rmSync(dir, { recursive: true });
  });
  const serve = (handle: (request: Request, response: ServerResponse, count: number) => void) =>
    startServer(handle);
  /** What comes now is of a later build of the same process, which has a session of its own. */
  const later = () => {
    context = { ...context, session: { ...context.session } };
  };

  it("may be sent by the client itself: once, and nothing of it is remembered for others", async () => {
    const asked: string[] = [];
    const client = {
      ...context.session,
      upload: async function* (url: URL) {
        asked.push(url.pathname);
        yield data.subarray(0, 10);
        yield data.subarray(10);
      },
    };
    const own = { ...context, session: client };
    const file = source("http://buildkit-session/a1b2", { "http.filename": "context" });
    const { digest, filename } = await downloadHttp(file, store, own, direct);
    assert.deepEqual([digest, filename], [digestOf(data), "context"]);
    await pinHttp(file, store, own, direct);
    assert.deepEqual(asked, ["/a1b2"]);
    const wrong = source("http://buildkit-session/a1b2", { "http.checksum": digestOf(Buffer.from("x")) });
    await assert.rejects(downloadHttp(wrong, store, own, direct), { code: "CHECKSUM_MISMATCH" });
    await assert.rejects(downloadHttp(file, store, own, direct, 9), { code: "LIMIT_EXCEEDED" });
    // Nobody else gets it, by whatever address.
    const other = { ...context, session: { ...client, upload: async function* () {} } };
    assert.notEqual((await downloadHttp(file, store, other, direct)).digest, digest);
  });

  it("are not fetched from a network under the name that stands for uploads", async () => {
    const session = { ...context.session };
    delete (session as { upload?: unknown }).upload;
    for (const scheme of ["http", "https"])
      await assert.rejects(
        downloadHttp(source(`${scheme}://buildkit-session/a`), store, { ...context, session }, direct),
        {
          code: "SOURCE_FAILED",
          message: `${scheme}://buildkit-session/a: nothing was sent under this address`,
        },
      );
  });

  it("are downloaded through redirects, and the token stays with its host", async () => {
    await using other = await serve((_request, response) => void response.end(data));
    const elsewhere = other.origin.replace("localhost", "127.0.0.1");
    await using server = await serve((_request, response) => {
      response.writeHead(302, { location: `${elsewhere}/real` }).end();
    });
    const { digest } = await downloadHttp(source(`${server.origin}/file`), store, context, direct);
    assert.equal(digest, digestOf(data));
    assert.ok(data.equals(store.content.read(digest, data.length)));
    assert.equal(server.requests[0]?.headers.authorization, "Bearer t-1");
    assert.equal(other.requests[0]?.headers.authorization, undefined);
  });

  it("are asked for again only when they changed, and not at all when their checksum is known", async () => {
    let body = data;
    await using server = await serve((request, response) => {
      const etag = `"${digestOf(body)}"`;
      const same = request.headers["if-none-match"] === etag;
      response.writeHead(same ? 304 : 200, { etag }).end(same ? undefined : body);
    });
    const url = `${server.origin}/file`;
    const pin = async () => (await pinHttp(source(url), store, context, direct)).digest;
    const first = await pin();
    later();
    assert.equal(await pin(), first);
    assert.equal(server.requests.length, 2);
    const known = source(url, { "http.checksum": digestOf(data) });
    await pinHttp(known, store, context, direct);
    assert.equal(server.requests.length, 2);
    body = randomBytes(2_000_000);
    later();
    assert.notEqual(await pin(), first);
  });

  it("are asked after by their tag where the server takes no conditions, also a weak one", async () => {
    let etag = '"one"';
    await using server = await serve((request, response) => {
      response.writeHead(200, { etag }).end(request.method === "HEAD" ? undefined : data);
    });
    const pin = async () => (await pinHttp(source(`${server.origin}/file`), store, context, direct)).digest;
    const first = await pin();
    for (const [tag, methods] of [
      ['W/"one"', ["GET", "HEAD"]],
      ['"two"', ["GET", "HEAD", "HEAD", "GET"]],
    ] as const) {
      etag = tag;
      later();
      assert.equal(await pin(), first);
      assert.deepEqual(
        server.requests.map(({ method }) => method),
        methods,
      );
    }
    assert.deepEqual(
      server.requests.map(({ headers }) => headers["accept-encoding"]),
      ["gzip", "gzip", "gzip", "gzip"],
    );
  });

  it("are downloaded where the server knows no HEAD", async () => {
    await using server = await serve((request, response) => {
      if (request.method === "HEAD") response.writeHead(405).end();
      else response.writeHead(200, { etag: '"one"' }).end(data);
    });
    const pin = async () => (await pinHttp(source(`${server.origin}/file`), store, context, direct)).digest;
    const first = await pin();
    later();
    assert.equal(await pin(), first);
  });

  it("are the same whether the server packs them or not; what is cut off or no gzip is refused", async () => {
    const packed = gzipSync(data);
    let body = packed;
    await using server = await serve((_request, response) => {
      response.writeHead(200, { "content-encoding": "gzip" }).end(body);
    });
    const { digest } = await downloadHttp(source(`${server.origin}/file`), store, context, direct);
    assert.equal(digest, digestOf(data));
    for (const wrong of [packed.subarray(0, packed.length - 9), data]) {
      body = wrong;
      later();
      await assert.rejects(downloadHttp(source(`${server.origin}/${wrong.length}`), store, context, direct), {
        code: "SOURCE_FAILED",
      });
    }
    body = gzipSync(Buffer.alloc(10_000_000));
    later();
    await assert.rejects(downloadHttp(source(`${server.origin}/bomb`), store, context, direct, 1_000_000), {
      code: "LIMIT_EXCEEDED",
    });
  });

  it("are downloaded again after the connection broke", async () => {
    await using server = await serve((_request, response, count) => {
      response.writeHead(200, { "content-length": data.length });
      if (count === 0) response.write(data.subarray(0, 1_000_000), () => response.destroy());
      else response.end(data);
    });
    assert.equal(
      (await downloadHttp(source(`${server.origin}/file`), store, context, direct)).digest,
      digestOf(data),
    );
    assert.equal(server.requests.length, 2);
  });

  it("that are others than asked for are refused", async () => {
    await using server = await serve((request, response) => {
      response.writeHead(request.url === "/none" ? 404 : 200).end("something else");
    });
    const checked = source(`${server.origin}/file`, { "http.checksum": digestOf(data) });
    await assert.rejects(downloadHttp(checked, store, context, direct), { code: "CHECKSUM_MISMATCH" });
    await assert.rejects(downloadHttp(source(`${server.origin}/none`), store, context, direct), {
      code: "SOURCE_FAILED",
      message: /invalid response status 404/,
    });
  });

  it("have a name of one component that fits, the mode asked for and the time of the server", async () => {
    const lastModified = "Wed, 21 Oct 2015 07:28:00 GMT";
    await using server = await serve((_request, response) => {
      response.writeHead(200, { "last-modified": lastModified }).end(data);
    });
    for (const [given, name] of [
      ["n".repeat(300), "download"],
      ["../../up", "up"],
      ["..", "download"],
      ["plain", "plain"],
    ] as const) {
      const attrs = { "http.filename": given, "http.perm": "0755" };
      const layer = store.layers.directory(
        await fetchHttp(source(`${server.origin}/f`, attrs), store, context, {
          transport: direct,
          keeper: () => assert.fail("no file is given to another owner"),
        }),
      );
      assert.deepEqual(readdirSync(layer), [name]);
      const { mode, mtimeMs } = statSync(join(layer, name));
      assert.deepEqual([mode & 0o7777, mtimeMs], [0o755, Date.parse(lastModified)]);
      assert.equal(statSync(layer).mtimeMs, Date.parse(lastModified));
    }
  });
});
