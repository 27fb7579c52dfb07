// Dockerfile reference, ".dockerignore file".
import assert from "node:assert/strict";
import { readIgnore } from "../../frontend/dockerignore.js";
describe(".dockerignore", () => {
    it("gives cleaned patterns with their lines", () => {
        const text = "\uFEFF# note\r\n\r\n  /a//b/./c/  \r\n #no comment\n! /keep/../x\n!\n/\n..\nlast";
        const { patterns, lines } = readIgnore(Buffer.from(text));
        assert.deepEqual(patterns, ["a/b/c", "#no comment", "!x", "!", "/", "..", "last"]);
        assert.deepEqual(lines, [3, 4, 5, 6, 7, 8, 9]);
    });
    it("may be empty", () => {
        assert.deepEqual(readIgnore(new Uint8Array()), { patterns: [], lines: [] });
    });
});
//# sourceMappingURL=dockerignore.test.js.map