// Builds kept in the store, whatever happens to their files.

import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { checkStore } from "../../cache/check.ts";
import { prune, usage } from "../../cache/collect.ts";
import { type OpenStore, openStore } from "../../cache/store.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import { child, freshDirectory, never } from "./store-support.ts";

const bytes = (text: string): Uint8Array => Buffer.from(text);
const LARGE = Buffer.alloc(3_000_000, "log\n");

describe("history files", () => {
  const dir = freshDirectory();
  const wait = { signal: never() };
  const files = (): string[] => readdirSync(join(dir(), "history"));
  const fileIn = (name: string): string => join(dir(), "history", name);
  const records = async (store: OpenStore): Promise<string[]> => {
    const found: string[] = [];
    for await (const { record } of store.history.list()) found.push(Buffer.from(record).toString());
    return found.sort();
  };
  const fsck = async (store: OpenStore, repair = false): Promise<string[]> => {
    const unused = (): never => {
      throw new Error("there are no layers here");
    };
    const tools = { plain: unused, diffIdOf: unused, list: unused, unpack: unused, remove: async () => {} };
    const { problems } = await checkStore(store, { repair, signal: never(), tools });
    return problems.map(({ kind, what }) => `${kind}: ${what}`);
  };

  it("outlive their process, with their blobs, and are this user's alone", async () => {
    {
      await using store = await openStore(dir());
      assert.deepEqual(await records(store), []);
      await store.history.put("a", bytes("record of a"), [bytes("error"), LARGE]);
      await store.history.put("../b", bytes("record of b"), []);
    }
    await using store = await openStore(dir());
    assert.deepEqual(await records(store), ["record of a", "record of b"]);
    assert.equal(Buffer.from(store.history.get("a") ?? []).toString(), "record of a");
    assert.equal(store.history.get("c"), null);
    using log = await store.history.blob(digestOf(LARGE));
    assert.equal(log?.size, LARGE.length);
    assert.deepEqual(log.read(2_999_998, 100), LARGE.subarray(2_999_998));
    assert.deepEqual(log.read(0, LARGE.length), LARGE);
    for (const name of files()) assert.equal(statSync(fileIn(name)).mode & 0o777, 0o600);
    assert.equal(await store.history.blob(digestOf("something else")), null);
    assert.deepEqual(
      store.history
        .blobs()
        .map(({ size }) => size)
        .sort((a, b) => a - b),
      [5, LARGE.length],
    );
  });

  it("are replaced, changed and removed as a whole", async () => {
    await using store = await openStore(dir());
    await store.history.put("a", bytes("one"), [bytes("old")]);
    await store.history.put("a", bytes("two"), [bytes("error"), LARGE]);
    assert.equal(await store.history.blob(digestOf("old")), null);
    const changed = await store.history.change(
      "a",
      (record) => Buffer.concat([record, bytes(", pinned")]),
      wait,
    );
    assert.equal(Buffer.from(changed ?? []).toString(), "two, pinned");
    using log = await store.history.blob(digestOf(LARGE));
    assert.equal(log?.size, LARGE.length);
    assert.equal(await store.history.change("b", (record) => record, wait), null);
    assert.equal(await store.history.remove("a", wait), true);
    assert.equal(await store.history.remove("a", wait), false);
    assert.equal(log.read(0, 3).toString(), Buffer.from("log").toString(), "who reads it reads on");
    assert.equal(await store.history.blob(digestOf(LARGE)), null);
    assert.deepEqual(files(), []);
    assert.equal(store.history.totalBytes(), 0);
  });

  it("do not give blobs of images and steps away", async () => {
    await using store = await openStore(dir());
    const secret = store.content.put(bytes("layer of a private image"));
    await store.history.put("a", bytes(`a record that names ${secret}`), []);
    assert.equal(await store.history.blob(secret), null);
  });

  it("are counted by du, and left alone by prune, which never takes what it cannot make again", async () => {
    await using store = await openStore(dir());
    await store.history.put("a", bytes("record"), [LARGE]);
    const entry = (await usage(store)).find(({ id }) => id === "history");
    assert.ok(entry !== undefined && entry.sizeBytes > LARGE.length && !entry.reclaimable && !entry.inUse);
    const options = { all: true, keepBytes: null, olderThanMs: null, filters: [], signal: never() };
    assert.deepEqual((await prune(store, options)).removed, []);
    assert.deepEqual(await records(store), ["record"]);
    await store.history.remove("a", wait);
    assert.equal(
      (await usage(store)).some(({ id }) => id === "history"),
      false,
    );
  });

  const damages: Readonly<Record<string, (file: string) => void>> = {
    "cut off": (file) => truncateSync(file, statSync(file).size - 1),
    "cut off in its record": (file) => truncateSync(file, 50),
    empty: (file) => truncateSync(file, 0),
    "of zeros, as a power cut leaves files": (file) => writeFileSync(file, Buffer.alloc(statSync(file).size)),
    "with another record": (file) => {
      const data = readFileSync(file);
      data[50] = (data[50] ?? 0) ^ 1;
      writeFileSync(file, data);
    },
  };
  for (const [how, damage] of Object.entries(damages)) {
    it(`are found out by fsck and set aside when ${how}; others stay`, async () => {
      await using store = await openStore(dir());
      await store.history.put("good", bytes("record"), [bytes("blob")]);
      const [good] = files();
      await store.history.put("bad", bytes("another record"), [bytes("another blob")]);
      const bad = files().find((name) => name !== good) ?? "";
      assert.deepEqual(await fsck(store), []);
      damage(fileIn(bad));
      assert.match((await fsck(store)).join("\n"), /^history: damaged: .+$/);
      assert.deepEqual(files().length, 2, "fsck without --repair changes nothing");
      assert.deepEqual(await records(store), ["record"]);
      assert.equal(existsSync(fileIn(bad)), false);
      assert.equal(await store.history.blob(digestOf("another blob")), null);
      assert.deepEqual(await fsck(store), []);
    });
  }

  it("are set aside when a blob in them is not what its digest says, by fsck or when it is asked for", async () => {
    await using store = await openStore(dir());
    const spoil = async (): Promise<void> => {
      await store.history.put("a", bytes("record"), [LARGE]);
      const [name = ""] = files();
      const data = readFileSync(fileIn(name));
      data[data.length - 1] = 0;
      writeFileSync(fileIn(name), data);
    };
    await spoil();
    assert.equal(await store.history.blob(digestOf(LARGE)), null);
    assert.deepEqual(files(), []);
    await spoil();
    assert.match((await fsck(store, true)).join("\n"), /^history: damaged: the blob sha256:\w+ in it/);
    assert.deepEqual(files(), []);
  });

  it("are no trouble when they are no files, or of a version to come", async () => {
    await using store = await openStore(dir());
    await store.history.put("a", bytes("record"), []);
    const [name = ""] = files();
    const later = readFileSync(fileIn(name));
    later.write("2", 7);
    writeFileSync(fileIn("f".repeat(64)), later);
    mkdirSync(fileIn("0".repeat(64)));
    writeFileSync(fileIn("README"), "");
    assert.deepEqual(await records(store), ["record"]);
    assert.deepEqual(files().sort(), [name, "README", "f".repeat(64)].sort());
    assert.deepEqual(await fsck(store), []);
  });

  it("are whole or not there when their process is killed, and leave nothing behind", async () => {
    let kept = 0;
    for (let round = 0; round < 6; round++) {
      const other = child(
        dir(),
        `const store = await openStore(dir);
         for (let n = 0; ; n++) {
           await store.history.put(String(n % 7), Buffer.from("record " + n), [Buffer.alloc(2_000_000, String(n))]);
           if (n === 0) say("kept");
           if (n % 5 === 4) await store.history.remove(String(n % 7), { signal });
         }`,
      );
      await other.line();
      await delay(40 + 35 * round);
      other.process.kill("SIGKILL");
      await other.ended;
      await using store = await openStore(dir());
      assert.deepEqual(await fsck(store), []);
      for (const record of await records(store)) assert.match(record, /^record \d+$/);
      kept = Math.max(kept, files().length);
      assert.deepEqual(
        readdirSync(join(dir(), "tmp")).filter((name) => existsSync(join(dir(), "tmp", name, "history-0"))),
        [],
      );
      await store.history.put("again", bytes("record 0"), []);
      await store.history.remove("again", wait);
    }
    assert.ok(kept > 0, "nothing was ever kept");
  });
});
