// Why a step failed, determined from real messages of its programs.

import assert from "node:assert/strict";
import { openBlame } from "../../worker/ops/blame.ts";

describe("A step that had as many processes as it may", () => {
  const ids = { kind: "root", uids: [], gids: [] } as const;
  const hintOf = (said: readonly string[], processes: number | null = 4096): string | null => {
    const blame = openBlame(ids, processes);
    for (const part of said) blame.read(Buffer.from(part));
    return blame.hint();
  };

  for (const words of [
    "/bin/sh: can't fork: Resource temporarily unavailable",
    "bash: fork: retry: Resource temporarily unavailable",
    "sh: 0: Cannot fork",
    "make: fork: Resource temporarily unavailable",
    "RuntimeError: can't start new thread",
    "java.lang.OutOfMemoryError: unable to create native thread: possibly out of memory or process limits reached",
    "runtime: failed to create new OS thread (have 5 already; errno=11)",
    "Error: spawn /bin/true EAGAIN",
  ]) {
    it(`is told how many that are, and how to have more: ${words.slice(0, 40)}`, () => {
      const hint =
        "a step may have 4096 processes and threads; --pids-limit=N allows more, --pids-limit=-1 any number";
      assert.equal(hintOf([`${words}\n`]), hint);
      // In pieces, behind much else.
      assert.equal(hintOf(["x".repeat(100_000), words.slice(0, 20), words.slice(20)]), hint);
      assert.equal(hintOf([words], null), null);
    });
  }
  it("is not one that failed for another reason", () => {
    for (const words of [
      "curl: (7) Failed to connect: Connection refused",
      "read: Resource temporarily unavailable",
      "fork\nread: Resource temporarily unavailable",
    ]) {
      assert.equal(hintOf([words]), null, words);
    }
  });
});
