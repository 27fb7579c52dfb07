// The parts of a comparison: bytes in pieces, pairing of layers, lines of steps, image configs, provenance.

import assert from "node:assert/strict";
import { alignLayers, type LayerKey } from "../../../../bin/engine/compare/align.ts";
import { builtFrom } from "../../../../bin/engine/compare/built-from.ts";
import { compareBytes, contentOfBytes } from "../../../../bin/engine/compare/bytes.ts";
import { compareConfigs } from "../../../../bin/engine/compare/config.ts";
import { commandOf, copiedStages, stepsOf } from "../../../../bin/engine/compare/steps.ts";
import type { Content } from "../../../../bin/engine/compare/contract.ts";
import type { ImageConfig } from "../../../../solver/graph/request.ts";

const signal = new AbortController().signal;

describe("comparing bytes", () => {
  it("finds the stretches that differ, over the borders of pieces", async () => {
    const a = Buffer.alloc(600_000, 7);
    const b = Buffer.from(a);
    b[262_143] = 1;
    b[262_144] = 1;
    b[500_000] = 1;
    const delta = await compareBytes(contentOfBytes(a), contentOfBytes(b), { signal });
    assert.deepEqual(delta?.ranges, [
      { start: 262_143, end: 262_145 },
      { start: 500_000, end: 500_001 },
    ]);
    assert.equal(delta?.bytes, 3);
  });

  it("finds the end of the shorter one, and nothing in equal ones", async () => {
    const longer = await compareBytes(
      contentOfBytes(Buffer.from("abc")),
      contentOfBytes(Buffer.from("abcd")),
      { signal },
    );
    assert.deepEqual([longer?.offset, longer?.bytes, longer?.isSameSize], [3, 0, false]);
    assert.equal(
      await compareBytes(contentOfBytes(Buffer.from("abc")), contentOfBytes(Buffer.from("abc")), { signal }),
      null,
    );
  });

  it("reads a file of many gigabytes in pieces", async () => {
    const huge = (last: number): Content => ({
      size: 3 * 2 ** 30,
      read(into, position) {
        into.fill(0);
        const end = 3 * 2 ** 30 - 1 - position;
        if (end >= 0 && end < into.length) into[end] = last;
        return into.length;
      },
    });
    const delta = await compareBytes(huge(1), huge(2), { signal });
    assert.deepEqual(delta?.ranges, [{ start: 3 * 2 ** 30 - 1, end: 3 * 2 ** 30 }]);
  }).timeout(30_000);
});

describe("pairing of layers", () => {
  const keys = (...texts: string[]): LayerKey[] =>
    texts.map((text) => ({ diffId: text, command: text.replace(/\d/g, "") }));
  it("goes by place where commands are equal", () => {
    assert.deepEqual(alignLayers(keys("a1", "b1"), keys("a2", "b2")), [
      { a: 0, b: 0 },
      { a: 1, b: 1 },
    ]);
  });
  it("leaves out a layer that only one has", () => {
    assert.deepEqual(alignLayers(keys("a1", "x1", "b1"), keys("a2", "b2")), [
      { a: 0, b: 0 },
      { a: 1, b: null },
      { a: 2, b: 1 },
    ]);
  });
  it("goes by place where nothing is known", () => {
    const bare = (...ids: string[]): LayerKey[] => ids.map((diffId) => ({ diffId, command: "" }));
    assert.deepEqual(alignLayers(bare("1", "2"), bare("3", "4")), [
      { a: 0, b: 0 },
      { a: 1, b: 1 },
    ]);
  });
});

