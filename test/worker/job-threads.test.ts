// The keeper's threads, in this process.

import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { type JobThreads, openJobThreads, type ThreadData } from "../../worker/keeper/threads.ts";
import { temporaryDir } from "../support/store.ts";

describe("threads for jobs", () => {
  it("take the next job also when one has answered in the moment it was to be ended", async () => {
    using dir = temporaryDir();
    const data: ThreadData = { singleId: false, storeDir: dir.path };
    const threads = openJobThreads(1, data);
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

  it("are not started for what is small, which has the same outcome without one", async () => {
    using dir = temporaryDir();
    mkdirSync(dir.at("small/sub"), { recursive: true });
    writeFileSync(dir.at("small/sub/file"), "bytes");
    mkdirSync(dir.at("many"));
    for (let index = 0; index < 100; index++) writeFileSync(dir.at(`many/${index}`), "");
    const data: ThreadData = { singleId: false, storeDir: dir.path };
    let started = 0;
    const count = (): void => void (started += 1);
    process.on("worker", count);
    const small = openJobThreads(1, data);
    const outcomes = (threads: JobThreads): Promise<unknown[]> =>
      Promise.all([
        threads.run(1, { kind: "measure", background: true, dir: dir.at("small"), earlier: [] }),
        threads.run(2, {
          ...{ kind: "pack", dir: dir.at("small"), out: null, compression: "uncompressed", level: null },
          ...{ epochSeconds: null, oneId: false },
        }),
      ]);
    const without = await outcomes(small);
    assert.equal(await small.run(4, { kind: "sync", dir: dir.path, isBrief: true }), null);
    assert.equal(started, 0);
    const large = await small.run(3, {
      kind: "measure",
      background: false,
      dir: dir.at("many"),
      earlier: [],
    });
    assert.equal((large as { entries: number }).entries, 100);
    assert.equal(started, 1);
    assert.deepEqual(await outcomes(small), without);
    const last = small.run(9, { kind: "remove", paths: [] }).catch(() => {});
    small.stop(9);
    process.off("worker", count);
    await last;
  });
});
