// A store on a file system that is full: a clear error, and a store that works as soon as there is room.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { needs } from "../support/needs.ts";
import { describeAsRoot } from "../support/privileges.ts";
import type { Outcome } from "../support/cli.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

const SIZE_MB = 24;

// Mounting is root's.
describeAsRoot("a store on a full disk", () => {
  let shop: Workshop;
  let disk: string;
  let ballast: string;
  before(async () => {
    needs("mount");
    shop = await openWorkshop();
    disk = shop.at("disk");
    mkdirSync(disk);
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${SIZE_MB}m`, "none", disk]);
    ballast = join(disk, "ballast");
  });
  after(() => {
    if (shop === undefined) return;
    execFileSync("umount", [disk]);
    shop[Symbol.dispose]();
  });

  const run = (...args: string[]): Promise<Outcome> => shop.run(args, { root: join(disk, "store") });

  /** Takes all space but so many bytes. */
  function fill(leave: number): void {
    const { bavail, bsize } = statfsSync(disk);
    writeFileSync(ballast, Buffer.alloc(Math.max(0, bavail * bsize - leave)));
  }

  /** Full, then not: fails with words, is sound, and works. */
  async function fails(
    leave: number,
    dockerfile: string,
    files: Record<string, string>,
    words: RegExp,
  ): Promise<void> {
    const context = shop.context("app", { Dockerfile: dockerfile, ...files });
    fill(leave);
    const failed = await run("build", "--progress=plain", "-t", "app", context);
    assert.equal(failed.code, 1, failed.stderr);
    assert.match(failed.stderr, words);
    assert.doesNotMatch(failed.stderr, /^\s+at .*\.js/m, "no stack of ours");
    rmSync(ballast);
    const { code, stdout, stderr } = await run("fsck");
    assert.equal(code, 0, stdout + stderr);
    const done = await run("build", "-t", "app", context);
    assert.equal(done.code, 0, done.stderr);
    assert.match((await run("fsck")).stdout, /all is well/);
  }

  const FULL = /no space left (?:on the disk of the store|for the build|on device[^]*hint: .*prune)/;

  it("while a base image is unpacked", () => fails(1_500_000, "FROM base\nRUN echo one > /one\n", {}, FULL));

  it("while files are copied", () =>
    fails(1_000_000, "FROM base\nCOPY big /big\n", { big: "0123456789abcde\n".repeat(200_000) }, FULL));

  it("while a command runs: its own words, and ours", () =>
    fails(
      1_000_000,
      "FROM base\nRUN dd if=/dev/zero of=/zeros bs=1M count=3\n",
      {},
      /No space left on device/,
    ));

  it("with no byte left at all", () => fails(0, "FROM base\nRUN echo none > /none\n", {}, FULL));
});
