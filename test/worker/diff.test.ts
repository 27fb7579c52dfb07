// DiffOp of two results with no common base: the layer turns one tree into the other, and contains nothing else.

import assert from "node:assert/strict";
import { chmodSync, linkSync, lstatSync, lutimesSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { listTree } from "../../cache/layers/listing.ts";
import { runDiffJob } from "../../worker/ops/diff.ts";
import { close, lsetxattr } from "../../worker/sys/file.ts";
import { overlayMount } from "../../worker/sys/mount.ts";
import { describeAsRoot } from "../support/privileges.ts";
import { temporaryDir } from "../support/store.ts";
import { type Files, readTree, writeTree } from "./file-op-fixture.ts";

const EPOCH = new Date(1_000_000_000_000);

describeAsRoot("a diff of two trees", () => {
  /** A tree whose times are all the same. */
  function tree(dir: string, files: Files): string {
    writeTree(dir, files);
    for (const name of readdirSync(dir, { recursive: true, encoding: "utf8" })) {
      lutimesSync(join(dir, name), EPOCH, EPOCH);
    }
    lutimesSync(dir, EPOCH, EPOCH);
    return dir;
  }

  /** The diff of two trees as a layer; calls `then` with it and with a path to the first tree with the layer on top. */
  async function differ(
    files: { readonly from: Files; readonly to: Files },
    then: (layer: string, merged: string, to: string) => void,
    prepare: (from: string, to: string) => void = () => {},
  ): Promise<void> {
    using temp = temporaryDir();
    const [from, to] = [tree(temp.at("from"), files.from), tree(temp.at("to"), files.to)];
    prepare(from, to);
    const [upper, work] = [temp.at("upper"), temp.at("work")];
    for (const dir of [upper, work]) mkdirSync(dir);
    await runDiffJob({ kind: "diff", from: [from], to: [to], upper, work }, { singleId: false });
    const mount = overlayMount({ lowers: [from, upper], userxattr: true });
    try {
      then(upper, `/proc/self/fd/${mount}/.`, to);
    } finally {
      close(mount);
    }
  }

  it("holds what was added, changed and removed, and no more", async () => {
    await differ(
      {
        from: { same: "1", changed: "old", gone: "x", "dir/same": "1", "dir/gone": "2", "kept/f": "3" },
        to: { same: "1", changed: "new", added: "y", "dir/same": "1", "kept/f": "3", "more/f": "4" },
      },
      (layer, merged, to) => {
        assert.deepEqual(readTree(merged), readTree(to));
        assert.deepEqual(readTree(layer), {
          added: "y",
          changed: "new",
          "dir/": "",
          "dir/gone": "whiteout",
          gone: "whiteout",
          "more/": "",
          "more/f": "4",
        });
      },
    );
  });

  it("puts a file, a directory and a link in each other's place", async () => {
    await differ(
      {
        from: { a: "file", "b/f": "in", c: ["link", "a"] },
        to: { a: ["link", "b"], b: "file", "c/f": "in" },
      },
      (_, merged, to) => assert.deepEqual(readTree(merged), readTree(to)),
    );
  });

  it("sees modes and attributes", async () => {
    await differ(
      { from: { f: "1", d: null, x: "2", same: "3" }, to: { f: "1", d: null, x: "2", same: "3" } },
      (layer, merged) => {
        assert.deepEqual(Object.keys(readTree(layer)), ["d/", "f", "x"]);
        assert.equal(lstatSync(join(merged, "f")).mode & 0o7777, 0o4711);
        assert.equal(lstatSync(join(merged, "d")).mode & 0o7777, 0o1770);
      },
      (_, to) => {
        chmodSync(join(to, "f"), 0o4711);
        chmodSync(join(to, "d"), 0o1770);
        lsetxattr(Buffer.from(join(to, "x")), "user.word", Buffer.from("y"));
      },
    );
  });

  it("keeps hard links among what it holds", async () => {
    await differ(
      { from: {}, to: { "a/one": "1" } },
      (_, merged) => {
        const [one, two] = ["a/one", "b/two"].map((name) => lstatSync(join(merged, name)));
        assert.equal(one?.ino, two?.ino);
      },
      (_, to) => {
        mkdirSync(join(to, "b"));
        linkSync(join(to, "a/one"), join(to, "b/two"));
      },
    );
  });

  it("of any two trees makes the one out of the other, and of equal ones is empty", async function () {
    this.timeout(120_000);
    const name = fc.constantFrom("a", "b", "c");
    const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((parts) => parts.join("/"));
    const what = fc.oneof(
      fc.constantFrom("", "1", "2"),
      fc.constant(null),
      name.map((to): ["link", string] => ["link", to]),
    );
    const files = fc
      .uniqueArray(fc.tuple(path, what), { maxLength: 8, selector: ([one]) => one })
      .map((entries) => {
        // What would lie below a file or a link is left out.
        const found = new Map(entries);
        const isBelow = (one: string): boolean =>
          entries.some(([other, its]) => its !== null && one.startsWith(`${other}/`));
        return Object.fromEntries([...found].filter(([one]) => !isBelow(one))) as Files;
      });
    await fc.assert(
      fc.asyncProperty(files, files, async (from, to) => {
        await differ({ from, to }, (layer, merged, goal) => {
          assert.equal(listTree(merged).shape, listTree(goal).shape);
          if (JSON.stringify(readTree(goal)) !== "{}") return;
          for (const left of Object.values(readTree(layer))) assert.equal(left, "whiteout");
        });
        await differ({ from, to: from }, (layer) => assert.deepEqual(readTree(layer), {}));
      }),
      { numRuns: 60 },
    );
  });
});
