// When layers are synced: with the real keeper's syncfs(2), given dirty data and time.

import assert from "node:assert/strict";
import { userInfo } from "node:os";
import { openStoreSync } from "../../bin/engine/store-sync.ts";
import { openStore, type OpenStore } from "../../cache/store.ts";
import { type Keeper, startKeeper } from "../../worker/keeper/keeper.ts";
import { findIdMaps } from "../../worker/keeper/userns.ts";
import { temporaryDir, type TemporaryDir } from "../support/store.ts";

const MB = 1 << 20;

describe("syncing layers", () => {
  let dir: TemporaryDir;
  let store: OpenStore;
  let keeper: Keeper;
  let now: number;
  beforeEach(async () => {
    dir = temporaryDir();
    store = await openStore(dir.at("store"));
    const { uid, gid, username } = userInfo();
    const path = process.env.PATH ?? "";
    keeper = startKeeper({
      storeDir: store.dir,
      maps: findIdMaps({ uid, gid, name: username }, path),
      path,
      env: { PATH: path },
    });
    await keeper.ready({ signal: new AbortController().signal });
    now = Date.now();
  });
  afterEach(async () => {
    await keeper[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
    dir[Symbol.dispose]();
  });

  async function layer(ageMs: number): Promise<string> {
    await using active = store.layers.prepare();
    return active.commit({ createdAtMs: now - ageMs }).id;
  }
  const open = (dirty: number) =>
    openStoreSync(
      store,
      new AbortController().signal,
      () => now,
      () => dirty,
    );

  it("happens at the end of a build that leaves little to be written", async () => {
    await layer(0);
    const sync = open(MB / 2);
    await sync.end(keeper);
    assert.deepEqual(store.layers.unsynced(), []);
  });

  it("does not when it would take a share of the build's time that is felt", async () => {
    const id = await layer(0);
    const sync = open(50 * MB);
    now += 1_000; // a build of a second
    await sync.end(keeper);
    assert.deepEqual(store.layers.unsynced(), [id]);
    now += 60_000; // a minute may
    await sync.end(keeper);
    assert.deepEqual(store.layers.unsynced(), []);
  });

  it("happens beside a later build for layers the kernel has had time to write", async () => {
    await layer(60_000);
    const young = await layer(1_000);
    const sync = open(30 * MB);
    sync.begin(keeper);
    await sync.end(keeper);
    assert.deepEqual(store.layers.unsynced(), [young]);
  });

  it("waits while much is dirty, but not for ever", async () => {
    const id = await layer(60_000);
    const sync = open(500 * MB);
    sync.begin(keeper);
    await sync.end(keeper);
    assert.deepEqual(store.layers.unsynced(), [id]);
    now += 3_600_000;
    const late = open(500 * MB);
    late.begin(keeper);
    await late.end(keeper);
    assert.deepEqual(store.layers.unsynced(), []);
  });
});
