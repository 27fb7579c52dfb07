// Deliberately slow peers: they send or accept a byte now and then, or cause endless retries.

import assert from "node:assert/strict";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { openRegistry } from "../../../cache/registry/client.ts";
import { parseReference } from "../../../cache/registry/reference.ts";
import { openWebCalls } from "../../../cache/remote-cache/web-calls.ts";
import { digestOf } from "../../../solver/graph/digest.ts";
import type { Descriptor } from "../../../solver/graph/request.ts";
import type { Registry, RegistryOptions } from "../../../cache/registry/contract.ts";

const { signal } = new AbortController();
/** 10,000 bytes a second, over 0.3 s. */
const PACE = { windowMs: 300, minBytes: 3_000 };

interface Slow extends AsyncDisposable {
  readonly host: string;
  requests: number;
}

async function slowServer(listener: RequestListener): Promise<Slow> {
  const server = createServer((request, response) => {
    slow.requests += 1;
    response.on("error", () => {});
    listener(request, response);
  });
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const slow = {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: 0,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return slow;
}

/** A byte every 10 ms, without an end. */
const dribble: RequestListener = (_, response) => {
  response.writeHead(200, { "content-type": "application/vnd.oci.image.manifest.v1+json" });
  const timer = setInterval(() => response.write("x"), 10);
  response.on("close", () => clearInterval(timer));
};

function client(change: Partial<RegistryOptions> = {}): Registry {
  return openRegistry({ credentials: async () => null, pace: PACE, sleep: async () => {}, ...change });
}
const blobOf = (size: number): Descriptor => ({
  mediaType: "application/vnd.oci.image.layer.v1.tar",
  digest: digestOf("something"),
  size,
});

describe("a registry that is slow by intent", () => {
  it("does not hold a manifest by dribbling", async () => {
    await using server = await slowServer(dribble);
    const reference = parseReference(`${server.host}/image:1`);
    await assert.rejects(client().manifest(reference, { signal }), {
      code: "REGISTRY_UNREACHABLE",
      message: /too slow: \d+ bytes in \d+ s$/,
    });
    assert.equal(server.requests, 2); // asked once more, and not four times
  });

  for (const [kind, size] of [
    ["small", 1 << 19],
    ["large", 1 << 24],
  ] as const) {
    it(`does not hold a ${kind} blob by dribbling, however often it is resumed`, async () => {
      await using server = await slowServer(dribble);
      const read = async (): Promise<void> => {
        for await (const _ of client().blob(parseReference(`${server.host}/image`), blobOf(size), {
          signal,
        }));
      };
      await assert.rejects(read(), { code: "REGISTRY_UNREACHABLE", message: /too slow/ });
      assert.ok(server.requests <= 5, `${server.requests} requests`);
    });
  }

  it("is waited for when it is we who are slow", async () => {
    const data = Buffer.alloc(1 << 24, 7);
    await using server = await slowServer((_, response) => response.end(data));
    const descriptor = { ...blobOf(data.length), digest: digestOf(data) };
    const registry = client({ pace: { windowMs: 200, minBytes: 1 << 19 } });
    let count = 0;
    let size = 0;
    for await (const chunk of registry.blob(parseReference(`${server.host}/image`), descriptor, { signal })) {
      size += chunk.length;
      if (count++ < 3) await new Promise((resolve) => setTimeout(resolve, 250)); // a slow disk
    }
    assert.equal(size, data.length);
    assert.equal(server.requests, 1);
  });

  it("does not hold an upload by taking bytes now and then", async () => {
    await using server = await slowServer((request, response) => {
      if (request.method === "HEAD") return response.writeHead(404).end();
      if (request.method === "POST") return response.writeHead(202, { location: "/upload" }).end();
      request.pause();
      const timer = setInterval(() => request.read(1), 10);
      response.on("close", () => clearInterval(timer));
      return undefined;
    });
    // More than the buffers of the system hold.
    const descriptor = blobOf(64 << 20);
    const chunk = Buffer.alloc(1 << 20);
    async function* open(): AsyncGenerator<Uint8Array, void, undefined> {
      for (let sent = 0; sent < descriptor.size; sent += chunk.length) yield chunk;
    }
    const repository = parseReference(`${server.host}/image`);
    await assert.rejects(client().uploadBlob(repository, descriptor, open, { signal }), {
      code: "REGISTRY_UNREACHABLE",
      message: /too slow/,
    });
  });

  it("is not asked again without end", async () => {
    await using server = await slowServer((_, response) => response.writeHead(503).end());
    const registry = openRegistry({ credentials: async () => null, callTotalMs: 400 });
    const from = performance.now();
    const reference = parseReference(`${server.host}/image:1`);
    await assert.rejects(registry.manifest(reference, { signal }), { code: "REGISTRY_UNREACHABLE" });
    assert.ok(performance.now() - from < 2_000);
    assert.ok(server.requests <= 2);
  });

  it("is not waited for until the year it names", async () => {
    await using server = await slowServer((_, response) =>
      response.writeHead(429, { "retry-after": "99999999" }).end(),
    );
    const reference = parseReference(`${server.host}/image:1`);
    await assert.rejects(client().manifest(reference, { signal }), { code: "REGISTRY_UNREACHABLE" });
    assert.equal(server.requests, 1);
  });

  it("nor is a token service that dribbles", async () => {
    await using tokens = await slowServer(dribble);
    await using server = await slowServer((_, response) =>
      response
        .writeHead(401, { "www-authenticate": `Bearer realm="http://${tokens.host}/token",service="s"` })
        .end(),
    );
    const reference = parseReference(`${server.host}/image:1`);
    await assert.rejects(client().manifest(reference, { signal }), {
      code: "REGISTRY_UNREACHABLE",
      message: /too slow/,
    });
    assert.equal(tokens.requests, 2);
  });

  it("nor is the service of a build cache", async () => {
    await using server = await slowServer(dribble);
    using web = openWebCalls({ pace: PACE, sleep: async () => {} });
    const call = {
      method: "GET",
      url: new URL(`http://${server.host}/x`),
      ok: [200],
      name: "cache",
    } as const;
    await assert.rejects(web.document({ ...call, signal }, 1 << 20), {
      code: "REGISTRY_UNREACHABLE",
      message: /too slow/,
    });
    assert.equal(server.requests, 2);
  });
});
