import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { azureStore, type AzureLayout, type AzureOptions } from "../../../cache/remote-cache/azblob.ts";
import { type AzureContainer, sign } from "../../../cache/remote-cache/azure-calls.ts";
import type { ObjectStore } from "../../../cache/remote-cache/object-place.ts";
import { openWebCalls, type WebCalls } from "../../../cache/remote-cache/web-calls.ts";
import { digestOf } from "../../../solver/graph/digest.ts";
import type { Descriptor } from "../../../solver/graph/request.ts";
import { type RunningAzure, startAzure } from "../../support/azure.ts";

const { signal } = new AbortController();
const LAYOUT: AzureLayout = {
  prefix: "team/app ü+(1)",
  blobsPrefix: "blobs",
  manifestsPrefix: "manifests/",
  names: ["main", "v1"],
};

describe("a build cache in Azure Blob Storage", () => {
  let azure: RunningAzure;
  let web: WebCalls;
  before(async () => {
    azure = await startAzure();
    web = openWebCalls({ sleep: async () => {} });
  });
  after(async () => {
    web[Symbol.dispose]();
    await azure[Symbol.asyncDispose]();
  });
  afterEach(() => {
    azure.intercept = null;
  });

  const storeWith = (
    container: string,
    change: Partial<AzureContainer> = {},
    options: Partial<AzureOptions> = {},
    layout: AzureLayout = LAYOUT,
  ): ObjectStore =>
    azureStore(
      {
        ...{ name: "azblob:test", account: new URL(azure.url), accountName: azure.account, container },
        key: () => azure.key,
        ...change,
      },
      layout,
      { uploadsAtOnce: 4, ...options },
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

  it("makes its container, gives blobs back under names with signs, and sends none twice", async () => {
    const bytes = randomBytes(300_000);
    const { descriptor, open } = blobOf(bytes);
    const store = storeWith("first");
    assert.equal(await store.document(1000, { signal }), null); // not even the container
    assert.equal(await store.putBlob(descriptor, open, { signal }), true);
    assert.equal(await storeWith("first").putBlob(descriptor, open, { signal }), false);
    assert.deepEqual(await read(store.blob(descriptor, { signal })), bytes);
    assert.ok(azure.blobs.has(`first/team/app ü+(1)/blobs/${descriptor.digest}`));
    assert.doesNotMatch(store.from, /sig=|SharedKey/);
  });

  it("sends large blobs in blocks, and what another has sent meanwhile is no error", async () => {
    const bytes = randomBytes(350_000);
    const { descriptor, open } = blobOf(bytes);
    const store = storeWith("blocks", {}, { blockBytes: 100_000 });
    const from = azure.requests.length;
    azure.intercept = ({ url }) => {
      if (url.includes("comp=blocklist"))
        azure.blobs.set(`blocks/team/app ü+(1)/blobs/${descriptor.digest}`, bytes);
      return false;
    };
    assert.equal(await store.putBlob(descriptor, open, { signal }), false);
    azure.intercept = null;
    const other = blobOf(randomBytes(350_000));
    assert.equal(await store.putBlob(other.descriptor, other.open, { signal }), true);
    assert.equal(azure.requests.slice(from).filter(({ url }) => url.includes("comp=block&")).length, 8);
    await read(store.blob(other.descriptor, { signal }));
  });

  it("replaces a blob that is not as long as it should be", async () => {
    const bytes = randomBytes(1000);
    const { descriptor, open } = blobOf(bytes);
    const store = storeWith("broken");
    await store.putBlob(descriptor, open, { signal });
    azure.blobs.set(`broken/team/app ü+(1)/blobs/${descriptor.digest}`, Buffer.alloc(3));
    assert.equal(await store.putBlob(descriptor, open, { signal }), true);
    assert.deepEqual(await read(store.blob(descriptor, { signal })), bytes);
  });

  it("writes its document under every name and reads the first", async () => {
    const store = storeWith("documents");
    await store.putDocument(Buffer.from('{"layers":[]}'), { signal });
    const other = storeWith("documents", {}, {}, { ...LAYOUT, names: ["v1"] });
    for (const one of [store, other])
      assert.equal(Buffer.from((await one.document(1000, { signal })) ?? []).toString(), '{"layers":[]}');
  });

  it("goes on where a connection broke", async () => {
    const bytes = randomBytes(400_000);
    const { descriptor, open } = blobOf(bytes);
    const store = storeWith("resumed");
    await store.putBlob(descriptor, open, { signal });
    let broken = 0;
    azure.intercept = ({ method }, response) => {
      if (method !== "GET" || broken++ > 0) return false;
      response.writeHead(200, { "content-length": String(bytes.length) });
      response.write(bytes.subarray(0, 150_000), () => response.destroy());
      return true;
    };
    assert.deepEqual(await read(store.blob(descriptor, { signal })), bytes);
    assert.match(azure.requests.at(-1)?.headers.range ?? "", /^bytes=[1-9]\d*-$/);
  });

  it("works with a signature in the address, which says nothing of containers", async () => {
    const bytes = randomBytes(250_000);
    const { descriptor, open } = blobOf(bytes);
    await storeWith("shared").putDocument(Buffer.from("{}"), { signal });
    const account = new URL(`${azure.url}?${azure.sas}`);
    const store = storeWith("shared", { account, key: () => null }, { blockBytes: 100_000 });
    assert.equal(await store.putBlob(descriptor, open, { signal }), true);
    assert.deepEqual(await read(store.blob(descriptor, { signal })), bytes);
    assert.doesNotMatch(store.from, /sig=/);
  });

  it("says that a key is wrong, without it, and asks no further", async () => {
    const key = randomBytes(64).toString("base64");
    const from = azure.requests.length;
    await assert.rejects(
      storeWith("first", { key: () => key }).document(1000, { signal }),
      (error: Error) => {
        assert.match(error.message, /denied access \(403\): AuthenticationFailed/);
        assert.ok(!JSON.stringify([error.message, error]).includes(key.slice(0, 20)));
        return true;
      },
    );
    assert.equal(azure.requests.length, from + 1);
  });

  it("signs with all that the service signs", () => {
    const key = Buffer.from("key").toString("base64");
    const url = new URL("https://a.blob.core.windows.net/c/b%3A1?restype=container&comp=List&comp=a");
    const headers = {
      "content-length": "3",
      "x-ms-version": "2021-08-06",
      "x-ms-date": "d ",
      range: "bytes=1-",
    };
    // openssl dgst -sha256 -hmac key -binary | base64, of the text that the service's documentation describes
    assert.equal(
      sign({ method: "PUT", url, headers }, "a", key),
      "3YjwLuh28qCr85w3KMrgEGBJoZ2JVOW2hYH9ErROI8s=",
    );
  });
});
