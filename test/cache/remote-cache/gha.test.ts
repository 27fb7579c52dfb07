import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { fromOf, ghaBlob, ghaDomain, ghaPlace, serviceIn } from "../../../cache/remote-cache/gha.ts";
import { listBlobKeys } from "../../../cache/remote-cache/gha-keys.ts";
import type { ServiceAccess } from "../../../cache/remote-cache/gha-service.ts";
import { scopesOf } from "../../../cache/remote-cache/gha-token.ts";
import { CACHE_CONFIG_TYPE, encodeCacheConfig } from "../../../cache/remote-cache/config.ts";
import { encodeCacheManifest, readCache } from "../../../cache/remote-cache/manifest.ts";
import type { CachePlace } from "../../../cache/remote-cache/place.ts";
import { openWebCalls, type WebCalls } from "../../../cache/remote-cache/web-calls.ts";
import { type Digest, digestOf } from "../../../solver/graph/digest.ts";
import type { Descriptor } from "../../../solver/graph/request.ts";
import { type ActionsCache, startActionsCache } from "../../support/actions-cache.ts";
import { startServer } from "../../support/registry.ts";

const { signal } = new AbortController();
const MAIN = ["refs/heads/main", true] as const;
const MAIN_READ = ["refs/heads/main", false] as const;
const PULL = ["refs/pull/1/merge", true] as const;
type Scopes = readonly (readonly [string, boolean])[];
const PIECE = 1 << 20;
const hash8 = (text: string): string => createHash("sha256").update(text).digest("hex").slice(0, 8);

