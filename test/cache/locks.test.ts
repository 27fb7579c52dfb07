import assert from "node:assert/strict";
import {
  appendFileSync,
  lstatSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { openStore } from "../../cache/store.ts";
import { child, freshDirectory, never } from "./store-support.ts";

describe("exclusively", () => {
  const dir = freshDirectory();

  it("takes no block of the disk: a lock's text lies in the inode", async () => {
    await using store = await openStore(dir());
    const texts = await store.exclusively(
      "k",
      async () => readdirSync(join(dir(), "locks")).map((name) => readlinkSync(join(dir(), "locks", name))),
      { signal: never() },
    );
    // ext4: up to 59 bytes. Process ids have up to seven digits, start times up to ten.
    const longest = (texts[0] as string).replace(/\.\d+\.\d+(\.[0-9a-f]+\/)/, ".4194304.4294967296$1");
    assert.ok(longest.length <= 59, longest);
  });

  it("runs work of one key one after the other, in the order asked, and other keys beside it", async () => {
    await using store = await openStore(dir());
    const seen: string[] = [];
    const work = (name: string) => async () => {
      seen.push(`+${name}`);
      await new Promise((resolve) => setImmediate(resolve));
      seen.push(`-${name}`);
      return name;
    };
    const signal = never();
    let freeOther: () => void = () => undefined;
    const other = store.exclusively(
      "other",
      () => new Promise<void>((resolve) => void (freeOther = resolve)),
      { signal },
    );
    const results = await Promise.all(
      ["a", "b", "c"].map((name) => store.exclusively("key", work(name), { signal })),
    );
    assert.deepEqual(results, ["a", "b", "c"]);
    assert.deepEqual(seen, ["+a", "-a", "+b", "-b", "+c", "-c"]);
    freeOther();
    await other;
  });

  it("passes a failure to its caller only", async () => {
    await using store = await openStore(dir());
    const signal = never();
    const first = store.exclusively("key", () => Promise.reject(new Error("mine")), { signal });
    const second = store.exclusively("key", () => Promise.resolve(2), { signal });
    await assert.rejects(first, /mine/);
    assert.equal(await second, 2);
  });

  it("rejects at once when aborted in line, and lets those behind go on", async () => {
    await using store = await openStore(dir());
    let free: () => void = () => undefined;
    const first = store.exclusively("key", () => new Promise<void>((resolve) => void (free = resolve)), {
      signal: never(),
    });
    const controller = new AbortController();
    let ran = false;
    const second = store.exclusively(
      "key",
      async () => {
        ran = true;
      },
      { signal: controller.signal },
    );
    const third = store.exclusively("key", () => Promise.resolve(3), { signal: never() });
    controller.abort(new Error("no more"));
    await assert.rejects(second, /no more/);
    free();
    await first;
    assert.equal(await third, 3);
    assert.equal(ran, false);
  });

  it("never lets two processes in at once", async () => {
    await using _ = await openStore(dir());
    const log = join(dir(), "log");
    writeFileSync(log, "");
    const body = (name: string) => `
      const store = await openStore(dir);
      for (let i = 0; i < 40; i++) {
        await store.exclusively("key", async () => {
          fs.appendFileSync(${JSON.stringify(log)}, "+${name}\\n");
          await new Promise((resolve) => setImmediate(resolve));
          fs.appendFileSync(${JSON.stringify(log)}, "-${name}\\n");
        }, { signal });
      }
      await store[Symbol.asyncDispose]();`;
    const others = ["a", "b", "c"].map((name) => child(dir(), body(name)));
    assert.deepEqual(await Promise.all(others.map((other) => other.ended)), [0, 0, 0]);
    const lines = readFileSync(log, "utf8").trim().split("\n");
    assert.equal(lines.length, 240);
    for (let i = 0; i < lines.length; i += 2) assert.equal(lines[i + 1], `-${lines[i]?.slice(1)}`);
  });

  it("makes records of the work visible to the next process that holds the key", async () => {
    await using store = await openStore(dir());
    const other = child(
      dir(),
      `const store = await openStore(dir);
       await store.exclusively("key", async () => { say("in"); store.records.put("a", "k", 1); }, { signal });
       say("out"); setInterval(() => {}, 1000);`,
    );
    await other.line();
    const seen = await store.exclusively("key", async () => store.records.get("a", "k"), { signal: never() });
    assert.equal(seen, 1);
    other.process.kill();
    await other.ended;
  });

  it("takes over the lock of a killed process, one taker at a time", async () => {
    await using store = await openStore(dir());
    for (let round = 0; round < 3; round++) {
      const other = child(
        dir(),
        `const store = await openStore(dir);
         await store.exclusively("key", () => { say("in"); return new Promise(() => setInterval(() => {}, 1000)); }, { signal });`,
      );
      await other.line();
      let inside = 0;
      const takers = Array.from({ length: 4 }, async () => {
        await using mine = await openStore(dir());
        await mine.exclusively(
          "key",
          async () => {
            assert.equal(++inside, 1);
            await new Promise((resolve) => setImmediate(resolve));
            inside--;
          },
          { signal: never() },
        );
      });
      other.process.kill("SIGKILL");
      await Promise.all(takers);
      await other.ended;
    }
    assert.deepEqual(readdirSync(join(store.dir, "locks")), []);
  });

  it("waits for a live holder until aborted", async () => {
    await using store = await openStore(dir());
    const other = child(
      dir(),
      `const store = await openStore(dir);
       await store.exclusively("key", () => { say("in"); return new Promise(() => setInterval(() => {}, 1000)); }, { signal });`,
    );
    await other.line();
    const controller = new AbortController();
    const waiting = store.exclusively("key", () => Promise.resolve("mine"), { signal: controller.signal });
    controller.abort(new Error("no more"));
    await assert.rejects(waiting, /no more/);
    other.process.kill("SIGKILL");
    await other.ended;
  });

  it("does not take the lock of a process of another pid namespace while its socket answers", async () => {
    await using store = await openStore(dir());
    await using other = await openStore(dir());
    // A foreign owner: same boot, other namespace, whose socket is that of a process that lives.
    const owners = join(dir(), "owners");
    const socket = readdirSync(owners).find((name) => name.endsWith(".sock")) as string;
    const foreign = socket.replace(/^([0-9a-f]{12})\.\d+\./, "$1.1.").replace(/\.sock$/, "");
    symlinkSync(join(owners, socket), join(owners, `${foreign}.sock`));
    let held: Promise<unknown> = Promise.resolve();
    await store.exclusively(
      "key",
      async () => {
        const [name = ""] = readdirSync(join(dir(), "locks"));
        const lock = join(dir(), "locks", name);
        // The lock passes into foreign hands while we hold it, as if it had always been theirs.
        unlinkSync(lock);
        symlinkSync(`${foreign}/1`, lock);
        const controller = new AbortController();
        held = other.exclusively("key", () => Promise.resolve("stolen"), { signal: controller.signal });
        // Long enough for several looks at the lock.
        await new Promise((resolve) => setTimeout(resolve, 150));
        assert.equal(readlinkSync(lock), `${foreign}/1`);
        controller.abort(new Error("not taken"));
        await assert.rejects(held, /not taken/);
      },
      { signal: never() },
    );
    // Its socket gone, it is dead.
    symlinkSync(`${foreign}/2`, join(dir(), "locks", "x"));
    unlinkSync(join(owners, `${foreign}.sock`));
    appendFileSync(join(owners, `${foreign}.leases`), "l 0 r-1\n");
    await using late = await openStore(dir());
    assert.equal(lstatSync(join(dir(), "locks", "x"), { throwIfNoEntry: false }), undefined);
    assert.equal((await late.pinned()).layers.size, 0);
  });
});
