import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseStorageLimit } from "../../bin/storage-limit.ts";
import { defaultCeiling, keepBelow } from "../../cache/ceiling.ts";
import { type OpenStore, openStore } from "../../cache/store.ts";
import type { LayerId } from "../../solver/graph/request.ts";
import { freshDirectory, never } from "./store-support.ts";

const GB = 2 ** 30;

describe("ceiling", () => {
  const dir = freshDirectory();

  async function layer(store: OpenStore, bytes: number, createdAtMs: number): Promise<LayerId> {
    await using active = store.layers.prepare();
    mkdirSync(join(active.upper, "d"));
    writeFileSync(join(active.upper, "d", "file"), Buffer.alloc(bytes, 1));
    return active.commit({ createdAtMs }).id;
  }

  it("is a tenth of the disk, but enough to work with on a small one", () => {
    assert.equal(defaultCeiling(1000 * GB), 100 * GB);
    assert.equal(defaultCeiling(50 * GB), 10 * GB);
    assert.equal(defaultCeiling(8 * GB), 4 * GB);
  });

  it("is read from bytes, shares and words", () => {
    assert.equal(parseStorageLimit(null, 1000 * GB), 100 * GB);
    assert.equal(parseStorageLimit("20GB", 1000 * GB), 20 * GB);
    assert.equal(parseStorageLimit("25%", 1000 * GB), 250 * GB);
    assert.equal(parseStorageLimit("unlimited", 1000 * GB), null);
    assert.equal(parseStorageLimit("0", 1000 * GB), null);
    for (const text of ["much", "-1", "101%"])
      assert.throws(() => parseStorageLimit(text, GB), { code: "USAGE" });
  });

  it("takes the least recently used away when the store is over it, and some more", async () => {
    await using store = await openStore(dir());
    const ids = [
      await layer(store, 100_000, 1),
      await layer(store, 100_000, 2),
      await layer(store, 100_000, 3),
    ];
    assert.equal(await keepBelow(store, { ceilingBytes: 400_000, signal: never() }), null);
    const outcome = await keepBelow(store, { ceilingBytes: 290_000, signal: never() });
    assert.deepEqual(outcome?.removedLayers, ids.slice(0, 1));
    assert.equal(await keepBelow(store, { ceilingBytes: 290_000, signal: never() }), null);
  });

  it("never takes what a lease holds, even if the store stays over it", async () => {
    await using store = await openStore(dir());
    const id = await layer(store, 100_000, 1);
    await using lease = store.lease();
    lease.addLayers([id]);
    const outcome = await keepBelow(store, { ceilingBytes: 1_000, signal: never() });
    assert.deepEqual(outcome?.removedLayers, []);
    assert.equal(store.layers.get(id)?.unpacked, true);
  });

  it("notes the sizes it has added up, so that layers are walked once", async () => {
    await using store = await openStore(dir());
    const id = await layer(store, 100_000, 1);
    await keepBelow(store, { ceilingBytes: 1_000_000, signal: never() });
    assert.ok((store.layers.get(id)?.sizeBytes ?? 0) >= 100_000);
  });

  it("is not added up again before the store can have reached it, but once in an hour", async () => {
    await using store = await openStore(dir());
    const id = await layer(store, 100_000, 1);
    const ceilingBytes = 2 ** 30;
    assert.equal(await keepBelow(store, { ceilingBytes, signal: never() }), null);
    // More than there can be: only who adds up finds it.
    store.layers.update(id, { sizeBytes: 2 * ceilingBytes });
    assert.equal(await keepBelow(store, { ceilingBytes, signal: never() }), null);
    const last = store.records.get<{ readonly atMs: number }>("ceiling", "last");
    assert.ok(last !== null);
    store.records.put("ceiling", "last", { ...last, atMs: last.atMs - 3_700_000 });
    assert.deepEqual((await keepBelow(store, { ceilingBytes, signal: never() }))?.removedLayers, [id]);
  });
});
