// BuildKit's followpaths: paths that are asked for, and what links on their way lead to.

import { deepEqual, equal, throws } from "node:assert/strict";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { followPaths } from "../../cache/tree-follow.ts";
import { liveTree } from "../../cache/tree-live.ts";
import { temporaryDir } from "../support/store.ts";

describe("followed paths", () => {
  const follow = (make: (root: string) => void, paths: readonly string[]): readonly string[] | null => {
    using dir = temporaryDir();
    make(dir.path);
    const tree = liveTree(dir.path, () => null);
    try {
      return followPaths(tree, paths)?.toSorted() ?? null;
    } finally {
      tree.close();
    }
  };

  it("are those asked for, cleaned, also where nothing is there", () => {
    deepEqual(
      follow(() => {}, ["/a/../b/./c", "none*/x"]),
      ["b/c", "none*/x"],
    );
    equal(
      follow(() => {}, ["a", "."]),
      null,
    );
  });

  it("have the targets of links on their way, inside of the tree", () => {
    const tree = (root: string): void => {
      mkdirSync(join(root, "real/sub"), { recursive: true });
      writeFileSync(join(root, "real/sub/file"), "");
      symlinkSync("real", join(root, "dir"));
      symlinkSync("../../../../etc/passwd", join(root, "real/up"));
      symlinkSync("/real/sub", join(root, "rooted"));
    };
    deepEqual(follow(tree, ["dir/sub/file"]), ["dir", "real/sub/file"]);
    deepEqual(follow(tree, ["dir/up"]), ["dir", "etc/passwd", "real/up"]);
    deepEqual(follow(tree, ["rooted/file"]), ["real/sub/file", "rooted"]);
  });

  it("take links that a pattern matches, and names of targets for nothing else than names", () => {
    const tree = (root: string): void => {
      writeFileSync(join(root, "t[1] "), "");
      symlinkSync("t[1] ", join(root, "link-a"));
      symlinkSync("other", join(root, "b"));
    };
    deepEqual(follow(tree, ["link-*"]), ["link-*", "t\\[1][ ]"]);
  });

  it("end where links lead in circles", () => {
    const tree = (root: string): void => {
      symlinkSync("b", join(root, "a"));
      symlinkSync("a", join(root, "b"));
      symlinkSync("deep/x", join(root, "x"));
      symlinkSync(".", join(root, "deep"));
    };
    deepEqual(follow(tree, ["a"]), ["a", "b"]);
    deepEqual(follow(tree, ["x/y"]), ["deep", "x"]);
    deepEqual(
      follow((root) => symlinkSync("own/below", join(root, "own")), ["own/z"]),
      ["own"],
    );
  });

  it("are limited: links may multiply what is asked for", () => {
    const tree = (root: string): void => {
      for (let level = 0; level < 6; level++)
        for (let at = 0; at < 12; at++) symlinkSync(`l${level + 1}-*`, join(root, `l${level}-${at}`));
    };
    // Names of targets are no patterns, so nothing multiplies here.
    deepEqual(follow(tree, ["l0-*"]), ["l0-*", "l1-\\*"]);
    throws(
      () =>
        follow(
          () => {},
          Array.from({ length: 100_001 }, (_, at) => `a${at}`),
        ),
      /are to be followed/,
    );
  });
});
