// The cost of decisions: a fully cached build does nothing else.

import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openStore } from "../../cache/store.ts";
import type { Input } from "../../solver/graph/definition.ts";
import { contextOf, openDraft, openLab } from "./graphs.ts";

const VERTICES = 1_000;
const LIMIT_MS = 50; // some 20 where nothing else runs

describe("deciding", () => {
  it(`${VERTICES} cached vertices takes less than ${LIMIT_MS} ms with a store on disk`, async () => {
    const dir = mkdtempSync(join(tmpdir(), "speed-"));
    try {
      await using store = await openStore(dir);
      const lab = openLab(store);
      const graph = openDraft();
      const roots: Input[] = [];
      for (let stage = 0; stage < VERTICES / 40; stage += 1) {
        let last = graph.file(`/stage${stage}`, stage, null);
        for (let step = 1; step < 40; step += 1)
          last = graph.sum(`s${stage}-${step}`, 1, `/f${step}`, last, {
            fields: {
              env: ["PATH=/bin", `N=${step}`],
            },
          });
        roots.push(last);
      }
      const definition = graph.definition();
      const trace = {
        line: "speed",
        title: "",
        buildArgs: {},
        argNames: new Set<string>(),
        onExplained: null,
      };
      const solve = async (): Promise<number> => {
        const begun = performance.now();
        await using _ = await lab.solver.solve({ definition, noCache: false }, roots, contextOf(), { trace });
        return performance.now() - begun;
      };
      await solve();
      assert.equal(lab.worker.runs.size, VERTICES);
      lab.worker.runs.clear();
      // The best of some, of more on a busy machine: what else it does at the moment is not what is measured.
      const times: number[] = [];
      for (let round = 0; round < 15 || (round < 100 && Math.min(...times) >= LIMIT_MS); round += 1)
        times.push(await solve());
      assert.equal(lab.worker.runs.size, 0);
      assert.ok(Math.min(...times) < LIMIT_MS, times.map((ms) => ms.toFixed(1)).join(" "));
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
});
