// Which results an image stands on.

import assert from "node:assert/strict";
import { resultsBelow } from "../../../bin/engine/early-outputs.ts";
import type { Definition, Input, Vertex } from "../../../solver/graph/definition.ts";
import { type Digest, digestOf } from "../../../solver/graph/digest.ts";
import type { ExecMount, FileAction, Op } from "../../../solver/graph/op.ts";

/** A graph of ops by name; inputs are "name" or "name output". */
function graph(
  ops: Readonly<Record<string, { readonly op: Op; readonly inputs: readonly string[] }>>,
): Definition {
  const vertices = new Map<Digest, Vertex>();
  for (const [name, { op, inputs }] of Object.entries(ops)) {
    const digest = digestOf(name);
    vertices.set(digest, { digest, op, platform: null, inputs: inputs.map(input) });
  }
  return { vertices, notes: new Map(), root: null };
}
function input(text: string): Input {
  const [name = "", output = "0"] = text.split(" ");
  return { vertex: digestOf(name), output: Number(output) };
}
const below = (definition: Definition, ...roots: readonly string[]): readonly string[] => {
  const found = resultsBelow(definition, roots.map(input));
  return ["source", "other", "step", "files", "merged", "last"].flatMap((name) =>
    [0, 1].flatMap((output) => (found.has(`${digestOf(name)} ${output}`) ? `${name} ${output}` : [])),
  );
};

const SOURCE = { op: { kind: "source", identifier: "docker-image://x", attrs: {} } as Op, inputs: [] };
const mount = (at: number | null, target: string, output: number | null): ExecMount => ({
  ...{ kind: "bind", input: at, selector: "", target, readonly: output === null, output },
});
const exec = (mounts: readonly ExecMount[], inputs: readonly string[]) => ({
  op: { kind: "exec", mounts } as unknown as Op,
  inputs,
});
const copy = (base: number | null, output: number | null): FileAction =>
  ({ kind: "copy", base, output }) as unknown as FileAction;

describe("results below a root", () => {
  it("are those its layers begin with: not what is mounted or copied from", () => {
    const definition = graph({
      source: SOURCE,
      other: SOURCE,
      step: exec([mount(0, "/", 0), mount(1, "/mnt", 1)], ["source", "other"]),
      files: { op: { kind: "file", actions: [copy(0, null), copy(2, 0)] }, inputs: ["step", "other"] },
      last: exec([mount(0, "/", 0)], ["files"]),
    });
    assert.deepEqual(below(definition, "last"), ["source 0", "step 0", "files 0"]);
    // Another output of the step is another directory.
    assert.deepEqual(below(definition, "step 1"), ["other 0"]);
    assert.deepEqual(below(definition, "last", "files"), ["source 0", "step 0"]);
  });

  it("are all parts of a merge, and none of what is only compared", () => {
    const definition = graph({
      source: SOURCE,
      other: SOURCE,
      step: { op: { kind: "diff", lower: 0, upper: 1 }, inputs: ["source", "other"] },
      merged: { op: { kind: "merge", inputs: [0, null, 1] }, inputs: ["source", "step"] },
      last: exec([mount(0, "/", 0)], ["merged"]),
    });
    assert.deepEqual(below(definition, "last"), ["source 0", "step 0", "merged 0"]);
    assert.deepEqual(below(definition, "step"), []);
  });
});
