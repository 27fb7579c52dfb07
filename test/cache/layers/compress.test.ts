import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { BLOCK_BYTES, type CompressOptions, compressBlocks } from "../../../cache/layers/compress.ts";
import { nativeZstd } from "../../../cache/layers/compress-native.ts";
import { COMPRESSORS } from "../../../cache/layers/compress-block.ts";
import { projectDir } from "../../support/project.ts";
import { removeTree } from "../../support/store.ts";
import { run } from "./support.ts";

/** Text-like bytes that are the same in every run. */
function sample(bytes: number): Buffer {
  const out = Buffer.alloc(bytes);
  let state = 12345;
  for (let i = 0; i < bytes; i++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    out[i] = 97 + ((state >>> 16) % ((i >> 12) % 2 === 0 ? 4 : 20));
  }
  return out;
}

async function compress(data: Buffer, options: CompressOptions): Promise<Buffer> {
  const size = BLOCK_BYTES[options.compression];
  const blocks: Buffer[] = [];
  for (let at = 0; at < data.length; at += size) blocks.push(data.subarray(at, at + size));
  const parts: Uint8Array[] = [];
  for await (const part of compressBlocks(blocks, options)) parts.push(part);
  return Buffer.concat(parts);
}

describe("compression", () => {
  const data = sample(5_300_000);

  for (const pinned of [false, true]) {
    it(`writes one gzip member other programs read (pinned: ${pinned})`, async () => {
      const packed = await compress(data, { compression: "gzip", level: null, pinned });
      assert.ok(gunzipSync(packed).equals(data));
      assert.ok(run("gzip", ["-dc"], packed).equals(data));
      assert.equal(packed.indexOf(Buffer.from([0x1f, 0x8b, 8, 0]), 1), -1);
      // No time, no name, no system: nothing that differs from machine to machine.
      assert.equal(packed.toString("hex", 0, 10), "1f8b08000000000000ff");
      assert.ok(packed.length < gunzipSync(packed).length);
    });

    it(`gives the same gzip bytes for any number of threads (pinned: ${pinned})`, async () => {
      const options = { compression: "gzip", level: 4, pinned } as const;
      const one = await compress(data, { ...options, threads: 1 });
      for (const threads of [2, 5]) assert.ok((await compress(data, { ...options, threads })).equals(one));
    });
  }

  it("costs little for being cut into blocks", async () => {
    const blocks = await compress(data, { compression: "gzip", level: 6, pinned: false });
    const whole = run("gzip", ["-6nc"], data);
    assert.ok(blocks.length < whole.length * 1.005, `${blocks.length} against ${whole.length}`);
  });

  it("names the versions of the pinned compressors, which are exact", () => {
    const read = (path: string) =>
      JSON.parse(readFileSync(join(projectDir, path), "utf8")) as {
        version: string;
        dependencies: Record<string, string>;
      };
    for (const named of Object.values(COMPRESSORS)) {
      const [, name = "", version = ""] = /^(.+)@(.+)$/.exec(named) ?? [];
      assert.equal(read("package.json").dependencies[name], version);
      assert.equal(read(`node_modules/${name}/package.json`).version, version);
    }
  });

  it("keeps the bytes of the pinned compressors from version to version", async () => {
    const digests: Record<string, string> = {};
    for (const compression of ["gzip", "zstd"] as const) {
      const packed = await compress(data, { compression, level: null, pinned: true });
      digests[compression] = createHash("sha256").update(packed).digest("hex");
    }
    assert.deepEqual(digests, {
      gzip: "d006668b9970250700f46b820e2ccef50e06cbcba756154d67b623a3849af09c",
      zstd: "71a35a43173e22b857a6fa19e40505a22c80cbc2dfbdb415b5b1f86d1d38b588",
    });
  });

  for (const pinned of [false, true]) {
    it(`writes zstd frames other programs read, equal for any number of threads (pinned: ${pinned})`, async () => {
      const options = { compression: "zstd", level: null, pinned } as const;
      const one = await compress(data, { ...options, threads: 1 });
      assert.ok(run("zstd", ["-dc"], one).equals(data));
      assert.ok((await compress(data, { ...options, threads: 3 })).equals(one));
    });
  }

  it("has zstd of this machine, each frame of which states its size", async () => {
    const native = await nativeZstd();
    assert.ok(native !== null, "needs libzstd1, or a Node with zstd");
    const frame = await native.compress(data, 3);
    // RFC 8878 3.1.1.1: magic, and a descriptor whose single segment flag or size flag is set.
    assert.equal(Buffer.from(frame).toString("hex", 0, 4), "28b52ffd");
    assert.notEqual((frame[4] as number) & 0b1110_0000, 0);
    assert.ok(run("zstd", ["-dc"], Buffer.from(frame)).equals(data));
  });

  it("writes valid files for nothing", async () => {
    const options = { level: null, pinned: false } as const;
    const nothing = Buffer.alloc(0);
    assert.equal(gunzipSync(await compress(nothing, { compression: "gzip", ...options })).length, 0);
    assert.equal(
      run("zstd", ["-dc"], await compress(nothing, { compression: "zstd", ...options })).length,
      0,
    );
  });

  it("stops its threads when the reader leaves early", async () => {
    const blocks = Array.from({ length: 8 }, () => sample(BLOCK_BYTES.zstd));
    for await (const _ of compressBlocks(blocks, {
      compression: "zstd",
      level: 1,
      pinned: true,
      threads: 2,
    }))
      break;
    const active = process.getActiveResourcesInfo().filter((name) => name.includes("MessagePort"));
    assert.deepEqual(active, []);
  });

  it("survives a block that fails before those ahead of it are done", async () => {
    const gone = sample(BLOCK_BYTES.zstd);
    const { buffer } = gone as Buffer<ArrayBuffer>;
    structuredClone(buffer, { transfer: [buffer] }); // a detached buffer cannot be handed to a thread
    const blocks = [sample(BLOCK_BYTES.zstd), sample(BLOCK_BYTES.zstd), gone];
    const unhandled: unknown[] = [];
    const note = (reason: unknown) => void unhandled.push(reason);
    process.prependListener("unhandledRejection", note);
    try {
      await assert.rejects(async () => {
        const options = { compression: "zstd", level: 1, pinned: true, threads: 3 } as const;
        for await (const _ of compressBlocks(blocks, options));
      }, /DataCloneError|detached/);
    } finally {
      process.off("unhandledRejection", note);
    }
    assert.deepEqual(unhandled, []);
  });

  it("fails, and does not wait for ever, when its threads cannot start", () => {
    // More blocks than threads: some wait for a thread that never comes.
    const copy = mkdtempSync(join(tmpdir(), "threads-"));
    for (const room of ["package.json", "dist/cache", "dist/solver", "dist/worker/sys"])
      cpSync(join(projectDir, room), join(copy, room), { recursive: true });
    symlinkSync(join(projectDir, "node_modules"), join(copy, "node_modules"));
    rmSync(join(copy, "dist/cache/layers/compress-thread.js"));
    const script = `
      const { compressBlocks } = await import(${JSON.stringify(join(copy, "dist/cache/layers/compress.js"))});
      const blocks = Array.from({ length: 8 }, () => Buffer.alloc(${BLOCK_BYTES.zstd}));
      const options = { compression: "zstd", level: 1, pinned: true, threads: 2 };
      try { for await (const part of compressBlocks(blocks, options)) part; } catch (error) { console.log(error.message); }`;
    const { stdout, signal } = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
      encoding: "utf8",
      timeout: 20_000,
    });
    removeTree(copy);
    assert.equal(signal, null);
    assert.match(stdout, /compress-thread/);
  });
});
