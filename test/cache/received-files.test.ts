// Results of a builder elsewhere, written into a directory of the user: whatever is sent, nothing is written anywhere else.

import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { receiveTree } from "../../cache/received-files.ts";
import type { FileEntry, FileTransfer } from "../../solver/graph/session.ts";
import { temporaryDir } from "../support/store.ts";

const { signal } = new AbortController();
const entry = (path: string, more: Partial<FileEntry> = {}): FileEntry => ({
  ...{ path, type: "file", mode: 0o644, size: 1, mtimeNs: 1_000_000_000n, linkName: "" },
  ...more,
});
const directory = (path: string, mode = 0o755): FileEntry => entry(path, { type: "directory", mode });

/** Sends a listing, and one byte for each file that is asked for. */
function transfer(entries: readonly FileEntry[]): FileTransfer {
  return {
    async *listing() {
      yield entries;
    },
    async *contents(wanted) {
      for (const index of wanted) {
        yield [{ index, data: Buffer.from("x") }];
        yield [{ index, data: null }];
      }
    },
    async [Symbol.asyncDispose]() {},
  };
}

describe("received files", () => {
  const receive = (dest: string, entries: readonly FileEntry[]): Promise<void> =>
    receiveTree(transfer(entries), dest, { signal, onBytes: () => {} });

  it("are the user's, with modes and times, in closed directories too", async () => {
    using dir = temporaryDir();
    await receive(dir.path, [
      directory("closed", 0o500),
      entry("closed/set-id", { mode: 0o6755 }),
      entry("closed/twin", { type: "hardlink", linkName: "closed/set-id" }),
      entry("link", { type: "symlink", linkName: "/etc/passwd" }),
    ]);
    const made = statSync(dir.at("closed/set-id"));
    assert.equal(made.mode & 0o7777, 0o755);
    assert.equal(made.mtimeMs, 1000);
    assert.equal(made.uid, process.getuid?.());
    assert.equal(statSync(dir.at("closed/twin")).ino, made.ino);
    assert.equal(statSync(dir.at("closed")).mode & 0o777, 0o500);
  });

  it("go through no link that lies in the directory, or that was just sent", async () => {
    using dir = temporaryDir();
    const [dest, aside] = [dir.at("dest"), dir.at("aside")];
    for (const path of [dest, aside]) mkdirSync(path);
    writeFileSync(join(aside, "mine"), "mine");
    symlinkSync(aside, join(dest, "there"));
    symlinkSync(join(aside, "mine"), join(dest, "file"));
    await assert.rejects(receive(dest, [directory("there"), entry("there/mine")]), { code: "OUTPUT_FAILED" });
    await receive(dest, [entry("file")]);
    await assert.rejects(
      receive(dest, [entry("new", { type: "symlink", linkName: aside }), entry("new/mine")]),
      /out of order/,
    );
    assert.deepEqual([readdirSync(aside), readFileSync(join(aside, "mine"), "utf8")], [["mine"], "mine"]);
  });

  it("have no names that lead elsewhere", async () => {
    using dir = temporaryDir();
    const dest = dir.at("dest");
    mkdirSync(dest);
    for (const path of ["../a", "/a", "a/../../b", ".", "", "a\0b"])
      await assert.rejects(receive(dest, [entry(path)]), { code: "SOURCE_FAILED" }, path);
    await assert.rejects(
      receive(dest, [entry("a", { type: "hardlink", linkName: "../dest" })]),
      /hard link to no earlier file/,
    );
    assert.deepEqual(readdirSync(dir.path), ["dest"]);
    assert.deepEqual(readdirSync(dest), []);
  });
});
