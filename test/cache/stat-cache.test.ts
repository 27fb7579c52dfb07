import assert from "node:assert/strict";
import { lstatSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type FileStat, openStatCache } from "../../cache/stat-cache.ts";
import { openStore } from "../../cache/store.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import { freshDirectory } from "./store-support.ts";

describe("stat cache", () => {
  const dir = freshDirectory();
  const root = "/somewhere/context";
  let old = 0n;
  let stat: FileStat;
  beforeEach(() => {
    old = BigInt(Date.now() - 60_000) * 1_000_000n;
    stat = { size: 10n, mtimeNs: old, ctimeNs: old + 1n, ino: 2n ** 40n, dev: 66305n, mode: 0o100644n };
  });
  const digest = digestOf("content");

  it("knows an unchanged file in the next build", async () => {
    {
      await using store = await openStore(dir());
      const cache = openStatCache(store.records, root);
      assert.equal(cache.get("src/main.c", stat), null);
      cache.put("src/main.c", stat, digest);
      cache.flush();
    }
    await using store = await openStore(dir());
    assert.equal(openStatCache(store.records, root).get("src/main.c", stat), digest);
    assert.equal(openStatCache(store.records, "/another").get("src/main.c", stat), null);
  });

  it("does not know a file of which anything has changed", async () => {
    await using store = await openStore(dir());
    const cache = openStatCache(store.records, root);
    cache.put("a", stat, digest);
    cache.flush();
    const next = openStatCache(store.records, root);
    const changes: Partial<FileStat>[] = [
      { size: 11n },
      { mtimeNs: old + 1n },
      { ctimeNs: old + 2n },
      { ino: 5n },
      { dev: 1n },
      { mode: 0o100755n },
    ];
    for (const change of changes)
      assert.equal(next.get("a", { ...stat, ...change }), null, Object.keys(change)[0]);
    assert.equal(
      next.get("a", { ...stat, size: 10, dev: 66305, mode: 0o100644 }),
      digest,
      "numbers are as good",
    );
  });

  it("keeps names that are not UTF-8 apart", async () => {
    await using store = await openStore(dir());
    const cache = openStatCache(store.records, root);
    cache.put(Buffer.from([0x61, 0xff]), stat, digestOf("1"));
    cache.put(Buffer.from([0x61, 0xfe]), stat, digestOf("2"));
    cache.put("aÿ", stat, digestOf("3"));
    cache.flush();
    const next = openStatCache(store.records, root);
    assert.equal(next.get(Buffer.from([0x61, 0xff]), stat), digestOf("1"));
    assert.equal(next.get(Buffer.from([0x61, 0xfe]), stat), digestOf("2"));
    assert.equal(next.get(Buffer.from("aÿ"), stat), digestOf("3"));
  });

  it("does not keep files changed just before the build or during it", async () => {
    await using store = await openStore(dir());
    const path = join(dir(), "file");
    writeFileSync(path, "new");
    const cache = openStatCache(store.records, root);
    // An old mtime does not help: ctime tells when the file was really touched.
    utimesSync(path, 1, 1);
    cache.put("file", lstatSync(path, { bigint: true }), digest);
    const young = BigInt(Date.now()) * 1_000_000n;
    cache.put("mtime", { ...stat, mtimeNs: young }, digest);
    cache.put("future", { ...stat, mtimeNs: young + 10n ** 15n }, digest);
    cache.flush();
    const next = openStatCache(store.records, root);
    assert.equal(next.get("file", lstatSync(path, { bigint: true })), null);
    assert.equal(next.get("mtime", { ...stat, mtimeNs: young }), null);
    assert.equal(next.get("future", { ...stat, mtimeNs: young + 10n ** 15n }), digest);
  });

  it("writes nothing unless flushed", async () => {
    await using store = await openStore(dir());
    openStatCache(store.records, root).put("a", stat, digest);
    assert.deepEqual([...store.records.entries("stat")], []);
  });

  it("believes only long written files after the machine was started anew", async () => {
    await using store = await openStore(dir());
    const cache = openStatCache(store.records, root);
    const ancient = { ...stat, ctimeNs: old - 2n * 3600n * 10n ** 9n };
    cache.put("recent", stat, digest);
    cache.put("ancient", ancient, digest);
    cache.flush();
    const [entry] = [...store.records.entries<Uint8Array>("stat")];
    const value = Buffer.from(entry?.value as Uint8Array);
    value.write("0123456789ab", 8, "latin1");
    store.records.put("stat", entry?.key as string, value);
    const next = openStatCache(store.records, root);
    assert.equal(next.get("recent", stat), null);
    assert.equal(next.get("ancient", ancient), digest);
    // What is not trusted is not carried on either.
    next.put("other", stat, digest);
    next.flush();
    assert.equal(openStatCache(store.records, root).get("recent", stat), null);
    assert.equal(openStatCache(store.records, root).get("ancient", ancient), digest);
  });

  it("treats a damaged value as none", async () => {
    await using store = await openStore(dir());
    const cache = openStatCache(store.records, root);
    cache.put("a", stat, digest);
    cache.flush();
    const [entry] = [...store.records.entries<Uint8Array>("stat")];
    const value = entry?.value as Uint8Array;
    for (const damaged of [value.slice(0, 10), value.slice(0, -5), Buffer.from("TSSTgarbage".repeat(20))]) {
      store.records.put("stat", entry?.key as string, damaged);
      assert.equal(openStatCache(store.records, root).get("a", stat), null);
    }
  });

  it("forgets files nobody asked for in many builds", async () => {
    await using store = await openStore(dir());
    const first = openStatCache(store.records, root);
    first.put("gone", stat, digest);
    first.put("stays", stat, digest);
    first.flush();
    for (let build = 0; build < 20; build++) {
      const cache = openStatCache(store.records, root);
      assert.equal(cache.get("stays", stat), digest);
      cache.put("changing", { ...stat, size: BigInt(build) }, digest);
      cache.flush();
    }
    assert.equal(openStatCache(store.records, root).get("gone", stat), null);
  });

  it("reads and writes 20,000 files in a moment", async () => {
    await using store = await openStore(dir());
    const cache = openStatCache(store.records, root);
    const paths = Array.from({ length: 20_000 }, (_, i) =>
      Buffer.from(`packages/dir-${i % 100}/some/file-${i}.ts`),
    );
    for (const [i, path] of paths.entries()) cache.put(path, { ...stat, ino: i }, digest);
    const start = performance.now();
    cache.flush();
    const saved = performance.now();
    const next = openStatCache(store.records, root);
    const loaded = performance.now();
    for (const [i, path] of paths.entries()) assert.equal(next.get(path, { ...stat, ino: i }), digest);
    const times = `save ${saved - start} ms, load ${loaded - saved} ms`;
    // A hundred times what it takes: a slow machine passes, a quadratic loop does not.
    assert.ok(saved - start < 5_000 && loaded - saved < 5_000, times);
  });
});
