import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  copyIn,
  makeDirectories,
  moveIn,
  namesIn,
  openDirectory,
  openDirectoryIn,
  openIn,
  openRegularFile,
  pathIn,
  readAll,
  readFileOf,
  readIn,
  unlinkIn,
} from "../../cache/outside.ts";
import type { BuildError } from "../../solver/graph/error.ts";

describe("files that others made", () => {
  let root: string;
  let fd: number;

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "outside-"));
    writeFileSync(join(root, "secret"), "host");
    mkdirSync(join(root, "tree", "a"), { recursive: true });
    writeFileSync(join(root, "tree", "a", "file"), "inside");
    symlinkSync("../secret", join(root, "tree", "last"));
    symlinkSync("..", join(root, "tree", "up"));
    fd = openDirectory(join(root, "tree"));
  });
  afterEach(() => {
    closeSync(fd);
    rmSync(root, { recursive: true });
  });

  const fails = (work: () => unknown, code: string) =>
    assert.throws(work, (error: NodeJS.ErrnoException | BuildError) => error.code === code);

  it("directories are made with their parents, and what cannot be is said at once", () => {
    assert.equal(makeDirectories(join(root, "x/y/z")), true);
    assert.equal(makeDirectories(join(root, "x/y/z")), false);
    assert.equal(makeDirectories("/"), false);
    symlinkSync("x", join(root, "link"));
    assert.equal(makeDirectories(join(root, "link/new")), true);
    assert.deepEqual(namesIn(fd).length, 3);
    symlinkSync("nowhere", join(root, "dangling"));
    fails(() => makeDirectories(join(root, "dangling")), "ENOENT");
    fails(() => makeDirectories(join(root, "dangling/x")), "ENOENT");
    fails(() => makeDirectories(join(root, "secret")), "EEXIST");
    fails(() => makeDirectories(join(root, "secret/x/y")), "ENOTDIR");
    for (const path of ["/proc/nope", "/proc/nope/a/b", "/proc/self/fd/nope", "/proc/1/nope/x"])
      fails(() => makeDirectories(path), "ENOENT");
  });

  it("are read by names below a descriptor, wherever the directory is moved to", () => {
    assert.equal(readIn(fd, "a/file", 10)?.toString(), "inside");
    renameSync(join(root, "tree"), join(root, "moved"));
    assert.equal(readIn(fd, "a/file", 10)?.toString(), "inside");
    assert.deepEqual(namesIn(fd).map(String).sort(), ["a", "last", "up"]);
    assert.equal(readIn(fd, "a/none", 10), null);
    assert.equal(readIn(fd, "none/file", 10), null);
  });

  it("are never reached through a link, as the last component or before it", () => {
    fails(() => readIn(fd, "last", 10), "ELOOP");
    assert.throws(() => readIn(fd, "up/secret", 10), /ELOOP|ENOTDIR/);
    assert.throws(() => openDirectoryIn(fd, "up"), /ELOOP|ENOTDIR/);
    assert.throws(() => openDirectoryIn(fd, "up/x", { make: true }), /ELOOP|ENOTDIR/);
  });

  it("have names of one component", () => {
    for (const name of ["..", ".", "a/file", "a\0"])
      assert.throws(() => pathIn(fd, name), /not a valid file name/);
    assert.throws(() => readIn(fd, "../secret", 10), /not a valid file name/);
    assert.throws(() => openIn(fd, "../secret"), /not a valid file name/);
  });

  it("that are no regular files neither block nor are read", () => {
    execFileSync("mkfifo", [join(root, "tree", "fifo")]);
    fails(() => readIn(fd, "fifo", 10), "FILE_INVALID");
    fails(() => readIn(fd, "a", 10), "FILE_INVALID");
    fails(() => readFileOf(join(root, "tree", "fifo"), 10), "FILE_INVALID");
    fails(() => openRegularFile("/dev/zero"), "FILE_INVALID");
  });

  it("are read up to a limit, whatever their size claims", () => {
    assert.equal(readIn(fd, "a/file", 6)?.toString(), "inside");
    fails(() => readIn(fd, "a/file", 5), "LIMIT_EXCEEDED");
    // Files of /proc say their size is 0.
    assert.equal(readFileOf("/proc/self/comm", 100).toString(), readFileSync("/proc/self/comm", "utf8"));
    const zero = openDirectory("/dev");
    const endless = openIn(zero, "zero");
    fails(() => readAll(endless, 1000, "zero"), "LIMIT_EXCEEDED");
    closeSync(endless);
    closeSync(zero);
  });

  it("are moved, copied and removed below descriptors", () => {
    const a = openDirectoryIn(fd, "a");
    moveIn(a, "file", fd);
    copyIn(join(root, "secret"), a, "copy");
    assert.equal(readIn(fd, "file", 10)?.toString(), "inside");
    assert.equal(readIn(a, "copy", 10)?.toString(), "host");
    fails(() => copyIn(join(root, "secret"), fd, "last"), "EEXIST");
    unlinkIn(fd, "last");
    unlinkIn(fd, "last");
    assert.equal(readFileSync(join(root, "secret"), "utf8"), "host");
    assert.throws(() => moveIn(fd, "../secret", a), /not a valid file name/);
    closeSync(a);
  });

  it("lie in directories that are made on the way where asked", () => {
    closeSync(openDirectoryIn(fd, "a/b/c", { make: true }));
    writeFileSync(join(root, "tree/a/b/c/x"), "1");
    assert.equal(readIn(fd, "a/b/c/x", 10)?.toString(), "1");
  });
});
