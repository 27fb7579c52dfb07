import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { directoryOf } from "../../../bin/engine/context-archive.ts";

describe("a directory of a context that came in an archive", () => {
  it("is one of the archive: no link and no .. leads to it", () => {
    const root = mkdtempSync(join(tmpdir(), "tsbuild-context-"));
    try {
      mkdirSync(join(root, "a", "b"), { recursive: true });
      writeFileSync(join(root, "file"), "");
      symlinkSync("/etc", join(root, "out"));
      symlinkSync("a", join(root, "in"));
      assert.equal(directoryOf(root, ""), root);
      assert.equal(directoryOf(root, "./a//b/"), join(root, "a/b"));
      assert.equal(directoryOf(root, "../../a"), join(root, "a"));
      for (const path of ["none", "file", "out", "in/b", "a/../out", "../etc"]) {
        const words = /^there is no directory .* in the build context$/;
        assert.throws(() => directoryOf(root, path), { code: "CONTEXT_MISSING", message: words }, path);
      }
    } finally {
      rmSync(root, { recursive: true });
    }
  });
});
