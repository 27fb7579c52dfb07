import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ceilingOf } from "../../bin/engine/storage-limit.ts";
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
    const read = (text: string | null): number | null => ceilingOf(parseStorageLimit(text), 1000 * GB);
    assert.equal(read(null), 100 * GB);
    assert.equal(read("20GB"), 20 * GB);
    assert.equal(read("25%"), 250 * GB);
    assert.equal(read("unlimited"), null);
    assert.equal(read("0"), null);
    for (const text of ["much", "-1", "101%"])
      assert.throws(() => parseStorageLimit(text), { code: "USAGE" });
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

  it("is kept when others free as much as the store takes meanwhile", async () => {
    await using store = await openStore(dir());
    const ceilingBytes = 300_000;
    const keep = () => keepBelow(store, { ceilingBytes, signal: never() });
    const first = await layer(store, 100_000, 1);
    await keep();
    // As if the disk had been fuller by far: no growth of the store can be seen by what is in use of it.
    const seen = (): void => {
      const last = store.records.get<{ readonly usedBytes: number }>("ceiling", "last");
      store.records.put("ceiling", "last", { ...last, usedBytes: (last?.usedBytes ?? 0) + 2 ** 40 });
    };
    seen();
    store.layers.update(await layer(store, 100_000, 2), { sizeBytes: 100_000 });
    assert.equal(await keep(), null);
    store.layers.update(await layer(store, 100_000, 3), { sizeBytes: 100_000 });
    store.content.put(Buffer.alloc(50_000, 2));
    assert.deepEqual((await keep())?.removedLayers.slice(0, 1), [first]);
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
