import assert from "node:assert/strict";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { openStore } from "../../cache/store.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import type { LayerId } from "../../solver/graph/request.ts";
import { child, freshDirectory } from "./store-support.ts";

describe("leases", () => {
  const dir = freshDirectory();
  const layer = (n: number) => `r-${n.toString(16).padStart(32, "0")}` as LayerId;
  const blob = digestOf("blob");

  it("hold layers and blobs until disposed", async () => {
    await using store = await openStore(dir());
    {
      await using lease = store.lease();
      await using second = store.lease();
      lease.addLayers([layer(1), layer(2)]);
      lease.addBlobs([blob]);
      second.addLayers([layer(2), layer(3)]);
      const pinned = await store.pinned();
      assert.deepEqual([...pinned.layers].sort(), [layer(1), layer(2), layer(3)]);
      assert.deepEqual([...pinned.blobs], [blob]);
      await lease[Symbol.asyncDispose]();
      assert.deepEqual([...(await store.pinned()).layers].sort(), [layer(2), layer(3)]);
    }
    const pinned = await store.pinned();
    assert.equal(pinned.layers.size + pinned.blobs.size, 0);
  });

  it("are seen by other processes at once, and end with theirs", async () => {
    await using store = await openStore(dir());
    const other = child(
      dir(),
      `const store = await openStore(dir); store.lease().addLayers(["${layer(7)}"]); say("held"); setInterval(() => {}, 1000);`,
    );
    await other.line();
    assert.deepEqual([...(await store.pinned()).layers], [layer(7)]);
    other.process.kill("SIGKILL");
    await other.ended;
    assert.equal((await store.pinned()).layers.size, 0);
  });

  it("do not let the file grow without end", async () => {
    await using store = await openStore(dir());
    for (let round = 0; round < 60; round++) {
      await using lease = store.lease();
      lease.addLayers(Array.from({ length: 400 }, (_, i) => layer(i)));
    }
    const owners = join(dir(), "owners");
    const [file = ""] = readdirSync(owners).filter((name) => name.endsWith(".leases"));
    assert.ok(statSync(join(owners, file)).size < 2 ** 19);
    await using lease = store.lease();
    lease.addLayers([layer(5)]);
    assert.deepEqual([...(await store.pinned()).layers], [layer(5)]);
  });

  it("do not let it grow while something is held all the time, which stays held", async () => {
    await using store = await openStore(dir());
    await using always = store.lease();
    always.addLayers([layer(1)]);
    for (let round = 0; round < 60; round++) {
      await using lease = store.lease();
      lease.addLayers(Array.from({ length: 400 }, (_, i) => layer(i)));
    }
    always.addBlobs([blob]);
    const owners = join(dir(), "owners");
    const [file = ""] = readdirSync(owners).filter((name) => name.endsWith(".leases"));
    assert.ok(statSync(join(owners, file)).size < 2 ** 19);
    const { layers, blobs } = await store.pinned();
    assert.deepEqual([...layers], [layer(1)]);
    assert.deepEqual([...blobs], [blob]);
  });

  it("cannot be added to after the end", async () => {
    await using store = await openStore(dir());
    const lease = store.lease();
    await lease[Symbol.asyncDispose]();
    await lease[Symbol.asyncDispose]();
    assert.throws(() => lease.addLayers([layer(1)]), /ended/);
  });
});
