import assert from "node:assert/strict";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type PruneOptions, prune, usage } from "../../cache/collect.ts";
import { parseFilters } from "../../cache/prune-filter.ts";
import { type OpenStore, openStore } from "../../cache/store.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import type { LayerId } from "../../solver/graph/request.ts";
import { child, freshDirectory, never } from "./store-support.ts";
import type { ResultRecord } from "../../cache/contract.ts";

describe("collect", () => {
  const dir = freshDirectory();
  const options: PruneOptions = {
    all: false,
    keepBytes: null,
    olderThanMs: null,
    filters: [],
    signal: never(),
  };

  function layer(store: OpenStore, name: string, change: object = {}): LayerId {
    const active = store.layers.prepare();
    writeFileSync(join(active.upper, "file"), name);
    return active.commit({ description: name, sizeBytes: 100, createdAtMs: 1000, ...change }).id;
  }

  function result(store: OpenStore, key: string, layers: readonly LayerId[], lastUsedMs: number): void {
    const record: ResultRecord = {
      outputs: [layers],
      createdAtMs: 1000,
      durationMs: 1,
      lastUsedMs,
      name: `RUN ${key}`,
      ingredients: {},
    };
    store.records.put("result", key, record);
  }

  function image(store: OpenStore, name: string, layers: readonly LayerId[]): Digest[] {
    const put = (value: unknown) => store.content.put(Buffer.from(JSON.stringify(value)));
    const config = put({ architecture: "amd64" });
    const blob = store.content.put(Buffer.from(`layer of ${name}`));
    const manifest = put({ config: { digest: config }, layers: [{ digest: blob }] });
    const index = put({ manifests: [{ digest: manifest }] });
    store.records.put("image", name, {
      name,
      target: { mediaType: "application/vnd.oci.image.index.v1+json", digest: index, size: 1 },
      createdAtMs: 2000,
      layers: { "linux/amd64": layers },
    });
    return [config, blob, manifest, index];
  }

  const kindsOf = async (store: OpenStore) =>
    (await usage(store)).map((entry) => `${entry.kind} ${entry.description}`);

  it("lists what is had again by asking once more, and takes it with all", async () => {
    await using store = await openStore(dir());
    for (const space of ["built", "http", "git-time", "machine"])
      store.records.put(space, "key", { of: space });
    store.records.put("duration", "key", 5);
    const spaces = async () =>
      (await usage(store)).flatMap(({ kind, id }) => (kind === "record" ? [id] : [])).sort();
    const all = ["built", "duration", "git-time", "http", "machine"];
    assert.deepEqual(await spaces(), all);
    await prune(store, options);
    assert.deepEqual(await spaces(), all);
    await prune(store, { ...options, all: true, olderThanMs: 1000 });
    assert.deepEqual(await spaces(), all);
    await prune(store, { ...options, all: true });
    assert.deepEqual(await spaces(), ["duration"]);
  });

  it("lists everything, least recently used first", async () => {
    await using store = await openStore(dir());
    const base = layer(store, "base");
    const step = layer(store, "step");
    result(store, "one", [base], 5000);
    result(store, "two", [base, step], 4000);
    (await store.cacheMounts.acquire("/cache", "shared", { signal: never(), seedKey: "" }))[
      Symbol.asyncDispose
    ]();
    const entries = await usage(store);
    assert.deepEqual(
      entries.map((entry) => `${entry.kind} ${entry.description} ${entry.shared}`),
      [
        "record RUN two false",
        "layer step false",
        "record RUN one false",
        "layer base true",
        "cache-mount cache mount /cache false",
      ],
    );
    assert.ok(entries.every((entry) => entry.reclaimable && !entry.inUse));
    assert.equal(entries.find((entry) => entry.id === base)?.sizeBytes, 100);
  });

  it("never removes what an image needs", async () => {
    await using store = await openStore(dir());
    const kept = layer(store, "kept");
    const gone = layer(store, "gone");
    const blobs = image(store, "app", [kept]);
    const loose = store.content.put(Buffer.from("loose"));
    result(store, "step", [kept, gone], 1);
    const outcome = await prune(store, { ...options, all: true });
    assert.deepEqual(outcome.removedLayers, [gone]);
    assert.deepEqual(outcome.removedBlobs, [loose]);
    assert.equal(store.content.has(loose), false);
    for (const blob of blobs) assert.equal(store.content.has(blob), true);
    assert.equal(store.layers.get(kept)?.unpacked, true);
    assert.equal(existsSync(join(store.layers.directory(kept), "file")), true);
    assert.equal(store.layers.get(gone), null);
    assert.equal(existsSync(store.layers.directory(gone)), false);
    assert.equal(store.records.get("result", "step"), null);
    assert.deepEqual(outcome.directories, store.layers.discarded());
    assert.deepEqual(store.layers.leftovers(), [], "until prune is sure it may put them back");
    assert.equal(outcome.directories.length, 1);
    assert.equal(existsSync(join(outcome.directories[0] ?? "", "fs", "file")), true, "the keeper deletes it");
  });

  it("never removes what a live process has leased", async () => {
    await using store = await openStore(dir());
    const held = layer(store, "held");
    const blob = store.content.put(Buffer.from("held blob"));
    const below = store.content.put(Buffer.from("{}"));
    const manifest = store.content.put(Buffer.from(JSON.stringify({ layers: [{ digest: below }] })));
    result(store, "step", [held], 1);
    await store.records.commit();
    const other = child(
      dir(),
      `const store = await openStore(dir); const lease = store.lease();
       lease.addLayers(["${held}"]); lease.addBlobs(["${blob}", "${manifest}"]); say("held"); setInterval(() => {}, 1000);`,
    );
    await other.line();
    const outcome = await prune(store, { ...options, all: true });
    assert.deepEqual([...outcome.removedLayers, ...outcome.removedBlobs], []);
    assert.equal(store.layers.get(held)?.unpacked, true);
    for (const digest of [blob, manifest, below]) assert.equal(store.content.has(digest), true);
    other.process.kill("SIGKILL");
    await other.ended;
    const after = await prune(store, { ...options, all: true });
    assert.deepEqual(after.removedLayers, [held]);
    assert.equal(after.removedBlobs.length, 3);
    assert.deepEqual(await kindsOf(store), []);
  });

  it("puts back what is leased while it is being removed", async () => {
    await using store = await openStore(dir());
    const ids = [layer(store, "a"), layer(store, "b"), layer(store, "c")] as const;
    const blob = store.content.put(Buffer.from("blob"));
    await using lease = store.lease();
    // The collector looks at the leases three times: in its survey, before it moves files and after. The lease comes in between.
    for (const look of [2, 3]) {
      let looks = 0;
      const id = ids[look - 2] as LayerId;
      const slow: OpenStore = {
        ...store,
        async pinned() {
          if (++looks === look) {
            lease.addLayers([id]);
            if (look === 3) lease.addBlobs([blob]);
          }
          return await store.pinned();
        },
      };
      const outcome = await prune(slow, { ...options, filters: look === 2 ? [`id=${id}`] : [] });
      assert.equal(outcome.removedLayers.includes(id), false);
      assert.equal(store.layers.get(id)?.unpacked, true);
      assert.equal(existsSync(join(store.layers.directory(id), "file")), true);
    }
    assert.equal(store.content.has(blob), true);
    assert.equal(store.layers.get(ids[2]), null);
  });

  it("stops when the store is small enough, taking the oldest first", async () => {
    await using store = await openStore(dir());
    const used = [3, 1, 2].map((n) => {
      const id = layer(store, `n${n}`, { createdAtMs: n * 1000, sizeBytes: 1000 });
      return [n, id] as const;
    });
    const outcome = await prune(store, { ...options, keepBytes: 2000 });
    assert.deepEqual(outcome.removedLayers, [used.find(([n]) => n === 1)?.[1]]);
    assert.equal(outcome.freedBytes, 1000);
    assert.deepEqual((await prune(store, { ...options, keepBytes: 2000 })).removed, []);
  });

  it("spares what was used lately", async () => {
    await using store = await openStore(dir());
    const old = layer(store, "old");
    const fresh = layer(store, "fresh");
    result(store, "step", [fresh], Date.now());
    const outcome = await prune(store, { ...options, olderThanMs: 3_600_000 });
    assert.deepEqual(outcome.removedLayers, [old]);
    assert.equal(store.layers.get(fresh)?.unpacked, true);
    assert.notEqual(store.records.get("result", "step"), null);
  });

  it("keeps a layer that can be unpacked again, and the results that lead to it", async () => {
    await using store = await openStore(dir());
    const digest = store.content.put(Buffer.from("blob of base"));
    const descriptor = { mediaType: "m", digest, size: 12 };
    const base = layer(store, "base", { blobs: { gzip: descriptor } });
    result(store, "step", [base], 1000);
    await prune(store, { ...options, filters: ["type=regular"] });
    assert.equal(existsSync(store.layers.directory(base)), false);
    assert.equal(store.layers.get(base)?.unpacked, false);
    assert.notEqual(store.records.get("result", "step"), null);
    // Without its blob it is lost.
    await prune(store, { ...options, filters: ["type=blob"] });
    assert.equal(store.layers.get(base), null);
    assert.equal(store.records.get("result", "step"), null);
  });

  it("with all, packs image layers down to their blobs", async () => {
    await using store = await openStore(dir());
    const digest = store.content.put(Buffer.from("blob of base"));
    const base = layer(store, "base", { blobs: { gzip: { mediaType: "m", digest, size: 12 } } });
    image(store, "app", [base]);
    await prune(store, options);
    assert.equal(store.layers.get(base)?.unpacked, true);
    await prune(store, { ...options, all: true });
    assert.equal(store.layers.get(base)?.unpacked, false);
    assert.equal(store.content.has(digest), true);
  });

  it("removes cache mounts nobody uses", async () => {
    await using store = await openStore(dir());
    await using held = await store.cacheMounts.acquire("/held", "shared", { signal: never(), seedKey: "" });
    const free = await store.cacheMounts.acquire("/free", "shared", { signal: never(), seedKey: "" });
    await free[Symbol.asyncDispose]();
    const outcome = await prune(store, { ...options, filters: ["type=exec.cachemount"] });
    assert.deepEqual(
      outcome.removed.map((entry) => entry.description),
      ["cache mount /free"],
    );
    assert.equal(existsSync(held.path), true);
    assert.equal(existsSync(free.path), false);
  });

  it("clears up directories without a record that a power cut left", async () => {
    await using store = await openStore(dir());
    const orphan = layer(store, "orphan");
    const young = layer(store, "young");
    store.records.remove("layer", orphan);
    store.records.remove("layer", young);
    const outer = join(store.layers.directory(orphan), "..");
    for (const name of readdirSync(outer))
      if (name.startsWith("boot-")) (await import("node:fs")).rmSync(join(outer, name));
    await prune(store, options);
    assert.equal(existsSync(outer), false);
    assert.equal(existsSync(store.layers.directory(young)), true, "its record may be on the way");
  });

  it("clears up directories without a record of a process that is gone", async () => {
    // As of a kill between the two, or a disk too full for the record.
    const made = child(
      dir(),
      `const store = await openStore(dir);
      const active = store.layers.prepare();
      active.commit({}, "r-" + "1".repeat(32));
      process.kill(process.pid, "SIGKILL");`,
    );
    assert.equal(await made.ended, "SIGKILL");
    await using store = await openStore(dir());
    const id = `r-${"1".repeat(32)}` as LayerId;
    assert.equal(store.layers.get(id), null);
    assert.equal(existsSync(store.layers.directory(id)), true);
    await prune(store, options);
    assert.equal(existsSync(store.layers.directory(id)), false);
  });

  it("filters by field", async () => {
    const entry = {
      id: "r-1",
      kind: "cache-mount",
      sizeBytes: 1,
      shared: false,
      inUse: true,
      reclaimable: false,
      lastUsedMs: 0,
      images: [],
      description: "cache mount /root",
    } as const;
    const matches = async (...filters: string[]) => (await parseFilters(filters))(entry);
    assert.equal(await matches(), true);
    assert.equal(await matches("type=exec.cachemount"), true);
    assert.equal(await matches("type==cache-mount", "inuse"), true);
    assert.equal(await matches("type=cache-mount,shared"), false);
    assert.equal(await matches("shared=false", "private"), true);
    assert.equal(await matches("description~=/root$"), true);
    assert.equal(await matches("id!=r-1"), false);
    await assert.rejects(() => parseFilters(["colour=red"]), { code: "USAGE" });
    await assert.rejects(() => parseFilters(["description~=("]), { code: "USAGE" });
    // JavaScript's own would try for longer than anybody waits.
    assert.equal(
      (await parseFilters(["description~=^(a+)+$"]))({ ...entry, description: `${"a".repeat(5000)}b` }),
      false,
    );
  });
});
