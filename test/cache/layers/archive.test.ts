import assert from "node:assert/strict";
import { mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { extractArchive, isArchive } from "../../../cache/layers/archive.ts";
import { close, openat } from "../../../worker/sys/file.ts";
import { describeAsRoot } from "../../support/privileges.ts";
import { listTree, type Member, makeTar, run, temporary } from "./support.ts";
import { AT, O } from "../../../worker/sys/constants.ts";

describe("isArchive", () => {
  const temp = temporary();

  async function ask(content: Buffer | string): Promise<boolean> {
    const path = join(temp(), "file");
    writeFileSync(path, content);
    return isArchive(path);
  }
  const tar = makeTar([{ name: "f", content: "1" }]);

  it("knows tar archives, compressed or not", async () => {
    assert.equal(await ask(tar), true);
    for (const program of ["gzip", "bzip2", "xz", "zstd"])
      assert.equal(await ask(run(program, ["-c"], tar)), true);
  });

  it("does not take other files for archives", async () => {
    assert.equal(await ask(""), false);
    assert.equal(await ask("text"), false);
    assert.equal(await ask(Buffer.alloc(10240)), false); // an archive without members, as in BuildKit
    assert.equal(await ask(run("gzip", ["-c"], Buffer.from("text"))), false);
    assert.equal(await ask(run("gzip", ["-c"], Buffer.alloc(4000, "text")).subarray(0, -4)), false);
    assert.equal(await ask("BZh9 is how this text begins"), false);
  });

  it("cannot tell what compressed bytes are that are damaged from the start, however few", async () => {
    for (const program of ["gzip", "bzip2", "xz", "zstd"]) {
      const whole = run(program, ["-c"], tar);
      for (const length of [12, 20, 40])
        await assert.rejects(
          ask(whole.subarray(0, length)),
          { code: "ARCHIVE_INVALID" },
          `${program} ${length}`,
        );
    }
  });

  it("takes an archive for one that is broken further on", async () => {
    assert.equal(await ask(Buffer.concat([tar.subarray(0, 1024), Buffer.alloc(512, "x")])), true);
  });

  it("looks at regular files only", async () => {
    const dir = temp();
    writeFileSync(join(dir, "a.tar"), tar);
    symlinkSync("a.tar", join(dir, "link"));
    run("mkfifo", [join(dir, "fifo")]);
    for (const name of ["link", "fifo", "missing", "."])
      assert.equal(await isArchive(join(dir, name)), false);
  });
});

describeAsRoot("extractArchive", () => {
  const temp = temporary();

  async function extract(dest: string, members: readonly Member[]): Promise<void> {
    const path = join(temp(), "a.tar");
    writeFileSync(path, makeTar(members));
    const fd = openat(AT.FDCWD, dest, O.PATH | O.DIRECTORY);
    try {
      await extractArchive(path, fd);
    } finally {
      close(fd);
    }
  }

  it("keeps owners, modes, times and links of the archive", async () => {
    const dest = temp();
    await extract(dest, [
      { name: "top.txt", content: "top\n", mode: 0o640, uid: 7, gid: 8 },
      { name: "d/", type: "dir", mode: 0o750, uid: 9, gid: 9 },
      { name: "d/in.txt", content: "in\n" },
      { name: "d/link", type: "symlink", link: "in.txt" },
      { name: "d/hard", type: "link", link: "d/in.txt" },
      { name: "suid", content: "s\n", mode: 0o4755 },
    ]);
    assert.deepEqual(listTree(dest), [
      "d dir 0750 9:9",
      "d/hard file 0644 0:0 in\n",
      "d/in.txt file 0644 0:0 in\n",
      "d/link -> in.txt",
      "suid file 4755 0:0 s\n",
      "top.txt file 0640 7:8 top\n",
    ]);
    assert.equal(statSync(join(dest, "d")).mtimeMs, 1_500_000_000_000);
    assert.equal(statSync(join(dest, "d/hard")).ino, statSync(join(dest, "d/in.txt")).ino);
  });

  it("merges directories, replaces everything else and keeps what it does not name", async () => {
    const dest = temp();
    mkdirSync(join(dest, "d"));
    writeFileSync(join(dest, "d/kept"), "kept");
    mkdirSync(join(dest, "was-dir/sub"), { recursive: true });
    writeFileSync(join(dest, "was-file"), "");
    await extract(dest, [
      { name: "d/", type: "dir", mode: 0o700 },
      { name: "d/new", content: "new" },
      { name: "was-dir", content: "a file" },
      { name: "was-file/", type: "dir" },
    ]);
    assert.deepEqual(listTree(dest), [
      "d dir 0700 0:0",
      "d/kept file 0644 0:0 kept",
      "d/new file 0644 0:0 new",
      "was-dir file 0644 0:0 a file",
      "was-file dir 0755 0:0",
    ]);
  });

  it("leaves the target directory's own attributes alone", async () => {
    const dest = temp();
    await extract(dest, [{ name: "./", type: "dir", mode: 0o777, uid: 5 }]);
    assert.deepEqual([statSync(dest).mode & 0o777, statSync(dest).uid], [0o700, 0]);
  });

  it("takes absolute names for names in the target, and makes missing parents", async () => {
    const dest = temp();
    await extract(dest, [{ name: "/abs/f", content: "e\n", uid: 5 }]);
    assert.deepEqual(listTree(dest), ["abs dir 0755 0:0", "abs/f file 0644 5:0 e\n"]);
  });

  it("writes through links that lead to a directory of the target, as if it were the root", async () => {
    const dest = temp();
    mkdirSync(join(dest, "real"));
    symlinkSync("/real", join(dest, "link"));
    await extract(dest, [{ name: "link/f", content: "1" }]);
    assert.equal(readFileSync(join(dest, "real/f"), "utf8"), "1");
  });
});
