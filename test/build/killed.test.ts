// A front that dies, or is told to stop, during a RUN.

import assert from "node:assert/strict";
import { accounts } from "../support/unprivileged.ts";
import { isRunning, residentsOf, staysRunning } from "../support/store.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";
import { killedRounds } from "./killed-rounds.ts";

/** The step's own output, not its name. */
const HALF_DONE = /^#\d+ [\d.]+ half done$/m;

for (const account of accounts()) {
  describe(`a build as ${account.name} that ends in the middle of a RUN`, () => {
    let shop: Workshop;
    before(async () => {
      shop = await openWorkshop(account);
    });
    after(() => shop[Symbol.dispose]());

    it("leaves no process and no mount when the front is killed, and the next build is right", async () => {
      const marker = sleepSeconds();
      const context = shop.context("killed", { Dockerfile: waiting(marker) });
      const build = shop.start(["build", "--progress=plain", "-t", "killed", context]);
      await build.says(HALF_DONE);
      assert.equal(isRunning(marker), true);
      build.kill("SIGKILL");
      assert.equal((await build.outcome).signal, "SIGKILL");
      assert.deepEqual(await residentsOf(shop.dir), []);
      assert.equal(await staysRunning(marker), false);

      shop.context("killed", { Dockerfile: waiting("0") });
      await shop.ok(["build", "-t", "killed", context]);
      const { stdout } = await shop.ok(["run", "--rm", "killed", "cat", "/file"]);
      assert.equal(stdout, "whole\n");
    });

    it("does not take the half-done step for a result when the same build is made again", async () => {
      // The step waits for its secret's word, so the same Dockerfile hangs first and ends the second time.
      const dockerfile = `
FROM base
RUN --mount=type=secret,id=word echo half > /file && echo half done && \\
    sleep $(cat /run/secrets/word) && echo whole > /file
`;
      const marker = sleepSeconds();
      const context = shop.context("again", { Dockerfile: dockerfile });
      const args = ["build", "--progress=plain", "--secret", "id=word,env=WORD", "-t", "again", context];
      const build = shop.start(args, { env: { WORD: marker } });
      await build.says(HALF_DONE);
      build.kill("SIGKILL");
      await build.outcome;
      assert.deepEqual(await residentsOf(shop.dir), []);
      const { stderr } = await shop.ok(args, { env: { WORD: "0" } });
      assert.doesNotMatch(stderr, /^#\d+ CACHED$/m);
      assert.equal((await shop.ok(["run", "again", "cat", "/file"])).stdout, "whole\n");
    });

    for (const [signal, code] of [
      ["SIGINT", 130],
      ["SIGTERM", 143],
    ] as const) {
      it(`cleans up and exits with ${code} on ${signal}`, async () => {
        const marker = sleepSeconds();
        const context = shop.context(signal, { Dockerfile: waiting(marker) });
        const build = shop.start(["build", "--progress=plain", context]);
        await build.says(HALF_DONE);
        build.kill(signal);
        const outcome = await build.outcome;
        assert.equal(outcome.code, code);
        assert.doesNotMatch(outcome.stderr, /^ERROR/m); // cancelling is not failing
        assert.equal(await staysRunning(marker), false);
        assert.deepEqual(await residentsOf(shop.dir), []);
      });
    }

    it("leaves nothing when front, keeper, launcher, step or network helper is killed at a random moment", async function () {
      this.timeout(120_000);
      await killedRounds(account, 3); // the script of that name makes any number
    });

    it("exits at once on a second Ctrl-C, with nothing left running", async () => {
      const marker = sleepSeconds();
      // trap: the step does not end when asked to
      const dockerfile = `FROM base\nRUN trap '' TERM; echo half done; while :; do sleep ${marker}; done\n`;
      const build = shop.start([
        "build",
        "--progress=plain",
        shop.context("stubborn", { Dockerfile: dockerfile }),
      ]);
      await build.says(HALF_DONE);
      build.kill("SIGINT");
      build.kill("SIGINT");
      assert.equal((await build.outcome).code, 130);
      assert.deepEqual(await residentsOf(shop.dir), []);
      assert.equal(await staysRunning(marker), false);
    });
  });
}

function waiting(seconds: string): string {
  return `FROM base\nRUN echo half > /file && echo half done && sleep ${seconds} && echo whole > /file\n`;
}

/** A long sleep that no other process on this machine sleeps. */
function sleepSeconds(): string {
  return `9${process.pid}${Math.floor(Math.random() * 1e6)}`;
}
