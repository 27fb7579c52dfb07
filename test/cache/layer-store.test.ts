import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type OpenStore, openStore } from "../../cache/store.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import type { LayerId } from "../../solver/graph/request.ts";
import { itAsMachineRoot } from "../support/privileges.ts";
import { child, freshDirectory } from "./store-support.ts";

describe("layers", () => {
  const dir = freshDirectory();

  function makeLayer(store: OpenStore, text: string, as?: LayerId) {
    const active = store.layers.prepare();
    writeFileSync(join(active.upper, "file"), text);
    return active.commit({ description: text }, as);
  }

  /** What a power cut followed by a start does to records: they were written in another boot. */
  function ofAnotherBoot(store: OpenStore, id: LayerId): void {
    store.records.merge<object>("layer", id, (old) => ({ ...old, boot: "0123456789ab" }));
    const outer = join(store.layers.directory(id), "..");
    for (const name of readdirSync(outer)) {
      if (name.startsWith("boot-")) renameSync(join(outer, name), join(outer, "boot-0123456789ab"));
    }
  }

  it("appear under their id with commit, not before", async () => {
    await using store = await openStore(dir());
    const old = process.umask(0o077);
    const active = store.layers.prepare();
    process.umask(old);
    assert.equal(statSync(active.upper).mode & 0o777, 0o755);
    writeFileSync(join(active.upper, "file"), "text");
    assert.equal(store.layers.get(active.id), null);
    assert.equal(existsSync(store.layers.directory(active.id)), false);
    const record = active.commit({ description: "RUN", sizeBytes: 4 });
    assert.deepEqual(store.layers.get(active.id), record);
    assert.equal(record.unpacked, true);
    assert.equal(record.description, "RUN");
    assert.equal(readFileSync(join(store.layers.directory(active.id), "file"), "utf8"), "text");
    await active[Symbol.asyncDispose]();
    assert.equal(existsSync(store.layers.directory(active.id)), true);
    assert.deepEqual(readdirSync(join(dir(), "active")), []);
  });

  describe("made with one id", () => {
    const alone = { hasOneId: true };
    const base = digestOf("base");

    it("are not there for who has several ids, but can be packed", async () => {
      let ids: LayerId[];
      {
        await using store = await openStore(dir(), alone);
        ids = [makeLayer(store, "step").id, makeLayer(store, "base", store.layers.idOf(base)).id];
        for (const id of ids) assert.equal(store.layers.get(id)?.unpacked, true);
      }
      await using store = await openStore(dir());
      for (const id of ids) {
        assert.equal(store.layers.get(id)?.unpacked, false);
        assert.equal(store.layers.isOfOtherIds(id), true);
      }
      assert.deepEqual(store.layers.list().filter(({ unpacked }) => unpacked).length, 2, "they take space");
      assert.equal(makeLayer(store, "anew", store.layers.idOf(base)).unpacked, true);
      const file = join(store.layers.directory(store.layers.idOf(base)), "file");
      assert.equal(readFileSync(file, "utf8"), "anew");
      assert.equal(store.layers.isOfOtherIds(store.layers.idOf(base)), false);
    });

    it("are the only ones there for who has one", async () => {
      let id: LayerId;
      {
        await using store = await openStore(dir());
        id = makeLayer(store, "step").id;
      }
      await using store = await openStore(dir(), alone);
      assert.equal(store.layers.get(id), null);
    });

    for (const [damage, harm] of [
      ["lost", (file: string) => rmSync(file)],
      ["torn", (file: string) => writeFileSync(file, "")],
      [
        "a FIFO",
        (file: string) => {
          rmSync(file);
          execFileSync("mkfifo", [file]);
        },
      ],
    ] as const) {
      it(`are not there when the key of their notes is ${damage}, and the next build has a new one`, async () => {
        let id: LayerId;
        {
          await using store = await openStore(dir(), alone);
          id = makeLayer(store, "step").id;
        }
        harm(join(dir(), "owner-key"));
        {
          await using several = await openStore(dir());
          assert.equal(several.layers.get(id), null);
        }
        await using store = await openStore(dir(), alone);
        assert.equal(store.layers.get(id), null);
        assert.equal(makeLayer(store, "again").unpacked, true);
        assert.match(readFileSync(join(dir(), "owner-key"), "latin1"), /^1 [0-9a-f]{64}\n$/);
        assert.equal(statSync(join(dir(), "owner-key")).mode & 0o777, 0o600);
      });
    }

    it("set aside what is in the way of their key", async () => {
      mkdirSync(join(dir(), "owner-key"), { recursive: true });
      writeFileSync(join(dir(), "version"), "1\n");
      await using store = await openStore(dir(), alone);
      assert.deepEqual(store.mended, ["owner-key: was a directory, not a file; set aside"]);
      assert.equal(makeLayer(store, "new").unpacked, true);
    });
  });

  it("are gone when disposed without commit", async () => {
    await using store = await openStore(dir());
    {
      await using active = store.layers.prepare();
      mkdirSync(join(active.upper, "sub"));
      writeFileSync(join(active.upper, "sub", "file"), "text");
    }
    assert.deepEqual(readdirSync(join(dir(), "active")), []);
    assert.deepEqual(store.layers.discarded(), []);
  });

  // Root becomes an ordinary user, with a directory of another user inside: what subordinate ids look like from outside.
  itAsMachineRoot("are left to the keeper when this process may not delete them", () => {
    const url = new URL("../../cache/store.js", import.meta.url).href;
    const code = `
      import { openStore } from ${JSON.stringify(url)};
      import fs from "node:fs";
      import { execFileSync } from "node:child_process";
      process.setegid(65534); process.seteuid(65534);
      const store = await openStore(process.argv[1] + "/store");
      const active = store.layers.prepare();
      process.seteuid(0);
      fs.mkdirSync(active.upper + "/foreign"); fs.writeFileSync(active.upper + "/foreign/file", "");
      process.seteuid(65534);
      await active[Symbol.asyncDispose]();
      const listed = store.layers.discarded();
      process.seteuid(0);
      for (const path of listed) fs.rmSync(path, { recursive: true });
      process.seteuid(65534);
      console.log(JSON.stringify([listed.length, store.layers.discarded().length]));
      await store[Symbol.asyncDispose]();`;
    chmodSync(dir(), 0o777);
    const answer = execFileSync(process.execPath, ["--input-type=module", "-e", code, dir()], {
      encoding: "utf8",
    });
    assert.deepEqual(JSON.parse(answer), [1, 0]);
  });

  it("can be committed whatever mode their root directory got", async () => {
    await using store = await openStore(dir());
    const active = store.layers.prepare();
    chmodSync(active.upper, 0o555);
    // overlayfs leaves this behind.
    mkdirSync(join(active.work, "work"), { mode: 0 });
    active.commit({});
    assert.equal(statSync(store.layers.directory(active.id)).mode & 0o777, 0o555);
    assert.equal(existsSync(join(store.layers.directory(active.id), "..", "work")), false);
    chmodSync(store.layers.directory(active.id), 0o755);
  });

  it("keep the first directory when two commit the same layer", async () => {
    await using store = await openStore(dir());
    const id = store.layers.idOf(digestOf("diff"));
    assert.equal(id, `d-${digestOf("diff").slice(7)}`);
    makeLayer(store, "first", id);
    makeLayer(store, "second", id);
    assert.equal(readFileSync(join(store.layers.directory(id), "file"), "utf8"), "first");
    assert.deepEqual(readdirSync(join(dir(), "active")), []);
    assert.equal(store.layers.list().length, 1);
  });

  it("merge what is learned about them", async () => {
    await using store = await openStore(dir());
    const id = store.layers.idOf(digestOf("diff"));
    const descriptor = { mediaType: "m", digest: digestOf("blob"), size: 4 };
    store.layers.update(id, { remotes: [{ descriptor, from: "registry.example/app" }] });
    store.layers.update(id, { blobs: { gzip: descriptor } });
    store.layers.update(id, { blobs: { plain: descriptor }, sizeBytes: 7 });
    const record = store.layers.get(id);
    assert.deepEqual(Object.keys(record?.blobs ?? {}).sort(), ["gzip", "plain"]);
    assert.equal(record?.remotes.length, 1);
    assert.equal(record?.sizeBytes, 7);
    assert.equal(record?.unpacked, false);
  });

  it("lose what was known of their directory with it, also when it is unpacked again", async () => {
    await using store = await openStore(dir());
    const blob = { mediaType: "application/vnd.oci.image.layer.v1.tar", digest: digestOf("blob"), size: 4 };
    const { id } = makeLayer(store, "x");
    const [listing, shape] = [digestOf("listing"), digestOf("shape")];
    store.layers.update(id, { listing, shape, sizeBytes: 4, blobs: { plain: blob } });
    assert.deepEqual([store.layers.get(id)?.listing, store.layers.get(id)?.shape], [listing, shape]);
    rmSync(join(store.layers.directory(id), ".."), { recursive: true });
    const gone = store.layers.get(id);
    assert.ok(gone !== null && !gone.unpacked && gone.listing === undefined && gone.shape === undefined);
    await using active = store.layers.prepare();
    active.commit({ ...gone, unpacked: true }, id);
    assert.deepEqual([store.layers.get(id)?.unpacked, store.layers.get(id)?.listing], [true, undefined]);
  });

  it("that were not synced before a power cut are not used afterwards", async () => {
    await using store = await openStore(dir());
    const lost = makeLayer(store, "lost").id;
    const kept = makeLayer(store, "kept").id;
    const packed = makeLayer(store, "packed").id;
    const descriptor = { mediaType: "m", digest: digestOf("blob"), size: 4 };
    store.layers.update(packed, { blobs: { gzip: descriptor } });
    assert.deepEqual(store.layers.unsynced().sort(), [lost, kept, packed].sort());
    store.layers.markSynced([kept]);
    for (const id of [lost, kept, packed]) ofAnotherBoot(store, id);
    assert.deepEqual(store.layers.unsynced(), []);
    assert.equal(store.layers.get(lost), null);
    assert.equal(store.layers.get(kept)?.unpacked, true);
    assert.equal(store.layers.get(packed)?.unpacked, false, "its blob can be unpacked again");
    assert.deepEqual(
      store.layers
        .list()
        .map((record) => record.id)
        .sort(),
      [kept, packed].sort(),
    );
  });

  it("replace the torn directory of a power cut", async () => {
    await using store = await openStore(dir());
    const id = store.layers.idOf(digestOf("diff"));
    makeLayer(store, "torn", id);
    ofAnotherBoot(store, id);
    assert.equal(store.layers.get(id), null);
    makeLayer(store, "whole", id);
    assert.equal(readFileSync(join(store.layers.directory(id), "file"), "utf8"), "whole");
    assert.equal(store.layers.get(id)?.unpacked, true);
    assert.equal(store.layers.discarded().length, 1);
  });

  it("made by another process a moment ago are taken over, though their record is not there yet", async () => {
    await using store = await openStore(dir());
    const id = store.layers.idOf(digestOf("diff"));
    makeLayer(store, "first", id);
    store.records.remove("layer", id);
    makeLayer(store, "second", id);
    assert.equal(readFileSync(join(store.layers.directory(id), "file"), "utf8"), "first");
    assert.equal(store.layers.get(id)?.unpacked, true);
  });

  it("never lie outside the store", async () => {
    await using store = await openStore(dir());
    assert.throws(() => store.layers.directory("../../etc" as LayerId), /not a layer id/);
  });

  it("committed by two processes at once are one layer", async () => {
    await using store = await openStore(dir());
    const id = store.layers.idOf(digestOf("diff"));
    const body = `
      const store = await openStore(dir);
      const active = store.layers.prepare();
      fs.writeFileSync(active.upper + "/file", "same");
      say("ready"); await new Promise((resolve) => process.stdin.once("data", resolve));
      active.commit({}, "${id}"); await store[Symbol.asyncDispose](); process.exit();`;
    const others = [child(dir(), body), child(dir(), body)];
    await Promise.all(others.map((other) => other.line()));
    for (const other of others) other.process.stdin?.write("go\n");
    assert.deepEqual(await Promise.all(others.map((other) => other.ended)), [0, 0]);
    assert.equal(readFileSync(join(store.layers.directory(id), "file"), "utf8"), "same");
    assert.deepEqual(readdirSync(join(dir(), "active")), []);
    rmSync(join(store.layers.directory(id), "file"));
  });
});
