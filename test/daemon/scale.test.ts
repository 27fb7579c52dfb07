// Many clients, many builds, and daemons that are killed, in short; scale.ts does more of it, and all of it for all accounts.

import assert from "node:assert/strict";
import { ordinaryUser, self } from "../support/unprivileged.ts";
import { buildsAtOnce } from "./builds-at-once.ts";
import { killedDaemons } from "./killed-daemon.ts";
import { manyBuilds } from "./many-builds.ts";

describe("tsbuildd with many clients", function () {
  this.timeout(120_000);

  it("runs each step once that builds at one time share, and waits for no client that reads nothing or sends garbage", async () => {
    const { ran, asked } = await buildsAtOnce(self(), 10);
    assert.ok(ran < asked);
  });

  // Files of subordinate ids are the harder ones to get rid of.
  it("keeps nothing of builds and connections that have ended, however they did", async () => {
    const { ends } = await manyBuilds(ordinaryUser(), 30, { warmUp: 10 });
    assert.deepEqual(ends, {
      "done: done": 28,
      "failed: failed": 4,
      "cancelled: cancelled": 4,
      "gone: gone": 4,
    });
  });

  it("is killed under load, and the next one goes on with what was finished and nothing else", async () => {
    const { answered } = await killedDaemons(ordinaryUser(), 1);
    assert.ok(answered > 0);
  });
});
