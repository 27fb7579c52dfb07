import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { listTree, measureLayer } from "../../../cache/layers/listing.ts";
import { lsetxattr } from "../../../worker/sys/file.ts";
import { itAsMachineRoot, itAsRoot } from "../../support/privileges.ts";
import { temporary } from "./support.ts";

/** A layer with one of everything that needs no privilege. */
function fill(dir: string): void {
  for (const sub of ["d/empty", "d/opaque"]) mkdirSync(join(dir, sub), { recursive: true });
  writeFileSync(join(dir, "d/file"), "content\n");
  writeFileSync(join(dir, "d/big"), Buffer.alloc(700_000, "x"));
  writeFileSync(join(dir, "program"), "#!/bin/sh\n", { mode: 0o755 });
  linkSync(join(dir, "program"), join(dir, "z-link"));
  writeFileSync(join(dir, "z-other"), "#!/bin/sh\n", { mode: 0o755 });
  symlinkSync("file", join(dir, "d/soft"));
  execFileSync("mkfifo", [join(dir, "fifo")]);
  lsetxattr(join(dir, "d/opaque"), "user.overlay.opaque", Buffer.from("y"));
  lsetxattr(join(dir, "d/file"), "user.note", Buffer.from("one"));
}

/** What happened to a layer, and whether it then still counts as equal. */
const CHANGES: Readonly<Record<string, (dir: string) => void>> = {
  "a name more": (dir) => writeFileSync(join(dir, "d/more"), ""),
  "a name less": (dir) => unlinkSync(join(dir, "d/soft")),
  "another name": (dir) => renameSync(join(dir, "d/soft"), join(dir, "d/hard")),
  "another mode": (dir) => chmodSync(join(dir, "d/file"), 0o600),
  "a setuid bit": (dir) => chmodSync(join(dir, "program"), 0o4755),
  "another mode of a directory": (dir) => chmodSync(join(dir, "d/empty"), 0o700),
  "another mode of the root": (dir) => chmodSync(dir, 0o700),
  "other bytes of one length": (dir) => writeFileSync(join(dir, "d/file"), "Content\n"),
  "another last byte of a large file": (dir) => {
    const bytes = Buffer.alloc(700_000, "x");
    bytes[bytes.length - 1] = 0;
    writeFileSync(join(dir, "d/big"), bytes);
  },
  "another length": (dir) => truncateSync(join(dir, "d/big"), 699_999),
  "another link target": (dir) => {
    unlinkSync(join(dir, "d/soft"));
    symlinkSync("fila", join(dir, "d/soft"));
  },
  "a hard link to another file of the same bytes": (dir) => {
    unlinkSync(join(dir, "z-link"));
    linkSync(join(dir, "z-other"), join(dir, "z-link"));
  },
  "a copy in place of a hard link": (dir) => {
    unlinkSync(join(dir, "z-link"));
    writeFileSync(join(dir, "z-link"), "#!/bin/sh\n", { mode: 0o755 });
  },
  "a pipe that is a file": (dir) => {
    unlinkSync(join(dir, "fifo"));
    writeFileSync(join(dir, "fifo"), "");
  },
  "a directory that is not opaque": (dir) => {
    rmSync(join(dir, "d/opaque"), { recursive: true });
    mkdirSync(join(dir, "d/opaque"));
  },
  "another attribute": (dir) => lsetxattr(join(dir, "d/file"), "user.note", Buffer.from("two")),
  "an attribute more": (dir) => lsetxattr(join(dir, "program"), "user.new", Buffer.from("")),
  "an attribute of the root": (dir) => lsetxattr(dir, "user.new", Buffer.from("")),
};

const AS_ROOT: Readonly<Record<string, (dir: string) => void>> = {
  "another owner": (dir) => chownSync(join(dir, "d/file"), 1000, 0),
  "another group": (dir) => chownSync(join(dir, "d/empty"), 0, 1000),
  "a capability": (dir) => {
    const capability = Buffer.from("0100000200040000000000000000000000000000", "hex");
    lsetxattr(join(dir, "program"), "security.capability", capability);
  },
  "a whiteout": (dir) => execFileSync("mknod", [join(dir, "gone"), "c", "0", "0"]),
};

