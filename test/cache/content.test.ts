import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openStore } from "../../cache/store.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import { freshDirectory, never } from "./store-support.ts";

describe("content", () => {
  const dir = freshDirectory();
  const data = Buffer.from("some bytes");
  const digest = digestOf(data);

  async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of stream) chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  it("gives back what was put, read-only, under its digest", async () => {
    await using store = await openStore(dir());
    assert.equal(store.content.has(digest), false);
    assert.equal(store.content.put(data), digest);
    assert.equal(store.content.size(digest), data.length);
    assert.deepEqual(Buffer.from(store.content.read(digest, 100)), data);
    assert.deepEqual(await collect(store.content.stream(digest, { signal: never() })), data);
    assert.deepEqual(readFileSync(store.content.path(digest)), data);
    assert.equal(statSync(store.content.path(digest)).mode & 0o777, 0o444);
  });

  it("does not show a blob before commit, nor anything of it after dispose", async () => {
    await using store = await openStore(dir());
    {
      await using ingest = store.content.ingest();
      ingest.write(data);
      assert.equal(store.content.has(digest), false);
    }
    assert.deepEqual(readdirSync(join(dir(), "ingest")), []);
    assert.deepEqual(readdirSync(join(dir(), "blobs", "sha256")), []);
  });

  it("refuses other bytes or another size than expected, and takes the right ones afterwards", async () => {
    await using store = await openStore(dir());
    {
      await using ingest = store.content.ingest();
      ingest.write(Buffer.from("other data"));
      assert.throws(() => ingest.commit({ digest }), { code: "DIGEST_MISMATCH" });
    }
    {
      await using ingest = store.content.ingest();
      ingest.write(data);
      assert.throws(() => ingest.commit({ digest, size: 3 }), { code: "DIGEST_MISMATCH" });
    }
    assert.equal(store.content.has(digest), false);
    await using ingest = store.content.ingest();
    ingest.write(data.subarray(0, 4));
    ingest.write(data.subarray(4));
    assert.deepEqual(ingest.commit({ digest, size: data.length }), { digest, size: data.length });
    assert.equal(store.content.has(digest), true);
  });

  it("hashes a file filled by another process", async () => {
    await using store = await openStore(dir());
    await using ingest = store.content.ingest();
    execFileSync("sh", ["-c", `printf 'some bytes' > "$1"`, "sh", ingest.path]);
    assert.deepEqual(ingest.commit({}), { digest, size: data.length });
    assert.deepEqual(Buffer.from(store.content.read(digest, 100)), data);
  });

  it("takes the same blob twice", async () => {
    await using store = await openStore(dir());
    store.content.put(data);
    await using ingest = store.content.ingest();
    ingest.write(data);
    ingest.commit({ digest });
    assert.deepEqual(Buffer.from(store.content.read(digest, 100)), data);
  });

  it("finds a damaged blob when reading it whole, sets it aside, and takes it anew", async () => {
    await using store = await openStore(dir());
    store.content.put(data);
    chmodSync(store.content.path(digest), 0o644);
    writeFileSync(store.content.path(digest), "some byteZ");
    assert.throws(() => store.content.read(digest, 100), { code: "STORE_CORRUPT" });
    assert.equal(store.content.has(digest), false);
    const [aside = ""] = readdirSync(join(dir(), "tmp", "quarantine"));
    assert.ok(aside.startsWith(`blob-${digest.slice(7)}`));
    store.content.put(data);
    assert.deepEqual(Buffer.from(store.content.read(digest, 100)), data);
  });

  it("finds a blob cut short while streaming it", async () => {
    await using store = await openStore(dir());
    const large = Buffer.alloc(3 * 2 ** 20, "large");
    const name = store.content.put(large);
    assert.deepEqual(await collect(store.content.stream(name, { signal: never() })), large);
    chmodSync(store.content.path(name), 0o644);
    truncateSync(store.content.path(name), 2 ** 20);
    await assert.rejects(collect(store.content.stream(name, { signal: never() })), { code: "STORE_CORRUPT" });
    assert.equal(store.content.has(name), false);
  });

  it("heals a damaged blob by putting it again", async () => {
    await using store = await openStore(dir());
    store.content.put(data);
    chmodSync(store.content.path(digest), 0o644);
    writeFileSync(store.content.path(digest), "some byteZ");
    store.content.put(data);
    assert.deepEqual(Buffer.from(store.content.read(digest, 100)), data);
  });

  it("does not read more than allowed, nor what is not there", async () => {
    await using store = await openStore(dir());
    assert.throws(() => store.content.read(digest, 100), { code: "STORE_CORRUPT" });
    store.content.put(data);
    assert.throws(() => store.content.read(digest, 3), { code: "LIMIT_EXCEEDED" });
  });

  it("stops streaming when the signal aborts", async () => {
    await using store = await openStore(dir());
    const name = store.content.put(Buffer.alloc(3 * 2 ** 20));
    const controller = new AbortController();
    const reason = new Error("enough");
    await assert.rejects(
      (async () => {
        for await (const _ of store.content.stream(name, { signal: controller.signal }))
          controller.abort(reason);
      })(),
      reason,
    );
  });

  it("says that the disk is full, and works on when there is space again", () => {
    // A file system of 1 MiB that only this process sees; as an ordinary user in a user namespace of its own.
    const url = new URL("../../cache/store.js", import.meta.url).href;
    const code = `
      import { openStore } from ${JSON.stringify(url)};
      import { rmSync } from "node:fs";
      const store = await openStore(process.argv[1] + "/store");
      const tell = (work) => { try { work(); return "fine"; } catch (error) { return error.code + (error.hint ? " with hint" : ""); } };
      const told = [tell(() => store.content.put(Buffer.alloc(2 ** 20 * 2, 1)))];
      const small = store.content.put(Buffer.from("small"));
      told.push(store.content.has(small) ? "whole" : "missing", store.content.list().length);
      store.records.put("a", "k", "x".repeat(2 ** 21));
      told.push(await store.records.flush().then(() => "fine", (error) => error.code));
      store.records.put("a", "k", "small");
      await store.records.flush();
      told.push(store.records.get("a", "k"));
      await store[Symbol.asyncDispose]();
      console.log(JSON.stringify(told));`;
    const unshare = process.getuid?.() === 0 ? "-m" : "-rm";
    const output = execFileSync(
      "unshare",
      [
        unshare,
        "sh",
        "-c",
        `mount -t tmpfs -o size=1m none "$1" && exec "$2" --input-type=module -e "$3" "$1"`,
        "sh",
        dir(),
        process.execPath,
        code,
      ],
      { encoding: "utf8" },
    );
    assert.deepEqual(JSON.parse(output), ["STORE_FULL with hint", "whole", 1, "STORE_FULL", "small"]);
  });
});
