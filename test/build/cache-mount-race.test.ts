// Cache mounts are exported while other processes change them: cache-mount-rounds.ts has the longer race.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { accounts } from "../support/unprivileged.ts";
import { placeSentinel, refuseSentinel, swappedRounds } from "./cache-mount-rounds.ts";
import { openWorkshop } from "./fixture.ts";

describe("a cache mount that is exported while it changes", () => {
  it("gives no byte of what its names are swapped for links to, and does not wait at a FIFO", async function () {
    this.timeout(120_000);
    const { rounds, swaps } = await swappedRounds(3);
    assert.ok(rounds > 0 && swaps > 1000, `${rounds} exports, ${swaps} swaps`);
  });

  for (const account of accounts()) {
    it(`gives no file of ${account.name}'s machine while a step swaps directories for links`, async function () {
      this.timeout(120_000);
      using shop = await openWorkshop(account);
      const outside = shop.context("outside", {});
      placeSentinel(outside);
      const context = shop.context("app", {
        Dockerfile: `
FROM base
RUN --mount=type=cache,id=m,target=/m mkdir -p /m/real/below && echo inside > /m/real/file && echo inside > /m/real/below/file; \\
    ln -sfn ${outside} /m/link; echo swapping; \\
    while :; do mv -T /m/real /m/x; mv -T /m/link /m/real; mv -T /m/x /m/link; done
`,
      });
      const build = shop.start(["build", "--progress=plain", "--no-cache", context]);
      try {
        await build.says(/\d swapping\n/);
        for (let round = 0; round < 4; round += 1) {
          const out = shop.at(`cache-${round}`);
          const { stdout } = await shop.ok(["cache-mounts", "export", `type=local,dest=${out}`]);
          assert.match(stdout, /^m: \d+ files/m);
          assert.ok(existsSync(`${out}/index.json`));
          refuseSentinel(out);
        }
      } finally {
        build.kill("SIGINT");
        await build.outcome;
      }
    });
  }

  it("is left as it is, with what the cache has of it, while a step has it alone", async function () {
    this.timeout(120_000);
    using shop = await openWorkshop();
    const step = (command: string): string =>
      shop.context("app", {
        Dockerfile: `FROM base\nRUN --mount=type=cache,id=m,target=/m,sharing=locked ${command}\n`,
      });
    const out = shop.at("cache");
    await shop.ok(["build", step("echo first > /m/file")]);
    await shop.ok(["cache-mounts", "export", `type=local,dest=${out}`]);
    const build = shop.start([
      "build",
      "--progress=plain",
      step("echo half > /m/file; echo has it; sleep 600"),
    ]);
    try {
      await build.says(/\d has it\n/);
      const { stdout } = await shop.ok(["cache-mounts", "export", `type=local,dest=${out}`]);
      assert.match(stdout, /^m: in use, skipped$/m);
      assert.match(
        (await shop.ok(["cache-mounts", "ls", "--format", "{{.Path}}"])).stdout,
        /^[^\n]*slot-0\/fs\n$/,
      );
    } finally {
      build.kill("SIGINT");
      await build.outcome;
    }
    await shop.ok(["cache-mounts", "clear", "--force"]);
    await shop.ok(["cache-mounts", "import", `type=local,src=${out}`]);
    const path = (await shop.ok(["cache-mounts", "ls", "--format", "{{.Path}}"])).stdout.trim();
    assert.equal(execFileSync("cat", [`${path}/file`], { encoding: "utf8" }), "first\n");
  });
});
