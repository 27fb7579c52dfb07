import assert from "node:assert/strict";
import { mkdirSync, readdirSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { type LiveTree, liveTree } from "../../cache/tree-live.ts";
import { hashFile } from "../../cache/path-hash.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import { type TemporaryDir, temporaryDir } from "../support/store.ts";

describe("a live directory", () => {
  let dir: TemporaryDir;
  let tree: LiveTree;

  beforeEach(() => {
    dir = temporaryDir();
    for (const name of ["context/a/b", "context/c", "host/b"]) mkdirSync(dir.at(name), { recursive: true });
    writeFileSync(dir.at("context/a/b/file"), "inside");
    writeFileSync(dir.at("host/b/file"), "outside");
    writeFileSync(dir.at("host/b/secret"), "");
    symlinkSync("outside", dir.at("host/b/link"));
    tree = liveTree(dir.at("context"), () => null);
  });
  afterEach(() => {
    tree.close();
    dir[Symbol.dispose]();
  });

  const swap = (): void => {
    renameSync(dir.at("context/a"), dir.at("context/was-a"));
    symlinkSync("../host", dir.at("context/a"));
  };
  const names = (path: string): string[] => tree.children(path).map(({ name }) => name);

  it("shows nothing of the host when a directory becomes a link while it is read", () => {
    assert.deepEqual(names("a/b"), ["file"]);
    swap();
    // Held open: the directory it was.
    assert.deepEqual(names("a/b"), ["file"]);
    assert.equal(hashFile(tree.open("a/b/file")).digest, digestOf("inside"));
    assert.equal(tree.lstat("a/b/secret"), null);
    // Opened anew: a link, and not followed.
    assert.deepEqual(names("c"), []);
    assert.throws(() => tree.children("a/b"), /ELOOP|ENOTDIR/);
    assert.throws(() => tree.open("a/b/file"), /ELOOP|ENOTDIR/);
    assert.throws(() => tree.readlink("a/b/link"), /ELOOP|ENOTDIR/);
    assert.equal(tree.lstat("a/b/file"), null);
    assert.deepEqual(names(""), ["a", "c", "was-a"]);
    assert.deepEqual(names("was-a/b"), ["file"], "usable after a failure");
    assert.deepEqual(names("was-a"), ["b"]);
  });

  it("shows what lies in directories whose names are not ASCII, below such a path, too", () => {
    for (const name of ["plain", "ö"]) {
      mkdirSync(dir.at(`context/ü/${name}`), { recursive: true });
      writeFileSync(dir.at(`context/ü/${name}.txt`), "");
    }
    const all = ["plain", "plain.txt", "ö", "ö.txt"].map((name) => Buffer.from(name).toString("latin1"));
    assert.deepEqual(names(Buffer.from("ü").toString("latin1")), all);
    const below = liveTree(dir.at("context/ü"), () => null);
    assert.deepEqual(
      below.children("").map(({ name }) => name),
      all,
    );
    below.close();
  });

  it("names files as the user knows them when they cannot be read", () => {
    assert.throws(() => tree.children("none"), { code: "ENOENT", path: dir.at("context/none") });
  });

  it("holds no directory open once it is closed", () => {
    const before = readdirSync("/proc/self/fd").length;
    const other = liveTree(dir.at("context"), () => null);
    other.children("a/b");
    other.close();
    assert.equal(readdirSync("/proc/self/fd").length, before);
  });
});
