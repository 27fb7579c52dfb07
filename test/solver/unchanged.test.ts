// A step that ran again with unchanged output, except for times: the earlier result is used, and steps that
// depend on it are cached.

import assert from "node:assert/strict";
import { openMemoryStore } from "../support/memory-store.ts";
import type { Input } from "../../solver/graph/definition.ts";
import type { Result } from "../../solver/graph/request.ts";
import { contextOf, type Graph, type Lab, type LabOptions, openDraft, openLab, ran } from "./graphs.ts";

/** Reads /a and /b of live files by a mount, so that only their sum counts for what comes out. */
function summing(): { graph: Graph; first: Input; root: Input } {
  const graph = openDraft();
  const context = graph.source("local://context");
  const first = graph.sum("first", 0, "/sum", graph.source("docker-image://base"), { mounts: [context] });
  const second = graph.sum("second", 1, "/more", first);
  return { graph, first, root: graph.sum("third", 1, "/most", second) };
}

function labWith(live: Readonly<Record<string, number>>): Lab {
  const lab = openLab();
  lab.worker.images.set("base", { "/base": 1 });
  lab.worker.live.set("context", live);
  return lab;
}

async function layersOf(lab: Lab, graph: Graph, root: Input): Promise<readonly string[]> {
  await using solution = await lab.solver.solve(
    { definition: graph.definition(), noCache: false },
    [root],
    contextOf(),
  );
  const [result] = solution.results as readonly [Result];
  return result.kind === "layers" ? result.layers : [];
}

describe("an output equal but for its times", () => {
  it("is replaced by the earlier one, and nothing above runs", async () => {
    const lab = labWith({ "/a": 1, "/b": 2 });
    const { graph, root } = summing();
    const before = await layersOf(lab, graph, root);
    assert.deepEqual(ran(lab), { first: 1, second: 1, third: 1 });
    lab.worker.live.set("context", { "/a": 2, "/b": 1 });
    assert.deepEqual(await layersOf(lab, graph, root), before);
    assert.deepEqual(ran(lab), { first: 1 });
    assert.equal(lab.worker.reused, 1);
    assert.deepEqual(await layersOf(lab, graph, root), before);
    assert.deepEqual(ran(lab), {}, "and the step itself is known by its new key");
  });

  it("is found again after others came in between", async () => {
    const lab = labWith({ "/a": 1, "/b": 2 });
    const { graph, root } = summing();
    const before = await layersOf(lab, graph, root);
    lab.worker.live.set("context", { "/a": 7 });
    assert.notDeepEqual(await layersOf(lab, graph, root), before);
    assert.deepEqual(ran(lab), { first: 2, second: 2, third: 2 });
    lab.worker.live.set("context", { "/a": 3, "/b": 0 });
    assert.deepEqual(await layersOf(lab, graph, root), before);
    assert.deepEqual(ran(lab), { first: 1 });
  });

  it("counts for forced steps, and of all steps of --no-cache", async () => {
    const lab = labWith({ "/a": 1 });
    const plain = summing();
    const before = await layersOf(lab, plain.graph, plain.root);
    ran(lab);
    const forced = summing();
    forced.graph.note(forced.first, { ignoreCache: true });
    assert.deepEqual(await layersOf(lab, forced.graph, forced.root), before);
    assert.deepEqual(ran(lab), { first: 1 });
    await lab.solve(plain.graph, plain.root, { noCache: true } satisfies LabOptions);
    assert.deepEqual(ran(lab), { first: 1, second: 1, third: 1 });
    assert.deepEqual(await layersOf(lab, plain.graph, plain.root), before);
  });

  it("is not looked for where other files must make another output", async () => {
    const lab = labWith({ "/a": 1 });
    const compared: number[] = [];
    const { run } = lab.worker;
    Object.assign(lab.worker, {
      run: ((vertex, inputs, context, name, earlier) => {
        compared.push(earlier.flat().length);
        return run(vertex, inputs, context, name, earlier);
      }) satisfies typeof run,
    });
    const copying = (): { graph: Graph; root: Input } => {
      const graph = openDraft();
      const base = graph.source("docker-image://base");
      return { graph, root: graph.copy(graph.source("local://context"), "/a", "/a", base) };
    };
    const { graph, root } = copying();
    await lab.solve(graph, root);
    lab.worker.live.set("context", { "/a": 2 });
    await lab.solve(graph, root);
    // Another base, the same file: the layer of the copy is the one from before.
    lab.worker.images.set("base", { "/base": 5 });
    const above = await layersOf(lab, graph, root);
    assert.deepEqual(compared, [0, 0, 1]);
    assert.equal(lab.worker.reused, 1);
    assert.equal(above.length, 2);
  });

  it("is none when the earlier layer is gone", async () => {
    const store = openMemoryStore();
    const lab = openLab(store);
    lab.worker.images.set("base", { "/base": 1 });
    lab.worker.live.set("context", { "/a": 1, "/b": 2 });
    const { graph, root } = summing();
    const before = await layersOf(lab, graph, root);
    for (const id of before.slice(1)) store.forget(id as never);
    lab.worker.live.set("context", { "/a": 2, "/b": 1 });
    const after = await layersOf(lab, graph, root);
    assert.equal(after.length, before.length);
    assert.deepEqual(
      after.filter((id) => before.slice(1).includes(id)),
      [],
    );
    assert.equal(lab.worker.reused, 0);
  });
});
