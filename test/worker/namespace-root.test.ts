// For an ordinary user the keeper is root of a user namespace. Tests registered for root only (test/support/privileges.ts)
// run there too, from the ordinary user's run of the tests.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { needs } from "../support/needs.ts";
import { isRoot } from "../support/privileges.ts";
import { openSandboxUnderTest } from "./sandbox-fixture.ts";

const INSIDE = "TSBUILD_TEST_INSIDE_NAMESPACE";
const tests = dirname(dirname(fileURLToPath(import.meta.url)));

if (process.env[INSIDE] === undefined) outside();
else inside();

function outside(): void {
  describe("Root of a user namespace", function () {
    this.timeout(300_000);
    if (!isRoot) {
      it("passes what root passes", () => {
        needs("newuidmap");
        runInside(["--map-root-user", "--map-auto", "--mount"], filesForRoot());
      });
    }
    it("builds with its one id where it has no more", () => {
      runInside(["--map-root-user"], [fileURLToPath(import.meta.url)]);
    });
  });
}

function inside(): void {
  describe("Root with one id", () => {
    it("runs steps, and is told that it can be nobody else", async () => {
      const box = await openSandboxUnderTest();
      try {
        assert.equal(box.maps.kind, "single");
        assert.equal((await box.sh("id -u; echo x > /f")).out, "0\n");
        await assert.rejects(box.sh("true", { user: "app" }), { code: "SANDBOX_UNAVAILABLE" });
      } finally {
        await box[Symbol.asyncDispose]();
      }
    });
  });
}

/** Test files of these rooms that register something for root only. */
function filesForRoot(): string[] {
  return ["worker", "cache"]
    .flatMap((room) =>
      readdirSync(join(tests, room), { recursive: true, encoding: "utf8" }).map((name) =>
        join(tests, room, name),
      ),
    )
    .filter((file) => file.endsWith(".test.js") && file !== fileURLToPath(import.meta.url))
    .filter((file) => /(AsRoot|WithIds)\(/.test(readFileSync(file, "utf8")));
}

function runInside(namespaces: readonly string[], files: readonly string[]): void {
  assert.ok(files.length > 0);
  const mocha = fileURLToPath(import.meta.resolve("mocha/bin/mocha.js"));
  const args = ["--no-config", "--reporter", "dot", "--timeout", "60000", "--fail-zero", ...files];
  const result = spawnSync("unshare", ["--user", ...namespaces, process.execPath, mocha, ...args], {
    encoding: "utf8",
    env: { ...process.env, [INSIDE]: "1" },
  });
  assert.equal(result.status, 0, `${result.stdout}${result.stderr}`);
}
