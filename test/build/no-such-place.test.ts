// Paths at which nothing can be created: mkdir(2) fails with ENOENT below existing directories in /proc. The error comes soon.

import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { openWorkshop, type Workshop } from "./fixture.ts";

describe("a place at which nothing can be made", () => {
  let shop: Workshop;
  let context: string;
  before(async () => {
    shop = await openWorkshop();
    context = shop.context("app", { Dockerfile: "FROM scratch\nCOPY file /file\n", file: "text" });
  });
  after(() => shop[Symbol.dispose]());

  const NOWHERE = "/proc/nope/out";
  const CASES: readonly (readonly [string, readonly string[], string?])[] = [
    ["-o DIR", ["-o", NOWHERE]],
    ["-o type=local", ["-o", `type=local,dest=${NOWHERE}`]],
    ["-o type=tar", ["-o", `type=tar,dest=${NOWHERE}`]],
    ["-o type=oci", ["-o", `type=oci,dest=${NOWHERE}`]],
    ["-o type=oci,tar=false", ["-o", `type=oci,tar=false,dest=${NOWHERE}`]],
    ["-o type=docker", ["-o", `type=docker,dest=${NOWHERE}`]],
    ["--cache-to type=local", ["--cache-to", `type=local,dest=${NOWHERE}`]],
    ["--metadata-file", ["--metadata-file", NOWHERE]],
    ["--iidfile", ["--iidfile", NOWHERE]],
    ["--root", ["--root", NOWHERE]],
    ["TSBUILD_ROOT", [], NOWHERE],
  ];
  for (const [name, args, root] of CASES)
    it(`ends with words: ${name}`, async () => {
      const started = shop.start(["build", "-t", "app", ...args, context], {
        env: { HOME: shop.dir, ...(root === undefined ? {} : { TSBUILD_ROOT: root }) },
      });
      const ended = await Promise.race([started.outcome, delay(15_000, null)]);
      if (ended === null) started.kill("SIGKILL");
      assert.ok(ended !== null, "it does not end");
      assert.equal(ended.code, 1, ended.stderr);
      assert.match(ended.stderr, /\/proc\/nope.*no such file or directory/, ended.stderr);
      assert.doesNotMatch(ended.stderr, /looks like a bug/);
    });
});
