// Uploads to registries that ask for chunks (OCI-Chunk-Min-Length), and what a second push asks for.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import type { ServerResponse } from "node:http";
import { openRegistry } from "../../../cache/registry/client.ts";
import type { Registry, RegistryOptions } from "../../../cache/registry/contract.ts";
import { parseReference } from "../../../cache/registry/reference.ts";
import { digestOf } from "../../../solver/graph/digest.ts";
import type { Descriptor } from "../../../solver/graph/request.ts";
import { bytesOf, collect } from "../../exporters/fixture.ts";
import { type MisbehavingServer, type Request, startRegistry, startServer } from "../../support/registry.ts";

const { signal } = new AbortController();
const CHUNK = 16 << 20;
const data = randomBytes(2 * CHUNK + 12_345);
const blob: Descriptor = {
  mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
  digest: digestOf(data),
  size: data.length,
};

function client(change: Partial<RegistryOptions> = {}): Registry & { readonly waits: number[] } {
  const waits: number[] = [];
  const sleep = async (ms: number): Promise<void> => void waits.push(ms);
  return { ...openRegistry({ credentials: async () => null, sleep, ...change }), waits };
}

interface Upload {
  readonly server: MisbehavingServer;
  readonly stored: () => Buffer;
}

/** A registry that takes chunks in order, as the distribution specification has it. `spoil` may answer a chunk instead (true). */
async function chunked(
  min: string,
  spoil: (
    request: Request,
    response: ServerResponse,
    count: number,
    take: (bytes: Buffer) => void,
  ) => boolean = () => false,
): Promise<Upload> {
  let parts: Buffer[] = [];
  let stored: Buffer = Buffer.alloc(0);
  let chunks = 0;
  const have = (): number => parts.reduce((sum, { length }) => sum + length, 0);
  const state = (): Record<string, string> => ({
    location: `/upload/${chunks}?state=${chunks}`,
    ...(have() === 0 ? {} : { range: `0-${have() - 1}` }),
  });
  const server = await startServer((request, response) => {
    const { method, headers, body, url } = request;
    if (method === "HEAD") return void response.writeHead(404).end();
    if (method === "POST") {
      parts = [];
      return void response.writeHead(202, { ...state(), "oci-chunk-min-length": min }).end();
    }
    if (method === "GET") return void response.writeHead(204, state()).end();
    if (method === "PATCH") {
      if (spoil(request, response, chunks++, (bytes) => parts.push(bytes))) return undefined;
      const start = Number(/^(\d+)-\d+$/.exec(headers["content-range"] ?? "")?.[1] ?? -1);
      if (start !== have()) return void response.writeHead(416, state()).end();
      parts.push(body);
      return void response.writeHead(202, state()).end();
    }
    stored = Buffer.concat([...parts, body]);
    const isRight = url.endsWith(`digest=${encodeURIComponent(digestOf(stored))}`);
    return void response.writeHead(isRight ? 201 : 400).end();
  });
  return { server, stored: () => stored };
}
const send = (server: MisbehavingServer, registry: Registry = client()): Promise<string> =>
  registry.uploadBlob(parseReference(`${server.host}/a/app:1`), blob, () => bytesOf(data), { signal });
const chunksOf = (server: MisbehavingServer): readonly string[] =>
  server.requests
    .filter(({ method }) => method === "PATCH")
    .map(({ headers }) => headers["content-range"] ?? "");