for (const version of [1, 2] as const) {
  describe(`a build cache in GitHub Actions, service version ${version}`, () => {
    let cache: ActionsCache;
    let web: WebCalls;
    const waits: number[] = [];
    beforeEach(async () => {
      cache = await startActionsCache();
      web = openWebCalls({ sleep: async (ms) => void waits.push(ms) });
      waits.length = 0;
    });
    afterEach(async () => {
      web[Symbol.dispose]();
      await cache[Symbol.asyncDispose]();
    });

    const accessFor = (...scopes: Scopes): ServiceAccess => ({
      version,
      url: new URL(cache.url),
      token: cache.token(...scopes),
      timeoutMs: 60_000,
      pieceBytes: PIECE,
    });
    const placeFor = (...scopes: Scopes): CachePlace =>
      ghaPlace(accessFor(...scopes), { scope: "app", knownKeys: null }, web);
    const blobOf = (bytes: Uint8Array): readonly [Descriptor, () => AsyncIterable<Uint8Array>] => [
      { mediaType: "application/octet-stream", digest: digestOf(bytes), size: bytes.length },
      async function* () {
        yield bytes;
      },
    ];
    const put = (place: CachePlace, bytes: Uint8Array): Promise<boolean> =>
      place.putBlob(...blobOf(bytes), { signal, mountFrom: [] });
    /** Writes a cache with one result, whose layer is these bytes. */
    const write = async (place: CachePlace, key: Digest, bytes: Uint8Array): Promise<Descriptor> => {
      const [{ digest, size }] = blobOf(bytes);
      const descriptor = { mediaType: "application/vnd.oci.image.layer.v1.tar", digest, size };
      const layer = { descriptor, diffId: digest, isBase: false, tarBytes: size, createdAtMs: 1000 };
      const config = encodeCacheConfig([
        { digest: key, result: { layers: [layer], createdAtMs: 1000 }, inputs: [] },
      ]);
      await put(place, bytes);
      const [configBlob, open] = blobOf(config.bytes);
      const configDescriptor = { ...configBlob, mediaType: CACHE_CONFIG_TYPE };
      await place.putBlob(configDescriptor, open, { signal, mountFrom: [] });
      const form = { imageManifest: true, ociTypes: true };
      const manifest = encodeCacheManifest(configDescriptor, config.layers, form);
      await place.putManifest(manifest.bytes, manifest.mediaType, { signal });
      return descriptor;
    };
    const read = async (data: AsyncIterable<Uint8Array>): Promise<Buffer> => {
      const chunks: Uint8Array[] = [];
      for await (const chunk of data) chunks.push(chunk);
      return Buffer.concat(chunks);
    };

    it("has the entries of BuildKit's: blobs by digest, and a document with annotated layers", async () => {
      const bytes = randomBytes(1000);
      const key = digestOf("a key");
      const { digest } = await write(placeFor(MAIN), key, bytes);
      assert.deepEqual(
        cache.entries.map((entry) => entry.key),
        [`buildkit-blob-1-${digest}`, `index-app-1-${hash8("refs/heads/main")}#1`],
      );
      const versions = new Set(cache.entries.map((entry) => entry.version));
      assert.deepEqual([...versions], [createHash("sha256").update("|go-actionscache-1.0").digest("hex")]);
      const config = JSON.parse(cache.entries[1]?.bytes?.toString() ?? "") as { layers: object[] };
      assert.deepEqual(config.layers, [
        {
          blob: digest,
          parent: -1,
          tsbuild: { tarBytes: 1000 },
          annotations: {
            mediaType: "application/vnd.oci.image.layer.v1.tar",
            diffID: digest,
            size: 1000,
            createdAt: "1970-01-01T00:00:01.000Z",
          },
        },
      ]);
    });

    it("gives back what was written, the newest of several", async () => {
      const place = placeFor(MAIN);
      assert.equal(await readCache(place, { signal }), null);
      const [one, two] = [digestOf("one"), digestOf("two")];
      await write(place, one, randomBytes(10));
      const bytes = randomBytes(20);
      const layer = await write(place, two, bytes);
      const found = await readCache(placeFor(MAIN), { signal });
      assert.deepEqual([...(found?.results.keys() ?? [])], [two]);
      assert.deepEqual(found?.ignored, []);
      const access = accessFor(MAIN);
      assert.deepEqual(await read(ghaBlob(access, web)(layer, { signal })), bytes);
      assert.deepEqual(cache.entries.at(-1)?.key, `index-app-1-${hash8("refs/heads/main")}#2`);
    });

    it("sends large blobs in pieces, and none twice", async () => {
      const bytes = randomBytes(2 * PIECE + 5);
      assert.equal(await put(placeFor(MAIN), bytes), true);
      assert.equal(cache.requests.filter(({ body }) => body.length === PIECE || body.length === 5).length, 3);
      assert.equal(await put(placeFor(MAIN), bytes), false);
      const [descriptor] = blobOf(bytes);
      assert.equal(
        digestOf(await read(ghaBlob(accessFor(MAIN), web)(descriptor, { signal }))),
        descriptor.digest,
      );
    });

    it("reads its own scope before that of the default branch, and writes its own only", async () => {
      const key = digestOf("same key");
      const old = await write(placeFor(MAIN), key, randomBytes(10));
      const pull = placeFor(PULL, MAIN_READ);
      assert.equal(
        (await readCache(pull, { signal }))?.results.get(key)?.layers[0]?.descriptor.digest,
        old.digest,
      );
      const fresh = await write(pull, key, randomBytes(10));
      const both = await readCache(placeFor(PULL, MAIN_READ), { signal });
      assert.equal(both?.results.get(key)?.layers[0]?.descriptor.digest, fresh.digest);
      const main = await readCache(placeFor(MAIN), { signal });
      assert.equal(main?.results.get(key)?.layers[0]?.descriptor.digest, old.digest);
      await assert.rejects(read(ghaBlob(accessFor(MAIN), web)(fresh, { signal })), {
        code: "REGISTRY_NOT_FOUND",
      });
      assert.deepEqual(
        new Set(cache.entries.slice(2).map(({ scope }) => scope)),
        new Set(["refs/pull/1/merge"]),
      );
    });

    it("does not write with a token that may only read", async () => {
      await assert.rejects(put(placeFor(MAIN_READ), randomBytes(10)), {
        code: "REGISTRY_DENIED",
        message: /is read-only/,
      });
      assert.deepEqual(cache.entries, []);
    });

    it("shows its token to the service alone", async () => {
      const access = accessFor(MAIN);
      const place = ghaPlace(access, { scope: "app", knownKeys: null }, web);
      const layer = await write(place, digestOf("key"), randomBytes(3 * PIECE));
      await readCache(place, { signal });
      await read(ghaBlob(access, web)(layer, { signal }));
      const { host } = new URL(cache.url);
      const elsewhere = cache.requests.filter(({ headers }) => headers.host !== host);
      assert.ok(elsewhere.length > 1);
      for (const { headers } of elsewhere)
        assert.doesNotMatch(JSON.stringify(headers), /Bearer|[0-9a-f]{32}/);
    });

    it("goes on where a download broke, and refuses other content", async () => {
      const bytes = randomBytes(500_000);
      await put(placeFor(MAIN), bytes);
      const [descriptor] = blobOf(bytes);
      let broken = 0;
      cache.intercept = ({ method, url }, response) => {
        if (method !== "GET" || !url.startsWith("/container") || broken++ > 0) return false;
        response.writeHead(200, { "content-length": String(bytes.length) });
        response.write(bytes.subarray(0, 200_000), () => response.destroy());
        return true;
      };
      assert.deepEqual(await read(ghaBlob(accessFor(MAIN), web)(descriptor, { signal })), bytes);
      assert.match(cache.requests.at(-1)?.headers.range ?? "", /^bytes=[1-9]\d*-$/);
      cache.intercept = ({ url }, response) => {
        if (!url.startsWith("/container")) return false;
        response.writeHead(200).end(Buffer.alloc(bytes.length));
        return true;
      };
      await assert.rejects(read(ghaBlob(accessFor(MAIN), web)(descriptor, { signal })), {
        code: "DIGEST_MISMATCH",
      });
    });

    it("comes back later when it asks too often", async () => {
      let limited = 0;
      cache.intercept = (_, response) => {
        if (limited++ > 0) return false;
        response.writeHead(429, { "retry-after": "7" }).end("{}");
        return true;
      };
      assert.equal(await put(placeFor(MAIN), randomBytes(10)), true);
      assert.deepEqual(waits, [7000]);
    });

    it("takes a blob that another job sends at the same time for sent", async () => {
      const bytes = randomBytes(10);
      const [{ digest }] = blobOf(bytes);
      const key = `buildkit-blob-1-${digest}`;
      const { version: entryVersion } = await entryOf(cache, placeFor(MAIN), put);
      const entry = { key, version: entryVersion, scope: MAIN[0], bytes: null as Buffer | null };
      cache.entries.push(entry);
      cache.intercept = () => {
        if (waits.length === 2) entry.bytes = bytes;
        return false;
      };
      assert.equal(await put(placeFor(MAIN), bytes), false);
      assert.equal(waits.length, 2);
    });

    it("passes by a number that a job left behind unfinished", async () => {
      const { version: entryVersion } = await entryOf(cache, placeFor(MAIN), put);
      const index = `index-app-1-${hash8("refs/heads/main")}`;
      cache.entries.push({ key: `${index}#1`, version: entryVersion, scope: MAIN[0], bytes: null });
      await write(placeFor(MAIN), digestOf("key"), randomBytes(10));
      assert.equal(cache.entries.at(-1)?.key, `${index}#2`);
      assert.ok(waits.length > 0);
    });

    it("goes to no other address than those of the service's kind", async () => {
      await put(placeFor(MAIN), randomBytes(10));
      for (const bad of ["file:///etc/passwd", "ftp://host/x", "http://user@host/x", "nonsense"]) {
        cache.intercept = (_, response) => {
          const body =
            version === 1
              ? { cacheKey: "buildkit-blob-1-x", archiveLocation: bad }
              : { ok: true, matched_key: "buildkit-blob-1-x", signed_download_url: bad };
          response.writeHead(200).end(JSON.stringify(body));
          return true;
        };
        const [descriptor] = blobOf(Buffer.from(bad));
        await assert.rejects(read(ghaBlob(accessFor(MAIN), web)(descriptor, { signal })), {
          code: "REGISTRY_PROTOCOL",
        });
      }
    });

    it("has no signature and no token in its errors", async () => {
      const bytes = randomBytes(10);
      await put(placeFor(MAIN), bytes);
      cache.intercept = ({ url }, response) => {
        if (!url.startsWith("/container")) return false;
        response.writeHead(418).end();
        return true;
      };
      const access = accessFor(MAIN);
      const [descriptor] = blobOf(bytes);
      await assert.rejects(read(ghaBlob(access, web)(descriptor, { signal })), (error: Error) => {
        assert.match(
          error.message,
          /unexpected status 418 from GET http:\/\/127\.0\.0\.1:\d+\/container\/blob$/,
        );
        return true;
      });
      cache.intercept = null;
      const foreign = { ...access, token: "secret-token" };
      await assert.rejects(read(ghaBlob(foreign, web)(descriptor, { signal })), (error: Error) => {
        assert.match(error.message, /denied access \(401\)/);
        assert.doesNotMatch(error.message, /secret-token/);
        return true;
      });
    });
  });
}

