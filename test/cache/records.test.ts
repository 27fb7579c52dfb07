import assert from "node:assert/strict";
import { openStore } from "../../cache/store.ts";
import { child, freshDirectory } from "./store-support.ts";

describe("records", () => {
  const dir = freshDirectory();

  it("reads its own writes at once", async () => {
    await using store = await openStore(dir());
    const { records } = store;
    assert.equal(records.get("a", "k"), null);
    records.put("a", "k", { n: 1 });
    assert.deepEqual(records.get("a", "k"), { n: 1 });
    records.remove("a", "k");
    assert.equal(records.get("a", "k"), null);
    await records.commit();
    assert.equal(records.get("a", "k"), null);
  });

  it("keeps spaces apart", async () => {
    await using store = await openStore(dir());
    store.records.put("a", "k", 1);
    store.records.put("ab", "k", 2);
    store.records.put("a", "l", 3);
    await store.records.commit();
    assert.deepEqual(
      [...store.records.entries("a")],
      [
        { key: "k", value: 1 },
        { key: "l", value: 3 },
      ],
    );
  });

  it("lists what is written but not committed yet, and leaves out what is removed", async () => {
    await using store = await openStore(dir());
    store.records.put("a", "old", 1);
    store.records.put("a", "gone", 1);
    await store.records.commit();
    store.records.put("a", "new", 2);
    store.records.remove("a", "gone");
    assert.deepEqual([...store.records.entries("a")].map((entry) => entry.key).sort(), ["new", "old"]);
  });

  it("stores bytes as they are", async () => {
    const bytes = Uint8Array.from({ length: 3000 }, (_, i) => i % 256);
    {
      await using store = await openStore(dir());
      store.records.put("a", "k", bytes);
      assert.deepEqual(store.records.get("a", "k"), bytes);
    }
    await using store = await openStore(dir());
    assert.deepEqual(store.records.get("a", "k"), bytes);
  });

  it("merges what two processes add to one value", async () => {
    await using store = await openStore(dir());
    const add = `(name) => store.records.merge("a", "k", (old) => ({ ...old, [name]: true }))`;
    const other = child(
      dir(),
      `const store = await openStore(dir); const add = ${add};
       await new Promise((resolve) => process.stdin.once("data", resolve));
       for (let i = 0; i < 200; i++) { add("child" + i); await store.records.commit(); }
       await store[Symbol.asyncDispose](); process.exit();`,
    );
    other.process.stdin?.write("go\n");
    for (let i = 0; i < 200; i++) {
      store.records.merge<Record<string, boolean>>("a", "k", (old) => ({ ...old, [`parent${i}`]: true }));
      await store.records.commit();
    }
    assert.equal(await other.ended, 0);
    assert.equal(Object.keys(store.records.get<object>("a", "k") ?? {}).length, 400);
  });

  it("shows a batch to others as a whole", async () => {
    await using store = await openStore(dir());
    const other = child(
      dir(),
      `const store = await openStore(dir); say("ready");
       for (let i = 0; i < 300; i++) {
         store.records.batch(["x", "y", "z"].map((key) => ({ space: "a", key, value: i })));
         await store.records.commit();
       }
       say("done"); await store[Symbol.asyncDispose]();`,
    );
    await other.line();
    let done = false;
    const end = other.line().then(() => {
      done = true;
    });
    while (!done) {
      const seen = [...store.records.entries("a")].map((entry) => entry.value);
      assert.equal(new Set(seen).size <= 1, true, `torn batch: ${seen.join()}`);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await end;
    assert.equal(await other.ended, 0);
  });

  it("refuses a key the database cannot hold", async () => {
    await using store = await openStore(dir());
    assert.throws(() => store.records.put("a", "k".repeat(3000), 1), /too long/);
  });
});
