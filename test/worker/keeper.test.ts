// The keeper's lifetime: nothing grows with the number of steps, and nothing is left when a process of the chain is killed.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { startKeeper } from "../../worker/keeper/keeper.ts";
import { findIdMaps } from "../../worker/keeper/userns.ts";
import { syscallsPage } from "../docs/syscalls.ts";
import { removeTree } from "../support/store.ts";
import { openSandboxUnderTest } from "./sandbox-fixture.ts";

const FRONT = "TSBUILD_TEST_FRONT";
if (process.env[FRONT] !== undefined) await front();
else suite();

/** A front whose steps never end; tells that they run. */
async function front(): Promise<void> {
  const box = await openSandboxUnderTest();
  for (let index = 0; index < 2; index++) {
    box
      .sh(`sleep 98${process.env[FRONT]} & echo running; wait`, {
        onOutput: () => process.stdout.write("running\n"),
      })
      .catch(() => {});
  }
  process.stdout.write(`store ${box.store}\n`);
}

function suite(): void {
  describe("The keeper", () => {
    it("does not grow over 500 steps", async function () {
      this.timeout(120_000);
      const box = await openSandboxUnderTest();
      try {
        const pid = keeperPid(box.store);
        const steps = async (count: number): Promise<void> => {
          for (let index = 0; index < count; index++) assert.equal((await box.run(["true"])).code, 0);
        };
        await steps(100); // warm
        const before = sizes(pid);
        await steps(500);
        const grown = sizes(pid);
        // Fewer are possible: what the last of the first hundred had open closes when it closes.
        for (const what of ["descriptors", "mounts", "children"] as const)
          assert.ok(grown[what] <= before[what], `${what}: ${before[what]} to ${grown[what]}`);
        assert.ok(
          grown.residentKiB < before.residentKiB + 30_000,
          `${before.residentKiB} to ${grown.residentKiB} KiB`,
        );
      } finally {
        await box[Symbol.asyncDispose]();
      }
    });

    it("ends when it is closed at any moment of its start", async function () {
      this.timeout(120_000);
      const account = userInfo();
      const maps = findIdMaps(
        { uid: account.uid, gid: account.gid, name: account.username },
        process.env["PATH"] ?? "",
      );
      const storeDir = mkdtempSync(join(tmpdir(), "tsbuild-keeper-"));
      try {
        // Its first process is some milliseconds at work; one kept busy meanwhile makes all moments likely.
        const busy = spawn("sh", ["-c", "while :; do :; done & while :; do :; done & wait"], {
          detached: true,
        });
        try {
          for (let round = 0; round < 150; round++) {
            const keeper = startKeeper({ storeDir, maps, path: process.env["PATH"] ?? "", env: {} });
            await delay(randomInt(9));
            await keeper[Symbol.asyncDispose]();
          }
        } finally {
          process.kill(-(busy.pid ?? 0), "SIGKILL");
        }
      } finally {
        rmSync(storeDir, { recursive: true });
      }
    });

    it("does not keep a descriptor of a step that failed to start", async () => {
      const box = await openSandboxUnderTest();
      try {
        const pid = keeperPid(box.store);
        const fail = async (): Promise<void> => {
          await assert.rejects(box.run(["nope"]));
          await assert.rejects(box.run(["true"], { user: "nobody-here" }));
          await assert.rejects(box.run(["true"], { rlimits: [{ name: "nope", soft: 1, hard: 1 }] }));
          await assert.rejects(box.run(["a\0b"]));
          await assert.rejects(box.run(["true"], { cwd: "/etc/passwd" }));
          await assert.rejects(box.run(["true"], { tty: { rows: 1, columns: 1 }, cwd: "/etc/passwd" }));
        };
        await fail();
        // Its first thread has begun: that opens files for a moment.
        await box.keeper.run(
          { kind: "read", dirs: [box.base], path: "/etc/passwd", maxBytes: 1000 },
          { signal: new AbortController().signal },
        );
        const before = sizes(pid).descriptors;
        for (let index = 0; index < 5; index++) await fail();
        assert.equal(sizes(pid).descriptors, before);
      } finally {
        await box[Symbol.asyncDispose]();
      }
    });

    it("leaves no process when front, keeper or launcher are killed at a random moment", async function () {
      this.timeout(300_000);
      for (let round = 0; round < 50; round++) {
        const mark = `${process.pid}${round}`;
        const child = spawn(process.execPath, [fileURLToPath(import.meta.url)], {
          env: { ...process.env, [FRONT]: mark },
          stdio: ["ignore", "pipe", "inherit"],
        });
        let store = "";
        let running = 0;
        const started = new Promise<void>((resolve) => {
          createInterface({ input: child.stdout }).on("line", (line) => {
            if (line.startsWith("store ")) store = line.slice(6);
            else running += 1;
            if (store !== "" && running >= (round % 5 === 0 ? 2 : 0)) resolve();
          });
        });
        await started;
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 60)); // the random moment
        const kinds = [
          () => [child.pid as number],
          () => [keeperPid(store)],
          () => launchers(store),
        ] as const;
        for (const pid of kinds[round % kinds.length]?.() ?? []) killQuietly(pid);
        // A front whose keeper is gone has nothing that holds it; whose step's launcher is gone, has its other step.
        killQuietly(child.pid as number);
        if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
        await until(
          () => processesOf(store, mark).length === 0,
          () => `round ${round}: ${processesOf(store, mark).join(", ")}`,
        );
        removeTree(store);
      }
    });
  });

  describe("The page of system calls", () => {
    it("is the table's", () => {
      const page = findUp("docs/syscalls.md");
      assert.equal(page, syscallsPage(), "node dist/test/docs/syscalls.js writes it");
    });
  });
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

function pids(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1");
  } catch {
    return ""; // gone meanwhile
  }
}

/** Node with the store in its settings. */
function keeperPid(store: string): number {
  const pid = pids().find((candidate) => commandLine(candidate).includes(`"storeDir":"${store}"`));
  assert.ok(pid !== undefined, "no keeper");
  return pid;
}

function parentOf(pid: number): number {
  try {
    return Number(/^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1]);
  } catch {
    return 0;
  }
}

function launchers(store: string): number[] {
  const keeper = keeperPid(store);
  return pids().filter((pid) => parentOf(pid) === keeper);
}

/** What belongs to this front: its keeper, and the sleeps of its steps. */
function processesOf(store: string, mark: string): string[] {
  return pids()
    .map(commandLine)
    .filter((line) => line.includes(`"storeDir":"${store}"`) || line === `sleep\0${98}${mark}\0`);
}

async function until(holds: () => boolean, why: () => string): Promise<void> {
  for (let tries = 0; tries < 3000; tries++) {
    if (holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.fail(why());
}

function sizes(pid: number): { descriptors: number; mounts: number; children: number; residentKiB: number } {
  const descriptors = readdirSync(`/proc/${pid}/fd`).filter((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`) !== "";
    } catch {
      return false;
    }
  });
  return {
    descriptors: descriptors.length,
    mounts: readFileSync(`/proc/${pid}/mountinfo`, "latin1").split("\n").length,
    children: pids().filter((candidate) => parentOf(candidate) === pid).length,
    residentKiB: Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1]),
  };
}

function findUp(path: string): string {
  for (let dir = new URL("./", import.meta.url); dir.pathname !== "/"; dir = new URL("../", dir)) {
    try {
      return readFileSync(new URL(path, dir), "utf8");
    } catch {
      // further up
    }
  }
  return assert.fail(`${path} is missing`);
}
