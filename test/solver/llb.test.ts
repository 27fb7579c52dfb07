// LLB bytes: moby/buildkit solver/pb/ops.proto, https://protobuf.dev/programming-guides/encoding/

import assert from "node:assert/strict";
import fc from "fast-check";
import type { Definition, Vertex, VertexNote } from "../../solver/graph/definition.ts";
import { type Digest, digestOf } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { decodeOp, encodeOp, makeVertex, OP_MAX_BYTES, openGraph } from "../../solver/graph/llb.ts";
import { decodeDefinition, encodeDefinition } from "../../solver/graph/llb-definition.ts";
import type { ChownOpt, FileOp, Op, Platform, SourceOp } from "../../solver/graph/op.ts";
import { anyOp, anyPlatform, EXEC } from "./any-op.ts";

const SOURCE: SourceOp = {
  kind: "source",
  identifier: "docker-image://docker.io/library/alpine:latest",
  attrs: {},
};
const AMD64: Platform = { os: "linux", architecture: "amd64" };
const A = digestOf("a");

function hex(op: Op, platform: Platform | null = null): string {
  return Buffer.from(encodeOp(op, platform, [])).toString("hex");
}

/** A command that has what each must have. */
const ROOTED: Op = {
  ...EXEC,
  mounts: [{ kind: "bind", input: 0, selector: "", target: "/", readonly: false, output: 0 }],
};

/** Without the bytes it came in. */
function own({ encoded, ...rest }: Vertex): Vertex {
  assert.ok(encoded !== undefined);
  return rest;
}

function note(name: string, more: Partial<VertexNote> = {}): VertexNote {
  return { name, ignoreCache: false, at: [], group: null, ...more };
}

function code(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof BuildError) return error.code;
    throw error;
  }
  return "";
}

describe("LLB bytes of an op", () => {
  it("have fields by number and zero values left out, as Go writes them", () => {
    // 1a: source; 0a: identifier; 52: platform; 5a 00: the constraints Go clients always send.
    const identifier = Buffer.from(SOURCE.identifier).toString("hex");
    assert.equal(hex(SOURCE, AMD64), `1a300a2e${identifier}520e0a05616d64363412056c696e75785a00`);
  });

  it("have maps sorted by key, and entries with empty values", () => {
    const op: SourceOp = { kind: "source", identifier: "x", attrs: { b: "2", a: "" } };
    assert.equal(hex(op), "1a120a017812050a01611200" + "12060a016212013" + "25a00");
    assert.equal(hex({ ...op, attrs: { a: "", b: "2" } }), hex(op));
    // By bytes, not by UTF-16 units: U+FF5E comes before U+1F600.
    const wide = hex({ ...op, attrs: { "\u{1f600}": "", "\uff5e": "" } });
    assert.ok(
      wide.indexOf(Buffer.from("\uff5e").toString("hex")) <
        wide.indexOf(Buffer.from("\u{1f600}").toString("hex")),
    );
  });

  it("keep the number 0 where it is a choice: user id 0 is not nobody", () => {
    const owner: ChownOpt = { user: { kind: "id", id: 0 }, group: null };
    const action = {
      kind: "mkdir",
      path: "/a",
      mode: 0o755,
      makeParents: false,
      owner,
      timestampNs: null,
    } as const;
    const op: FileOp = { kind: "file", actions: [{ ...action, base: null, output: 0 }] };
    assert.ok(hex(op).includes("22040a021000"), hex(op)); // owner { user { byID: 0 } }
    assert.deepEqual(decodeOp(encodeOp(op, null, [])).op, op);
  });

  it("write -1 as ten bytes and times to the nanosecond", () => {
    const timestampNs = 1_600_000_000_123_456_789n;
    const action = { kind: "symlink", target: "t", path: "/p", owner: null, timestampNs } as const;
    const op: FileOp = { kind: "file", actions: [{ ...action, base: null, output: null }] };
    assert.ok(hex(op).includes("08ffffffffffffffffff01"));
    assert.deepEqual(decodeOp(encodeOp(op, null, [])).op, op);
  });

  it("keep apart texts that differ above U+FFFF only", () => {
    const of = (identifier: string): Op => ({ ...SOURCE, identifier });
    assert.notEqual(hex(of("\u{10000}")), hex(of("\u{20000}")));
    assert.ok(hex(of("\u{20000}")).includes("f0a08080"));
  });

  it("are what the digest of a vertex is made of", () => {
    const inputs = [{ vertex: A, output: 1 }];
    const vertex = makeVertex(EXEC, AMD64, inputs);
    assert.equal(vertex.digest, digestOf(encodeOp(EXEC, AMD64, inputs)));
    assert.notEqual(vertex.digest, makeVertex(EXEC, AMD64, [{ vertex: A, output: 0 }]).digest);
    assert.notEqual(vertex.digest, makeVertex(EXEC, null, inputs).digest);
  });

  it("give the op back, whatever it is", () => {
    fc.assert(
      fc.property(anyOp, anyPlatform, (drawn, platform) => {
        const op = structuredClone(drawn); // objects with the usual prototype
        const inputs = [0, 1, 2].map((output) => ({ vertex: A, output }));
        assert.deepEqual(decodeOp(encodeOp(op, platform, inputs)), {
          op,
          platform: structuredClone(platform),
          inputs,
        });
      }),
      { numRuns: 200 },
    );
  });
});

