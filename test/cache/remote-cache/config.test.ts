import assert from "node:assert/strict";
import {
  type CachedLayer,
  type CachedResult,
  cachedLayerId,
  type CacheRecord,
  encodeCacheConfig,
  encodeInlineRecords,
  parseCacheConfig,
  parseInlineRecords,
  recordDigest,
} from "../../../cache/remote-cache/config.ts";
import { digestOf } from "../../../solver/graph/digest.ts";

const GZIP = "application/vnd.oci.image.layer.v1.tar+gzip";
const layer = (name: string, more: Partial<CachedLayer> = {}): CachedLayer => ({
  descriptor: { mediaType: GZIP, digest: digestOf(`blob ${name}`), size: 10 },
  diffId: digestOf(`tar ${name}`),
  isBase: false,
  tarBytes: 20,
  createdAtMs: 1_000,
  ...more,
});
const base = layer("base", { isBase: true, tarBytes: null });
const result = (...layers: CachedLayer[]): CachedResult => ({ layers, createdAtMs: 5_000 });
const one = digestOf("one");
const two = digestOf("two");
const RECORDS: readonly CacheRecord[] = [
  { digest: digestOf("source"), result: null, inputs: [] },
  { digest: one, result: result(base, layer("a")), inputs: [[0]] },
  { digest: two, result: result(base, layer("a"), layer("b")), inputs: [[1], [0]] },
];
type Json = {
  layers: { blob: string; parent?: number }[];
  records: { digest: string; layers?: { layer: number }[]; inputs?: unknown }[];
};
const json = (bytes: Uint8Array): Json => JSON.parse(Buffer.from(bytes).toString("utf8")) as Json;

describe("the cache config of BuildKit, version 0", () => {
  it("is read back as it was written", () => {
    const { bytes, layers } = encodeCacheConfig(RECORDS);
    const { table, ignored } = parseCacheConfig(bytes, layers, "test");
    assert.deepEqual(ignored, []);
    assert.deepEqual([...table.keys()], [one, two]);
    assert.deepEqual(table.get(two), RECORDS[2]?.result);
  });

  it("is written as Go's structs have it: no parent is -1, a parent of 0 is left out, each layer stands once", () => {
    const { layers, records } = json(encodeCacheConfig(RECORDS).bytes);
    assert.deepEqual(
      layers.map(({ parent }) => parent),
      [-1, undefined, 1],
    );
    assert.deepEqual(
      records[2]?.layers?.map((one) => one.layer),
      [2],
    );
    assert.deepEqual(records[2]?.inputs, [[{ link: 1 }], [{ link: 0 }]]);
  });

  it("says the diffId of a layer in its descriptor, where BuildKit looks for it", () => {
    const [first] = encodeCacheConfig(RECORDS).layers;
    assert.equal(first?.annotations?.["containerd.io/uncompressed"], base.diffId);
    assert.equal(first?.annotations?.["buildkit/createdat"], "1970-01-01T00:00:01.000Z");
  });

  it("takes what BuildKit writes: chains of layers, diffIds in the config, fields it does not know", () => {
    const [a, b] = [layer("a"), layer("b")];
    const config = {
      layers: [
        { blob: a.descriptor.digest, parent: -1, annotations: { diffID: a.diffId, mediaType: GZIP } },
        { blob: b.descriptor.digest, parent: -1, annotations: { diffID: b.diffId } },
      ],
      records: [
        {
          digest: one,
          chains: [{ layers: [0, 1], createdAt: "2024-01-02T03:04:05.678901234Z" }],
          future: true,
        },
      ],
    };
    const { table } = parseCacheConfig(
      Buffer.from(JSON.stringify(config)),
      [a.descriptor, b.descriptor],
      "test",
    );
    assert.deepEqual(
      table.get(one)?.layers.map(({ diffId }) => diffId),
      [a.diffId, b.diffId],
    );
    assert.equal(table.get(one)?.createdAtMs, Date.parse("2024-01-02T03:04:05.678Z"));
  });

  it("ignores records that are broken and keeps the others", () => {
    const { bytes, layers } = encodeCacheConfig(RECORDS);
    const broken: [string, (config: Json) => void][] = [
      [
        "a layer that is not there",
        (config) => void ((config.records[2] as Json["records"][0]).layers = [{ layer: 99 }]),
      ],
      [
        "layers that stand on each other",
        (config) => void ((config.layers[2] as { parent: number }).parent = 2),
      ],
      [
        "a blob the manifest does not name",
        (config) => void ((config.layers[2] as { blob: string }).blob = digestOf("x")),
      ],
      [
        "a digest that is none",
        (config) => void ((config.records[2] as { digest: string }).digest = "sha256:.."),
      ],
      [
        "a result that is only the base",
        (config) => void ((config.records[2] as Json["records"][0]).layers = [{ layer: 0 }]),
      ],
    ];
    for (const [what, spoil] of broken) {
      const config = json(bytes);
      spoil(config);
      const { table, ignored } = parseCacheConfig(Buffer.from(JSON.stringify(config)), layers, "test");
      assert.deepEqual([...table.keys()], [one], what);
      assert.equal(ignored.length, 1, what);
    }
  });

  it("refuses what is no config", () => {
    for (const text of ["", "[1", "null", '"text"', '{"layers":{}}', '{"records":7}']) {
      assert.throws(() => parseCacheConfig(Buffer.from(text), [], "test"), { code: "IMAGE_INVALID" }, text);
    }
  });

  it("gives each output of a step a record of its own", () => {
    const key = "a".repeat(64);
    assert.equal(recordDigest(key, 0), `sha256:${key}`);
    assert.notEqual(recordDigest(key, 1), recordDigest(key, 2));
  });
});

