// What a front may expect of its keeper, whatever its steps run in: each has its own outcome, nothing grows while steps come and
// go, and nothing is left when a process of the chain is killed.

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { createInterface } from "node:readline";
import { removeTree } from "../support/store.ts";
import type { ExecControl } from "../../worker/keeper/contract.ts";
import type { SandboxUnderTest } from "../worker/sandbox-fixture.ts";

export interface KeeperSuite {
  readonly open: () => Promise<SandboxUnderTest>;
  /** Starts a process of its own in which runFront() opens the same. */
  readonly startFront: (mark: string) => ChildProcess;
  /** Steps after which nothing may have grown; a fifth of them come before. */
  readonly steps: number;
  /** Random moments at which one of the processes is killed. */
  readonly kills: number;
}

/** Registers the suite. */
export function keeperSuite(title: string, { open, startFront, steps: count, kills }: KeeperSuite): void {
  describe(title, () => {
    it("gives each of many steps and jobs at once its own outcome", async () => {
      await using box = await open();
      const steps = Array.from({ length: 12 }, (_, index) =>
        box.sh(`echo out ${index}; echo err ${index} >&2; exit ${index}`),
      );
      const jobs = ["/etc/passwd", "/etc/group", "/etc/none"].map((path) =>
        box.keeper.run({ kind: "read", dirs: [box.base], path, maxBytes: 1000 }, { signal: never() }),
      );
      for (const [index, step] of (await Promise.all(steps)).entries())
        assert.deepEqual([step.code, step.out, step.err], [index, `out ${index}\n`, `err ${index}\n`]);
      const [passwd, group, none] = await Promise.all(jobs);
      assert.match(Buffer.from(passwd ?? []).toString(), /^root:x:0:0:/);
      assert.match(Buffer.from(group ?? []).toString(), /^root:x:0:\n/);
      assert.equal(none, null);
    });

    it("ends a cancelled step with the reason, and no other", async () => {
      await using box = await open();
      const abort = new AbortController();
      const other = box.sh("echo begun; read line; echo $line", {
        stdin: true,
        onStart: (control) => started(control),
      });
      let started: (control: ExecControl) => void = () => {};
      const runs = new Promise<ExecControl>((resolve) => {
        started = resolve;
      });
      const reason = new Error("cancelled by the test");
      const step = box.sh("echo begun; sleep 1000 & sleep 1000", {
        signal: abort.signal,
        onOutput: () => abort.abort(reason),
      });
      await assert.rejects(step, (error) => error === reason);
      (await runs).stdin(Buffer.from("went on\n"));
      assert.equal((await other).out, "begun\nwent on\n");
      await assert.rejects(box.sh("true", { signal: abort.signal }), (error) => error === reason);
      assert.equal((await box.sh("echo $((40 + 2))")).out, "42\n");
    });

    it("takes nothing more when it is closed, and has no process left", async () => {
      const box = await open();
      await box.sh("true");
      const pid = keeperPid(box.store);
      assert.equal(box.keeper.hasEnded, false);
      await box[Symbol.asyncDispose]();
      assert.equal(box.keeper.hasEnded, true);
      const read = { kind: "read", dirs: [box.base], path: "/etc/passwd", maxBytes: 1000 } as const;
      await assert.rejects(box.keeper.run(read, { signal: never() }), /the keeper is closed/);
      assert.ok(hasEnded(pid), `process ${pid} runs`);
    });

    it(`does not grow over ${count} steps`, async function () {
      this.timeout(1_200_000);
      await using box = await open();
      const pid = keeperPid(box.store);
      const steps = async (times: number): Promise<void> => {
        for (let index = 0; index < times; index++) assert.equal((await box.run(["true"])).code, 0);
      };
      // The first thread, which a slow step would start some time.
      const read = { kind: "read", dirs: [box.base], path: "/etc/passwd", maxBytes: 1000 } as const;
      await box.keeper.run(read, { signal: never() });
      await steps(count / 5); // warm
      const before = sizes(pid);
      await steps(count);
      const grown = sizes(pid);
      // Fewer are possible: what the last of the first steps had open closes when it closes.
      for (const what of ["descriptors", "mounts", "children"] as const)
        assert.ok(grown[what] <= before[what], `${what}: ${before[what]} to ${grown[what]}`);
      assert.ok(
        grown.residentKiB < before.residentKiB + 30_000,
        `${before.residentKiB} to ${grown.residentKiB} KiB`,
      );
    });

    it("does not keep a descriptor of a step that failed to start", async () => {
      await using box = await open();
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
        { signal: never() },
      );
      const before = sizes(pid).descriptors;
      for (let index = 0; index < 5; index++) await fail();
      assert.equal(sizes(pid).descriptors, before);
    });

    it("leaves no process when front, keeper or launcher are killed at a random moment", async function () {
      this.timeout(1_800_000);
      for (let round = 0; round < kills; round++) {
        const mark = `${process.pid}${round}`;
        const child = startFront(mark);
        let store = "";
        let running = 0;
        const started = new Promise<void>((resolve) => {
          createInterface({ input: child.stdout as NodeJS.ReadableStream }).on("line", (line) => {
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
          () => childrenOf(keeperPid(store)),
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
}

/** A front whose steps never end; tells that they run. */
export async function runFront(mark: string, open: () => Promise<SandboxUnderTest>): Promise<void> {
  const box = await open();
  for (let index = 0; index < 2; index++) {
    box
      .sh(`sleep 98${mark} & echo running; wait`, { onOutput: () => process.stdout.write("running\n") })
      .catch(() => {});
  }
  process.stdout.write(`store ${box.store}\n`);
}

/** Starts a test file as a front, told by its environment. */
export function frontOf(file: string, env: Readonly<Record<string, string>>): ChildProcess {
  return spawn(process.execPath, [file], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
}

const never = (): AbortSignal => new AbortController().signal;

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

/** A dead process may wait for the machine's first process to take note of it. */
function hasEnded(pid: number): boolean {
  try {
    return /^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, "latin1"));
  } catch {
    return true;
  }
}

/** Node with the store in its settings. */
function keeperPid(store: string): number {
  const pid = pids().find((candidate) => commandLine(candidate).includes(`"storeDir":"${store}"`));
  assert.ok(pid !== undefined, "no keeper");
  return pid;
}

export function childrenOf(parent: number): number[] {
  return pids().filter((pid) => parentOf(pid) === parent);
}

function parentOf(pid: number): number {
  try {
    return Number(/^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1]);
  } catch {
    return 0;
  }
}

/** What belongs to this front: its keeper, and the sleeps of its steps. */
export function processesOf(store: string, mark: string): string[] {
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
    children: childrenOf(pid).length,
    residentKiB: Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1]),
  };
}
