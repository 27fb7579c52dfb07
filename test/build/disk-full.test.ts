// A store on a full file system: a clear error, no leftovers of the failure, and a store that works as soon as there is space.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { needs } from "../support/needs.ts";
import { describeAsRoot, itAsMachineRoot } from "../support/privileges.ts";
import { accounts } from "../support/unprivileged.ts";
import type { Outcome } from "../support/cli.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";
import { DISKS, fullDiskRounds } from "./full-disk-rounds.ts";

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
    assert.match((await run("fsck")).stdout, /no problems found/);
  }

  const FULL = /no space left on \S+\/disk \(the disk of the store\)[^]*^hint: .*prune/m;

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

  it("while a command runs that does not mind: what it leaves is not taken for whole", async () => {
    const dockerfile = "FROM base\nRUN dd if=/dev/zero of=/zeros bs=64k count=1000; echo done\n";
    const context = shop.context("app", { Dockerfile: dockerfile });
    const failed = await run("build", "--progress=plain", context);
    assert.equal(failed.code, 1, failed.stderr);
    assert.match(
      failed.stderr,
      /no space left on \S+\/disk \(the disk of the store\) when process "[^]*" ended: what it wrote may be truncated/,
    );
    assert.match(failed.stderr, />>> RUN dd/, "the line");
    // Given back at once, before anybody tidies up.
    const { bavail, bsize } = statfsSync(disk);
    assert.ok(bavail * bsize > 8 * 2 ** 20, `${bavail * bsize} bytes free`);
    shop.context("app", { Dockerfile: "FROM base\nRUN echo small\n" });
    const done = await run("build", "-t", "app", context);
    assert.equal(done.code, 0, done.stderr);
    assert.match((await run("fsck")).stdout, /no problems found/);
  });

  it("when it is tidied up: deleting needs no space", async () => {
    const context = shop.context("app", { Dockerfile: "FROM base\nRUN echo tidy > /tidy\n" });
    const built = await run("build", "-t", "app", context);
    assert.equal(built.code, 0, built.stderr);
    fill(0);
    for (const args of [["images"], ["du"], ["rmi", "app"], ["fsck", "--repair"], ["prune", "-a", "-f"]]) {
      const { code, stdout, stderr } = await run(...args);
      assert.equal(code, 0, `${args.join(" ")}: ${stdout}${stderr}`);
    }
    const { bavail, bsize } = statfsSync(disk);
    assert.ok(bavail * bsize > 2 ** 20, `${bavail * bsize} bytes free`);
    rmSync(ballast);
  });

  it("when it is tidied up without an inode left", async () => {
    const place = shop.at("few");
    mkdirSync(place);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=24m,nr_inodes=400", "none", place]);
    try {
      const own = { root: join(place, "store") };
      const context = shop.context("app", { Dockerfile: "FROM base\nRUN echo few > /few\n" });
      await shop.ok(["build", "-t", "app", context], own);
      for (let n = statfsSync(place).ffree; n > 0; n--) writeFileSync(join(place, `x${n}`), "");
      const failed = await shop.run(["build", "--no-cache", context], own);
      assert.equal(failed.code, 1);
      assert.match(failed.stderr, /no inodes \(files\) left on \S+\/few \(the disk of the store\)/);
      for (const args of [["images"], ["rmi", "app"], ["prune", "-a", "-f"], ["fsck"]])
        await shop.ok(args, own);
      const { ffree } = statfsSync(place);
      assert.ok(ffree > 16, `${ffree} inodes free`);
      for (const name of readdirSync(place)) if (name.startsWith("x")) rmSync(join(place, name));
      await shop.ok(["build", "-t", "app", context], own);
    } finally {
      execFileSync("umount", [place]);
    }
  });

  it("with no byte left at all", () => fails(0, "FROM base\nRUN echo none > /none\n", {}, FULL));
});

describe("builds, prunes and checks on a disk with less and less room", () => {
  for (const account of accounts())
    for (const kind of DISKS)
      itAsMachineRoot(
        `end in words, and leave a store that works: ${kind}, as ${account.name}`,
        async function () {
          this.timeout(180_000);
          needs("mount");
          const { commands, refused } = await fullDiskRounds(account, kind, 2);
          assert.ok(commands > 20, `${commands} commands, ${refused} refused`);
        },
      );
});
