// Dockerfile reference, ".dockerignore file".

import assert from "node:assert/strict";
import { IGNORE_MAX_PATTERNS, readIgnore } from "../../frontend/dockerignore.ts";

describe(".dockerignore", () => {
  it("gives cleaned patterns with their lines", () => {
    const text = "\uFEFF# note\r\n\r\n  /a//b/./c/  \r\n #no comment\n! /keep/../x\n!\n/\n..\nlast";
    const { patterns, lines } = readIgnore(Buffer.from(text));
    assert.deepEqual(patterns, ["a/b/c", "#no comment", "!x", "!", "/", "..", "last"]);
    assert.deepEqual(lines, [3, 4, 5, 6, 7, 8, 9]);
  });

  it("has a limit: each file is held against each pattern", () => {
    const lines = (count: number): Buffer => Buffer.from("a\n".repeat(count));
    assert.equal(readIgnore(lines(IGNORE_MAX_PATTERNS)).patterns.length, IGNORE_MAX_PATTERNS);
    assert.throws(() => readIgnore(lines(IGNORE_MAX_PATTERNS + 1)), { code: "LIMIT_EXCEEDED" });
  });

  it("may be empty", () => {
    assert.deepEqual(readIgnore(new Uint8Array()), { patterns: [], lines: [] });
  });
});
