// Builds, prunes and checks on a disk with less and less space: no process dies, failures leave nothing
// behind, and deleting works. With space again the next build is correct.
//
// As a script, as root: node dist/test/build/full-disk-rounds.js ROUNDS [tmpfs|ext4]

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomInt } from "node:crypto";
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Outcome } from "../support/cli.ts";
import { type Account, self } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

export const DISKS = ["tmpfs", "ext4"] as const;
export type DiskKind = (typeof DISKS)[number];
const SIZE_MB = 40;

/** A small file system of its own for the store of a workshop. */
export interface Disk extends Disposable {
  readonly path: string;
  readonly store: string;
  /** Takes all space but so many bytes. */
  fill(leave: number): void;
  /** Gives back what fill() took. */
  empty(): void;
}

export function openDisk(shop: Workshop, kind: DiskKind, sizeMb: number = SIZE_MB): Disk {
  const path = shop.at("disk");
  mkdirSync(path);
  if (kind === "tmpfs") execFileSync("mount", ["-t", "tmpfs", "-o", `size=${sizeMb}m`, "none", path]);
  else {
    const image = shop.at("disk.image");
    writeFileSync(image, "");
    truncateSync(image, sizeMb * 2 ** 20);
    // No blocks kept for root, who fills it.
    execFileSync("mkfs.ext4", ["-q", "-m", "0", image]);
    execFileSync("mount", ["-o", "loop", image, path]);
  }
  chownSync(path, shop.account.uid, shop.account.gid);
  const ballast = join(path, "ballast");
  return {
    path,
    store: join(path, "store"),
    fill(leave) {
      const { bavail, bsize } = statfsSync(path);
      const chunk = Buffer.alloc(2 ** 16);
      writeFileSync(ballast, "");
      for (let left = bavail * bsize - leave; left > 0; left -= chunk.length) {
        try {
          writeFileSync(ballast, chunk.subarray(0, Math.min(chunk.length, left)), { flag: "a" });
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
          break; // tables of the file system took the rest
        }
      }
    },
    empty: () => rmSync(ballast, { force: true }),
    [Symbol.dispose]: () => void execFileSync("umount", [path]),
  };
}

export interface FullDiskOutcome {
  readonly commands: number;
  /** Commands that were refused for want of space. */
  readonly refused: number;
}

/** Throws for the first thing that is wrong. Needs loop devices and mkfs.ext4, as root. */
export async function fullDiskRounds(
  account: Account,
  kind: DiskKind,
  rounds: number,
): Promise<FullDiskOutcome> {
  using shop = await openWorkshop(account);
  using disk = openDisk(shop, kind);
  const counts = { commands: 0, refused: 0 };

  async function run(where: string, ...args: string[]): Promise<Outcome> {
    const outcome = await shop.run(args, { root: disk.store, env: { HOME: shop.dir } });
    const { code, signal, stdout, stderr } = outcome;
    counts.commands += 1;
    const all = `${where}: tsbuild ${args.join(" ")}\n${stdout}${stderr}`;
    assert.equal(signal, null, all);
    assert.ok(code === 0 || code === 1, `exit code ${code}: ${all}`);
    assert.doesNotMatch(stderr, /^\s+at .*\.[cm]?[jt]s:\d+/m, all); // errors are words, not stacks
    if (code === 1) {
      counts.refused += 1;
      assert.match(stderr, /no space left on \S*disk|No space left on device/, all);
    }
    return outcome;
  }

  // Some steps do not mind that the disk is full, or free a little again before they end.
  const context = (round: number | string, mb: number): string =>
    shop.context("app", {
      Dockerfile: `
FROM base
COPY words /words
RUN : ${round}; dd if=/dev/zero of=/one bs=64k count=${mb * 16} ${one(["", "; :", "; echo less > /one", "; rm /words /one"])}
RUN : ${round}; i=0; while [ $i -lt 50 ]; do echo $i > /f$i; i=$((i+1)); done; dd if=/dev/zero of=/two bs=64k count=${mb * 8}; ${one(["", "rm /f*", "rm /two /f1"])}
`,
      words: `${round} `.repeat(20_000),
    });

  for (let round = 0; round < rounds; round += 1) {
    const leave = Math.floor(2 ** (6 + Math.random() * 18)); // 64 bytes to 16 MB
    const where = `round ${round} on ${kind}, ${leave} bytes left`;
    if (round % 3 === 0 && existsSync(disk.store)) rmSync(disk.store, { recursive: true });
    if (round % 2 === 0) await run(where, "build", "-q", "-t", "before", context(`${round} before`, 1));
    // A store that is begun on a full disk has nothing to be tidied up, and nothing put by for that.
    const isWhole = existsSync(join(disk.store, "spare", "15"));
    disk.fill(leave);
    for (let turn = 0; turn < 3; turn += 1) {
      const more = context(`${round}.${turn}`, randomInt(1, 12));
      const output = one([[], ["-t", `app${turn}`], ["-o", `type=oci,dest=${join(disk.path, "out.tar")}`]]);
      const built = await run(where, "build", "--progress=plain", ...output, more);
      if (built.code !== 0)
        assert.deepEqual(leftIn(disk.store), [], `${where}: left behind\n${built.stderr}`);
      if (turn === 1) await run(where, "fsck", ...(round % 2 === 0 ? ["--repair"] : []));
    }
    if (isWhole) {
      // What deletes needs no room.
      for (const name of ["before", "app0", "app1", "app2"]) await mustWork(where, "rmi", "-f", name);
      await mustWork(where, "prune", "-a", "-f");
      await mustWork(where, "fsck");
      assert.deepEqual(readdirSync(join(disk.store, "layers")), [], where);
    }
    disk.empty();
    rmSync(join(disk.path, "out.tar"), { force: true });
    await mustWork(where, "build", "-q", "-t", "app", context(`${round} after`, 4));
    const { stdout } = await mustWork(where, "fsck");
    assert.match(stdout, /: no problems found$/m, where);
    await mustWork(where, "rmi", "app");
    await mustWork(where, "prune", "-a", "-f");
  }
  return counts;

  async function mustWork(where: string, ...args: string[]): Promise<Outcome> {
    const outcome = await run(where, ...args);
    assert.equal(outcome.code, 0, `${where}: tsbuild ${args.join(" ")}\n${outcome.stdout}${outcome.stderr}`);
    return outcome;
  }
}

function one<T>(list: readonly T[]): T {
  return list[randomInt(list.length)] as T;
}

/** Unfinished work of processes that are over. */
function leftIn(store: string): string[] {
  return ["active", "ingest", "tmp"].flatMap((dir) =>
    existsSync(join(store, dir))
      ? readdirSync(join(store, dir))
          .filter((name) => name !== "quarantine")
          .map((name) => join(dir, name))
      : [],
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const rounds = Number(process.argv[2] ?? 20);
  const kinds = process.argv[3] === undefined ? DISKS : [process.argv[3] as DiskKind];
  for (const kind of kinds) {
    const { commands, refused } = await fullDiskRounds(self(), kind, rounds);
    process.stdout.write(
      `${kind}: ${rounds} rounds of ${commands} commands, ${refused} refused for want of space, none ended by a signal\n`,
    );
  }
}
