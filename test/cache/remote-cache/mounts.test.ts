import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import {
  appendFileSync,
  chmodSync,
  closeSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import {
  encodeMountIndex,
  MOUNT_DEPTH_MAX,
  MOUNT_MAX_BYTES,
  type MountEntry,
  parseMountIndex,
  PIECE_BYTES,
} from "../../../cache/remote-cache/mount-index.ts";
import { openDirectory, openDirectoryIn } from "../../../cache/outside.ts";
import { removeTree } from "../../../cache/layers/remove-tree.ts";
import { type PackedMount, packMount } from "../../../cache/remote-cache/mount-pack.ts";
import { restoreMount } from "../../../cache/remote-cache/mount-restore.ts";
import { digestOf, hexOf } from "../../../solver/graph/digest.ts";
import { type TemporaryDir, temporaryDir } from "../../support/store.ts";

const MB = 1 << 20;

describe("content of a cache mount", () => {
  let dir: TemporaryDir;
  let serial = 0;
  beforeEach(() => {
    dir = temporaryDir();
    mkdirSync(dir.at("mount"));
    mkdirSync(dir.at("packs"));
  });
  afterEach(() => dir[Symbol.dispose]());

  const pack = (previous: PackedMount | null = null): PackedMount =>
    packMount({
      dir: dir.at("mount"),
      previous: previous === null ? null : dir.at("packs", hexOf(previous.index.digest)),
      out: dir.at("packs"),
    });
  const restore = (packed: PackedMount, lacking: string | null = null): string => {
    const into = dir.at(`restored-${serial++}`);
    mkdirSync(into);
    const packs = Object.fromEntries(
      packed.packs.flatMap(({ digest }) =>
        digest === lacking ? [] : [[digest, dir.at("packs", hexOf(digest))]],
      ),
    );
    restoreMount({ index: dir.at("packs", hexOf(packed.index.digest)), packs, dir: into });
    return into;
  };

  it("comes back with modes, times, links, empty directories and names that are no text", () => {
    const at = (name: string) => dir.at("mount", name);
    mkdirSync(at("a/empty"), { recursive: true });
    writeFileSync(at("a/file"), "content");
    chmodSync(at("a/file"), 0o640);
    writeFileSync(at("same"), "content");
    writeFileSync(at("nothing"), "");
    symlinkSync("../outside", at("a/link"));
    writeFileSync(Buffer.concat([Buffer.from(`${dir.at("mount")}/`), Buffer.from([0xff, 0x41])]), "x");
    utimesSync(at("a/file"), 1_000, 1_234.5);
    utimesSync(at("a"), 1_000, 2_000);
    const into = restore(pack());
    assert.equal(readFileSync(join(into, "a/file"), "utf8"), "content");
    assert.equal(lstatSync(join(into, "a/file")).mode & 0o7777, 0o640);
    assert.equal(lstatSync(join(into, "a/file")).mtimeMs, 1_234_500);
    assert.equal(lstatSync(join(into, "a")).mtimeMs, 2_000_000);
    assert.equal(readFileSync(join(into, "same"), "utf8"), "content");
    assert.equal(lstatSync(join(into, "nothing")).size, 0);
    assert.equal(readlinkSync(join(into, "a/link")), "../outside");
    assert.deepEqual(readdirSync(join(into, "a/empty")), []);
    assert.ok(
      readdirSync(into, { encoding: "buffer" }).some((name) => name.equals(Buffer.from([0xff, 0x41]))),
    );
  });

  it("is packed again only where it is new", () => {
    writeFileSync(dir.at("mount", "old"), randomBytes(3 * MB));
    const first = pack();
    assert.deepEqual(pack(first), { ...first, packs: first.packs.map((one) => ({ ...one, isNew: false })) });
    writeFileSync(dir.at("mount", "new"), randomBytes(100_000));
    const second = pack(first);
    assert.deepEqual(
      second.packs.map(({ isNew, size }) => [isNew, size > MB]),
      [
        [false, true],
        [true, false],
      ],
    );
    assert.equal(readFileSync(join(restore(second), "new")).length, 100_000);
  });

  it("of a large file that grew sends what is behind its whole pieces", () => {
    const big = randomBytes(17 * MB);
    writeFileSync(dir.at("mount", "big"), big);
    const first = pack();
    appendFileSync(dir.at("mount", "big"), "more");
    const second = pack(first);
    const sent = second.packs.filter(({ isNew }) => isNew).reduce((sum, { size }) => sum + size, 0);
    assert.ok(sent < 2 * MB, `${sent} bytes`);
    const restored = readFileSync(join(restore(second), "big"));
    assert.ok(restored.equals(Buffer.concat([big, Buffer.from("more")])));
  });

  it("drops packs of which little is used", () => {
    for (const name of ["a", "b", "c", "d"]) writeFileSync(dir.at("mount", name), randomBytes(MB));
    const first = pack();
    for (const name of ["a", "b", "c"]) rmSync(dir.at("mount", name));
    const second = pack(first);
    assert.equal(second.packs.length, 1);
    assert.notEqual(second.packs[0]?.digest, first.packs[0]?.digest);
    assert.deepEqual(readdirSync(restore(second)), ["d"]);
  });

  it("leaves the directory empty when a pack is missing or damaged", () => {
    writeFileSync(dir.at("mount", "file"), randomBytes(1_000));
    const packed = pack();
    const [only] = packed.packs;
    assert.ok(only);
    assert.throws(() => restore(packed, only.digest), { code: "IMAGE_INVALID" });
    writeFileSync(dir.at("packs", hexOf(only.digest)), "no gzip");
    assert.throws(() => restore(packed), { code: "IMAGE_INVALID" });
    for (const name of readdirSync(dir.path).filter((one) => one.startsWith("restored-"))) {
      assert.deepEqual(readdirSync(dir.at(name)), []);
    }
  });

  it("is packed down to a depth, in memory and time that grow with what is packed", () => {
    // Each name is as long as a name may be: paths of them would be longer than the kernel takes.
    const name = "d".repeat(250);
    let fd = openDirectory(dir.at("mount"));
    for (let depth = 0; depth < 500; depth += 1) {
      const next = openDirectoryIn(fd, name, { make: true });
      closeSync(fd);
      fd = next;
    }
    closeSync(fd);
    mkdirSync(dir.at("mount", ...Array.from({ length: MOUNT_DEPTH_MAX + 5 }, () => "s")), {
      recursive: true,
    });
    const packed = pack();
    assert.equal(packed.leftOut, 2);
    const { entries } = parseMountIndex(readFileSync(dir.at("packs", hexOf(packed.index.digest))));
    assert.ok(entries.every(({ path }) => path.length < 4096));
    assert.equal(entries.filter(({ path }) => path.startsWith("s")).length, MOUNT_DEPTH_MAX);
    restore(packed);
    removeTree(dir.at("mount", name)); // too deep for rm of Node
  });

  it("never leads out of its directory", () => {
    const entry = (kind: MountEntry["kind"], path: string, more: Partial<MountEntry> = {}): MountEntry => ({
      kind,
      path,
      mode: 0o755,
      uid: 0,
      gid: 0,
      mtimeMs: 0,
      pieces: [],
      target: kind === "link" ? "/tmp" : "",
      ...more,
    });
    const top = entry("directory", "");
    const wrong: (readonly MountEntry[])[] = [
      [top, entry("file", "../out")],
      [top, entry("file", "/out")],
      [top, entry("directory", "a/../../b")],
      [top, entry("link", "a"), entry("file", "a/out")], // through a link
      [top, entry("file", "a"), entry("file", "a/out")],
      [top, entry("file", "a/b")],
      [top, entry("file", "a"), entry("link", "a")],
      [entry("link", "")],
      [entry("file", "a")],
      [top, entry("file", "a\0b")],
      [top, entry("file", "a", { pieces: ["f".repeat(64)] })],
      // Numbers that the kernel would take for others.
      [top, entry("file", "a", { uid: 2 ** 32 })],
      [top, entry("file", "a", { gid: 2 ** 32 - 1 })],
      [top, entry("file", "a", { mtimeMs: 1e300 })],
      [top, entry("link", "a", { target: "x".repeat(5_000) })],
      [top, entry("file", "x".repeat(256))],
    ];
    for (const entries of wrong) {
      assert.throws(
        () => parseMountIndex(encodeMountIndex({ packs: [], entries })),
        { code: "IMAGE_INVALID" },
        JSON.stringify(entries),
      );
    }
    assert.equal(
      parseMountIndex(encodeMountIndex({ packs: [], entries: [top, entry("link", "a")] })).entries.length,
      2,
    );
  });

  it("is refused when a few pieces stand for more bytes than a mount may have", () => {
    const hex = "a".repeat(64);
    const pieces: [string, number][] = [[hex, PIECE_BYTES]];
    const packs = [{ digest: digestOf("pack"), size: 100, pieces }];
    const times = MOUNT_MAX_BYTES / PIECE_BYTES;
    const at = (path: string, count: number): MountEntry => ({
      ...{
        kind: path === "" ? "directory" : "file",
        path,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtimeMs: 0,
        target: "",
      },
      pieces: Array.from({ length: count }, () => hex),
    });
    const index = (count: number) => encodeMountIndex({ packs, entries: [at("", 0), at("a", count)] });
    assert.equal(parseMountIndex(index(times)).entries.length, 2);
    assert.throws(() => parseMountIndex(index(times + 1)), { code: "IMAGE_INVALID" });
  });
});
