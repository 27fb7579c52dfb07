import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { thisProcess } from "../../cache/owner.ts";
import { openStore } from "../../cache/store.ts";
import { storeSuite } from "../suites/store.ts";
import { child, freshDirectory } from "./store-support.ts";

describe("The store on disk", () => {
  const dir = freshDirectory();
  storeSuite("as every store", () => openStore(dir()));
});

describe("openStore", () => {
  const dir = freshDirectory();

  it("makes a private directory with a version", async () => {
    const root = join(dir(), "a", "store");
    await using store = await openStore(root);
    assert.equal(store.dir, root);
    assert.equal(statSync(root).mode & 0o777, 0o700);
    assert.equal(readFileSync(join(root, "version"), "utf8"), "1\n");
  });

  it("closes a directory that others could read", async () => {
    chmodSync(dir(), 0o755);
    await using _ = await openStore(dir());
    assert.equal(statSync(dir()).mode & 0o777, 0o700);
  });

  it("does not touch a store of a newer version", async () => {
    writeFileSync(join(dir(), "version"), "2\n");
    await assert.rejects(openStore(dir()), { code: "STORE_UNUSABLE", hint: /newer tsbuild/ });
    assert.deepEqual(readdirSync(dir()), ["version"]);
  });

  it("does not settle in a directory with other things in it", async () => {
    writeFileSync(join(dir(), "letter.txt"), "dear reader");
    await assert.rejects(openStore(dir()), { code: "STORE_UNUSABLE" });
    assert.deepEqual(readdirSync(dir()), ["letter.txt"]);
  });

  it("keeps what was written, for the next who opens it", async () => {
    {
      await using store = await openStore(dir());
      store.records.put("image", "app", { name: "app" });
    }
    await using again = await openStore(dir());
    assert.deepEqual(again.records.get("image", "app"), { name: "app" });
  });

  it("lets several processes and several openings in one process work side by side", async () => {
    await using one = await openStore(dir());
    await using two = await openStore(dir());
    one.records.put("image", "a", 1);
    await one.records.commit();
    assert.equal(two.records.get("image", "a"), 1);
    const other = child(
      dir(),
      `const store = await openStore(dir); say(String(store.records.get("image", "a")));
       store.records.put("image", "b", 2); await store[Symbol.asyncDispose]();`,
    );
    assert.equal(await other.line(), "1");
    assert.equal(await other.ended, 0);
    assert.equal(one.records.get("image", "b"), 2);
  });

  it("is one store for many processes that make it at the same moment", async function () {
    this.timeout(120_000);
    const [processes, rounds] = [8, 25];
    const startMs = Date.now() + 3000;
    const makers = Array.from({ length: processes }, (_, number) =>
      child(
        dir(),
        `const { setTimeout: delay } = await import("node:timers/promises");
         for (let round = 0; round < ${rounds}; round++) {
           await delay(Math.max(0, ${startMs} + round * 120 - Date.now() - 3));
           while (Date.now() < ${startMs} + round * 120);
           const store = await openStore(dir + "/" + round);
           store.records.put("maker", "${number}", 1);
           await store.records.commit();
           await store[Symbol.asyncDispose]();
         }`,
      ),
    );
    assert.deepEqual(await Promise.all(makers.map((maker) => maker.ended)), Array(processes).fill(0));
    for (let round = 0; round < rounds; round++) {
      await using store = await openStore(join(dir(), `${round}`));
      assert.equal([...store.records.entries("maker")].length, processes);
      assert.deepEqual(readdirSync(join(dir(), `${round}`, "tmp", "quarantine")), []);
    }
  });

  it("keeps what some commit while others open and close it", async function () {
    this.timeout(600_000);
    const [writers, openers, commits] = [3, 3, 300];
    await (await openStore(dir()))[Symbol.asyncDispose]();
    const writing = Array.from({ length: writers }, (_, number) =>
      child(
        dir(),
        `const store = await openStore(dir);
         for (let i = 0; i < ${commits}; i++) {
           store.records.put("kept", "${number}-" + i, 1);
           await store.records.commit();
         }
         await store[Symbol.asyncDispose]();`,
      ),
    );
    let over = false;
    void Promise.all(writing.map((writer) => writer.ended)).then(() => (over = true));
    const opening = Array.from({ length: openers }, async () => {
      while (!over) {
        const opener = child(
          dir(),
          "for (let i = 0; i < 20; i++) await (await openStore(dir))[Symbol.asyncDispose]();",
        );
        assert.equal(await opener.ended, 0);
      }
    });
    assert.deepEqual(await Promise.all(writing.map((writer) => writer.ended)), Array(writers).fill(0));
    await Promise.all(opening);
    await using store = await openStore(dir());
    assert.equal([...store.records.entries("kept")].length, writers * commits);
  });

  it("takes over at once from a process that was killed in its turn, and never from one that lives", async () => {
    await (await openStore(dir()))[Symbol.asyncDispose]();
    const turn = join(dir(), "db", "data.mdb-turn");
    // An earlier process with our pid.
    symlinkSync(`${thisProcess().replace(/\d+$/, "1")}/1`, turn);
    await (await openStore(dir()))[Symbol.asyncDispose]();
    symlinkSync(`${thisProcess()}/1`, turn);
    const other = child(dir(), 'await (await openStore(dir))[Symbol.asyncDispose](); say("open");');
    const line = other.line();
    assert.equal(await Promise.race([line, delay(3000, "waiting")]), "waiting");
    unlinkSync(turn);
    assert.equal(await line, "open");
    assert.equal(await other.ended, 0);
  });
  it("gives a temporary directory that is gone after closing", async () => {
    let temporary: string;
    {
      await using store = await openStore(dir());
      temporary = store.tempDir();
      writeFileSync(join(temporary, "x"), "x");
    }
    assert.equal(existsSync(temporary), false);
  });

  it("removes what a killed process left, and names its directories for the keeper", async () => {
    const other = child(
      dir(),
      `const store = await openStore(dir);
       fs.writeFileSync(store.tempDir() + "/x", "x");
       const ingest = store.content.ingest(); ingest.write(Buffer.from("half"));
       const layer = store.layers.prepare(); fs.writeFileSync(layer.upper + "/f", "f");
       store.lease().addLayers([layer.id]);
       say(layer.upper); setInterval(() => {}, 1000);`,
    );
    const upper = await other.line();
    {
      await using store = await openStore(dir());
      assert.deepEqual(store.layers.discarded(), [], "a live process keeps its things");
      assert.equal(readdirSync(join(dir(), "ingest")).length, 1);
      assert.equal((await store.pinned()).layers.size, 1);
    }
    other.process.kill("SIGKILL");
    await other.ended;
    await using store = await openStore(dir());
    assert.deepEqual(readdirSync(join(dir(), "ingest")), []);
    assert.deepEqual(readdirSync(join(dir(), "tmp")), ["quarantine"]);
    assert.deepEqual(readdirSync(join(dir(), "owners")).length, 1, "only this process");
    assert.deepEqual(store.layers.discarded(), [join(upper, "..")]);
    assert.equal((await store.pinned()).layers.size, 0);
  });

  it("sets a database aside that is none, and starts with an empty one", async () => {
    mkdirSync(join(dir(), "db"), { recursive: true });
    writeFileSync(join(dir(), "version"), "1\n");
    writeFileSync(join(dir(), "db", "data.mdb"), Buffer.alloc(65536, "garbage"));
    await using store = await openStore(dir());
    assert.equal(store.records.get("image", "a"), null);
    store.records.put("image", "a", 1);
    await store.records.flush();
    assert.ok(readdirSync(join(dir(), "tmp", "quarantine")).some((name) => name.startsWith("data.mdb")));
  });

  it("survives a database cut short", async () => {
    {
      await using store = await openStore(dir());
      for (let i = 0; i < 2000; i++) store.records.put("image", `name ${i}`, { filler: "x".repeat(200) });
    }
    truncateSync(join(dir(), "db", "data.mdb"), 64 * 1024);
    const other = child(
      dir(),
      `const store = await openStore(dir);
       say(store.mended.join() + [...store.records.entries("image")].length);
       await store[Symbol.asyncDispose]();`,
    );
    assert.match(await other.line(), /^db\/data\.mdb: was damaged; set aside0$/);
    assert.equal(await other.ended, 0);
    await using store = await openStore(dir());
    store.records.put("image", "a", 1);
    await store.records.flush();
    assert.deepEqual([...store.records.entries("image")], [{ key: "a", value: 1 }]);
  });
});