describe("steps of layers", () => {
  const text = `FROM base AS build
RUN make \\
    all
FROM base
ENV A=1
COPY --from=build /out /out
RUN --mount=from=build,target=/b cp /b/x /x
`;
  const history = [
    { created_by: "busybox of this machine" },
    { created_by: "ENV A=1", empty_layer: true },
    { created_by: "COPY /out /out # buildkit" },
    { created_by: "RUN /bin/sh -c cp /b/x /x # buildkit" },
  ];
  const source = { name: "Dockerfile", text, target: null };

  it("have the lines of the Dockerfile, and entries of the base image none", async () => {
    const steps = await stepsOf(history, 3, source);
    assert.deepEqual(
      steps.map((step) => [step?.command, step?.place?.line ?? null]),
      [
        ["busybox of this machine", null],
        ["COPY /out /out", 6],
        ["RUN cp /b/x /x", 7],
      ],
    );
  });

  it("have all lines of an instruction, of the stage that was built", async () => {
    const entries = [{ created_by: "busybox" }, { created_by: "RUN /bin/sh -c make     all # buildkit" }];
    const [, step] = await stepsOf(entries, 2, { ...source, target: "build" });
    assert.deepEqual(step?.place, { file: "Dockerfile", line: 2, endLine: 3, text: "RUN make \\\n    all" });
  });

  it("say which stages they copy from", async () => {
    const [, copy, run] = await stepsOf(history, 3, source);
    assert.ok(copy !== null && copy !== undefined && run !== null && run !== undefined);
    assert.deepEqual(await copiedStages(copy, source), ["build"]);
    assert.deepEqual(await copiedStages(run, source), ["build"]);
  });

  it("are told without the words of builders", () => {
    assert.equal(commandOf("RUN |2 A=1 B=2 /bin/sh -c make # buildkit"), "RUN make");
    assert.equal(commandOf('/bin/sh -c #(nop)  CMD ["sh"]'), 'CMD ["sh"]');
    assert.equal(commandOf("/bin/sh -c apt-get update"), "RUN apt-get update");
    assert.equal(commandOf(7), "");
  });
});

describe("image configs", () => {
  const config = (more: object): ImageConfig =>
    ({ architecture: "amd64", os: "linux", config: {}, history: [], ...more }) as unknown as ImageConfig;
  it("differ by field, variables by name", () => {
    const a = config({ config: { Env: ["A=1", "B=2"], Cmd: ["x"] }, created: "1" });
    const b = config({ config: { Env: ["A=1", "B=3", "C="], Cmd: ["y"] }, created: "1" });
    assert.deepEqual(compareConfigs(a, b), [
      { field: "config.Cmd", a: '["x"]', b: '["y"]' },
      { field: "config.Env.B", a: "2", b: "3" },
      { field: "config.Env.C", a: "(none)", b: "" },
    ]);
    assert.deepEqual(compareConfigs(a, a), []);
  });
});

describe("provenance", () => {
  it("says how to build again, in both versions of SLSA", () => {
    const statement = (predicate: object, version: string) => ({
      predicateType: `https://slsa.dev/provenance/${version}`,
      predicate,
    });
    const source = { infos: [{ filename: "Dockerfile", data: Buffer.from("FROM x\n").toString("base64") }] };
    const images = [
      { uri: "pkg:docker/alpine@3.20?platform=linux%2Famd64", digest: { sha256: "a".repeat(64) } },
    ];
    const expected = {
      dockerfile: { name: "Dockerfile", text: "FROM x\n" },
      args: { target: "app" },
      context: null,
      locals: ["context"],
      images: [{ reference: "alpine:3.20", digest: `sha256:${"a".repeat(64)}` }],
    };
    const request = { args: { target: "app" }, locals: [{ name: "context" }] };
    const v1 = {
      buildDefinition: {
        resolvedDependencies: images,
        externalParameters: { configSource: { path: "Dockerfile" }, request },
      },
      runDetails: { metadata: { buildkit_metadata: { source } } },
    };
    assert.deepEqual(builtFrom(statement(v1, "v1")), expected);
    const v02 = {
      materials: images,
      invocation: { configSource: { entryPoint: "Dockerfile" }, parameters: request },
      metadata: { "https://mobyproject.org/buildkit@v1#metadata": { source } },
    };
    assert.deepEqual(builtFrom(statement(v02, "v0.2")), expected);
  });
  it("is read whatever its fields hold", () => {
    assert.equal(builtFrom({ predicateType: "https://spdx.dev/Document", predicate: {} }), null);
    const odd = builtFrom({
      predicateType: "https://slsa.dev/provenance/v1",
      predicate: { buildDefinition: [1], runDetails: "x" },
    });
    assert.deepEqual(odd, { dockerfile: null, args: {}, context: null, locals: [], images: [] });
  });
});
