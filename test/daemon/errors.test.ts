// Errors and findings of builds in the form in which stock clients print them.

import { create } from "@bufbuild/protobuf";
import assert from "node:assert/strict";
import { statusOf } from "../../bin/daemon/errors.ts";
import { openStatusStream } from "../../bin/daemon/status-stream.ts";
import { WarnRequestSchema } from "../../bin/wire/messages/moby/buildkit/v1/frontend/gateway_pb.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import { BuildError, type SourceRange } from "../../solver/graph/error.ts";
import type { Definition } from "../../solver/graph/definition.ts";
import { encodeDefinition } from "../../solver/graph/llb-definition.ts";
import { openGraph } from "../../solver/graph/llb.ts";
import type { RpcError } from "../../bin/wire/status.ts";

const range = (file: string, first: number, last: number): SourceRange => ({
  file,
  start: { line: first, column: 1 },
  end: { line: last, column: 5 },
});

/** A graph of one step that comes from lines of files. */
function graphOf(at: readonly SourceRange[], files: Readonly<Record<string, string>>, origin?: Definition) {
  const graph = openGraph();
  for (const [name, text] of Object.entries(files)) {
    const definition = origin === undefined ? new Uint8Array(0) : encodeDefinition(origin);
    graph.file(name, { data: Buffer.from(text), language: "HCL", definition });
  }
  const source = { kind: "source", identifier: "local://x", attrs: {} } as const;
  const root = graph.add(source, null, [], { name: "x", ignoreCache: false, at, group: null });
  return { graph: graph.definition(root), vertex: root.vertex };
}

interface SourceDetail {
  readonly info: {
    readonly filename: string;
    readonly data: string;
    readonly language: string;
    readonly definition?: { readonly def: readonly string[] };
  };
  readonly ranges: readonly { readonly start: { readonly line: number } }[];
}

const sourcesIn = ({ details }: RpcError): SourceDetail[] =>
  details
    .filter(({ typeUrl }) => typeUrl.endsWith("errdefs.Source+json"))
    .map(({ value }) => JSON.parse(Buffer.from(value).toString()) as SourceDetail);
const textOf = ({ info }: SourceDetail): string => Buffer.from(info.data, "base64").toString();
const linesOf = ({ ranges }: SourceDetail): number[] => ranges.map(({ start }) => start.line);

