// The owner of a store, and which directories may become one. Threat model S5.

import assert from "node:assert/strict";
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { openStore } from "../../cache/store.ts";
import { withLauncher } from "../../worker/launcher/install.ts";
import { child, freshDirectory, never } from "./store-support.ts";

describe("a directory given as a store", () => {
  const dir = freshDirectory();

  it("that is none keeps its mode and gets no files", async () => {
    chmodSync(dir(), 0o1777); // as /tmp is
    writeFileSync(join(dir(), "letter.txt"), "dear reader");
    await assert.rejects(openStore(dir()), { code: "STORE_UNUSABLE", message: /neither empty nor a store/ });
    assert.equal(statSync(dir()).mode & 0o7777, 0o1777);
    assert.deepEqual(readdirSync(dir()), ["letter.txt"]);
  });

  it("that others could write to is refused when it is a store already", async () => {
    await (await openStore(dir()))[Symbol.asyncDispose]();
    chmodSync(dir(), 0o777);
    await assert.rejects(openStore(dir()), { code: "STORE_UNUSABLE", hint: /chmod 700/ });
  });

  it("whose part is a link leads nowhere else, and fsck --repair sets the link aside", async () => {
    await (await openStore(join(dir(), "store")))[Symbol.asyncDispose]();
    const [elsewhere, part] = [join(dir(), "elsewhere"), join(dir(), "store", "tmp")];
    mkdirSync(elsewhere);
    writeFileSync(join(elsewhere, "mine"), "");
    rmSync(part, { recursive: true });
    symlinkSync(elsewhere, part);
    await assert.rejects(openStore(join(dir(), "store")), {
      code: "STORE_UNUSABLE",
      message: /tmp is a symbolic link/,
    });
    await using store = await openStore(join(dir(), "store"), { repair: true });
    assert.deepEqual(store.mended, ["tmp: was a link, not a directory; set aside"]);
    assert.deepEqual(readdirSync(elsewhere), ["mine"]);
  });

  for (const what of ["an empty", "a missing"] as const) {
    it(`with ${what} version file is no store for builds, and one again after fsck --repair`, async () => {
      await (await openStore(dir()))[Symbol.asyncDispose]();
      if (what === "an empty") writeFileSync(join(dir(), "version"), "");
      else rmSync(join(dir(), "version"));
      await assert.rejects(openStore(dir()), { code: "STORE_UNUSABLE", hint: /fsck --repair/ });
      await (await openStore(dir(), { repair: true }))[Symbol.asyncDispose]();
      await (await openStore(dir()))[Symbol.asyncDispose]();
      assert.equal(readFileSync(join(dir(), "version"), "utf8"), "1\n");
    });
  }

  if (process.getuid?.() === 0) {
    it("below a directory of another user, who could exchange it, is refused before anything is made", async () => {
      const above = join(dir(), "theirs");
      mkdirSync(above);
      chownSync(above, 1000, 1000);
      const refused = { code: "STORE_UNUSABLE", message: /is in a directory of another user: .*theirs/ };
      await assert.rejects(openStore(join(above, "store")), refused);
      assert.deepEqual(readdirSync(above), []);
      symlinkSync(above, join(dir(), "way"));
      await assert.rejects(openStore(join(dir(), "way", "deep", "store")), refused);
      assert.deepEqual(readdirSync(above), []);
    });

    for (const part of [".", "layers", "bin"]) {
      it(`of which ${part} is another user's is not used by root either`, async () => {
        await (await openStore(dir()))[Symbol.asyncDispose]();
        if (!existsSync(join(dir(), part))) mkdirSync(join(dir(), part));
        chownSync(join(dir(), part), 1000, 1000);
        await assert.rejects(openStore(dir()), { code: "STORE_UNUSABLE", message: /another user/ });
      });
    }
  }

  it("has a database nobody else can read, whatever the umask", async () => {
    const open = async (): Promise<void> => {
      const other = child(dir(), "process.umask(0); await (await openStore(dir))[Symbol.asyncDispose]();");
      assert.equal(await other.ended, 0);
      const modes = ["data.mdb", "data.mdb-lock"].map(
        (name) => statSync(join(dir(), "db", name)).mode & 0o777,
      );
      assert.deepEqual(modes, [0o600, 0o600]);
    };
    await open();
    for (const name of ["data.mdb", "data.mdb-lock"]) chmodSync(join(dir(), "db", name), 0o664);
    await open();
  });

  it("keeps the names of its images when half of its database is gone, or all of it", async () => {
    const image = (name: string) => ({ name, target: { digest: `sha256:${"1".repeat(64)}` }, layers: {} });
    const names = Array.from({ length: 300 }, (_, i) => `docker.io/library/app:${i}`);
    {
      await using store = await openStore(dir());
      for (const name of names) store.records.put("image", name, image(name));
      store.records.put("image", "docker.io/library/gone:1", image("docker.io/library/gone:1"));
      await store.records.commit();
      store.records.remove("image", "docker.io/library/gone:1");
    }
    const database = join(dir(), "db", "data.mdb");
    const spoil = [
      () => writeFileSync(database, readFileSync(database).subarray(0, 32 * 1024)),
      () => writeFileSync(database, "garbage"),
      () => rmSync(join(dir(), "db"), { recursive: true }),
    ];
    for (const damage of spoil) {
      damage();
      // A process of its own: lmdb has one database of a path for each.
      const other = child(
        dir(),
        `const store = await openStore(dir); say([...store.records.entries("image")].map(({ key }) => key).join());
         await store[Symbol.asyncDispose]();`,
      );
      assert.deepEqual((await other.line()).split(","), names.toSorted());
      assert.equal(await other.ended, 0);
    }
  });

  it("does not believe a launcher for being there", async () => {
    const seen: Buffer[] = [];
    const start = (file: string): void => void seen.push(readFileSync(file));
    withLauncher(dir(), start);
    const [name = ""] = readdirSync(dir());
    const file = join(dir(), name);
    for (const spoil of [
      () => writeFileSync(file, ""), // a power cut
      () => writeFileSync(file, Buffer.alloc(seen[0]?.length ?? 0)),
      () => chmodSync(file, 0o600),
      () => {
        rmSync(file);
        symlinkSync("/bin/true", file);
      },
      () => {
        rmSync(file);
        mkdirSync(file);
      },
    ]) {
      spoil();
      withLauncher(dir(), start);
      assert.deepEqual(seen.at(-1), seen[0]);
      assert.equal(lstatSync(file).mode & 0o7777, 0o700);
    }
    assert.deepEqual(readdirSync(dir()), [name]);
  });
});

