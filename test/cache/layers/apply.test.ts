import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { appendFileSync, mkdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { applyLayer, plainDigest } from "../../../cache/layers/apply.ts";
import { parseDigest } from "../../../solver/graph/digest.ts";
import { lgetxattr } from "../../../worker/sys/file.ts";
import { describeAsRoot } from "../../support/privileges.ts";
import { listTree, type Member, makeTar, run, temporary } from "./support.ts";

const sha256 = (data: Uint8Array) => `sha256:${createHash("sha256").update(data).digest("hex")}`;

describeAsRoot("applyLayer", () => {
  const temp = temporary();

  async function apply(members: readonly Member[] | Buffer, notes: string[] = []): Promise<string> {
    const dir = temp();
    const blob = join(dir, "blob");
    const out = join(dir, "fs");
    mkdirSync(out, { mode: 0o700 });
    writeFileSync(blob, Buffer.isBuffer(members) ? members : makeTar(members));
    await applyLayer({ blob, mediaType: "", diffId: null, dir: out }, (note) => notes.push(note));
    return out;
  }

  for (const [kind, pack] of Object.entries({
    none: (tar: Buffer) => tar,
    gzip: (tar: Buffer) => gzipSync(tar),
    zstd: (tar: Buffer) => run("zstd", ["-qc"], tar),
  })) {
    it(`unpacks a layer compressed with ${kind} and names its tar`, async () => {
      const tar = makeTar([
        { name: "d/", type: "dir" },
        { name: "d/f", content: "text" },
      ]);
      const dir = temp();
      writeFileSync(join(dir, "blob"), pack(tar));
      mkdirSync(join(dir, "fs"));
      const job = { blob: join(dir, "blob"), mediaType: "", dir: join(dir, "fs") };
      const outcome = await applyLayer({ ...job, diffId: null });
      const plain = { diffId: sha256(tar), tarBytes: tar.length, compression: kind };
      assert.deepEqual(outcome, { ...plain, sizeBytes: 4, entries: 2 });
      assert.deepEqual(await plainDigest(job.blob), plain);
      assert.deepEqual(listTree(job.dir), ["d dir 0755 0:0", "d/f file 0644 0:0 text"]);
    });
  }

  for (const [kind, pack] of Object.entries({
    none: (tar: Buffer) => tar,
    gzip: (tar: Buffer) => gzipSync(tar, { level: 1 }),
    "zstd of one frame": (tar: Buffer) => run("zstd", ["-qc"], tar),
    "zstd of many frames": (tar: Buffer) =>
      Buffer.concat(
        [0, 1, 2].map((at) =>
          run(
            "zstd",
            ["-qc", `--stream-size=${4 << 20}`],
            tar.subarray(at * (4 << 20), (at + 1) * (4 << 20)),
          ),
        ),
      ),
  })) {
    it(`unpacks one compressed with ${kind} while it is being written`, async () => {
      const content = randomBytes(6 << 20).toString("base64");
      const tar = Buffer.concat([
        makeTar([
          { name: "f", content: "text" },
          { name: "g", content },
        ]),
        Buffer.alloc(12 << 20),
      ]);
      const packed = pack(tar.subarray(0, 12 << 20));
      const dir = temp();
      const job = { blob: join(dir, "blob"), mediaType: "", diffId: null, dir: join(dir, "fs") };
      const writing = join(dir, "writing");
      writeFileSync(writing, "");
      mkdirSync(job.dir);
      const applying = applyLayer({ ...job, arriving: { path: writing, sizeBytes: packed.length } });
      for (let at = 0; at < packed.length; at += 1 << 20) {
        appendFileSync(writing, packed.subarray(at, at + (1 << 20)));
        await delay(5);
      }
      const outcome = await applying;
      assert.equal(outcome.diffId, sha256(tar.subarray(0, 12 << 20)));
      assert.ok(readFileSync(join(job.dir, "g"), "utf8") === content);
    });
  }

  it("unpacks one that was being written and has its name by now", async () => {
    const tar = makeTar([{ name: "f", content: "text" }]);
    const dir = temp();
    writeFileSync(join(dir, "blob"), tar);
    mkdirSync(join(dir, "fs"));
    const job = { blob: join(dir, "blob"), mediaType: "", diffId: null, dir: join(dir, "fs") };
    const arriving = { path: join(dir, "writing"), sizeBytes: tar.length };
    assert.equal((await applyLayer({ ...job, arriving })).diffId, sha256(tar));
  });

  it("refuses a layer that is not the one the image names", async () => {
    const dir = temp();
    writeFileSync(join(dir, "blob"), makeTar([{ name: "f" }]));
    mkdirSync(join(dir, "fs"));
    const diffId = parseDigest(`sha256:${"0".repeat(64)}`);
    await assert.rejects(
      applyLayer({ blob: join(dir, "blob"), mediaType: "", diffId, dir: join(dir, "fs") }),
      {
        code: "DIGEST_MISMATCH",
      },
    );
  });

  it("hashes what stands behind the end of the archive as well", async () => {
    const tar = Buffer.concat([makeTar([{ name: "f" }]), Buffer.alloc(9000, "x")]);
    const dir = temp();
    writeFileSync(join(dir, "blob"), tar);
    mkdirSync(join(dir, "fs"));
    const job = { blob: join(dir, "blob"), mediaType: "", diffId: null, dir: join(dir, "fs") };
    assert.equal((await applyLayer(job)).diffId, sha256(tar));
  });

  it("keeps owners, set-id bits and times, also of directories that were filled later", async () => {
    const out = await apply([
      { name: "d/", type: "dir", mode: 0o2750, uid: 3, gid: 4, mtimeSeconds: 100 },
      { name: "d/f", content: "1", mode: 0o4711, uid: 5, gid: 6, mtimeSeconds: 200 },
      { name: "d/l", type: "symlink", link: "f", uid: 7, gid: 8, mtimeSeconds: 300 },
      { name: "d/p", type: "fifo", mode: 0o600, mtimeSeconds: 400 },
    ]);
    assert.deepEqual(listTree(out), [
      "d dir 2750 3:4",
      "d/f file 4711 5:6 1",
      "d/l -> f",
      "d/p fifo 0600 0:0",
    ]);
    assert.equal(statSync(join(out, "d")).mtimeMs, 100_000);
    assert.equal(statSync(join(out, "d/f")).mtimeMs, 200_000);
  });

  it("makes parents that have no entry, and gives the root directory mode 0755", async () => {
    const out = await apply([{ name: "a/b/f", content: "1", uid: 9 }]);
    assert.deepEqual(listTree(out), ["a dir 0755 0:0", "a/b dir 0755 0:0", "a/b/f file 0644 9:0 1"]);
    assert.equal(statSync(out).mode & 0o7777, 0o755);
  });

  it("takes the attributes of the root directory from its entry", async () => {
    const out = await apply([{ name: "./", type: "dir", mode: 0o711, uid: 2, mtimeSeconds: 77 }]);
    const stat = statSync(out);
    assert.deepEqual([stat.mode & 0o7777, stat.uid, stat.mtimeMs], [0o711, 2, 77_000]);
  });

  it("turns whiteouts into what overlayfs reads", async () => {
    const out = await apply([
      { name: "d/", type: "dir" },
      { name: "d/.wh..wh..opq" },
      { name: "d/.wh.gone" },
      { name: ".wh.top" },
    ]);
    assert.deepEqual(listTree(out), ["d dir 0755 0:0", "d/gone char 0", "top char 0"]);
    assert.equal(lgetxattr(join(out, "d"), "user.overlay.opaque")?.toString(), "y");
  });

  it("hides what is below a directory that is deleted and made again, in either order", async () => {
    for (const members of [
      [{ name: ".wh.d" }, { name: "d/", type: "dir" }, { name: "d/f" }],
      [{ name: "d/", type: "dir" }, { name: "d/f" }, { name: ".wh.d" }],
      [{ name: ".wh.d" }, { name: "d/f" }],
      [{ name: "d", content: "a file first" }, { name: "d/", type: "dir" }, { name: "d/f" }],
    ] as const) {
      const out = await apply(members);
      assert.deepEqual(listTree(out), ["d dir 0755 0:0", "d/f file 0644 0:0 "]);
      assert.equal(lgetxattr(join(out, "d"), "user.overlay.opaque")?.toString(), "y");
    }
  });

  it("lets a file of the layer stand when a whiteout of its name follows", async () => {
    const out = await apply([{ name: "f", content: "1" }, { name: ".wh.f" }]);
    assert.deepEqual(listTree(out), ["f file 0644 0:0 1"]);
  });

  it("replaces what an earlier entry made", async () => {
    const out = await apply([
      { name: "a/", type: "dir" },
      { name: "a/old", content: "old" },
      { name: "a", type: "symlink", link: "b" },
      { name: "b/", type: "dir" },
      { name: "a/new", content: "through the link" },
      { name: "f", content: "1" },
      { name: "f", content: "2" },
    ]);
    assert.deepEqual(listTree(out), [
      "a -> b",
      "b dir 0755 0:0",
      "b/new file 0644 0:0 through the link",
      "f file 0644 0:0 2",
    ]);
  });

  it("links hard links to the file they name and keeps its set-id bits", async () => {
    const out = await apply([
      { name: "d/f", content: "1", mode: 0o4755, uid: 3 },
      { name: "g", type: "link", link: "d/f", mode: 0o4755, uid: 3 },
      { name: "l", type: "symlink", link: "x" },
      { name: "m", type: "link", link: "l", mode: 0o777 },
    ]);
    assert.equal(statSync(join(out, "g")).ino, statSync(join(out, "d/f")).ino);
    assert.equal(statSync(join(out, "g")).mode & 0o7777, 0o4755);
    assert.ok(listTree(out).includes("m -> x"));
  });

  it("links hard links to a FIFO", async () => {
    const out = await apply([
      { name: "p", type: "fifo", mode: 0o640 },
      { name: "q", type: "link", link: "p", mode: 0o640 },
    ]);
    const [first, second] = ["p", "q"].map((name) => statSync(join(out, name)));
    assert.equal(second?.ino, first?.ino);
    assert.equal((second?.mode ?? 0) & 0o7777, 0o640);
  });

  it("keeps file capabilities and leaves overlay attributes out", async () => {
    const capability = Buffer.from("0100000200040000000000000000000000000000", "hex");
    const out = await apply([
      {
        name: "f",
        uid: 5,
        xattrs: new Map([
          ["security.capability", capability],
          ["user.overlay.opaque", Buffer.from("y")],
          ["user.tsbuild.owner", Buffer.from("1:1")],
          ["trusted.overlay.opaque", Buffer.from("y")],
        ]),
      },
    ]);
    assert.deepEqual(lgetxattr(join(out, "f"), "security.capability"), capability);
    for (const name of ["user.overlay.opaque", "user.tsbuild.owner", "trusted.overlay.opaque"]) {
      assert.equal(lgetxattr(join(out, "f"), name), null);
    }
  });

  it("leaves aufs data out", async () => {
    assert.deepEqual(
      await apply([{ name: ".wh..wh.plnk/1.2", content: "x" }]).then((out) => listTree(out)),
      [],
    );
  });

  it("unpacks in a user namespace: whiteouts work, devices are left out with a note, owners are noted", async () => {
    const dir = temp();
    const blob = join(dir, "blob");
    const out = join(dir, "fs");
    mkdirSync(out);
    const members: Member[] = [
      { name: "f", content: "1", uid: 33, gid: 34 },
      { name: ".wh.gone" },
      { name: "null", type: "char", devMajor: 1, devMinor: 3 },
    ];
    writeFileSync(blob, makeTar(members));
    const module = new URL("../../../cache/layers/apply.js", import.meta.url).href;
    const job = JSON.stringify({ blob, mediaType: "", diffId: null, dir: out });
    const script = `import { applyLayer } from ${JSON.stringify(module)}; await applyLayer(${job}, console.log);`;
    const printed = run("unshare", ["-rm", process.execPath, "--input-type=module", "-e", script]).toString();
    assert.match(printed, /"null" is a device node/);
    assert.deepEqual(listTree(out), ["f file 0644 0:0 1", "gone char 0"]);
    assert.match(String(lgetxattr(join(out, "f"), "user.tsbuild.owner")), /^1 33:34 [0-9a-f]{32}$/);
  });

  it("is read by overlayfs as the image meant it", async () => {
    const dir = temp();
    const lower = join(dir, "lower");
    mkdirSync(join(lower, "opaque"), { recursive: true });
    writeFileSync(join(lower, "opaque/old"), "");
    writeFileSync(join(lower, "gone"), "");
    utimesSync(lower, 1, 1);
    const upper = await apply([
      { name: "opaque/.wh..wh..opq" },
      { name: "opaque/new" },
      { name: ".wh.gone" },
    ]);
    const merged = join(dir, "merged");
    mkdirSync(merged);
    const options = `userxattr,lowerdir=${upper}:${lower}`;
    const script = `mount -t overlay overlay -o ${options} ${merged} && ls -R ${merged}`;
    const listed = run("unshare", ["-rm", "sh", "-c", script]).toString();
    assert.deepEqual(
      listed.split("\n").filter((line) => /^(gone|old|new|opaque)$/.test(line)),
      ["opaque", "new"],
    );
  });
});
