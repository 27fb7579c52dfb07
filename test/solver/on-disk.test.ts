// The solver with the store on disk: records of one process are hits for the next.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openStore } from "../../cache/store.ts";
import { openDraft, openLab, ran } from "./graphs.ts";

describe("solver on disk", () => {
  let dir = "";
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "solver-"));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  function build() {
    const graph = openDraft();
    const copied = graph.copy(
      graph.source("local://context"),
      "/a",
      "/in",
      graph.source("docker-image://base"),
    );
    return { graph, root: graph.merge(graph.sum("last", 1, "/last", copied), graph.file("/more", 2, null)) };
  }

  it("finds in a store opened anew what was recorded before", async () => {
    for (const expected of [{ "/in": 1, last: 1, "/more": 1 }, {}]) {
      await using store = await openStore(dir);
      const lab = openLab(store);
      lab.worker.images.set("base", { "/base": 1 });
      lab.worker.live.set("context", { "/a": 5 });
      const { graph, root } = build();
      assert.deepEqual(await lab.solve(graph, root), { "/base": 1, "/in": 5, "/last": 7, "/more": 2 });
      assert.deepEqual(ran(lab), expected);
    }
  });

  it("runs equal steps of two solvers once", async () => {
    await using store = await openStore(dir);
    const labs = [openLab(store), openLab(store)];
    for (const lab of labs) {
      lab.worker.images.set("base", { "/base": 1 });
      lab.worker.live.set("context", { "/a": 5 });
    }
    const { graph, root } = build();
    const [one, two] = await Promise.all(labs.map((lab) => lab.solve(graph, root)));
    assert.deepEqual(one, two);
    const counts = labs.map(ran);
    for (const name of ["/in", "last", "/more"]) {
      const times = counts.reduce((sum, count) => sum + (count[name] ?? 0), 0);
      assert.equal(times, 1, name);
    }
  });
});
