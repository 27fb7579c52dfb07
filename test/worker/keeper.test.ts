// The keeper's lifetime: the suite with the built-in sandbox and with OCI runtimes, and its start.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { startKeeper } from "../../worker/keeper/keeper.ts";
import { findIdMaps } from "../../worker/keeper/userns.ts";
import { syscallsPage } from "../docs/syscalls.ts";
import { childrenOf, frontOf, keeperSuite, processesOf, runFront } from "../suites/keeper.ts";
import { needs } from "../support/needs.ts";
import { openSandboxUnderTest, type SandboxUnderTest } from "./sandbox-fixture.ts";

/** Set in fronts: their mark, and the OCI runtime of their steps; "": the built-in sandbox. */
const FRONT = "TSBUILD_TEST_FRONT";
const RUNTIME = "TSBUILD_TEST_FRONT_RUNTIME";
/** TSBUILD_KEEPER=long: for a hunt. */
const LONGER = process.env["TSBUILD_KEEPER"] === "long" ? 20 : 1;

const open = (runtime: string): Promise<SandboxUnderTest> =>
  openSandboxUnderTest(runtime === "" ? {} : { ociRuntime: needs(runtime) });

const mark = process.env[FRONT];
if (mark !== undefined) await runFront(mark, () => open(process.env[RUNTIME] ?? ""));
else suite();

function suite(): void {
  for (const [title, runtime, steps, kills] of [
    ["The keeper", "", 200, 15],
    // A container takes a tenth of a second and more.
    ["The keeper with crun", "crun", 25, 6],
    ["The keeper with runc", "runc", 25, 6],
  ] as const) {
    keeperSuite(title, {
      open: () => open(runtime),
      startFront: (id) => frontOf(fileURLToPath(import.meta.url), { [FRONT]: id, [RUNTIME]: runtime }),
      steps: steps * LONGER,
      kills: kills * LONGER,
    });
  }

  describe("The keeper's start", () => {
    it("ends when it is closed at any moment of it", async function () {
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
          const others = childrenOf(process.pid);
          for (let round = 0; round < 60; round++) {
            const keeper = startKeeper({ storeDir, maps, path: process.env["PATH"] ?? "", env: {} });
            await delay(randomInt(9));
            await keeper[Symbol.asyncDispose]();
            assert.deepEqual(processesOf(storeDir, ""), [], `round ${round}`);
            // newuidmap(1), which had begun, ends by itself.
            for (let tries = 0; tries < 1000 && childrenOf(process.pid).length > others.length; tries++)
              await delay(10);
            assert.deepEqual(childrenOf(process.pid), others, `round ${round}`);
          }
        } finally {
          process.kill(-(busy.pid ?? 0), "SIGKILL");
        }
      } finally {
        rmSync(storeDir, { recursive: true });
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
