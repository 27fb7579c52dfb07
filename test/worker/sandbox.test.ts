// The sandbox suite on the built-in sandbox and in the OCI runtimes: as the user of this run, and when that is root also as a
// user with and (the built-in one) as a user without subordinate ids.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { sandboxSuite } from "../suites/sandbox.ts";
import { needs } from "../support/needs.ts";
import { openSandboxUnderTest } from "./sandbox-fixture.ts";

/** Set in the runs as other users: which implementations they are for. */
const AS_OTHER = "TSBUILD_TEST_AS_OTHER_USER";
const ENOSYS = 38;
const RUNTIMES = ["crun", "runc"] as const;

const who = process.getuid?.() === 0 ? "root" : "a user";
sandboxSuite(`The built-in sandbox (${who})`, () => openSandboxUnderTest());
if (process.env[AS_OTHER] !== "built-in") {
  for (const runtime of RUNTIMES) {
    const open = () => openSandboxUnderTest({ ociRuntime: needs(runtime) });
    sandboxSuite(`Steps in ${runtime} (${who})`, open, { refusedByArgument: ENOSYS });
  }
}

if (process.getuid?.() === 0 && process.env[AS_OTHER] === undefined) {
  describe("The sandboxes for other users", function () {
    this.timeout(600_000);
    it("pass the suite for a user with subordinate ids", () => {
      const owners = new Set(
        readFileSync("/etc/subuid", "utf8")
          .split("\n")
          .map((line) => line.split(":")[0]),
      );
      const account = accounts().find(({ name, uid }) => uid !== 0 && owners.has(name));
      assert.ok(account !== undefined, "this test needs a user with subordinate ids: useradd builder");
      runAs(account, "all");
    });
    it("pass the suite for a user without (the built-in one)", () => {
      const owners = readFileSync("/etc/subuid", "utf8");
      const account = accounts().find(
        ({ name, uid }) => uid !== 0 && uid < 65536 && !owners.includes(`${name}:`),
      );
      assert.ok(account !== undefined);
      runAs(account, "built-in");
    });
  });
}

function accounts(): { name: string; uid: number; gid: number }[] {
  return readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const [name = "", , uid, gid] = line.split(":");
      return { name, uid: Number(uid), gid: Number(gid) };
    });
}

/** Runs this file again, as somebody else. */
function runAs(account: { uid: number; gid: number }, sandboxes: "all" | "built-in"): void {
  const mocha = fileURLToPath(import.meta.resolve("mocha/bin/mocha.js"));
  const result = spawnSync(
    process.execPath,
    [mocha, "--no-config", "--reporter", "dot", "--timeout", "60000", fileURLToPath(import.meta.url)],
    {
      uid: account.uid,
      gid: account.gid,
      cwd: "/",
      env: { PATH: process.env["PATH"], [AS_OTHER]: sandboxes },
      encoding: "utf8",
    },
  );
  assert.equal(result.status, 0, `${result.stdout}${result.stderr}`);
}