describe("an upload to a registry that asks for chunks", () => {
  it("comes in chunks, in order, and ends with the digest", async () => {
    const { server, stored } = await chunked("5242880");
    await using _server = server;
    assert.equal(await send(server), "uploaded");
    assert.ok(stored().equals(data));
    assert.deepEqual(chunksOf(server), [
      `0-${CHUNK - 1}`,
      `${CHUNK}-${2 * CHUNK - 1}`,
      `${2 * CHUNK}-${data.length - 1}`,
    ]);
    assert.equal(server.requests.at(-1)?.body.length, 0);
  });

  it("goes on where the registry is after a cut, a chunk that came in part, and one that it has twice", async () => {
    const { server, stored } = await chunked("5242880", ({ body }, response, count, take) => {
      if (count === 0) take(body.subarray(0, 1_000_000));
      if (count === 2) take(body); // and its answer is lost
      if (count !== 0 && count !== 2) return false;
      response.destroy();
      return true;
    });
    await using _server = server;
    assert.equal(await send(server), "uploaded");
    assert.ok(stored().equals(data));
    assert.deepEqual(chunksOf(server), [
      `0-${CHUNK - 1}`,
      `1000000-${CHUNK - 1}`,
      `${CHUNK}-${2 * CHUNK - 1}`,
      `${2 * CHUNK}-${data.length - 1}`,
    ]);
  });

  it("waits as long as a 429 to a chunk says", async () => {
    const { server, stored } = await chunked("1", (_, response, count) => {
      if (count !== 1) return false;
      response.writeHead(429, { "retry-after": "9" }).end("{}");
      return true;
    });
    await using _server = server;
    const registry = client();
    assert.equal(await send(server, registry), "uploaded");
    assert.ok(stored().equals(data));
    assert.deepEqual(registry.waits, [9000]);
  });

  it("gets a new token when the first has expired between two chunks", async () => {
    let tokens = 0;
    let spent = false;
    const { server, stored } = await chunked("1", ({ headers }, response, count) => {
      spent ||= count === 2; // refused without one, taken, refused
      const valid = spent ? "Bearer t2" : "Bearer t1";
      if (headers.authorization === valid) return false;
      const realm = `${service.origin}/token`;
      response.writeHead(401, { "www-authenticate": `Bearer realm="${realm}",service="s"` }).end();
      return true;
    });
    await using _server = server;
    await using service = await startServer((_, response) => {
      response.end(JSON.stringify({ token: `t${++tokens}`, expires_in: 300 }));
    });
    assert.equal(await send(server), "uploaded");
    assert.ok(stored().equals(data));
    assert.equal(tokens, 2);
  });

  it("is given up, after bounded attempts, when the registry keeps nothing of it", async () => {
    const { server } = await chunked("1", (_, response) => {
      response.writeHead(202, { location: "/upload/0", range: "0-0" }).end();
      return true;
    });
    await using _server = server;
    await assert.rejects(send(server), { code: "REGISTRY_UNREACHABLE" });
    assert.ok(server.requests.length < 100, `${server.requests.length} requests`);
  });

  it("comes as a whole where chunks would be longer than what is kept in memory, or than the blob, or make no sense", async () => {
    for (const min of [String(1 << 30), "0", "-5", "many", "1e3"]) {
      const { server, stored } = await chunked(min);
      await using _server = server;
      assert.equal(await send(server), "uploaded");
      assert.ok(stored().equals(data));
      assert.deepEqual(chunksOf(server), []);
    }
  });

  it("is what docker-registry takes", async () => {
    await using registry = await startRegistry();
    // In front of it one that asks for chunks.
    await using server = await startServer(async ({ method, url, headers, body }, response) => {
      const {
        host: _host,
        connection: _connection,
        "content-length": _length,
        "transfer-encoding": _coding,
        ...rest
      } = headers;
      const answer = await fetch(`http://${registry.host}${url}`, {
        method,
        headers: rest as Record<string, string>,
        ...(method === "PATCH" || method === "PUT" ? { body: new Uint8Array(body) } : {}),
      });
      const given = Object.fromEntries(
        [...answer.headers].filter(([name]) => ["location", "range"].includes(name)),
      );
      const location = given["location"]?.replace(registry.host, server.host);
      response.writeHead(answer.status, {
        ...given,
        ...(location === undefined ? {} : { location }),
        ...(method === "POST" ? { "oci-chunk-min-length": "1048576" } : {}),
      });
      response.end();
    });
    assert.equal(await send(server), "uploaded");
    assert.equal(chunksOf(server).length, 3);
    const there = parseReference(`${registry.host}/a/app:1`);
    assert.ok((await collect(client().blob(there, blob, { signal }))).equals(data));
  });
});

describe("an upload as a whole", () => {
  it("waits as long as a 429 says before it is begun again", async () => {
    let isTaken = false;
    await using server = await startServer(({ method }, response, count) => {
      if (method === "HEAD") response.writeHead(404).end();
      else if (method === "POST") response.writeHead(202, { location: "/upload" }).end();
      else if (count === 0) response.writeHead(429, { "retry-after": "8" }).end("{}");
      else {
        isTaken = true;
        response.writeHead(201).end();
      }
    });
    const registry = client();
    assert.equal(await send(server, registry), "uploaded");
    assert.ok(isTaken);
    assert.deepEqual(registry.waits, [8000]);
  });
});