describe("scopes of a token of GitHub Actions", () => {
  it("are those it may write, then those it may read", () => {
    const ac = [
      { Scope: "refs/heads/main", Permission: 1 },
      { Scope: "refs/heads/other", Permission: 0 },
      { Scope: "refs/pull/1/merge", Permission: 3 },
    ];
    const claims = Buffer.from(JSON.stringify({ ac: JSON.stringify(ac) })).toString("base64url");
    assert.deepEqual(scopesOf(`x.${claims}.y`), [
      { scope: "refs/pull/1/merge", canWrite: true },
      { scope: "refs/heads/main", canWrite: false },
    ]);
  });

  for (const token of ["", "opaque", "a.b.c", `a.${Buffer.from("{}").toString("base64url")}.c`]) {
    it(`are one without a name for ${JSON.stringify(token)}`, () => {
      assert.deepEqual(scopesOf(token), [{ scope: "", canWrite: true }]);
    });
  }

  it("keep what was imported apart", () => {
    const url = new URL("https://cache.example/");
    const token = (ref: string): string =>
      `x.${Buffer.from(JSON.stringify({ ac: JSON.stringify([{ Scope: ref, Permission: 3 }]) })).toString("base64url")}.y`;
    const domain = (ref: string) => ghaDomain({ version: 2, url, token: token(ref), timeoutMs: 1 }, "app");
    assert.equal(domain("refs/heads/main"), domain("refs/heads/main"));
    assert.notEqual(domain("refs/heads/main"), domain("refs/pull/1/merge"));
  });
});

