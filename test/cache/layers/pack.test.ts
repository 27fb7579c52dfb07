import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  chmodSync,
  chownSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { applyLayer } from "../../../cache/layers/apply.ts";
import { type BlockIndex, type EarlierBlob, EarlierBlocks } from "../../../cache/layers/earlier-blocks.ts";
import { setOwner } from "../../../cache/layers/owner.ts";
import { type PackRequest, packLayer } from "../../../cache/layers/pack.ts";
import { close, lgetxattr, lsetxattr, mknodat, openat } from "../../../worker/sys/file.ts";
import { AT, O, S } from "../../../worker/sys/constants.ts";
import { describeAsRoot } from "../../support/privileges.ts";
import { listTree, run, temporary } from "./support.ts";

const sha256 = (data: Uint8Array) => `sha256:${createHash("sha256").update(data).digest("hex")}`;
const CAPABILITY = Buffer.from("0100000200040000000000000000000000000000", "hex");

describeAsRoot("packLayer", () => {
  const temp = temporary();

  function plain(dir: string, change: Partial<PackRequest> = {}): PackRequest {
    return { dir, out: null, compression: "uncompressed", level: null, epochSeconds: null, ...change };
  }

  /** The tar of a directory, listed by Python's tarfile. */
  async function packed(
    dir: string,
    change: Partial<PackRequest> = {},
    notes: string[] = [],
  ): Promise<string[]> {
    const out = join(temp(), "out.tar");
    const outcome = await packLayer(plain(dir, { out, ...change }), (note) => notes.push(note));
    const archive = readFileSync(out);
    assert.equal(outcome.digest, sha256(archive));
    assert.equal(outcome.size, archive.length);
    const script = `
import sys, tarfile
for m in tarfile.open(sys.argv[1], errors="surrogateescape"):
    name = m.name + ("/" if m.isdir() else "")
    print(name, m.type.decode(), oct(m.mode)[2:], f"{m.uid}:{m.gid}", m.size, int(m.mtime), m.linkname,
          m.uname + m.gname, " ".join(sorted(k for k in m.pax_headers if k.startswith("SCHILY"))), sep="|")
`;
    const listed = run("python3", ["-c", script, out]).toString().trimEnd();
    return listed === "" ? [] : listed.split("\n");
  }

  /** A layer directory with one of everything. */
  function sample(): string {
    const dir = temp();
    mkdirSync(join(dir, "d"));
    writeFileSync(join(dir, "d/f"), "text");
    chownSync(join(dir, "d/f"), 3, 4);
    chmodSync(join(dir, "d/f"), 0o4755);
    linkSync(join(dir, "d/f"), join(dir, "d/hard"));
    symlinkSync("f", join(dir, "d/link"));
    mknodat(AT.FDCWD, join(dir, "d/fifo"), S.IFIFO | 0o600);
    mknodat(AT.FDCWD, join(dir, "d/gone"), S.IFCHR);
    mkdirSync(join(dir, "o"));
    lsetxattr(join(dir, "o"), "user.overlay.opaque", Buffer.from("y"));
    writeFileSync(join(dir, "o/in"), "");
    writeFileSync(join(dir, "cap"), "");
    lsetxattr(join(dir, "cap"), "security.capability", CAPABILITY);
    lsetxattr(join(dir, "cap"), "user.colour", Buffer.from("blue"));
    for (const path of ["d/f", "d/fifo", "o/in", "cap"]) utimesSync(join(dir, path), 1000.9, 1000.9);
    lutimesSync(join(dir, "d/link"), 2000, 2000);
    for (const path of ["d", "o"]) utimesSync(join(dir, path), 3000, 3000);
    return dir;
  }

  it("writes a directory in overlay form as a layer", async () => {
    assert.deepEqual(await packed(sample()), [
      "cap|0|644|0:0|0|1000|||SCHILY.xattr.security.capability",
      "d/|5|755|0:0|0|3000|||",
      "d/f|0|4755|3:4|4|1000|||",
      "d/fifo|6|600|0:0|0|1000|||",
      "d/.wh.gone|0|0|0:0|0|0|||",
      "d/hard|1|4755|3:4|0|1000|d/f||",
      "d/link|2|777|0:0|0|2000|f||",
      "o/|5|755|0:0|0|3000|||",
      "o/.wh..wh..opq|0|0|0:0|0|0|||",
      "o/in|0|644|0:0|0|1000|||",
    ]);
  });

  it("gives the same bytes for the same tree, in whatever order it was made", async () => {
    const [one, two] = [temp(), temp()];
    const names = Array.from({ length: 300 }, (_, i) => `file-${(i * 7919) % 300}`);
    for (const name of names) writeFileSync(join(one, name), name);
    const before = process.umask(0o077);
    for (const name of names.toReversed()) writeFileSync(join(two, name), name);
    process.umask(before);
    for (const name of names) {
      chmodSync(join(two, name), 0o644);
      for (const dir of [one, two]) utimesSync(join(dir, name), 5, 5);
    }
    const outcome = await packLayer(plain(one));
    assert.deepEqual(await packLayer(plain(two)), outcome);
    assert.equal(outcome.tarBytes, 300 * 1024 + 1024);
    assert.equal(
      (await packLayer(plain(one, { out: join(temp(), "x.gz"), compression: "gzip" }))).diffId,
      outcome.diffId,
    );
  });

  it("keeps its bytes from one version to the next", async () => {
    const dir = temp();
    mkdirSync(join(dir, "usr"));
    writeFileSync(join(dir, "usr/greeting"), "hello, layers\n".repeat(1000));
    symlinkSync("greeting", join(dir, "usr/link"));
    utimesSync(join(dir, "usr/greeting"), 1e9, 1e9);
    lutimesSync(join(dir, "usr/link"), 1e9, 1e9);
    utimesSync(join(dir, "usr"), 1e9, 1e9);
    const golden: Record<string, string | null> = {};
    for (const compression of ["gzip", "zstd"] as const) {
      const out = join(temp(), "blob");
      const outcome = await packLayer(plain(dir, { out, compression, pinned: true }));
      golden.diffId = outcome.diffId;
      golden[compression] = outcome.digest;
    }
    assert.deepEqual(golden, {
      diffId: "sha256:95ee5ab094d5dffc181c81ed52c2182762dd061d502f768ff63f7adc62801837",
      gzip: "sha256:3e80d106080d1f1dfe172fbb5d9f1884396fd594ec3147de324cb9b3a299b5aa",
      zstd: "sha256:1f7567a4252bd076ba20985e33ff96051aa78b0daa95fe392f9a6a66fa6e81cb",
    });
  });

  it("sets times after SOURCE_DATE_EPOCH to it and leaves earlier ones", async () => {
    const lines = await packed(sample(), { epochSeconds: 1500 });
    const times = Object.fromEntries(lines.map((line) => [line.split("|")[0], line.split("|")[5]]));
    assert.equal(times["d/f"], "1000");
    assert.equal(times["d/"], "1500");
    assert.equal(times["d/link"], "1500");
    assert.equal(times["d/.wh.gone"], "1500");
  });

  it("leaves sockets out without a word, and names of whiteouts with one", async () => {
    const dir = temp();
    writeFileSync(join(dir, ".wh.victim"), "");
    mkdirSync(join(dir, ".wh..wh..opq"));
    writeFileSync(join(dir, ".whale"), "");
    const server = createServer().listen(join(dir, "socket"));
    await new Promise((resolve) => server.once("listening", resolve));
    const notes: string[] = [];
    const lines = await packed(dir, { epochSeconds: 0 }, notes);
    server.close();
    assert.deepEqual(lines, [".whale|0|644|0:0|0|0|||"]);
    assert.deepEqual(notes.length, 2);
    assert.match(notes.join(), /"\.wh\.victim" cannot be in an image/);
  });

  it("believes no note of an owner where the kernel holds them all, and leaves the attribute out", async () => {
    const dir = temp();
    for (const name of ["f", "sealed"]) writeFileSync(join(dir, name), "");
    lsetxattr(join(dir, "f"), "user.tsbuild.owner", Buffer.from("33:4000000"));
    const root = openat(AT.FDCWD, dir, O.RDONLY | O.DIRECTORY);
    setOwner(root, "sealed", 33, 4_000_000, { singleId: true });
    close(root);
    const expected = ["f|0|644|0:0|0|0|||", "sealed|0|644|0:0|0|0|||"];
    assert.deepEqual(await packed(dir, { epochSeconds: 0 }), expected);
  });

  it("applies the notes of a layer made with one id, but none that is not ours", async () => {
    const dir = temp();
    for (const name of ["f", "forged"]) writeFileSync(join(dir, name), "");
    const root = openat(AT.FDCWD, dir, O.RDONLY | O.DIRECTORY);
    setOwner(root, "f", 33, 4_000_000, { singleId: true });
    close(root);
    const seal = "0".repeat(32);
    lsetxattr(join(dir, "forged"), "user.tsbuild.owner", Buffer.from(`1 33:34 ${seal}`));
    const expected = ["f|0|644|33:4000000|0|0|||", "forged|0|644|0:0|0|0|||"];
    assert.deepEqual(await packed(dir, { epochSeconds: 0, oneId: true }), expected);
  });

  it("packs names that are long, or not UTF-8", async () => {
    const dir = temp();
    const deep = Array.from({ length: 16 }, () => "n".repeat(250)).join("/");
    // With the directory it is in deeper than PATH_MAX: made step by step.
    run("sh", [
      "-c",
      `cd ${dir}; for d in $(echo ${deep} | tr / ' '); do mkdir $d; cd -P $d 2>/dev/null || exit 1; done; echo x > f`,
    ]);
    writeFileSync(Buffer.concat([Buffer.from(`${dir}/`), Buffer.from([0xff, 0xfe])]), "");
    const lines = await packed(dir, { epochSeconds: 0 });
    assert.ok(lines.includes(`${deep}/f|0|644|0:0|2|0|||`));
    run("sh", [
      "-c",
      `cd ${dir}; for d in $(echo ${deep} | tr / ' '); do cd -P $d 2>/dev/null; done; mkdir -p ${"n".repeat(80)}`,
    ]);
    // No tool could unpack it.
    await assert.rejects(packed(dir, { epochSeconds: 0 }), {
      code: "LIMIT_EXCEEDED",
      message: /is longer than 4095 bytes/,
    });
    run("rm", ["-rf", dir]);
  });

  it("packs large files, in every compression, and unpacks to the same tree", async () => {
    const dir = sample();
    const content = Buffer.alloc(9_000_001);
    for (let i = 0; i < content.length; i += 4)
      content.writeInt32LE((i * 2654435761) | 0, Math.min(i, content.length - 4));
    writeFileSync(join(dir, "large"), content);
    const diffIds = new Set<string>();
    for (const compression of ["gzip", "zstd", "uncompressed"] as const) {
      const out = join(temp(), "blob");
      const outcome = await packLayer(plain(dir, { out, compression }));
      assert.equal(outcome.digest, sha256(readFileSync(out)));
      assert.equal(outcome.size, statSync(out).size);
      diffIds.add(outcome.diffId);
      const back = temp();
      const applied = await applyLayer({ blob: out, mediaType: "", diffId: outcome.diffId, dir: back });
      assert.equal(applied.diffId, outcome.diffId);
      assert.deepEqual(listTree(back), listTree(dir));
      assert.deepEqual(lgetxattr(join(back, "cap"), "security.capability"), CAPABILITY);
      assert.equal(lgetxattr(join(back, "o"), "user.overlay.opaque")?.toString(), "y");
      assert.equal(statSync(join(back, "d")).mtimeMs, 3_000_000);
    }
    assert.equal(diffIds.size, 1);
  });

  describe("with blobs of earlier layers", () => {
    it("names a block by its bytes and by those before it", async () => {
      using blocks = new EarlierBlocks("any", 0, []);
      const named = async (data: Buffer, before: Buffer | null): Promise<string> =>
        blocks.name(await blocks.digest(data), before === null ? null : await blocks.digest(before));
      const [first, rest] = [Buffer.alloc(200 << 10, "the beginning "), Buffer.from("and the rest")];
      const names = await Promise.all([
        ...[named(first, null), named(rest, null), named(Buffer.concat([first, rest]), null)],
        ...[named(first, rest), named(rest, first)],
      ]);
      assert.equal(new Set(names).size, names.length);
      const hex = createHash("sha256").update(first).digest("hex");
      assert.equal(Buffer.from(await blocks.digest(first), "latin1").toString("hex"), hex);
    });

    const FILES = 600;
    const TIME = 1e9;

    /** 600 files of 10 KB and one of 5 MB, in five directories. */
    function tree(): string {
      const dir = temp();
      for (let i = 0; i < 5; i++) mkdirSync(join(dir, `d${i}`));
      for (let i = 0; i < FILES; i++) write(dir, `d${i % 5}/file${i}`, 10_000, i);
      write(dir, "large", 5_000_000, 77);
      settle(dir);
      return dir;
    }
    /** Half random, half text, the same for the same seed. */
    function write(dir: string, name: string, bytes: number, seed: number): void {
      const random = createHash("shake256", { outputLength: bytes >> 1 })
        .update(`${seed}`)
        .digest();
      writeFileSync(join(dir, name), Buffer.concat([random, Buffer.alloc(bytes - random.length, name)]));
    }
    function settle(dir: string): void {
      for (const name of run("find", [dir, "-mindepth", "1"]).toString().trim().split("\n"))
        utimesSync(name, TIME, TIME);
    }
    const blob = () => join(temp(), "blob");
    const pack = (dir: string, out: string, change: Partial<PackRequest> = {}) =>
      packLayer(plain(dir, { out, compression: "gzip", earlier: [], ...change }));
    const namesOf = (blocks = "") => {
      const index = Buffer.from(blocks, "base64");
      return Array.from({ length: index.length / 40 }, (_, i) => index.toString("hex", i * 40, i * 40 + 32));
    };

    for (const form of [
      { compression: "gzip" },
      { compression: "zstd" },
      { compression: "gzip", pinned: true },
    ] as const) {
      it(`takes equal blocks over and has the bytes it would have had: ${JSON.stringify(form)}`, async () => {
        const dir = tree();
        const old = blob();
        const first = await pack(dir, old, form);
        assert.ok(first.blocks !== undefined);
        write(dir, "d3/file203", 9_800, 9999); // as many blocks of the tar as before
        settle(dir);
        const fresh = await pack(dir, blob(), form);
        const reused = await pack(dir, blob(), { ...form, earlier: [{ path: old, ...first.blocks }] });
        assert.deepEqual(reused, fresh);
        assert.notEqual(reused.digest, first.digest);
        const [before, after] = [namesOf(first.blocks.blocks), namesOf(reused.blocks?.blocks)];
        assert.ok(after.filter((name) => !before.includes(name)).length <= 2, "more than the changed block");
      });
    }

    it("finds the blocks behind a file that came or grew", async () => {
      const dir = tree();
      const old = blob();
      const first = await pack(dir, old);
      write(dir, "d1/another", 30_000, 5);
      write(dir, "d3/file203", 90_000, 6);
      settle(dir);
      const reused = await pack(dir, blob(), { earlier: [{ path: old, ...(first.blocks as BlockIndex) }] });
      assert.deepEqual(reused, await pack(dir, blob()));
      const [before, after] = [namesOf(first.blocks?.blocks), namesOf(reused.blocks?.blocks)];
      assert.ok(after.filter((name) => !before.includes(name)).length <= 6);
    });

    it("really takes them from there, and only if they are as they were written", async () => {
      const dir = tree();
      const old = blob();
      const first = await pack(dir, old);
      const earlier = [{ path: old, ...(first.blocks as BlockIndex) }];
      // A block that says something else, with a sum that fits: what is taken over shows.
      const bytes = readFileSync(old);
      const index = Buffer.from(first.blocks?.blocks ?? "", "base64");
      const length = index.readUInt32LE(32);
      bytes.fill(0, 10, 10 + length);
      writeFileSync(old, bytes);
      index.writeUInt32LE(crc32(bytes.subarray(10, 10 + length)), 36);
      const forged = [{ ...earlier[0], blocks: index.toString("base64") } as EarlierBlob];
      assert.notEqual((await pack(dir, blob(), { earlier: forged })).digest, first.digest);
      assert.equal((await pack(dir, blob(), { earlier })).digest, first.digest, "damaged, and used");
      truncateSync(old, 1000);
      assert.equal((await pack(dir, blob(), { earlier })).digest, first.digest);
      rmSync(old);
      assert.equal((await pack(dir, blob(), { earlier })).digest, first.digest);
    });

    it("passes over blobs of another compressor and indexes that are none", async () => {
      const dir = tree();
      const old = blob();
      const first = await pack(dir, old);
      const known = first.blocks as BlockIndex;
      for (const change of [
        { compressor: "zlib@0 x" },
        { blocks: "" },
        { blocks: Buffer.alloc(4000, 255).toString("base64") },
        { blocks: known.blocks.slice(0, 30) },
      ])
        assert.equal(
          (await pack(dir, blob(), { earlier: [{ path: old, ...known, ...change }] })).digest,
          first.digest,
        );
    });

    it("remembers nothing of small layers", async () => {
      const dir = temp();
      write(dir, "small", 100_000, 1);
      assert.equal((await pack(dir, blob())).blocks, undefined);
    });
  });

  it("packs an empty layer as an empty archive", async () => {
    const outcome = await packLayer(plain(temp()));
    assert.deepEqual([outcome.tarBytes, outcome.diffId], [1024, sha256(Buffer.alloc(1024))]);
  });

  it("refuses levels that do not exist", async () => {
    for (const change of [
      { compression: "estargz", level: 10 },
      { compression: "zstd:chunked", level: 23 },
      { compression: "gzip", level: 10 },
      { compression: "zstd", level: 0 },
    ] as const) {
      await assert.rejects(packLayer(plain(temp(), { out: join(temp(), "x"), ...change })), {
        code: "OUTPUT_INVALID",
      });
    }
  });
});
