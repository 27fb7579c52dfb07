// The keeper's threads, in this process.

import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { openJobThreads, startThread, type ThreadData } from "../../worker/keeper/threads.ts";
import { temporaryDir } from "../support/store.ts";

describe("threads for jobs", () => {
  it("take the next job also when one has answered in the moment it was to be ended", async () => {
    using dir = temporaryDir();
    const data: ThreadData = { singleId: false, storeDir: dir.path };
    const first = startThread(data);
    const threads = openJobThreads(first, 1, data);
    const job = { kind: "remove", paths: [dir.at("nothing")] } as const;
    const cell = new Int32Array(new SharedArrayBuffer(4));
    await threads.run(0, job);
    for (let id = 1; id <= 20; id++) {
      const ended = threads.run(id, job).catch(() => {});
      // The answer comes, and is not heard yet.
      Atomics.wait(cell, 0, 0, 1 + (id % 5));
      threads.stop(id);
      await ended;
      await delay(id % 3);
      const late = delay(10_000, "late", { ref: false });
      assert.notEqual(await Promise.race([threads.run(100 + id, job), late]), "late", `job ${id}`);
    }
    const last = threads.run(1_000, job).catch(() => {});
    threads.stop(1_000);
    await last;
  });
});
