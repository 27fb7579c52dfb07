import assert from "node:assert/strict";
import { createCipheriv, createHash } from "node:crypto";
import { linkSync, mkdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { applyLayer } from "../../../cache/layers/apply.ts";
import { type ChunkedOptions, chunkedBlob, type Tail } from "../../../cache/layers/chunked.ts";
import { Crc64 } from "../../../cache/layers/crc64.ts";
import { type PackRequest, packLayer, recompressLayer } from "../../../cache/layers/pack.ts";
import { lsetxattr, mknodat } from "../../../worker/sys/file.ts";
import { AT, S } from "../../../worker/sys/constants.ts";
import { readLazily } from "../../support/lazy-reader.ts";
import { describeAsRoot } from "../../support/privileges.ts";
import { makeTar, run, temporary } from "./support.ts";

const FORMS = ["zstd:chunked", "estargz"] as const;
const sha256 = (data: Uint8Array) => `sha256:${createHash("sha256").update(data).digest("hex")}`;

/** Bytes that do not repeat, the same ones for the same seed. */
function noise(length: number, seed: number): Buffer {
  const key = createHash("sha256").update(String(seed)).digest();
  return createCipheriv("aes-256-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(length));
}

async function chunked(
  blocks: readonly Buffer[],
  options: Partial<ChunkedOptions> & Pick<ChunkedOptions, "form">,
): Promise<{ readonly blob: Buffer; readonly tail: Tail }> {
  const chunks = chunkedBlob(blocks, { level: 3, pinned: false, ...options });
  const parts: Uint8Array[] = [];
  for (;;) {
    const next = await chunks.next();
    if (next.done === true) return { blob: Buffer.concat(parts), tail: next.value };
    parts.push(next.value);
  }
}

describe("Crc64", () => {
  it("gives Go's sums, however the bytes are cut and wherever they lie", () => {
    // hash/crc64, crc64_test.go ("ISO").
    assert.equal(new Crc64().digest().toString("hex"), "0000000000000000");
    assert.equal(new Crc64().update(Buffer.from("a")).digest().toString("hex"), "3420000000000000");
    assert.equal(new Crc64().update(Buffer.from("123456789")).digest().toString("hex"), "b90956c775a41001");
    const data = noise(1000, 1);
    const whole = new Crc64().update(new Uint8Array(data)).digest();
    const shifted = Buffer.concat([Buffer.alloc(3), data]).subarray(3);
    assert.deepEqual(new Crc64().update(shifted).digest(), whole);
    for (const cut of [1, 8, 333])
      assert.deepEqual(new Crc64().update(data.subarray(0, cut)).update(data.subarray(cut)).digest(), whole);
  });
});

describe("chunkedBlob", () => {
  const temp = temporary();

  it("gives the same bytes however the tar comes in, and for any number of threads", async () => {
    const files = [10, 5 << 20, 0, 3 << 20, 100_000].map((size, seed) => ({
      name: `f${seed}`,
      content: noise(size, seed),
    }));
    const tar = makeTar(files);
    for (const form of FORMS) {
      const { blob, tail } = await chunked([tar], { form });
      assert.equal(tail.kind, "table");
      for (const [size, threads] of [
        [1000, 1],
        [1 << 20, 3],
      ] as const) {
        const blocks = Array.from({ length: Math.ceil(tar.length / size) }, (_, at) =>
          tar.subarray(at * size, (at + 1) * size),
        );
        assert.ok((await chunked(blocks, { form, threads })).blob.equals(blob), `${form} ${size}`);
      }
    }
  });

  it("lists what other tools write: long names, names of owners, fractions of seconds", async () => {
    const dir = temp();
    const script = `
import io, sys, tarfile
for kind, form in (("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT), ("ustar", tarfile.USTAR_FORMAT)):
    with tarfile.open(sys.argv[1] + "/" + kind, "w", format=form) as archive:
        for name, kind, size in (("./", b"5", 0), ("./etc/", b"5", 0), ("./etc/hosts", b"0", 600), ("./" + ("d" * 90 + "/") * (1 if form == 0 else 3) + "f", b"0", 5), ("./etc/link", b"2", 0)):
            member = tarfile.TarInfo(name)
            member.type, member.size, member.mtime, member.uname, member.gname = kind, size, 1500000000.25, "root", "staff"
            member.mode, member.uid, member.linkname = 0o644, 3000000 if form != 0 else 3, "hosts" if kind == b"2" else ""
            archive.addfile(member, io.BytesIO(b"x" * size))
`;
    run("python3", ["-c", script, dir]);
    for (const kind of ["gnu", "pax", "ustar"]) {
      for (const form of FORMS) {
        const tar = readFileSync(join(dir, kind));
        const { blob, tail } = await chunked([tar], { form });
        assert.equal(tail.kind, "table", `${kind} ${form} ${JSON.stringify(tail)}`);
        if (tail.kind !== "table") continue;
        writeFileSync(join(dir, "blob"), blob);
        const bytes = String(tar.length + tail.behind.length);
        const read = readLazily(join(dir, "blob"), {
          ...tail.annotations,
          "io.containers.estargz.uncompressed-size": bytes,
        });
        assert.equal(read.sha256, sha256(Buffer.concat([tar, tail.behind])));
        const [top, etc, hosts] = read.entries;
        assert.deepEqual(
          [top?.["userName"], etc?.["userName"]],
          form === "estargz" ? ["root", undefined] : [undefined, undefined],
        );
        const time =
          form === "zstd:chunked" && kind === "pax" ? "2017-07-14T02:40:00.25Z" : "2017-07-14T02:40:00Z";
        assert.equal(hosts?.["modtime"], time);
      }
    }
  });

  it("says modes as they are written, with what docker adds to them", async () => {
    for (const form of FORMS) {
      const { blob, tail } = await chunked([makeTar([{ name: "a", mode: 0o100640, content: "x" }])], {
        form,
      });
      if (tail.kind !== "table") throw new Error(tail.why);
      const path = join(temp(), "blob");
      writeFileSync(path, blob);
      const size = { "io.containers.estargz.uncompressed-size": String(2048 + tail.behind.length) };
      assert.equal(readLazily(path, { ...tail.annotations, ...size }).entries[0]?.["mode"], 0o100640);
    }
  });

  it("makes a plain blob of what a table cannot say, and says why", async () => {
    const many = makeTar([{ name: "a" }, { name: "./a" }]);
    const global = Buffer.concat([makeTar([{ name: "pax" }]).subarray(0, 512), makeTar([{ name: "a" }])]);
    global[156] = 0x67; // "g"
    global.write(`${(sum(global) + 0x67 - 0x30).toString(8).padStart(6, "0")}\0 `, 148, "latin1");
    const cases: readonly (readonly [Buffer, RegExp, readonly (typeof FORMS)[number][]])[] = [
      [makeTar([{ name: Buffer.from([0x61, 0xff]) }]), /is not UTF-8/, FORMS],
      [many, /a is in it twice/, FORMS],
      [global, /headers for all members/, FORMS],
      [makeTar([{ name: "stargz.index.json", content: "{}" }]), /named stargz.index.json/, ["estargz"]],
      [noise(3000, 1), /not valid/, FORMS],
      [makeTar([{ name: "a", content: "x" }]).subarray(0, 600), /it has no end/, FORMS],
      [makeTar([{ name: "a", content: noise(600, 1) }]).subarray(0, 700), /truncated/, FORMS],
    ];
    for (const [tar, why, forms] of cases) {
      for (const form of forms) {
        const { blob, tail } = await chunked([tar], { form });
        assert.match(tail.kind === "none" ? tail.why : "it has a table", why);
        const path = join(temp(), "blob");
        writeFileSync(path, blob);
        const plain = form === "estargz" ? gunzipSync(blob) : run("zstd", ["-dc", path]);
        assert.ok(Buffer.from(plain).equals(tar), `${form} ${why}`);
      }
    }
  });

  function sum(header: Buffer): number {
    return Number.parseInt(header.toString("latin1", 148, 154), 8);
  }
});

describeAsRoot("layers that can be pulled lazily", () => {
  const temp = temporary();

  function request(dir: string, change: Partial<PackRequest> = {}): PackRequest {
    return { dir, out: null, compression: "uncompressed", level: null, epochSeconds: 0, ...change };
  }

  /** A layer with one of everything, and files of more than one chunk. */
  function sample(): string {
    const dir = temp();
    mkdirSync(join(dir, "d"));
    writeFileSync(join(dir, "d/text"), "text");
    writeFileSync(join(dir, "d/empty"), "");
    writeFileSync(join(dir, "d/two"), noise((4 << 20) + 1000, 1));
    writeFileSync(join(dir, "d/exact"), Buffer.alloc(4 << 20));
    writeFileSync(join(dir, `d/${"ü".repeat(60)}`), "long");
    for (let i = 0; i < 5; i++) writeFileSync(join(dir, `d/small-${i}`), noise(i * 700, i));
    writeFileSync(join(dir, "d/words"), "layers of files ".repeat(30_000));
    linkSync(join(dir, "d/text"), join(dir, "d/z-hard"));
    symlinkSync("text", join(dir, "d/z-link"));
    mknodat(AT.FDCWD, join(dir, "d/z-fifo"), S.IFIFO | 0o600);
    mknodat(AT.FDCWD, join(dir, "d/z-gone"), S.IFCHR);
    writeFileSync(join(dir, "cap"), "");
    lsetxattr(
      join(dir, "cap"),
      "security.capability",
      Buffer.from("0100000200040000000000000000000000000000", "hex"),
    );
    utimesSync(join(dir, "cap"), -5, -5);
    return dir;
  }

  for (const form of FORMS) {
    it(`${form}: every file is where the table says, and the whole is the layer`, async () => {
      const dir = sample();
      const plain = await packLayer(request(dir));
      for (const pinned of [false, true]) {
        const out = join(temp(), "blob");
        const packed = await packLayer(request(dir, { out, compression: form, pinned }));
        assert.equal(packed.diffId, plain.diffId);
        assert.equal(packed.digest, sha256(readFileSync(out)));
        const { table } = packed;
        if (table?.kind !== "table") throw new Error(`no table: ${JSON.stringify(table)}`);
        const read = readLazily(out, table.annotations);
        assert.equal(read.sha256, table.diffId);
        assert.equal(table.diffId === plain.diffId, form === "zstd:chunked");
        const chunks = new Map(read.entries.map(({ name, chunks }) => [name, chunks ?? 0]));
        assert.deepEqual(
          ["d/text", "d/empty", "d/two", "d/exact"].map((name) => chunks.get(name)),
          [1, 0, 2, 1],
        );
        // Unpacked by us it has the same files, and in eStargz not the table.
        const into = temp();
        const { diffId } = table;
        await applyLayer({
          blob: out,
          mediaType: "application/vnd.oci.image.layer.v1.tar",
          diffId,
          dir: into,
        });
        assert.equal((await packLayer(request(into))).diffId, plain.diffId);
      }
    });

    it(`${form}: has levels, and is made of other blobs too`, async () => {
      const dir = sample();
      const [fast, best, again] = [join(temp(), "1"), join(temp(), "9"), join(temp(), "again")];
      const quick = await packLayer(request(dir, { out: fast, compression: form, level: 1 }));
      const small = await packLayer(request(dir, { out: best, compression: form, level: 9 }));
      assert.ok((small.size ?? 0) < (quick.size ?? 0));
      const blob = join(temp(), "gz");
      const tar = join(temp(), "tar");
      await packLayer(request(dir, { out: tar }));
      writeFileSync(blob, gzipSync(readFileSync(tar)));
      const made = await recompressLayer({ blob, out: again, compression: form, level: 9, epochSeconds: 0 });
      assert.deepEqual([made.digest, made.table], [small.digest, small.table]);
    });
  }

  it("keep their bytes from one version to the next with the compressor of the package", async () => {
    const dir = temp();
    writeFileSync(join(dir, "greeting"), "hello, layers\n".repeat(1000));
    writeFileSync(join(dir, "other"), noise(5000, 7));
    for (const name of ["greeting", "other"]) utimesSync(join(dir, name), 1e9, 1e9);
    const golden = await Promise.all(
      FORMS.map(async (compression) => {
        const out = join(temp(), "blob");
        return (await packLayer(request(dir, { out, compression, pinned: true }))).digest;
      }),
    );
    assert.deepEqual(golden, [
      "sha256:3ce86ae8e0ddfb24d0dc5f05f39a3e330b19e35f4c2983a33525b4907237ac2e",
      "sha256:bcb17f1692a4bd3d692fc1d08598a7030cea91c00b14cda01717a04030fc0a5a",
    ]);
  });
});
