import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { type ReadCache, readCache } from "../../../cache/remote-cache/manifest.ts";
import { objectPlace, type ObjectStore } from "../../../cache/remote-cache/object-place.ts";
import { s3Blob, s3Store, type S3Layout, type S3Options } from "../../../cache/remote-cache/s3.ts";
import { bucketBase, type S3Bucket } from "../../../cache/remote-cache/s3-calls.ts";
import { openWebCalls, type WebCalls } from "../../../cache/remote-cache/web-calls.ts";
import { digestOf } from "../../../solver/graph/digest.ts";
import type { Descriptor } from "../../../solver/graph/request.ts";
import { type RunningS3, startS3 } from "../../support/s3.ts";

const { signal } = new AbortController();
const LAYOUT: S3Layout = {
  prefix: "team/app ü+(1)/",
  blobsPrefix: "blobs/",
  manifestsPrefix: "manifests/",
  names: ["main", "v1"],
};
const DAY_MS = 24 * 3_600_000;

describe("a build cache in S3", () => {
  let s3: RunningS3;
  let web: WebCalls;
  const waits: number[] = [];
  before(async () => {
    s3 = await startS3();
  });
  after(() => s3[Symbol.asyncDispose]());
  beforeEach(() => {
    web = openWebCalls({ sleep: async (ms) => void waits.push(ms) });
    waits.length = 0;
  });
  afterEach(() => {
    web[Symbol.dispose]();
    s3.intercept = null;
  });

  const bucketWith = (change: Partial<S3Bucket> = {}): S3Bucket => ({
    name: `s3://${s3.bucket}/${LAYOUT.prefix}`,
    bucket: s3.bucket,
    base: bucketBase(s3.bucket, "us-east-1", new URL(s3.endpoint), true),
    region: "us-east-1",
    credentials: async () => ({ ...s3.keys, sessionToken: null }),
    ...change,
  });
  const storeWith = (
    change: Partial<S3Bucket> = {},
    options: Partial<S3Options> = {},
    layout: S3Layout = LAYOUT,
  ): ObjectStore =>
    s3Store(
      bucketWith(change),
      layout,
      { uploadsAtOnce: 4, touchRefreshMs: DAY_MS, nowMs: Date.now, ...options },
      web,
    );
  const blobOf = (bytes: Uint8Array): { descriptor: Descriptor; open: () => AsyncIterable<Uint8Array> } => ({
    descriptor: { mediaType: "application/octet-stream", digest: digestOf(bytes), size: bytes.length },
    open: async function* () {
      for (let at = 0; at < bytes.length; at += 100_000) yield bytes.subarray(at, at + 100_000);
    },
  });
  const read = async (data: AsyncIterable<Uint8Array>): Promise<Buffer> => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of data) chunks.push(chunk);
    return Buffer.concat(chunks);
  };

  it("gives blobs back, under names with spaces and signs, and sends none twice", async () => {
    const bytes = randomBytes(300_000);
    const { descriptor, open } = blobOf(bytes);
    const store = storeWith();
    assert.equal(await store.putBlob(descriptor, open, { signal }), true);
    assert.equal(await store.putBlob(descriptor, open, { signal }), false);
    assert.deepEqual(await read(store.blob(descriptor, { signal })), bytes);
  });

  it("sends large blobs in parts", async () => {
    const bytes = randomBytes((8 << 20) + 12_345);
    const { descriptor, open } = blobOf(bytes);
    const store = storeWith({}, { singleMaxBytes: 1 << 20 });
    const from = s3.requests.length;
    assert.equal(await store.putBlob(descriptor, open, { signal }), true);
    const parts = s3.requests.slice(from).filter(({ url }) => url.includes("partNumber="));
    assert.equal(parts.length, 2);
    assert.deepEqual(digestOf(await read(store.blob(descriptor, { signal }))), descriptor.digest);
  });

  it("takes back the parts of an upload that failed", async () => {
    const { descriptor, open } = blobOf(randomBytes(9 << 20));
    const store = storeWith({}, { singleMaxBytes: 1 << 20 });
    s3.intercept = ({ url }, response) => {
      if (!url.includes("partNumber=2")) return false;
      response.writeHead(400).end("<Error><Code>InvalidPart</Code><Message>no</Message></Error>");
      return true;
    };
    const from = s3.requests.length;
    await assert.rejects(store.putBlob(descriptor, open, { signal }), /InvalidPart: no/);
    const deleted = s3.requests.slice(from).filter(({ method }) => method === "DELETE");
    assert.equal(deleted.length, 1);
    assert.match(deleted[0]?.url ?? "", /uploadId=/);
  });

  it("says the sha256 of what it sends, so that the server can check it", async () => {
    const { descriptor, open } = blobOf(randomBytes(1000));
    const from = s3.requests.length;
    await storeWith().putBlob(descriptor, open, { signal });
    const put = s3.requests.slice(from).find(({ method }) => method === "PUT");
    assert.equal(put?.headers["x-amz-content-sha256"], descriptor.digest.slice(7));
  });

  it("writes its document under every name and reads the first", async () => {
    const store = storeWith();
    assert.equal(await store.document(1000, { signal }), null);
    await store.putDocument(Buffer.from('{"layers":[]}'), { signal });
    const other = storeWith({}, {}, { ...LAYOUT, names: ["v1"] });
    for (const one of [store, other]) {
      assert.equal(Buffer.from((await one.document(1000, { signal })) ?? []).toString(), '{"layers":[]}');
    }
    await assert.rejects(store.document(5, { signal }), /sent more than 5 bytes/);
  });

  it("goes on where a connection broke, and refuses other content", async () => {
    const bytes = randomBytes(400_000);
    const { descriptor, open } = blobOf(bytes);
    const store = storeWith();
    await store.putBlob(descriptor, open, { signal });
    let broken = 0;
    s3.intercept = ({ method, headers }, response) => {
      if (method !== "GET" || broken++ > 0) return false;
      assert.equal(headers.range, undefined);
      response.writeHead(200, { "content-length": String(bytes.length) });
      response.write(bytes.subarray(0, 150_000), () => response.destroy());
      return true;
    };
    const from = s3.requests.length;
    assert.deepEqual(await read(store.blob(descriptor, { signal })), bytes);
    assert.match(s3.requests.slice(from).at(-1)?.headers.range ?? "", /^bytes=[1-9]\d*-$/);

    s3.intercept = (_, response) => {
      response.writeHead(200).end(Buffer.alloc(bytes.length, "x"));
      return true;
    };
    await assert.rejects(read(store.blob(descriptor, { signal })), { code: "DIGEST_MISMATCH" });
  });

  it("tries again what may pass, with a new signature, and not what will not", async () => {
    const { descriptor, open } = blobOf(randomBytes(10));
    let busy = 0;
    s3.intercept = ({ method }, response) => {
      if (method !== "PUT" || busy++ > 1) return false;
      response.writeHead(503, { "retry-after": "3" }).end("<Error><Code>SlowDown</Code></Error>");
      return true;
    };
    assert.equal(await storeWith().putBlob(descriptor, open, { signal }), true);
    assert.deepEqual(waits, [3000, 3000]);
    s3.intercept = null;
    const foreign = storeWith({
      credentials: async () => ({ ...s3.keys, secretAccessKey: "another", sessionToken: null }),
    });
    const from = s3.requests.length;
    await assert.rejects(foreign.document(1000, { signal }), {
      code: "REGISTRY_DENIED",
      message: /SignatureDoesNotMatch/,
    });
    assert.equal(s3.requests.length, from + 1);
  });

  it("touches blobs that are older than touch_refresh", async () => {
    const bytes = randomBytes(1000);
    const { descriptor, open } = blobOf(bytes);
    const layout = { ...LAYOUT, prefix: "touched/" };
    await storeWith({}, {}, layout).putBlob(descriptor, open, { signal });
    const from = s3.requests.length;
    const later = storeWith({}, { nowMs: () => Date.now() + 2 * DAY_MS }, layout);
    assert.equal(await later.putBlob(descriptor, open, { signal }), false);
    const copies = s3.requests
      .slice(from)
      .filter(({ headers }) => headers["x-amz-copy-source"] !== undefined);
    assert.equal(copies.length, 1);
    assert.deepEqual(await read(later.blob(descriptor, { signal })), bytes);
  });

  it("finds a blob again by what a layer's record says", async () => {
    const bytes = randomBytes(1000);
    const { descriptor, open } = blobOf(bytes);
    const store = storeWith();
    await store.putBlob(descriptor, open, { signal });
    assert.doesNotMatch(store.from, /S3RVER/);
    const again = s3Blob(store.from, async () => ({ ...s3.keys, sessionToken: null }), web);
    assert.ok(again !== null);
    assert.deepEqual(await read(again(descriptor, { signal })), bytes);
    assert.equal(
      s3Blob("docker.io/library/busybox", async () => assert.fail(), web),
      null,
    );
  });

  it("is read as far as its document makes sense", async () => {
    const layout = { ...LAYOUT, prefix: "hostile/" };
    const [good, other] = [digestOf("good"), digestOf("other")];
    const annotations = { mediaType: "application/vnd.oci.image.layer.v1.tar", diffID: good, size: 4 };
    const write = (document: unknown): Promise<void> =>
      storeWith({}, {}, layout).putDocument(
        Buffer.from(typeof document === "string" ? document : JSON.stringify(document)),
        { signal },
      );
    const found = (): Promise<ReadCache | null> =>
      readCache(objectPlace(storeWith({}, {}, layout)), { signal });
    for (const nonsense of ["no JSON", "[]", "7"]) {
      await write(nonsense);
      await assert.rejects(found(), { code: "IMAGE_INVALID" });
    }
    await write({
      layers: [
        { blob: good, parent: -1, annotations },
        { blob: other, parent: -1 },
        { blob: other, parent: -1, annotations: { ...annotations, size: -1 } },
        { blob: "sha256:zz", parent: -1, annotations },
        null,
      ],
      records: [0, 1, 2, 3, 4, 99].map((layer) => ({ layers: [{ layer }], digest: digestOf(String(layer)) })),
      tsbuild: { others: [null, { mediaType: 7 }, { mediaType: "x", digest: "y", size: 1 }] },
    });
    const cache = await found();
    assert.deepEqual([...(cache?.results.keys() ?? [])], [digestOf("0")]);
    assert.match(cache?.ignored[0] ?? "", /5 of 6 records are broken and ignored/);
  });

  it("says when the bucket is not there", async () => {
    const store = storeWith({ base: bucketBase("nowhere", "us-east-1", new URL(s3.endpoint), true) });
    await assert.rejects(store.document(1000, { signal }), {
      code: "REGISTRY_NOT_FOUND",
      message: /bucket does not exist/,
    });
  });
});

describe("the address of a bucket", () => {
  for (const [bucket, region, endpoint, inPath, address] of [
    ["app", "eu-west-1", null, false, "https://app.s3.eu-west-1.amazonaws.com/"],
    ["app", "cn-north-1", null, false, "https://app.s3.cn-north-1.amazonaws.com.cn/"],
    ["app.example.com", "us-east-1", null, false, "https://s3.us-east-1.amazonaws.com/app.example.com/"],
    ["app", "auto", "https://id.r2.cloudflarestorage.com", false, "https://app.id.r2.cloudflarestorage.com/"],
    ["app", "auto", "http://minio:9000/s3", true, "http://minio:9000/s3/app/"],
  ] as const) {
    it(`is ${address}`, () => {
      const base = bucketBase(bucket, region, endpoint === null ? null : new URL(endpoint), inPath);
      assert.equal(base.href, address);
    });
  }
});
