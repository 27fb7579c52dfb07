// Build ops: definitions in files of other results, solved for real.

import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import type { Input } from "../../solver/graph/definition.ts";
import type { BuildOp } from "../../solver/graph/op.ts";
import { temporaryDir, type TemporaryDir } from "../support/store.ts";
import { copy, type Draft, failure, type LlbBench, mkfile, openLlbBench } from "./llb-bench.ts";

describe("a definition in a file", function () {
  this.timeout(60_000);
  let bench: LlbBench;
  let temp: TemporaryDir;
  before(async () => {
    bench = await openLlbBench();
    temp = temporaryDir();
  });
  after(async () => {
    await bench[Symbol.asyncDispose]();
    temp[Symbol.dispose]();
  });

  const NAME = "buildkit.llb.definition";
  const build = (change: Partial<BuildOp> = {}): BuildOp => ({
    ...{ kind: "build", builder: -1, inputs: { [NAME]: 0 }, attrs: {} },
    ...change,
  });
  /** A build op over a file with the definition that `inner` makes. */
  const nested = (inner: (graph: Draft) => Input, change: Partial<BuildOp> = {}, name = NAME) =>
    ofBytes(() => bench.encode(inner), change, name);
  const ofBytes =
    (bytes: () => Uint8Array, change: Partial<BuildOp> = {}, name = NAME) =>
    (graph: Draft): Input =>
      graph.add(build(change), [graph.file([], mkfile(`/${name}`, "", { data: bytes() }))], {
        name: "build",
      });
  const hello = (text: string) => (graph: Draft) => graph.sh(`echo ${text} > /made; echo said ${text}`);

  it("is built where it stands, and its steps are those of the build", async () => {
    const { log, ran } = await bench.solve(nested(hello("one")));
    assert.equal(log, "said one\n");
    assert.ok(ran.includes("build"));
    assert.ok(ran.includes("echo one > /made; echo said one"));
    assert.equal(await bench.look(nested(hello("one")), "cat /in/made"), "one\n");
    const named = nested(hello("two"), { attrs: { "llbbuild.filename": "my.llb" } }, "my.llb");
    assert.equal(await bench.look(named, "cat /in/made"), "said two\ntwo\n");
  });

  it("may hold others, and be used by several steps", async () => {
    const three = nested(nested(nested(hello("deep"))));
    const said = await bench.look(
      (graph) =>
        graph.file(
          [three(graph), nested(hello("wide"))(graph)],
          copy(0, "/made", "/a", { output: null }),
          copy(1, "/made", "/b", { base: 2 }),
        ),
      "cat /in/a /in/b",
    );
    assert.match(said, /deep\nwide\n$/);
  });

  it("does not wait for itself however many there are at once", async () => {
    const many = (graph: Draft) => {
      const all = Array.from({ length: 12 }, (_, index) => nested(nested(hello(`n${index}`)))(graph));
      return graph.add({ kind: "merge", inputs: all.map((_, index) => index) }, all);
    };
    assert.match(await bench.look(many, "cat /in/made"), /n11\n$/);
  });

  it("runs its steps once, and is read again each time", async () => {
    const first = await bench.solve(nested(hello("cached")));
    assert.equal(first.log, "said cached\n");
    const again = await bench.solve(nested(hello("cached")));
    assert.equal(again.log, "");
    assert.deepEqual(again.result, first.result);
    // What it builds may depend on more than its bytes.
    const dir = temp.at("live");
    mkdirSync(dir);
    const session = { files: async () => ({ kind: "here" as const, path: dir }) };
    const live = nested((graph) => graph.add({ kind: "source", identifier: "local://live", attrs: {} }));
    const copied = (graph: Draft) => graph.file([live(graph)], copy(0, "/f", "/g"));
    for (const text of ["1", "2", "2"]) {
      writeFileSync(`${dir}/f`, text);
      assert.equal(await bench.look(live, "cat /in/f", { session }), text);
      assert.equal(await bench.look(copied, "cat /in/g", { session }), text);
    }
  });

  it("is refused when it holds itself, or is nested without an end", async () => {
    const dir = temp.at("self");
    mkdirSync(dir);
    const self = (graph: Draft) =>
      graph.add(build(), [graph.add({ kind: "source", identifier: "local://self", attrs: {} })]);
    writeFileSync(`${dir}/${NAME}`, bench.encode(self));
    const session = { files: async () => ({ kind: "here" as const, path: dir }) };
    assert.match(
      await failure(bench.solve(self, { session })),
      /^USAGE: the definition of a build step contains that step itself/,
    );
    let deep: (graph: Draft) => Input = hello("never");
    for (let level = 0; level < 20; level++) deep = nested(deep);
    assert.match(
      await failure(bench.solve(deep)),
      /^LIMIT_EXCEEDED: definitions are nested more than 16 levels/,
    );
  });

  it("is refused with a sentence when it is none, or not there", async () => {
    for (const [made, words] of [
      [ofBytes(() => Buffer.from("no definition")), /^USAGE: not a valid LLB definition/],
      [nested(hello("x"), { builder: 0 }), /^USAGE: a build step asks for the builder 0/],
      [nested(hello("x"), { inputs: {} }), /^USAGE: a build step has no input buildkit\.llb\.definition/],
      [nested(hello("x"), { inputs: { other: 0 } }), /^USAGE: a build step has no input/],
      [
        nested(hello("x"), { attrs: { "llbbuild.filename": "/none" } }),
        /^CONTEXT_PATH_MISSING: .*\/none is no file/,
      ],
      [nested(hello("x"), { attrs: { "llbbuild.filename": "/../../etc/shadow" } }), /^CONTEXT_PATH_MISSING/],
      [nested((graph) => graph.sh("exit 9")), /^EXEC_FAILED: .*exit code: 9/],
    ] as const) {
      assert.match(await failure(bench.solve(made)), words);
    }
  });

  it("may build nothing", async () => {
    const { result } = await bench.solve(ofBytes(() => new Uint8Array(0)));
    assert.deepEqual(result, { kind: "layers", layers: [] });
  });
});