describe("LLB bytes from outside", () => {
  it("are refused when cut off at any place", () => {
    const bytes = encodeOp({ ...EXEC, env: ["A=b"] }, AMD64, [{ vertex: A, output: 0 }]);
    for (let length = 0; length < bytes.length - 2; length++) {
      const result = code(() => decodeOp(bytes.subarray(0, length)));
      // A cut between two fields may leave a message; it never is this op.
      if (result === "") assert.notDeepEqual(encodeOp(EXEC, null, []), bytes.subarray(0, length));
      else assert.ok(["USAGE", "DIGEST_INVALID"].includes(result), result);
    }
  });

  it("are refused with fields, kinds or indices nobody knows", () => {
    const unknown = Buffer.concat([encodeOp(SOURCE, null, []), Buffer.from("f80101", "hex")]);
    assert.equal(
      code(() => decodeOp(unknown)),
      "USAGE",
    );
    assert.equal(
      code(() => decodeOp(Buffer.from("5a00", "hex"))),
      "USAGE",
    ); // no op in it
    assert.equal(
      code(() => decodeOp(encodeOp({ kind: "merge", inputs: [0] }, null, []))),
      "USAGE",
    ); // no such input
    assert.equal(
      code(() => decodeOp(Buffer.from("1a030a01ff", "hex"))),
      "USAGE",
    ); // text that is no UTF-8
    assert.equal(
      code(() => decodeOp(Buffer.from("ffffffffffffffffffffffff", "hex"))),
      "USAGE",
    );
  });

  it("are refused when they are too big", () => {
    assert.equal(
      code(() => decodeOp(new Uint8Array(OP_MAX_BYTES + 1))),
      "LIMIT_EXCEEDED",
    );
  });
});

describe("a graph that is being built", () => {
  it("gives what the result reaches, inputs first, and nothing else", () => {
    const graph = openGraph();
    const base = graph.add(SOURCE, AMD64, [], note("base"));
    graph.add({ ...EXEC, args: ["unused"] }, AMD64, [base], note("unused"));
    const root = graph.add(EXEC, AMD64, [base], note("run"));
    const definition = graph.definition(root);
    assert.deepEqual([...definition.vertices.keys()], [base.vertex, root.vertex]);
    assert.deepEqual(
      [...definition.notes.values()].map(({ name }) => name),
      ["base", "run"],
    );
    assert.equal(graph.definition(null).vertices.size, 0);
  });

  it("has equal steps once, at both their places", () => {
    const graph = openGraph();
    const range = (line: number) => ({ file: "f", start: { line, column: 1 }, end: { line, column: 5 } });
    const one = graph.add(SOURCE, AMD64, [], note("one", { at: [range(1)] }));
    const two = graph.add(SOURCE, AMD64, [], note("two", { at: [range(2)], ignoreCache: true }));
    graph.add(SOURCE, AMD64, [], note("two", { at: [range(2)] }));
    assert.deepEqual(one, two);
    assert.deepEqual(
      graph.definition(one).notes.get(one.vertex),
      note("one", { at: [range(1), range(2)], ignoreCache: true }),
    );
  });
});

describe("a definition over the wire", () => {
  function sample(): Definition {
    const graph = openGraph();
    const at = [{ file: "Dockerfile", start: { line: 2, column: 1 }, end: { line: 2, column: 9 } }];
    const base = graph.add(SOURCE, AMD64, [], note("base"));
    const group = { id: "g", name: "group", weak: true };
    const run = graph.add(ROOTED, AMD64, [base], note("run", { at, ignoreCache: true, group }));
    return graph.definition(graph.add({ kind: "merge", inputs: [0, 1] }, null, [base, run], note("merge")));
  }

  it("comes back as it was, with names and places", () => {
    const definition = sample();
    const { vertices, ...rest } = decodeDefinition(encodeDefinition(definition));
    assert.deepEqual(
      { ...rest, vertices: new Map([...vertices].map(([key, one]) => [key, own(one)])) },
      definition,
    );
    const empty: Definition = { vertices: new Map(), notes: new Map(), root: null };
    assert.deepEqual(decodeDefinition(encodeDefinition(empty)), empty);
  });

  it("may have its steps in any order, but none may be missing", () => {
    const definition = sample();
    const reversed = { ...definition, vertices: new Map([...definition.vertices].reverse()) };
    // The order of the bytes is that of the map; the order read is that of the inputs.
    assert.deepEqual(
      [...decodeDefinition(encodeDefinition(reversed)).vertices.keys()],
      [...definition.vertices.keys()],
    );
    const [first] = definition.vertices.keys();
    const partial = new Map(definition.vertices);
    partial.delete(first as Digest);
    assert.equal(
      code(() => decodeDefinition(encodeDefinition({ ...definition, vertices: partial }))),
      "USAGE",
    );
  });

  it("is refused when it is none", () => {
    assert.equal(
      code(() => decodeDefinition(Buffer.from("not a definition"))),
      "USAGE",
    );
  });
});
