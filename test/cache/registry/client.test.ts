import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import type { ServerResponse } from "node:http";
import { openRegistry } from "../../../cache/registry/client.ts";
import { pullLayer } from "../../../cache/registry/image.ts";
import { parseReference } from "../../../cache/registry/reference.ts";
import { digestOf } from "../../../solver/graph/digest.ts";
import type { Descriptor } from "../../../solver/graph/request.ts";
import { bytesOf, collect, openFixture } from "../../exporters/fixture.ts";
import { REGISTRY_USER, type Request, startRegistry, startServer } from "../../support/registry.ts";
import type { Registry, RegistryOptions } from "../../../cache/registry/contract.ts";

const signal = new AbortController().signal;
const LAYER = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const describeBlob = (data: Uint8Array): Descriptor => ({
  mediaType: LAYER,
  digest: digestOf(data),
  size: data.length,
});
const manifestOf = (config: Uint8Array) =>
  Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: { ...describeBlob(config), mediaType: "application/vnd.oci.image.config.v1+json" },
      layers: [],
    }),
  );

/** A client that notes how long it would have waited. */
function client(change: Partial<RegistryOptions> = {}): Registry & { readonly waits: number[] } {
  const waits: number[] = [];
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
const basic = async () => ({ kind: "basic", ...REGISTRY_USER }) as const;

describe("the registry client with docker-registry", () => {
  it("sends blobs once, mounts them elsewhere, and gets them back", async () => {
    await using server = await startRegistry();
    const registry = client();
    const data = randomBytes(3_000_000);
    const descriptor = describeBlob(data);
    const one = parseReference(`${server.host}/a/one`);
    const two = parseReference(`${server.host}/a/two`);
    const open = () => bytesOf(data);
    assert.equal(await registry.uploadBlob(one, descriptor, open, { signal }), "uploaded");
    assert.equal(await registry.uploadBlob(one, descriptor, open, { signal }), "exists");
    assert.equal(
      await registry.uploadBlob(two, descriptor, open, { signal, mountFrom: ["a/none", "a/one"] }),
      "mounted",
    );
    assert.ok((await collect(registry.blob(two, descriptor, { signal }))).equals(data));
    assert.equal(await registry.hasBlob(two, digestOf("other"), { signal }), false);
  });

  it("resolves a tag to its digest and says what is missing", async () => {
    await using server = await startRegistry();
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
  });

  it("lets a tag stand for the same image until it is put again", async () => {
    await using server = await startRegistry();
    const [registry, other] = [client(), client()];
    const reference = parseReference(`${server.host}/a/app:1`);
    const put = async (by: Registry, config: Buffer) => {
      await by.uploadBlob(reference, describeBlob(config), () => bytesOf(config), { signal });
      await by.putManifest(reference, "1", manifestOf(config), MANIFEST, { signal });
      return digestOf(manifestOf(config));
    };
    const resolve = async () => (await registry.resolve(reference, { signal })).digest;
    const first = await put(registry, Buffer.from("{}"));
    assert.deepEqual(await Promise.all([resolve(), resolve()]), [first, first]);
    await put(other, Buffer.from("{ }"));
    assert.equal(await resolve(), first);
    const third = await put(registry, Buffer.from("{  }"));
    assert.equal(await resolve(), third);
  });

  it("logs in with a password, and tells a wrong one from none", async () => {
    await using server = await startRegistry({ auth: true });
    const data = randomBytes(100);
    const repository = parseReference(`${server.host}/private/app`);
    const send = (registry: Registry) =>
      registry.uploadBlob(repository, describeBlob(data), () => bytesOf(data), { signal });
    await assert.rejects(send(client()), {
      code: "REGISTRY_DENIED",
      hint: `no credentials for ${server.host} were sent; log in: tsbuild login ${server.host}`,
    });
    const wrong = async () => ({ kind: "basic", username: "builder", password: "no" }) as const;
    await assert.rejects(send(client({ credentials: wrong })), (error: Error & { code: string }) => {
      assert.equal(error.code, "REGISTRY_DENIED");
      assert.match(error.message, /does not accept the user name or password it was sent \(401\)/);
      assert.ok(!JSON.stringify(error).includes("YnVpbGRlc") && !error.message.includes("builder"));
      return true;
    });
    assert.equal(await send(client({ credentials: basic })), "uploaded");
  });

  it("asks a mirror first and the registry when the mirror has nothing", async () => {
    await using server = await startRegistry();
    await using mirror = await startServer((_request, response) => void response.writeHead(404).end());
    const registry = client({ placesOf: mirroredBy(mirror.host) });
    const data = randomBytes(100);
    const repository = parseReference(`${server.host}/a/app`);
    await registry.uploadBlob(repository, describeBlob(data), () => bytesOf(data), { signal });
    assert.ok((await collect(registry.blob(repository, describeBlob(data), { signal }))).equals(data));
    assert.deepEqual(
      mirror.requests.map(({ method }) => method),
      ["GET"],
    );
  });
});

/** All that is read is asked of a mirror first. */
function mirroredBy(host: string): NonNullable<RegistryOptions["placesOf"]> {
  return async (repository) => ({
    mirrors: [{ at: { ...repository, host }, byTag: true, byDigest: true }],
    source: repository,
    target: repository,
    blockedBy: null,
    closed: null,
  });
}

describe("the registry client with a registry that misbehaves", () => {
  const data = randomBytes(200_000);
  const blob = describeBlob(data);
  const serve = (handle: (request: Request, response: ServerResponse, count: number) => void) =>
    startServer(handle);
  const repositoryOf = (host: string) => parseReference(`${host}/a/app:1`);

  it("refuses a blob of another digest, keeps nothing of it, and takes an honest answer later", async () => {
    await using server = await serve((_request, response, count) => {
      response.end(count === 0 ? Buffer.alloc(data.length) : data);
    });
    await using fixture = await openFixture();
    const remote = { descriptor: blob, from: `${server.host}/a/app` };
    await assert.rejects(pullLayer(remote, fixture.store, fixture.registry, { signal }), {
      code: "DIGEST_MISMATCH",
    });
    assert.equal(fixture.store.content.has(blob.digest), false);
    await pullLayer(remote, fixture.store, fixture.registry, { signal });
    assert.equal(fixture.store.content.size(blob.digest), data.length);
  });

  it("resumes a download that broke, asking only for the rest", async () => {
    await using server = await serve((request, response, count) => {
      const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
      response.writeHead(from > 0 ? 206 : 200, {
        "content-length": data.length - from,
        ...(from > 0 ? { "content-range": `bytes ${from}-${data.length - 1}/${data.length}` } : {}),
      });
      if (count < 3) response.write(data.subarray(from, from + 50_000), () => response.destroy());
      else response.end(data.subarray(from));
    });
    const seen: number[] = [];
    const got = await collect(
      client().blob(repositoryOf(server.host), blob, { signal, onBytes: (current) => seen.push(current) }),
    );
    assert.ok(got.equals(data));
    assert.equal(server.requests.length, 4);
    assert.ok(server.requests.slice(1).every(({ headers }) => headers.range !== undefined));
    assert.equal(seen.at(-1), data.length);
  });

  it("passes by what it has when a server answers a range with everything", async () => {
    await using server = await serve((_request, response, count) => {
      response.writeHead(200, { "content-length": data.length });
      if (count === 0) response.write(data.subarray(0, 70_000), () => response.destroy());
      else response.end(data);
    });
    assert.ok((await collect(client().blob(repositoryOf(server.host), blob, { signal }))).equals(data));
  });

  it("gives up a download that never goes on", async () => {
    await using server = await serve((_request, response) => {
      response.writeHead(200, { "content-length": data.length });
      response.flushHeaders();
      response.destroy();
    });
    await assert.rejects(collect(client().blob(repositoryOf(server.host), blob, { signal })), {
      code: "REGISTRY_UNREACHABLE",
    });
    assert.ok(server.requests.length <= 30);
  });

  it("stops reading a blob that does not end", async () => {
    let sent = 0;
    await using server = await serve((_request, response) => {
      const chunk = Buffer.alloc(65536);
      const more = () => {
        while (!response.destroyed && response.write(chunk)) sent += chunk.length;
      };
      response.on("drain", more);
      more();
    });
    await assert.rejects(collect(client().blob(repositoryOf(server.host), blob, { signal })), {
      code: "REGISTRY_PROTOCOL",
      message: /sent more than 200000 bytes/,
    });
    assert.ok(sent < 100_000_000);
  });

  it("stops reading a manifest that does not end", async () => {
    await using server = await serve((_request, response) => {
      response.writeHead(200, { "content-type": MANIFEST });
      const more = () => {
        while (!response.destroyed && response.write(" ".repeat(65536)));
      };
      response.on("drain", more);
      more();
    });
    await assert.rejects(client().manifest(repositoryOf(server.host), { signal }), {
      code: "REGISTRY_PROTOCOL",
      message: /more than 4194304 bytes/,
    });
  });

  it("does not believe the digest header of a manifest", async () => {
    const manifest = manifestOf(Buffer.from("{}"));
    await using server = await serve((_request, response) => {
      response
        .writeHead(200, { "content-type": MANIFEST, "docker-content-digest": digestOf("another") })
        .end(manifest);
    });
    await assert.rejects(client().manifest(repositoryOf(server.host), { signal }), {
      code: "DIGEST_MISMATCH",
    });
    const pinned = { ...repositoryOf(server.host), digest: digestOf("pinned") };
    await assert.rejects(client().resolve(pinned, { signal }), { code: "DIGEST_MISMATCH" });
  });

  it("refuses a manifest whose content type says index, and a document that is both", async () => {
    const both = Buffer.from(
      JSON.stringify({ ...JSON.parse(manifestOf(Buffer.from("{}")).toString()), manifests: [] }),
    );
    await using server = await serve((_request, response, count) => {
      const type = count === 0 ? "application/vnd.oci.image.index.v1+json" : MANIFEST;
      response
        .writeHead(200, { "content-type": type })
        .end(count === 0 ? manifestOf(Buffer.from("{}")) : both);
    });
    const registry = client();
    await assert.rejects(registry.manifest(repositoryOf(server.host), { signal }), { code: "IMAGE_INVALID" });
    await assert.rejects(registry.manifest(repositoryOf(server.host), { signal }), {
      code: "IMAGE_INVALID",
      message: /both a manifest and an index/,
    });
  });

  it("waits as long as a 429 says, and not for hours", async () => {
    await using server = await serve((request, response, count) => {
      if (request.url.includes("patient") && count > 0) response.end(data);
      else
        response.writeHead(429, { "retry-after": request.url.includes("patient") ? "7" : "7200" }).end("{}");
    });
    const registry = client();
    const at = (name: string) =>
      collect(registry.blob(parseReference(`${server.host}/${name}`), blob, { signal }));
    assert.ok((await at("patient")).equals(data));
    assert.deepEqual(registry.waits, [7000]);
    await assert.rejects(at("hasty"), { code: "REGISTRY_UNREACHABLE", message: /limits requests/ });
    assert.equal(registry.waits.length, 1);
  });

  it("tries a server fault again, a bounded number of times", async () => {
    await using server = await serve((_request, response) => void response.writeHead(503).end());
    const registry = client();
    await assert.rejects(registry.resolve(repositoryOf(server.host), { signal }), {
      code: "REGISTRY_UNREACHABLE",
    });
    assert.equal(server.requests.length, 5);
    assert.ok(registry.waits.every((ms, i) => ms >= 180 * 2 ** i && ms <= 320 * 2 ** i));
  });

  it("shows no control characters of a registry's message", async () => {
    await using server = await serve((_request, response) => {
      response
        .writeHead(403)
        .end(JSON.stringify({ errors: [{ code: "DENIED", message: "no\u001b[2J" + "x".repeat(1000) }] }));
    });
    await assert.rejects(
      collect(client().blob(repositoryOf(server.host), blob, { signal })),
      (error: Error) => {
        assert.match(error.message, /DENIED: no/);
        assert.ok(!error.message.includes("\u001b") && error.message.length < 500);
        return true;
      },
    );
  });

  it("does not send credentials after a redirect to another origin, nor to an upload host", async () => {
    await using other = await serve((request, response) => {
      response
        .writeHead(request.method === "PUT" ? 201 : 200)
        .end(request.method === "GET" ? data : undefined);
    });
    await using server = await serve((request, response) => {
      if (request.headers.authorization === undefined)
        response.writeHead(401, { "www-authenticate": 'Basic realm="r"' }).end();
      else if (request.method === "GET") response.writeHead(307, { location: `${other.origin}/blob` }).end();
      else if (request.method === "POST")
        response.writeHead(202, { location: `${other.origin}/upload?state=1` }).end();
      else response.writeHead(404).end();
    });
    const registry = client({ credentials: basic });
    assert.ok((await collect(registry.blob(repositoryOf(server.host), blob, { signal }))).equals(data));
    await registry.uploadBlob(repositoryOf(server.host), blob, () => bytesOf(data), { signal });
    assert.deepEqual(
      other.requests.map(({ method, headers }) => [method, headers.authorization]),
      [
        ["GET", undefined],
        ["PUT", undefined],
      ],
    );
    assert.ok(other.requests[1]?.body.equals(data));
    assert.match(other.requests[1]?.url ?? "", /^\/upload\?state=1&digest=sha256%3A/);
  });

  it("follows no endless redirects and none to other schemes", async () => {
    await using server = await serve((request, response) => {
      const location = request.url.includes("/file/") ? "file:///etc/passwd" : request.url;
      response.writeHead(302, { location }).end();
    });
    for (const name of ["file", "loop"]) {
      await assert.rejects(
        collect(client().blob(parseReference(`${server.host}/${name}/x`), blob, { signal })),
        { code: "REGISTRY_PROTOCOL" },
      );
    }
    assert.ok(server.requests.length < 15);
  });

  it("refuses an answer that is compressed without having been asked for", async () => {
    await using server = await serve(
      (_request, response) => void response.writeHead(200, { "content-encoding": "gzip" }).end(data),
    );
    await assert.rejects(collect(client().blob(repositoryOf(server.host), blob, { signal })), {
      code: "REGISTRY_PROTOCOL",
    });
  });

  it("says that nothing listens there", async () => {
    const server = await serve(() => {});
    await server[Symbol.asyncDispose]();
    await assert.rejects(client().resolve(repositoryOf(server.host), { signal }), {
      code: "REGISTRY_UNREACHABLE",
      message: /connection refused/,
    });
  });

  it("ends at once when cancelled, in the middle of a transfer", async () => {
    await using server = await serve((_request, response) => {
      response.writeHead(200, { "content-length": data.length });
      response.write(data.subarray(0, 1000));
    });
    const controller = new AbortController();
    const reading = (async () => {
      for await (const _chunk of client().blob(repositoryOf(server.host), blob, {
        signal: controller.signal,
      }))
        controller.abort(new Error("enough"));
    })();
    await assert.rejects(reading, { message: "enough" });
  });

  it("begins an upload again when the connection broke", async () => {
    let stored: Buffer = Buffer.alloc(0);
    await using server = await serve((request, response, count) => {
      if (request.method === "HEAD") response.writeHead(404).end();
      else if (request.method === "POST") response.writeHead(202, { location: "/upload" }).end();
      else if (count === 0) response.destroy();
      else {
        stored = request.body;
        response.writeHead(201).end();
      }
    });
    assert.equal(
      await client().uploadBlob(repositoryOf(server.host), blob, () => bytesOf(data), { signal }),
      "uploaded",
    );
    assert.equal(digestOf(stored), blob.digest);
  });

  it("sends nothing as whole that is shorter than it says", async () => {
    await using server = await serve((request, response) => {
      if (request.method === "HEAD") response.writeHead(404).end();
      else response.writeHead(request.method === "POST" ? 202 : 201, { location: "/upload" }).end();
    });
    await assert.rejects(
      client().uploadBlob(repositoryOf(server.host), blob, () => bytesOf(data.subarray(1)), { signal }),
      { code: "STORE_CORRUPT" },
    );
  });
});
