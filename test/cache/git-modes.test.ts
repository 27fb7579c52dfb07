// --context-mode=git: a checkout under another umask has the same files.

import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { selectDigest } from "../../cache/path-hash.ts";
import { filterTree } from "../../cache/tree-filter.ts";
import { liveTree } from "../../cache/tree-live.ts";

describe("modes as git keeps them", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "tsbuild-modes-"));
    mkdirSync(join(dir, "d"));
    writeFileSync(join(dir, "d", "f"), "1");
    writeFileSync(join(dir, "d", "x"), "2");
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  function change(directory: number, file: number, executable: number): void {
    chmodSync(join(dir, "d"), directory);
    chmodSync(join(dir, "d", "f"), file);
    chmodSync(join(dir, "d", "x"), executable);
  }
  const tree = (gitModes: boolean) => {
    return filterTree(
      liveTree(dir, () => null),
      { includes: [], excludes: [], gitModes },
    );
  };
  const digest = (gitModes: boolean) => selectDigest(tree(gitModes), [{ kind: "subtree", path: "/" }]);

  it("are 755 and 644 whatever the umask was", () => {
    change(0o700, 0o600, 0o711);
    assert.equal(tree(true).lstat("d")?.mode, 0o755);
    assert.deepEqual(
      tree(true)
        .children("d")
        .map(({ name, stat }) => [name, stat.mode]),
      [
        ["f", 0o644],
        ["x", 0o755],
      ],
    );
    const before = [digest(true), digest(false)];
    change(0o775, 0o664, 0o775);
    assert.equal(digest(true), before[0]);
    assert.notEqual(digest(false), before[1]);
    change(0o775, 0o764, 0o775);
    assert.notEqual(digest(true), before[0], "what may be executed still counts");
  });
});
