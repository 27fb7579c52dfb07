import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type CompressionKind,
  detectCompression,
  readDecompressed,
} from "../../../cache/layers/decompress.ts";
import { run, temporary } from "./support.ts";

const PROGRAMS: Readonly<Record<Exclude<CompressionKind, "none">, readonly [string, ...string[]]>> = {
  gzip: ["gzip", "-c"],
  zstd: ["zstd", "-qc"],
  bzip2: ["bzip2", "-c"],
  xz: ["xz", "-c"],
};

describe("decompression", () => {
  const temp = temporary();
  const data = Buffer.concat([randomBytes(300_000), Buffer.alloc(700_000, "tsbuild "), randomBytes(10)]);

  async function read(file: Buffer): Promise<{ kind: CompressionKind; plain: Buffer }> {
    const path = join(temp(), "file");
    writeFileSync(path, file);
    const parts: Buffer[] = [];
    const kind = await readDecompressed(path, (chunk) => {
      parts.push(Buffer.from(chunk));
      return true;
    });
    return { kind, plain: Buffer.concat(parts) };
  }

  for (const [kind, [program, ...args]] of Object.entries(PROGRAMS)) {
    const pack = (input: Buffer) => run(program, args, input);

    it(`reads ${kind}`, async () => {
      const found = await read(pack(data));
      assert.equal(found.kind, kind);
      assert.ok(found.plain.equals(data));
    });
    it(`reads ${kind} files that follow one another`, async () => {
      const found = await read(Buffer.concat([pack(data), pack(Buffer.from("more"))]));
      assert.ok(found.plain.equals(Buffer.concat([data, Buffer.from("more")])));
    });
    it(`reads a ${kind} file of nothing`, async () => {
      assert.equal((await read(pack(Buffer.alloc(0)))).plain.length, 0);
    });
    it(`refuses ${kind} that is cut off`, async () => {
      const packed = pack(data);
      await assert.rejects(read(packed.subarray(0, packed.length - 20)), { code: "ARCHIVE_INVALID" });
      await assert.rejects(read(packed.subarray(0, 200_000)), { code: "ARCHIVE_INVALID" });
    });
    it(`refuses ${kind} that is damaged`, async () => {
      const packed = pack(data);
      // A streamed zstd file is not checked against its checksum, so what is hit is the frame: its first block header.
      packed.fill(0xff, kind === "zstd" ? 5 : 100_000, kind === "zstd" ? 20 : 100_100);
      await assert.rejects(read(packed), { code: "ARCHIVE_INVALID" });
    });
    it(`stops reading ${kind} wherever its reader has enough`, async () => {
      const path = join(temp(), "file");
      writeFileSync(path, pack(Buffer.alloc(2_000_000, "tsbuild ")));
      const calls = async (wanted: number): Promise<number> => {
        let count = 0;
        await readDecompressed(path, () => ++count < wanted);
        return count;
      };
      const all = await calls(Infinity);
      assert.ok(all > 1, `${all} chunks`);
      for (let wanted = 1; wanted <= all; wanted++) assert.equal(await calls(wanted), wanted);
    });
    it(`stops reading ${kind} when its reader has enough, and passes the reader's error on`, async () => {
      const path = join(temp(), "file");
      writeFileSync(path, pack(Buffer.concat([data, data, data, data])));
      let calls = 0;
      await readDecompressed(path, () => {
        calls++;
        return false;
      });
      assert.equal(calls, 1);
      const mine = new Error("of the reader");
      await assert.rejects(
        readDecompressed(path, () => {
          throw mine;
        }),
        mine,
      );
    });
  }

  it("reads zstd with skippable frames and with frames that state their size", async () => {
    const skippable = Buffer.from("502a4d180400000061626364", "hex");
    const path = join(temp(), "plain");
    writeFileSync(path, data);
    const sized = run("zstd", ["-qc", path]);
    const streamed = run("zstd", ["-qc"], data);
    const twice = Buffer.concat([data, data]);
    assert.ok((await read(Buffer.concat([skippable, streamed, sized]))).plain.equals(twice));
    assert.ok((await read(Buffer.concat([sized, streamed]))).plain.equals(twice));
  });

  it("takes what it does not know for plain", async () => {
    assert.deepEqual(await read(Buffer.from("text")), { kind: "none", plain: Buffer.from("text") });
    assert.equal(detectCompression(Buffer.alloc(0)), "none");
    assert.equal(detectCompression(Buffer.from([0x1f, 0x8b])), "none");
  });
});
