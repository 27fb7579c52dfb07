// Live files that change between hashing and copying.

import assert from "node:assert/strict";
import { openDraft, openLab, ran } from "./graphs.ts";

describe("live files that change while they are copied", () => {
  function race(names: readonly string[]) {
    const lab = openLab();
    for (const name of names) lab.worker.live.set(name, { "/a": 1 });
    const graph = openDraft();
    const [first, ...others] = names.map((name) => graph.source(`local://${name}`));
    assert(first !== undefined);
    const copied =
      others.length === 0
        ? graph.copy(first, "/a", "/in", null)
        : graph.sum("/in", 0, "/in", null, { mounts: [first, ...others] });
    const last = graph.sum("last", 10, "/last", copied);
    let isFirst = true;
    lab.worker.during = async (name) => {
      if (name === "/in" && isFirst) lab.worker.live.set(names.at(-1) as string, { "/a": 2 });
      if (name === "/in") isFirst = false;
    };
    return { lab, graph, last };
  }

  it("records a copy under the key of what was really read", async () => {
    const { lab, graph, last } = race(["context"]);
    assert.deepEqual(await lab.solve(graph, last), { "/in": 2, "/last": 12 });
    ran(lab);
    assert.deepEqual(await lab.solve(graph, last), { "/in": 2, "/last": 12 });
    assert.deepEqual(ran(lab), {}, "the files are now those that were read");
    lab.worker.live.set("context", { "/a": 1 });
    assert.deepEqual(await lab.solve(graph, last), { "/in": 1, "/last": 11 }, "the old key was not poisoned");
  });

  it("records nothing when nobody knows what was read, and nothing wrong above it", async () => {
    const { lab, graph, last } = race(["one", "two"]);
    assert.equal((await lab.solve(graph, last))["/in"], 3);
    ran(lab);
    lab.worker.live.set("two", { "/a": 1 });
    assert.deepEqual(await lab.solve(graph, last), { "/in": 2, "/last": 12 });
    assert.deepEqual(ran(lab), { "/in": 1, last: 1 });
  });
});