describe("listings of layers", () => {
  const temp = temporary();
  const two = (): [string, string] => {
    const dir = temp();
    const [one, other] = [join(dir, "one"), join(dir, "other")];
    for (const place of [one, other]) {
      mkdirSync(place);
      fill(place);
    }
    return [one, other];
  };
  const isEqual = (dir: string, earlier: string): boolean =>
    measureLayer({ dir, earlier: [{ dir: earlier, shape: listTree(earlier).shape }] }).same === 0;

  it("tell that a layer is equal to another of other times", () => {
    const [one, other] = two();
    for (const name of ["", "d", "d/file", "program"]) utimesSync(join(one, name), 1, 1_000_000_000.5);
    assert.equal(listTree(one).shape, listTree(other).shape);
    assert.notEqual(listTree(one).listing, listTree(other).listing);
    assert.ok(isEqual(one, other));
  });

  it("do not count what overlayfs notes for itself", () => {
    const [one, other] = two();
    lsetxattr(join(one, "d"), "user.overlay.impure", Buffer.from("y"));
    lsetxattr(join(one, "d/file"), "user.overlay.origin", Buffer.from("somewhere"));
    assert.ok(isEqual(one, other));
  });

  for (const [what, change] of Object.entries(CHANGES)) {
    it(`tell a layer from one with ${what}`, () => {
      const [one, other] = two();
      change(one);
      assert.equal(isEqual(one, other), false);
    });
  }

  for (const [what, change] of Object.entries(AS_ROOT)) {
    itAsRoot(`tell a layer from one with ${what}`, () => {
      const [one, other] = two();
      change(one);
      assert.equal(isEqual(one, other), false);
    });
  }
  itAsMachineRoot("tell a layer from one with a device", () => {
    const [one, other] = two();
    execFileSync("mknod", [join(one, "zero"), "c", "1", "5"]);
    assert.equal(isEqual(one, other), false);
  });

  itAsRoot("take whiteouts as equal however overlayfs made them", () => {
    const [one, other] = two();
    execFileSync("mknod", [join(one, "gone-1"), "c", "0", "0"]);
    linkSync(join(one, "gone-1"), join(one, "gone-2")); // one device for all, since Linux 5.8
    for (const name of ["gone-1", "gone-2"]) execFileSync("mknod", [join(other, name), "c", "0", "0"]);
    assert.ok(isEqual(one, other));
    unlinkSync(join(one, "gone-2"));
    writeFileSync(join(one, "gone-2"), "");
    assert.equal(isEqual(one, other), false);
  });

  it("name the first equal one of several, and none that has changed since it was recorded", () => {
    const [one, other] = two();
    const { shape } = listTree(other);
    const gone = { dir: join(other, "nowhere"), shape };
    const same = measureLayer({ dir: one, earlier: [gone, { dir: other, shape }, { dir: other, shape }] });
    assert.equal(same.same, 1);
    writeFileSync(join(other, "d/new"), "");
    assert.equal(measureLayer({ dir: one, earlier: [{ dir: other, shape }] }).same, null);
  });

  it("change with times, also when nothing else did", () => {
    const [one] = two();
    const before = listTree(one);
    utimesSync(join(one, "d/big"), 5, 5);
    const after = listTree(one);
    assert.notEqual(after.listing, before.listing);
    assert.equal(after.shape, before.shape);
    utimesSync(join(one, "fifo"), 5, 5);
    assert.notEqual(listTree(one).listing, after.listing);
  });

  it("give the size with each inode once", () => {
    const dir = temp();
    mkdirSync(join(dir, "d"));
    writeFileSync(join(dir, "d/f"), Buffer.alloc(1 << 20, 1));
    const { sizeBytes } = listTree(dir);
    assert.ok(sizeBytes >= 1 << 20);
    linkSync(join(dir, "d/f"), join(dir, "d/g"));
    symlinkSync("/", join(dir, "root"));
    const again = listTree(dir);
    assert.equal(again.entries, 4);
    assert.ok(again.sizeBytes - sizeBytes < 1 << 16);
  });
});
