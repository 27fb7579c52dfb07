import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { chooseSlot } from "../../cache/cache-mounts.ts";
import { openStore } from "../../cache/store.ts";
import { child, freshDirectory, never } from "./store-support.ts";

describe("cache mounts", () => {
  const dir = freshDirectory();
  const options = { signal: never(), seedKey: "" };

  it("keep their content from one use to the next", async () => {
    {
      await using store = await openStore(dir());
      await using hold = await store.cacheMounts.acquire("/root/.cache", "shared", options);
      assert.equal(hold.fresh, true);
      assert.equal(statSync(hold.path).mode & 0o777, 0o755);
      writeFileSync(join(hold.path, "file"), "kept");
    }
    await using store = await openStore(dir());
    await using hold = await store.cacheMounts.acquire("/root/.cache", "locked", options);
    assert.equal(hold.fresh, false);
    assert.equal(readFileSync(join(hold.path, "file"), "utf8"), "kept");
  });

  it("differ by id and by seed", async () => {
    await using store = await openStore(dir());
    await using a = await store.cacheMounts.acquire("../../a", "shared", options);
    await using b = await store.cacheMounts.acquire("../../b", "shared", options);
    await using c = await store.cacheMounts.acquire("../../a", "shared", { ...options, seedKey: "layers" });
    assert.equal(new Set([a.path, b.path, c.path]).size, 3);
    for (const hold of [a, b, c]) assert.ok(hold.path.startsWith(join(dir(), "mounts")));
    assert.deepEqual(
      store.cacheMounts
        .list()
        .map((mount) => `${mount.id} ${mount.inUse}`)
        .sort(),
      ["../../a true", "../../a true", "../../b true"],
    );
  });

  it("shared: are one directory for all, who wait until it is filled", async () => {
    await using store = await openStore(dir());
    await using first = await store.cacheMounts.acquire("id", "shared", options);
    let came = false;
    const waiting = store.cacheMounts.acquire("id", "shared", options).then((hold) => {
      came = true;
      return hold;
    });
    // Something else under the mount's lock has come and gone, so the second has had its look.
    await using _ = await store.cacheMounts.acquire("id", "private", options);
    assert.equal(came, false);
    first.seeded();
    await using second = await waiting;
    assert.equal(second.path, first.path);
    assert.equal(second.fresh, false);
  });

  it("private: are a directory of one's own when the first is in use", async () => {
    await using store = await openStore(dir());
    let first: string;
    {
      await using one = await store.cacheMounts.acquire("id", "private", options);
      await using two = await store.cacheMounts.acquire("id", "private", options);
      assert.notEqual(one.path, two.path);
      first = one.path;
    }
    await using again = await store.cacheMounts.acquire("id", "private", options);
    assert.equal(again.path, first);
    assert.equal(again.fresh, false);
  });

  it("locked: wait for the other process, and take over when it is killed", async () => {
    await using store = await openStore(dir());
    const other = child(
      dir(),
      `const store = await openStore(dir);
       const hold = await store.cacheMounts.acquire("id", "locked", { signal, seedKey: "" });
       hold.seeded(); fs.writeFileSync(hold.path + "/file", "theirs"); say(hold.path); setInterval(() => {}, 1000);`,
    );
    const path = await other.line();
    const controller = new AbortController();
    const aborted = store.cacheMounts.acquire("id", "locked", { ...options, signal: controller.signal });
    controller.abort(new Error("no more"));
    await assert.rejects(aborted, /no more/);
    const waiting = store.cacheMounts.acquire("id", "locked", options);
    other.process.kill("SIGKILL");
    await using hold = await waiting;
    assert.equal(hold.path, path);
    assert.equal(hold.fresh, false);
    assert.equal(readFileSync(join(path, "file"), "utf8"), "theirs");
    await other.ended;
  });

  it("begin again when who filled them was killed half way", async () => {
    await using store = await openStore(dir());
    const other = child(
      dir(),
      `const store = await openStore(dir);
       const hold = await store.cacheMounts.acquire("id", "shared", { signal, seedKey: "" });
       fs.writeFileSync(hold.path + "/half", ""); say("half"); setInterval(() => {}, 1000);`,
    );
    await other.line();
    other.process.kill("SIGKILL");
    await other.ended;
    await using hold = await store.cacheMounts.acquire("id", "shared", options);
    assert.equal(hold.fresh, true);
    assert.deepEqual(readdirSync(hold.path), []);
    assert.equal(store.layers.discarded().length, 1);
  });

  it("are removed only when nobody uses them", async () => {
    await using store = await openStore(dir());
    const hold = await store.cacheMounts.acquire("id", "shared", options);
    assert.equal(await store.cacheMounts.remove(hold.path, options), null);
    await hold[Symbol.asyncDispose]();
    const place = await store.cacheMounts.remove(hold.path, options);
    assert.equal(existsSync(hold.path), false);
    assert.deepEqual(store.layers.discarded(), [place]);
    assert.deepEqual(store.cacheMounts.list(), []);
  });

  it("take slots as the sharing mode says", () => {
    const slot = (number: number, holds: ("s" | "x")[], fresh = false) => ({ number, holds, fresh });
    assert.equal(chooseSlot([], "shared"), 0);
    assert.equal(chooseSlot([slot(0, ["s", "s"])], "shared"), 0);
    assert.equal(chooseSlot([slot(0, ["x"])], "shared"), 1, "beside a locked one");
    assert.equal(chooseSlot([slot(0, ["x"]), slot(1, ["s"])], "shared"), 1);
    assert.equal(chooseSlot([slot(0, ["s"], true)], "shared"), null, "being filled");
    assert.equal(chooseSlot([slot(0, [], true)], "shared"), 0, "left half filled");
    assert.equal(chooseSlot([slot(0, ["s"]), slot(3, ["x"])], "private"), 4);
    assert.equal(chooseSlot([slot(0, ["s"]), slot(3, [])], "private"), 3);
    assert.equal(chooseSlot([], "locked"), 0);
    assert.equal(chooseSlot([slot(0, ["s"])], "locked"), null);
    assert.equal(chooseSlot([slot(0, ["s"]), slot(1, [])], "locked"), 1);
  });
});