describe("waiting for a lock", () => {
  const dir = freshDirectory();
  const holding = `const store = await openStore(dir);
    await store.exclusively("key", () => { say("in"); return new Promise(() => setInterval(() => {}, 1000)); }, { signal });`;

  it("says which process holds it, and goes on without a stopped one where work may be done twice", async () => {
    await using store = await openStore(dir());
    const other = child(dir(), holding);
    await other.line();
    other.process.kill("SIGSTOP");
    const told: string[] = [];
    const onWait = (holder: string): void => void told.push(holder);
    const work = () => Promise.resolve("mine");
    assert.equal(await store.exclusively("key", work, { signal: never(), onWait, sparesWork: true }), "mine");
    assert.match(told[0] ?? "", new RegExp(`^process ${other.process.pid} \\(.+\\), which is stopped$`));
    assert.match(told.at(-1) ?? "", /going on without it$/);
    assert.equal(readdirSync(join(dir(), "locks")).length, 1, "its lock is still its own");
    other.process.kill("SIGKILL");
    await other.ended;
  });

  it("can be given up at once while its holder is stopped", async () => {
    await using store = await openStore(dir());
    const other = child(dir(), holding);
    await other.line();
    other.process.kill("SIGSTOP");
    const controller = new AbortController();
    const waiting = store.exclusively("key", () => Promise.resolve("mine"), {
      signal: controller.signal,
      onWait: () => controller.abort(new Error("no more")),
    });
    await assert.rejects(waiting, /no more/);
    other.process.kill("SIGKILL");
    await other.ended;
  });

  it("does not hang where something else stands in the lock's place", async () => {
    await using store = await openStore(dir());
    await store.exclusively(
      "key",
      async () => {
        const [name = ""] = readdirSync(join(dir(), "locks"));
        rmSync(join(dir(), "locks", name));
        mkdirSync(join(dir(), "locks", name));
        await using other = await openStore(dir());
        assert.equal(await other.exclusively("key", () => Promise.resolve(1), { signal: never() }), 1);
        symlinkSync("x/1", join(dir(), "locks", name)); // for the unlink of the outer one
      },
      { signal: never() },
    );
  });
});
