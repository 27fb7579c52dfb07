// Threat model T1 to T6: whatever a layer or archive contains, nothing outside its root changes.

import assert from "node:assert/strict";
import { existsSync, lstatSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { applyLayer } from "../../../cache/layers/apply.ts";
import { extractArchive } from "../../../cache/layers/archive.ts";
import { close, openat } from "../../../worker/sys/file.ts";
import { describeAsRoot } from "../../support/privileges.ts";
import { listTree, type Member, makeTar, temporary } from "./support.ts";
import { AT, O } from "../../../worker/sys/constants.ts";

describeAsRoot("layer escape", () => {
  const temp = temporary();

  /** A root beside a directory that must not be touched. */
  function arena(): { root: string; outside: string; blob: string } {
    const dir = temp();
    const outside = join(dir, "outside");
    mkdirSync(join(dir, "root"));
    mkdirSync(outside);
    writeFileSync(join(outside, "victim"), "untouched", { mode: 0o600 });
    return { root: join(dir, "root"), outside, blob: join(dir, "blob") };
  }

  async function unpack(
    form: "layer" | "archive",
    place: { root: string; blob: string },
    content: readonly Member[] | Buffer,
    notes: string[] = [],
  ): Promise<void> {
    writeFileSync(place.blob, Buffer.isBuffer(content) ? content : makeTar(content));
    const note = (text: string) => notes.push(text);
    if (form === "layer") {
      await applyLayer({ blob: place.blob, mediaType: "", diffId: null, dir: place.root }, note);
      return;
    }
    const fd = openat(AT.FDCWD, place.root, O.RDONLY | O.DIRECTORY);
    try {
      await extractArchive(place.blob, fd, { note });
    } finally {
      close(fd);
    }
  }

  const attacks: Readonly<Record<string, (outside: string) => Member[]>> = {
    "a name with ..": () => [{ name: "../outside/new", content: "x" }],
    "a name with .. inside": () => [{ name: "a/../../outside/victim", content: "x" }],
    "an absolute name": (outside) => [{ name: `${outside}/victim`, content: "x" }],
    "a file below an absolute link": (outside) => [
      { name: "l", type: "symlink", link: outside },
      { name: "l/victim", content: "x" },
    ],
    "a file below a relative link": () => [
      { name: "l", type: "symlink", link: "../outside" },
      { name: "l/victim", content: "x" },
    ],
    "a file in place of a link": (outside) => [
      { name: "l", type: "symlink", link: `${outside}/victim` },
      { name: "l", content: "x" },
    ],
    "a directory in place of a link": (outside) => [
      { name: "l", type: "symlink", link: outside },
      { name: "l/", type: "dir", mode: 0o777, uid: 5 },
      { name: "l/victim", content: "x" },
    ],
    "a directory that becomes a link": () => [
      { name: "d/", type: "dir" },
      { name: "d/a", content: "1" },
      { name: "d", type: "symlink", link: "../outside" },
      { name: "d/victim", content: "x" },
    ],
    "a hard link through a link": (outside) => [
      { name: "l", type: "symlink", link: outside },
      { name: "h", type: "link", link: "l/victim" },
      { name: "h", content: "x" },
    ],
    "a hard link with ..": () => [
      { name: "h", type: "link", link: "../outside/victim", mode: 0o777, uid: 5 },
    ],
    "a hard link with an absolute target": (outside) => [
      { name: "h", type: "link", link: `${outside}/victim`, mode: 0o777 },
    ],
    "a hard link to a link, then written": (outside) => [
      { name: "l", type: "symlink", link: `${outside}/victim` },
      { name: "h", type: "link", link: "l", mode: 0o777, uid: 5 },
      { name: "h", content: "x" },
    ],
    "a whiteout below a link": (outside) => [
      { name: "l", type: "symlink", link: outside },
      { name: "l/.wh.victim" },
      { name: "l/.wh..wh..opq" },
    ],
    "a whiteout with ..": () => [{ name: "../outside/.wh.victim" }],
    "a link loop": () => [
      { name: "a", type: "symlink", link: "b" },
      { name: "b", type: "symlink", link: "a" },
      { name: "a/f", content: "x" },
    ],
    "a magic link of /proc": () => [
      { name: "l", type: "symlink", link: "/proc/self/cwd" },
      { name: "l/f", content: "x" },
    ],
  };

  for (const form of ["layer", "archive"] as const) {
    for (const [what, members] of Object.entries(attacks)) {
      it(`${form}: ${what} changes nothing outside`, async () => {
        const place = arena();
        const before = lstatSync(join(place.outside, "victim"));
        await unpack(form, place, members(place.outside)).catch((error: { code?: string }) => {
          assert.ok(error.code === "IMAGE_INVALID" || error.code === "ARCHIVE_INVALID", error.code);
        });
        assert.deepEqual(listTree(place.outside), ["victim file 0600 0:0 untouched"]);
        const after = lstatSync(join(place.outside, "victim"));
        assert.deepEqual([after.ino, after.nlink, after.ctimeMs], [before.ino, 1, before.ctimeMs]);
      });
    }
  }

  const refused: Readonly<Record<string, Member[]>> = {
    "a hard link to what is not there": [{ name: "h", type: "link", link: "nothing" }],
    "a hard link to a directory": [
      { name: "d/", type: "dir" },
      { name: "h", type: "link", link: "d" },
    ],
    "a hard link to a whiteout": [{ name: ".wh.x" }, { name: "h", type: "link", link: "x" }],
    "a hard link to the directory it replaces": [
      { name: "d/f", content: "1" },
      { name: "d", type: "link", link: "d/f" },
    ],
    "a whiteout of nothing": [{ name: "d/.wh." }],
    "a whiteout of .": [{ name: "d/.wh.." }],
    "a whiteout of ..": [{ name: "d/.wh..." }],
    "something below a whiteout": [{ name: ".wh.d/f" }],
    "a root that is a file": [{ name: "./", content: "x" }],
    "a root that is a link": [{ name: ".", type: "symlink", link: "/" }],
    "a file below a file": [{ name: "f" }, { name: "f/g" }],
    "a name of 300 bytes": [{ name: "n".repeat(300) }],
    "a link to nothing": [{ name: "l", type: "symlink", link: "" }],
  };
  for (const [what, members] of Object.entries(refused)) {
    it(`a layer with ${what} is an error`, async () => {
      await assert.rejects(unpack("layer", arena(), members), { code: "IMAGE_INVALID" });
    });
  }

  it("never makes the device that means deleted to the kernel", async () => {
    for (const form of ["layer", "archive"] as const) {
      const place = arena();
      const notes: string[] = [];
      await unpack(form, place, [{ name: "x", type: "char", devMajor: 0, devMinor: 0 }], notes);
      assert.equal(existsSync(join(place.root, "x")), false);
      assert.match(notes.join(), /"x" is how overlayfs marks/);
    }
  });

  it("gives an archive's whiteout names no meaning", async () => {
    const place = arena();
    writeFileSync(join(place.root, "gone"), "still here");
    await unpack("archive", place, [{ name: ".wh.gone" }, { name: ".wh..wh..opq" }]);
    assert.equal(readFileSync(join(place.root, "gone"), "utf8"), "still here");
    assert.equal(statSync(join(place.root, ".wh.gone")).isFile(), true);
  });

  it("puts members of an archive that lead out below its target, as if that were the root", async () => {
    const place = arena();
    await unpack("archive", place, [
      { name: "../x", content: "1" },
      { name: "a/../../../b/../y", content: "2" },
      { name: "../z", type: "link", link: "../../x" },
    ]);
    assert.deepEqual(
      ["x", "y", "z"].map((name) => readFileSync(join(place.root, name), "utf8")),
      ["1", "2", "1"],
    );
    assert.equal(existsSync(join(place.root, "..", "x")), false);
  });

  it("refuses a layer that is cut off, compressed or not", async () => {
    const tar = makeTar([{ name: "f", content: "x".repeat(5000) }]);
    await assert.rejects(unpack("layer", arena(), tar.subarray(0, 3000)), { code: "ARCHIVE_INVALID" });
    const gzip = gzipSync(tar);
    await assert.rejects(unpack("layer", arena(), gzip.subarray(0, gzip.length - 9)), {
      code: "ARCHIVE_INVALID",
    });
  });

  it("refuses layers compressed with what no specification names", async () => {
    await assert.rejects(unpack("layer", arena(), Buffer.from("BZh91AY&SY rest of it")), {
      code: "IMAGE_INVALID",
    });
  });
});
