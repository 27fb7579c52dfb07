// Directories that a layer has in place of others: what they delete is named, also when that was interrupted.

import assert from "node:assert/strict";
import { lstatSync, lutimesSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { dropFewUnchanged, dropUnchanged } from "../../worker/ops/unchanged.ts";
import { close, flistxattr, lsetxattr, openat } from "../../worker/sys/file.ts";
import { overlayMount } from "../../worker/sys/mount.ts";
import { AT, O } from "../../worker/sys/constants.ts";
import { describeAsRoot } from "../support/privileges.ts";
import { readTree, writeTree } from "./file-op-fixture.ts";

const EPOCH = new Date(1_000_000_000_000);

describeAsRoot("a directory that hides the layers below", () => {
  let dir: string;
  let upper: string;
  let lower: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "deletions-"));
    lower = writeTree(join(dir, "lower"), {
      "d/gone": "1",
      "d/kept": "2",
      "d/in/gone": "3",
      "d/in/new": "4",
      "d/file": "5",
      "d/tree/f": "6",
      same: "7",
      replaced: "8",
    });
    upper = writeTree(join(dir, "upper"), {
      "d/kept": "other",
      "d/in/new": "4",
      "d/in/more": "",
      "d/file/f": "",
      "d/tree": "",
      "replaced/f": "",
    });
    for (const name of ["d", "replaced"]) hide(name);
    for (const root of [upper, lower]) lutimesSync(join(root, "d/in/new"), EPOCH, EPOCH);
    for (const name of ["d/in", "d"]) lutimesSync(join(upper, name), EPOCH, EPOCH);
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const hide = (name: string) => lsetxattr(join(upper, name), "user.overlay.opaque", Buffer.from("y"));
  const marks = (name: string): readonly string[] => {
    const fd = openat(AT.FDCWD, join(upper, name), O.RDONLY | O.DIRECTORY);
    try {
      return flistxattr(fd);
    } finally {
      close(fd);
    }
  };
  const seen = (...lowers: string[]): Record<string, string> => {
    const mount = overlayMount({ lowers: [...lowers, upper], userxattr: true });
    try {
      return readTree(`/proc/self/fd/${mount}/.`);
    } finally {
      close(mount);
    }
  };
  const NAMED = {
    "d/": "",
    "d/file/": "",
    "d/file/f": "",
    "d/gone": "whiteout",
    "d/in/": "",
    "d/in/gone": "whiteout",
    "d/in/more": "",
    "d/kept": "other",
    "d/tree": "",
    "replaced/": "",
    "replaced/f": "",
  };

  it("names each file instead, keeps its time, and has what it had as before only once", () => {
    const before = seen(lower);
    dropUnchanged(upper, [lower]);
    assert.deepEqual(readTree(upper), NAMED);
    assert.deepEqual(seen(lower), before);
    for (const name of ["d", "replaced"]) assert.ok(!marks(name).includes("user.overlay.opaque"), name);
    for (const name of ["d", "d/in"]) assert.equal(lstatSync(join(upper, name)).mtimeMs, EPOCH.getTime());
    // A layer alone is put above nothing when its root says that it deletes (stack.ts).
    assert.ok(marks(".").includes("user.overlay.origin"));
  });

  it("shows what others have there, but for what it names", () => {
    dropUnchanged(upper, [lower]);
    const other = writeTree(join(dir, "other"), {
      "d/gone": "x",
      "d/z": "z",
      "d/in/gone": "x",
      "d/in/z": "z",
    });
    const names = Object.keys(seen(other)).filter((name) => name.startsWith("d/"));
    assert.deepEqual(names, [
      ...["d/", "d/file/", "d/file/f", "d/in/", "d/in/more", "d/in/z", "d/kept", "d/tree", "d/z"],
    ]);
  });

  it("is done again from wherever it was left", () => {
    const before = seen(lower);
    for (let names = 0; ; names++) {
      const isDone = dropFewUnchanged(upper, [lower], { names, bytes: 1 << 20 });
      assert.deepEqual(seen(lower), before, `after ${names} names`);
      if (isDone) break;
      assert.ok(names < 100);
    }
    assert.deepEqual(readTree(upper), NAMED);
  });
});