describe("errors of builds on the wire", () => {
  it("show the lines of each place that a client's step came from, the last one first", () => {
    const at = [
      range("a.hcl", 1, 1),
      range("b.hcl", 2, 2),
      range("b.hcl", 3, 3),
      { file: "a.hcl", start: { line: 3, column: 2 }, end: { line: 3, column: 4 } },
    ];
    const origin = graphOf([], {}).graph;
    const { graph, vertex } = graphOf(at, { "a.hcl": "one\ntwo\nthree", "b.hcl": "1\n2\n3" }, origin);
    const other = graphOf([], { "c.hcl": "no" }).graph;
    const error = new BuildError("EXEC_FAILED", "it failed", { vertex });
    const found = sourcesIn(statusOf(error, { source: null, graphs: [other, graph] }));
    assert.deepEqual(
      found.map((one) => [one.info.filename, ...linesOf(one)]),
      [
        ["a.hcl", 3],
        ["b.hcl", 2, 3],
        ["a.hcl", 1],
      ],
    );
    const [a, b] = found;
    assert.ok(a !== undefined && b !== undefined);
    assert.deepEqual(
      [a.info.filename, a.info.language, textOf(a), linesOf(a)],
      ["a.hcl", "HCL", "one\ntwo\nthree", [3]],
    );
    assert.deepEqual(a.ranges, [{ start: { line: 3, character: 1 }, end: { line: 3, character: 3 } }]);
    assert.equal(textOf(b), "1\n2\n3");
    const [step = ""] = a.info.definition?.def ?? [];
    assert.equal(digestOf(Buffer.from(step, "base64")), origin.root?.vertex);
  });

  it("show a Dockerfile, whether a step of it failed or it cannot be read, and where it is from", () => {
    const text = "FROM a\nRUN x\n";
    const origin = graphOf([], {}).graph;
    const source = { file: "Dockerfile", text, origin };
    const { graph, vertex } = graphOf([range("Dockerfile", 2, 2)], { Dockerfile: text });
    const failed = [
      new BuildError("EXEC_FAILED", "it failed", { vertex, at: range("Dockerfile", 2, 2) }),
      new BuildError("DOCKERFILE_SYNTAX", "it failed", { at: range("Dockerfile", 2, 2) }),
    ];
    for (const error of failed) {
      const [one, ...more] = sourcesIn(statusOf(error, { source, graphs: [graph] }));
      assert.ok(one !== undefined);
      assert.deepEqual([one.info.filename, textOf(one), linesOf(one), more], ["Dockerfile", text, [2], []]);
      assert.equal(one.info.definition?.def.length, 2);
    }
    // That of another file shows nothing rather than wrong lines.
    const elsewhere = new BuildError("DOCKERFILE_SYNTAX", "x", { at: range(".dockerignore", 1, 1) });
    assert.deepEqual(sourcesIn(statusOf(elsewhere, { source, graphs: [] })), []);
  });

  it("bring a small file along, also for lines that it has not", () => {
    const { graph, vertex } = graphOf([range("a.hcl", 9, 9)], { "a.hcl": "one" });
    const error = new BuildError("EXEC_FAILED", "x", { vertex });
    assert.deepEqual(sourcesIn(statusOf(error, { source: null, graphs: [graph] })).map(textOf), ["one"]);
  });

  it("stay small, however large the file and the range", () => {
    const text = Array.from({ length: 20_000 }, (_, line) => `RUN step ${line + 1}`).join("\n");
    const { graph, vertex } = graphOf([range("Dockerfile", 10_000, 20_000)], { Dockerfile: text });
    const [one] = sourcesIn(
      statusOf(new BuildError("EXEC_FAILED", "x", { vertex }), { source: null, graphs: [graph] }),
    );
    assert.ok(one !== undefined);
    assert.equal(one.ranges.length, 100);
    assert.equal(textOf(one).split("\n")[9_999], "RUN step 10000");
    assert.ok(textOf(one).length < 24_000, String(textOf(one).length));
  });

  it("have BuildKit's sentences, and ours behind them", () => {
    const said = (error: BuildError): string => statusOf(error).message;
    const proposal = { hint: "did you mean build?" };
    assert.equal(
      said(new BuildError("TARGET_UNKNOWN", 'no stage "bulid"', proposal)),
      'no stage "bulid" (did you mean build?)',
    );
    const vertex = digestOf(Buffer.from("x"));
    const missing = new BuildError(
      "CONTEXT_PATH_MISSING",
      'failed to calculate checksum of ref: "/a": not found',
      {
        hint: "a does not exist in the build context",
        vertex,
      },
    );
    assert.match(
      said(missing),
      /^failed to compute cache key: failed to calculate checksum of ref [0-9a-f]{64}: "\/a": not found\na does not exist in the build context$/,
    );
  });

  it("of checks name their line at the end", () => {
    const status = openStatusStream();
    const vertex = digestOf(Buffer.from("x"));
    status.event({ kind: "vertex", vertex, name: "x", inputs: [], at: [] });
    const finding = {
      kind: "warning",
      rule: "R",
      message: "m",
      detail: "about R",
      url: "https://r",
    } as const;
    status.event({ ...finding, at: [range("Dockerfile", 3, 4)] });
    status.event({ ...finding, rule: "", at: [] });
    const warnings = status.kept().flatMap((one) => one.warnings);
    assert.deepEqual(
      warnings.map(({ short, detail, level }) => [
        Buffer.from(short).toString(),
        detail.map((line) => Buffer.from(line).toString()),
        level,
      ]),
      [
        ["R: m (line 3)", ["about R"], 1n],
        ["m", ["about R"], 1n],
      ],
    );
  });

  it("of a client may be many, but not without end", () => {
    const status = openStatusStream();
    const warn = (bytes: number): void =>
      status.warning(create(WarnRequestSchema, { short: Buffer.from("w"), detail: [Buffer.alloc(bytes)] }));
    for (let count = 0; count < 100; count++) warn(1_000);
    assert.throws(() => {
      for (let count = 0; count < 5; count++) warn(1 << 20);
    }, /more warnings than are kept/);
    assert.equal(status.kept().flatMap(({ warnings }) => warnings).length < 105, true);
  });
});