describe("what a layer's record says of GitHub Actions", () => {
  it("names the service, and nothing else is one", () => {
    const from = fromOf({ version: 2, url: new URL("https://results.example/x/") });
    assert.deepEqual(serviceIn(from), { version: 2, url: new URL("https://results.example/x/") });
    assert.equal(serviceIn("docker.io/library/busybox"), null);
  });
});

describe("keys of blobs by GitHub's API", () => {
  it("are those of the refs in reach, on all pages", async () => {
    const pages = [
      Array.from({ length: 100 }, (_, index) => ({
        key: `buildkit-blob-1-${index}`,
        ref: "refs/heads/main",
      })),
      [
        { key: "buildkit-blob-1-100", ref: "refs/heads/main" },
        { key: "buildkit-blob-1-101", ref: "refs/heads/foreign" },
      ],
    ];
    await using server = await startServer(({ url, headers }, response) => {
      assert.equal(headers.authorization, "Bearer gh");
      const page = Number(new URL(url, "http://any").searchParams.get("page"));
      response.end(JSON.stringify({ actions_caches: pages[page - 1] ?? [] }));
    });
    using web = openWebCalls({});
    const keys = await listBlobKeys(
      { url: new URL(server.origin), repository: "owner/name", token: "gh", refs: ["refs/heads/main"] },
      web,
      { signal },
    );
    assert.equal(keys.size, 101);
    assert.equal(
      server.requests[0]?.url,
      "/repos/owner/name/actions/caches?per_page=100&page=1&key=buildkit-blob-1-",
    );
  });
});

/** An entry that a put makes, for what all entries have. */
async function entryOf(
  cache: ActionsCache,
  place: CachePlace,
  put: (place: CachePlace, bytes: Uint8Array) => Promise<boolean>,
): Promise<{ readonly version: string }> {
  await put(place, Buffer.from("any"));
  const [entry] = cache.entries;
  assert.ok(entry !== undefined);
  return entry;
}
