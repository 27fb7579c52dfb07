import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { type TarDirectory, type TarFile, tarBytes } from "../../exporters/tar-bytes.ts";
import { bytesOf, collect } from "./fixture.ts";

describe("tars of plain members", () => {
  const big = Buffer.alloc(3_000_001, "x");
  const members = (): readonly (TarDirectory | TarFile)[] => [
    { kind: "directory", name: "blobs/" },
    { kind: "file", name: "blobs/big", size: big.length, data: () => bytesOf(big) },
    { kind: "file", name: "empty", size: 0, data: new Uint8Array(0) },
    { kind: "file", name: `${"long/".repeat(25)}name`, size: 5, data: Buffer.from("short") },
    { kind: "file", name: "index.json", size: 2, data: Buffer.from("{}") },
  ];

  it("say nothing of this machine, and are read by tar", async () => {
    const tar = await collect(tarBytes(members()));
    assert.ok((await collect(tarBytes(members()))).equals(tar));
    const listing = execFileSync("tar", ["--utc", "--numeric-owner", "-tvf", "-"], {
      input: tar,
      encoding: "utf8",
    });
    assert.deepEqual(
      listing
        .trim()
        .split("\n")
        .map((line) => line.replace(/ +/g, " ")),
      [
        "drwxr-xr-x 0/0 0 1970-01-01 00:00 blobs/",
        `-r--r--r-- 0/0 ${big.length} 1970-01-01 00:00 blobs/big`,
        "-r--r--r-- 0/0 0 1970-01-01 00:00 empty",
        `-r--r--r-- 0/0 5 1970-01-01 00:00 ${"long/".repeat(25)}name`,
        "-r--r--r-- 0/0 2 1970-01-01 00:00 index.json",
      ],
    );
    const back = execFileSync("tar", ["-xOf", "-", "blobs/big"], { input: tar, maxBuffer: 10_000_000 });
    assert.ok(back.equals(big));
  });

  it("throw what a source throws", async () => {
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield Buffer.alloc(10);
      throw new RangeError("the disk is gone");
    }
    const tar = tarBytes([{ kind: "file", name: "a", size: 20, data: broken }]);
    await assert.rejects(collect(tar), { name: "RangeError", message: "the disk is gone" });
  });

  it("throw when a source has another size than its member", async () => {
    for (const size of [9, 11]) {
      await assert.rejects(collect(tarBytes([{ kind: "file", name: "a", size, data: Buffer.alloc(10) }])));
      const source = () => bytesOf(Buffer.alloc(10));
      await assert.rejects(collect(tarBytes([{ kind: "file", name: "a", size, data: source }])));
    }
  });

  it("can be given up while they wait for a source", async () => {
    let rejected: unknown = null;
    const listener = (error: unknown) => void (rejected = error);
    process.on("unhandledRejection", listener);
    async function* late(): AsyncGenerator<Uint8Array> {
      await delay(20);
      yield Buffer.alloc(4);
    }
    for await (const _chunk of tarBytes([{ kind: "file", name: "a", size: 4, data: late }])) break;
    await delay(1);
    process.off("unhandledRejection", listener);
    assert.equal(rejected, null);
  });

  it("end their source when nobody reads on", async () => {
    let ended = false;
    async function* endless(): AsyncGenerator<Uint8Array> {
      try {
        for (;;) yield Buffer.alloc(1 << 20);
      } finally {
        ended = true;
      }
    }
    for await (const _chunk of tarBytes([{ kind: "file", name: "a", size: 1e12, data: endless }])) break;
    assert.ok(ended);
  });
});
