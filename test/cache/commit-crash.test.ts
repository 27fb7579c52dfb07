// R1 and R2 of the threat model: whenever a process is killed, the store opens and contains only complete data.

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { openStore } from "../../cache/store.ts";
import { child, freshDirectory, never } from "./store-support.ts";
import type { ResultRecord } from "../../cache/contract.ts";

describe("a process killed while it writes", () => {
  const dir = freshDirectory();

  it("leaves a store that opens and in which every blob, layer and record is whole", async () => {
    for (let round = 0; round < 8; round++) {
      const other = child(
        dir(),
        `import { createHash, randomBytes } from "node:crypto";
         const store = await openStore(dir);
         say("go");
         for (let i = 0; ; i++) {
           await store.exclusively("step", async () => {
             const bytes = randomBytes(200_000);
             const digest = store.content.put(bytes);
             const active = store.layers.prepare();
             fs.writeFileSync(active.upper + "/digest", digest);
             fs.writeFileSync(active.upper + "/bytes", bytes);
             const { id } = active.commit({ blobs: { plain: { mediaType: "m", digest, size: bytes.length } } });
             const record = { outputs: [[id]], name: digest, createdAtMs: 1, lastUsedMs: 1, durationMs: 1, ingredients: {} };
             store.records.batch([
               { space: "result", key: "r" + process.pid + "." + i, value: record },
               { space: "twin", key: "r" + process.pid + "." + i, value: digest },
             ]);
           }, { signal });
           if (i % 3 === 0) await store.records.commit();
           if (i === 2) say("warm");
         }`,
      );
      await other.line();
      await other.line();
      // Another moment each round.
      await new Promise((resolve) => setTimeout(resolve, round * 7));
      other.process.kill("SIGKILL");
      assert.equal(await other.ended, "SIGKILL");

      await using store = await openStore(dir());
      assert.deepEqual(readdirSync(join(dir(), "ingest")), []);
      for (const { digest, size } of store.content.list())
        assert.equal(store.content.read(digest, size).length, size);
      const results = [...store.records.entries<ResultRecord>("result")];
      assert.ok(results.length > round, "committed records stay");
      assert.equal([...store.records.entries("twin")].length, results.length);
      for (const { key, value } of results) {
        assert.equal(store.records.get("twin", key), value.name);
        const [id] = value.outputs[0] ?? [];
        assert.ok(id !== undefined && store.layers.get(id)?.unpacked === true);
        const at = store.layers.directory(id);
        assert.equal(readFileSync(join(at, "digest"), "utf8"), value.name);
        assert.equal(existsSync(join(at, "bytes")), true);
        assert.equal(store.content.has(value.name as never), true);
      }
      // Nobody waits for the dead.
      assert.equal(await store.exclusively("step", async () => "mine", { signal: never() }), "mine");
    }
  });
});
