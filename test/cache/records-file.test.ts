// Space reserved for lmdb: the maximum its transactions need, and the layout of its files.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { open } from "lmdb";
import {
  type DatabaseStats,
  emptyDatabase,
  makeFiles,
  makeRoom,
  MAP_BYTES,
  pagesFor,
  READERS,
  SYNCHRONOUS,
} from "../../cache/records-file.ts";
import { freshDirectory } from "./store-support.ts";

describe("the file of the records", () => {
  const dir = freshDirectory();

  function openIn(name: string) {
    mkdirSync(dir(), { recursive: true });
    const path = join(dir(), name);
    const options = { path, encoding: "binary", keyEncoding: "binary", maxDbs: 1 } as const;
    const open_ = () =>
      open<Buffer, Buffer>({ ...options, mapSize: MAP_BYTES, maxReaders: READERS, overlappingSync: false });
    return { path, open: open_ };
  }

  it("begins as lmdb would have made it", async () => {
    const { path, open } = openIn("theirs.mdb");
    const db = open();
    const { pageSize } = db.getStats() as DatabaseStats;
    const theirs = readFileSync(path);
    await db.close();
    assert.deepEqual(emptyDatabase(pageSize), theirs);
  });

  it("has a block for each page, and so has the lock file", async () => {
    const { path, open } = openIn("data.mdb");
    makeFiles(path);
    for (const file of [path, `${path}-lock`]) {
      const { size, blocks, mode } = statSync(file);
      assert.ok(blocks * 512 >= size && size >= 65_616, `${file}: ${blocks} blocks for ${size} bytes`);
      assert.equal(mode & 0o777, 0o600);
    }
    const { size } = statSync(`${path}-lock`);
    const db = open();
    db.transactionSync(() => db.putSync(Buffer.from("k"), Buffer.from("v")), SYNCHRONOUS);
    await db.close();
    assert.equal(statSync(`${path}-lock`).size, size, "lmdb takes it as it is");
  });

  it("is made whole again where a version before left holes", () => {
    const { path } = openIn("holes.mdb");
    writeFileSync(path, emptyDatabase(4096));
    truncateSync(path, 2001 * 4096);
    const sparse = statSync(path);
    assert.ok(sparse.blocks * 512 < sparse.size);
    makeRoom(path, statsOf({ lastPageNumber: 2000 }), 10, false);
    const { size, blocks } = statSync(path);
    assert.ok(size > 2010 * 4096 && blocks * 512 >= size, `${blocks} blocks for ${size} bytes`);
  });

  it("never grows by more pages than were made ready: random transactions", async function () {
    this.timeout(60_000);
    const { path, open } = openIn("random.mdb");
    makeFiles(path);
    const db = open();
    let seed = 7;
    const random = (below: number): number => {
      seed = (seed * 1103515245 + 12345) % 2147483648;
      return Math.floor((seed / 2147483648) * below);
    };
    for (let round = 0; round < 400; round++) {
      const count = 1 + random([3, 40, 400][random(3)] as number);
      const writes = new Map<string, Buffer | null>();
      for (let n = 0; n < count; n++) {
        const key = String(random(3000)).padEnd(random(4) === 0 ? 1 + random(1500) : 8, "k");
        const size = [random(100), random(900), random(5000), random(50_000)][
          random(20) === 0 ? 3 : random(3)
        ];
        writes.set(key, random(3) === 0 ? null : Buffer.alloc(size as number, round));
      }
      const all = [...writes].map(([key, value]) => ({ key: Buffer.from(key), value }));
      const before = db.getStats() as DatabaseStats;
      const pages = pagesFor(
        before,
        all.map(({ key, value }) => (value === null ? null : key.length + value.length)),
      );
      makeRoom(path, before, pages, round % 2 === 0);
      const { size } = statSync(path);
      db.transactionSync(() => {
        for (const { key, value } of all) {
          if (value === null) db.removeSync(key);
          else db.putSync(key, value);
        }
      }, SYNCHRONOUS);
      db.resetReadTxn();
      const after = db.getStats() as DatabaseStats;
      const grown = after.lastPageNumber - before.lastPageNumber;
      assert.ok(grown <= pages, `round ${round}: ${grown} new pages, ${pages} were made ready`);
      assert.equal(statSync(path).size, size, "lmdb wrote beyond what was made ready");
    }
    await db.close();
  });
});

describe("records on a full disk", () => {
  const dir = freshDirectory();

  it("are written or refused, and can be taken out: no process dies of it", function () {
    this.timeout(120_000);
    // A file system that only this process sees; as an ordinary user in a user namespace of its own.
    const url = new URL("../../cache/store.js", import.meta.url).href;
    const code = `
      import { openStore } from ${JSON.stringify(url)};
      import fs from "node:fs";
      const disk = process.argv[1];
      const counts = { written: 0, refused: 0 };
      let seed = Number(process.argv[2]);
      const random = (below) => { seed = (seed * 1103515245 + 12345) % 2147483648; return Math.floor(seed / 2147483648 * below); };
      const fill = (leave) => {
        const { bavail, bsize } = fs.statfsSync(disk);
        fs.writeFileSync(disk + "/ballast", Buffer.alloc(Math.max(0, bavail * bsize - leave)), { flag: "a" });
      };
      const commit = (store) => store.records.commit().then(() => counts.written++, (error) => {
        if (error.code !== "STORE_FULL") throw error;
        counts.refused++;
        store.records.abandon();
      });
      for (let round = 0; round < 12; round++) {
        const store = await openStore(disk + "/store");
        for (let n = 0; n < 15; n++) {
          if (n === 5) fill(random(2) * random(300_000));
          for (let m = random(60); m >= 0; m--) store.records.put("a", "k" + random(2000), "x".repeat(random(random(9) === 0 ? 90_000 : 900)));
          await commit(store);
        }
        await store[Symbol.asyncDispose]();
        fill(0);
        {
          const tidy = await openStore(disk + "/store", { tidying: true });
          for (const { key } of tidy.records.entries("a")) tidy.records.remove("a", key);
          await tidy.records.commit();
          if ([...tidy.records.entries("a")].length > 0) throw new Error("still there");
          await tidy[Symbol.asyncDispose]();
        }
        fs.rmSync(disk + "/ballast");
      }
      console.log(JSON.stringify(counts));`;
    const unshare = process.getuid?.() === 0 ? "-m" : "-rm";
    for (const seed of ["1", "2"]) {
      const { status, signal, stdout, stderr } = spawnSync(
        "unshare",
        [
          ...[unshare, "sh", "-c"],
          'mount -t tmpfs -o size=6m none "$1" && exec "$2" --input-type=module -e "$3" "$1" "$4"',
          ...["sh", dir(), process.execPath, code, seed],
        ],
        { encoding: "utf8" },
      );
      assert.deepEqual({ status, signal }, { status: 0, signal: null }, stderr);
      assert.equal(stderr, "");
      const { written, refused } = JSON.parse(stdout) as { written: number; refused: number };
      assert.ok(written > 30 && refused > 5, stdout);
    }
  });
});

function statsOf(change: Partial<DatabaseStats>): DatabaseStats {
  const tree = { pageSize: 4096, treeDepth: 2, treeBranchPageCount: 1, treeLeafPageCount: 10 };
  return { ...tree, lastPageNumber: 1, free: tree, ...change };
}