describe("ids of imported layers", () => {
  it("follow from the diffId alone, and are the usual ones for base layers", () => {
    assert.equal(cachedLayerId(base), `d-${base.diffId.slice(7)}`);
    assert.equal(
      cachedLayerId(layer("a")),
      cachedLayerId(layer("a", { createdAtMs: 9, descriptor: base.descriptor })),
    );
    assert.match(cachedLayerId(layer("a")), /^r-[0-9a-f]{32}$/);
  });
});

describe("the inline cache of an image", () => {
  const diffIds = [base, layer("a"), layer("b")].map(({ diffId }) => diffId);
  const descriptors = [base, layer("a"), layer("b")].map(({ descriptor }) => descriptor);

  it("names results by how many layers of the image they are", () => {
    const text = encodeInlineRecords(RECORDS, diffIds) ?? "";
    const records = JSON.parse(Buffer.from(text, "base64").toString("utf8")) as Json["records"];
    assert.deepEqual(
      records.map(({ layers }) => layers?.[0]?.layer),
      [undefined, 1, 2],
    );
    const { table } = parseInlineRecords(
      text,
      descriptors,
      { diffIds, made: ["FROM x", "RUN a", "RUN b"] },
      "test",
    );
    assert.deepEqual(
      table
        .get(one)
        ?.layers.map(({ diffId, isBase, createdAtMs, description }) => [
          diffId,
          isBase,
          createdAtMs,
          description,
        ]),
      [
        [base.diffId, true, 1_000, "FROM x"],
        [layer("a").diffId, false, 1_000, "RUN a"],
      ],
    );
  });

  it("leaves out results the image does not have", () => {
    const text = encodeInlineRecords(RECORDS, diffIds.slice(0, 2)) ?? "";
    const { table } = parseInlineRecords(
      text,
      descriptors,
      { diffIds, made: ["FROM x", "RUN a", "RUN b"] },
      "test",
    );
    assert.deepEqual([...table.keys()], [one]);
    assert.equal(encodeInlineRecords(RECORDS, [digestOf("other")]), null);
  });
});
