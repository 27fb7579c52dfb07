import assert from "node:assert/strict";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { selectDigestLive } from "../../cache/path-hash.ts";
import {
  compareSelections,
  keepSelection,
  readSelection,
  SELECTION_FILES_SPACE,
} from "../../cache/selection-files.ts";
import { openStore } from "../../cache/store.ts";
import { liveTree } from "../../cache/tree-live.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import { freshDirectory, never } from "./store-support.ts";

describe("lists of selected files", () => {
  const dir = freshDirectory();

  it("tell two selections apart, file by file, whatever the names are", async () => {
    const root = join(dir(), "context");
    mkdirSync(join(root, "sub"), { recursive: true });
    writeFileSync(join(root, "plain"), "1");
    writeFileSync(Buffer.concat([Buffer.from(`${root}/`), Buffer.from([0xff, 0x0a, 0x61])]), "odd");
    writeFileSync(join(root, "sub", "größe"), "x");
    await using store = await openStore(join(dir(), "store"));
    const select = (): Promise<Digest> =>
      selectDigestLive(
        liveTree(root, () => null),
        root,
        [{ kind: "subtree", path: "/" }],
        {
          signal: never(),
          onSelected: (digest, files) => keepSelection(store.records, digest, files),
        },
      );
    const before = await select();
    writeFileSync(join(root, "sub", "größe"), "y");
    chmodSync(join(root, "plain"), 0o700);
    const after = await select();
    const [old, now] = [readSelection(store.records, before), readSelection(store.records, after)];
    assert.ok(old !== null && now !== null);
    assert.equal(old.size, 5);
    assert.deepEqual(compareSelections(old, now), [
      { path: "plain", how: "mode", before: "644", after: "700" },
      { path: "sub/größe", how: "content", before: null, after: null },
    ]);
    assert.deepEqual(compareSelections(old, old), []);
  });

  it("are made once, and no list is as good as a damaged one", async () => {
    await using store = await openStore(dir());
    const digest = `sha256:${"a".repeat(64)}` as Digest;
    let made = 0;
    const files = () => {
      made += 1;
      return [{ path: "a", type: "f", mode: "644", content: "0" }];
    };
    keepSelection(store.records, digest, files);
    keepSelection(store.records, digest, files);
    assert.equal(made, 1);
    assert.equal(readSelection(store.records, digest)?.get("a")?.mode, "644");
    store.records.put(SELECTION_FILES_SPACE, digest, new Uint8Array([1, 2, 3]));
    assert.equal(readSelection(store.records, digest), null);
  });
});
