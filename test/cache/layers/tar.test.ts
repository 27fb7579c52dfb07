import assert from "node:assert/strict";
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { type TarEntry, tarReader } from "../../../cache/layers/tar.ts";
import { makeTar, run, temporary } from "./support.ts";

interface Read {
  readonly entry: TarEntry;
  readonly content: Buffer;
}

/** All members, with the archive given in chunks of one size. */
function readAll(archive: Uint8Array, chunkBytes = archive.length): Read[] {
  const found: { entry: TarEntry; content: Buffer }[] = [];
  const reader = tarReader({
    entry: (entry) => found.push({ entry, content: Buffer.alloc(entry.size) }),
    data: (chunk, offset) => chunk.copy(found.at(-1)?.content as Buffer, offset),
    end: () => {},
  });
  for (let at = 0; at < archive.length; at += chunkBytes) reader.push(archive.subarray(at, at + chunkBytes));
  reader.finish();
  return found;
}

const names = (found: readonly Read[]) => found.map(({ entry }) => entry.name.toString());

describe("tar reader", () => {
  const dir = temporary();

  for (const format of ["v7", "ustar", "gnu", "oldgnu", "pax"]) {
    it(`reads what GNU tar writes as ${format}, in chunks of any size`, () => {
      const root = dir();
      mkdirSync(join(root, "d"));
      writeFileSync(join(root, "d/file"), "x".repeat(1500));
      symlinkSync("file", join(root, "d/link"));
      const long = format === "v7" ? "short" : `${"n".repeat(90)}/${"m".repeat(90)}`;
      mkdirSync(join(root, "d", long), { recursive: true });
      const options = ["-C", root, `--format=${format}`, "--sort=name", "--mtime=@1234567890"];
      const archive = run("tar", [...options, "--owner=:7", "--group=:8", "-cf", "-", "d"]);
      const whole = readAll(archive);
      assert.ok(names(whole).includes(`d/${long}/`));
      const file = whole.find(({ entry }) => entry.name.toString() === "d/file");
      assert.equal(file?.content.toString(), "x".repeat(1500));
      assert.equal(file?.entry.mtimeNs, 1234567890n * 1_000_000_000n);
      assert.deepEqual([file?.entry.uid, file?.entry.gid], [7, 8]);
      assert.equal(whole.find(({ entry }) => entry.type === "symlink")?.entry.linkName.toString(), "file");
      for (const chunkBytes of [1, 511, 513, 4096]) assert.deepEqual(readAll(archive, chunkBytes), whole);
    });
  }

  for (const version of ["0.0", "0.1", "1.0"]) {
    it(`reads sparse files of GNU tar's pax form ${version}`, () =>
      sparse(["--format=pax", `--sparse-version=${version}`]));
  }
  it("reads sparse files of GNU tar's old form", () => sparse(["--format=gnu"]));

  function sparse(options: readonly string[]): void {
    const root = dir();
    const fd = openSync(join(root, "s"), "w");
    for (let i = 0; i < 30; i++) writeSync(fd, `piece ${i}`, i * 1_000_000);
    ftruncateSync(fd, 31_000_000);
    closeSync(fd);
    const archive = run("tar", ["-C", root, ...options, "-S", "-cf", "-", "s"]);
    assert.ok(archive.length < 1_000_000, "the archive is not sparse");
    for (const chunkBytes of [archive.length, 700]) {
      const [file] = readAll(archive, chunkBytes);
      assert.equal(file?.entry.name.toString(), "s");
      assert.equal(file?.content.length, 31_000_000);
      for (let i = 0; i < 30; i++) {
        const at = i * 1_000_000;
        assert.equal(file?.content.toString("latin1", at, at + 8).replace(/\0+$/, ""), `piece ${i}`);
      }
    }
  }

  it("keeps names that are not UTF-8 as bytes", () => {
    const name = Buffer.from([0x61, 0xff, 0xfe, 0x62]);
    assert.deepEqual(readAll(makeTar([{ name }]))[0]?.entry.name, name);
  });

  it("reads extended attributes with any bytes in them", () => {
    const value = Buffer.from([0, 1, 0x0a, 0x3d, 0xff]);
    const [file] = readAll(makeTar([{ name: "f", xattrs: new Map([["security.capability", value]]) }]));
    assert.deepEqual(file?.entry.xattrs.get("security.capability"), value);
  });

  it("reads large ids and negative times", () => {
    const [file] = readAll(makeTar([{ name: "f", uid: 4294967294, gid: 3_000_000, mtimeSeconds: -5 }]));
    assert.deepEqual([file?.entry.uid, file?.entry.gid], [4294967294, 3_000_000]);
    assert.equal(file?.entry.mtimeNs, -5_000_000_000n);
  });

  it("takes an archive without end blocks", () => {
    const archive = makeTar([{ name: "f", content: "1" }]);
    assert.deepEqual(names(readAll(archive.subarray(0, -1024))), ["f"]);
  });

  it("takes an archive whose last member's block is not filled up", () => {
    const archive = makeTar([{ name: "f", content: "123" }]);
    for (const filledTo of [3, 4, 511]) {
      const told: string[] = [];
      const reader = tarReader({
        entry: ({ name }) => told.push(`${name}`),
        data: (chunk) => told.push(`${chunk}`),
        end: () => told.push("end"),
      });
      reader.push(archive.subarray(0, 512 + filledTo));
      reader.finish();
      assert.deepEqual(told, ["f", "123", "end"]);
    }
  });

  it("reads nothing behind the two zero blocks", () => {
    const archive = Buffer.concat([makeTar([{ name: "a" }]), makeTar([{ name: "b" }])]);
    assert.deepEqual(names(readAll(archive)), ["a"]);
  });

  const broken: Readonly<Record<string, () => Buffer>> = {
    "a wrong checksum": () => {
      const archive = makeTar([{ name: "f" }]);
      archive[0] = 0x67;
      return archive;
    },
    "an end inside a file": () => makeTar([{ name: "f", content: "x".repeat(600) }]).subarray(0, 1000),
    "an end inside a header": () => makeTar([{ name: "f" }]).subarray(0, 300),
    "a pax record longer than its block": () => patchPax((text) => text.replace(/^\d+/, "99")),
    "a pax record without a newline": () => patchPax((text) => text.replace("\n", " ")),
    "a size that is no number": () => patchHeader((header) => header.write("12z", 124)),
    "an unknown type": () => patchHeader((header) => header.write("Z", 156)),
    "a header extension of 2 MiB": () => {
      return patchHeader((header) => {
        header.write("x", 156);
        header.write("00010000000\0", 124);
      });
    },
    "a user id of 64 bits": () => patchHeader((header) => header.set([0x80, 1, 0, 0, 0, 0, 0, 0], 108)),
  };
  for (const [what, make] of Object.entries(broken)) {
    it(`refuses ${what}`, () => {
      assert.throws(() => readAll(make()), { code: "ARCHIVE_INVALID" });
    });
  }
});

function patchPax(change: (text: string) => string): Buffer {
  const archive = makeTar([{ name: "f", uid: 3_000_000 }]);
  archive.write(change(archive.toString("latin1", 512, 560)), 512, "latin1");
  return archive;
}

/** Changes the first header and makes its checksum right again. */
function patchHeader(change: (header: Buffer) => void): Buffer {
  const archive = makeTar([{ name: "f" }]);
  const header = archive.subarray(0, 512);
  change(header);
  header.fill(0x20, 148, 156);
  header.write(
    `${header
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, "0")}\0 `,
    148,
  );
  return archive;
}
