// A cache mount is exported while its directories and files are swapped for links to the outside, for FIFOs and for each other:
// nothing from outside may be in the export, and no export may block.
//
// As a script: node dist/test/build/cache-mount-rounds.js SECONDS

import assert from "node:assert/strict";
import { execFileSync, fork } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { packMount } from "../../cache/remote-cache/mount-pack.ts";
import { hexOf } from "../../solver/graph/digest.ts";
import { temporaryDir } from "../support/store.ts";

const SENTINEL = "a line of a file outside of the mount\n";

export interface RaceOutcome {
  /** Exports. */
  readonly rounds: number;
  readonly swaps: number;
  /** Names that exports left out, because they changed. */
  readonly leftOut: number;
}

/** Makes what is outside in `outside`; what every export of a mount that leads there is searched for. */
export function placeSentinel(outside: string): void {
  mkdirSync(join(outside, "below"), { recursive: true });
  for (const name of ["file", "below/file", "secret"]) writeFileSync(join(outside, name), SENTINEL);
}

/** Throws when a file of an exported index or pack, below a directory, has something of the sentinel. */
export function refuseSentinel(dir: string): void {
  const hex = createHash("sha256").update(SENTINEL).digest("hex");
  for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const bytes = readFileSync(join(entry.parentPath, entry.name));
    assert.ok(!bytes.includes(hex), `${entry.name} names the content of the file outside`);
    const plain = bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : bytes;
    assert.ok(!plain.includes(SENTINEL.trim()), `${entry.name} has the content of the file outside`);
  }
}

/** Exports for so long. Throws for the first thing that is wrong. */
export async function swappedRounds(
  seconds: number,
  onRound: (round: number) => void = () => {},
): Promise<RaceOutcome> {
  using dir = temporaryDir();
  const outside = dir.at("outside");
  placeSentinel(outside);
  const mount = dir.at("mount");
  const at = (name: string): string => join(mount, name);
  mkdirSync(at("top/below"), { recursive: true });
  mkdirSync(at("deep/down/sub/below"), { recursive: true });
  mkdirSync(at("deep/down/empty"));
  for (const name of [
    "top/file",
    "top/below/file",
    "deep/down/sub/file",
    "deep/down/sub/below/file",
    "secret",
    "other",
  ])
    writeFileSync(at(name), `inside, ${name}\n`);
  for (let i = 0; i < 20; i += 1) writeFileSync(at(`deep/down/sub/more-${i}`), `inside, ${i}\n`);
  symlinkSync(outside, at("to-outside"));
  symlinkSync("../../../outside", at("deep/down/to-outside"));
  symlinkSync(join(outside, "secret"), at("to-secret"));
  execFileSync("mkfifo", [at("fifo")]);
  // No name leads through another that is swapped, or the swapper itself would be led outside.
  const names = [
    "top",
    "to-outside",
    "deep/down/sub",
    "deep/down/to-outside",
    "deep/down/empty",
    "deep/down/sub",
  ];
  names.push("secret", "to-secret", "other", "fifo");
  const swapper = fork(
    fileURLToPath(new URL("./swapper.js", import.meta.url)),
    names.map((name) => at(name)),
  );
  const ended = once(swapper, "exit");
  let rounds = 0;
  let leftOut = 0;
  try {
    await once(swapper, "message");
    for (const end = Date.now() + seconds * 1000; Date.now() < end; rounds += 1) {
      const out = dir.at("out");
      mkdirSync(out);
      const packed = packMount({ dir: mount, previous: null, out });
      leftOut += packed.leftOut;
      refuseSentinel(out);
      assert.ok(readFileSync(join(out, hexOf(packed.index.digest))).length > 0);
      rmSync(out, { recursive: true });
      onRound(rounds);
      await turn();
    }
    const told = once(swapper, "message");
    swapper.send("end");
    const [swaps] = (await told) as [number];
    return { rounds, swaps, leftOut };
  } finally {
    swapper.kill("SIGKILL");
    await ended;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const seconds = Number(process.argv[2] ?? 60);
  const begin = Date.now();
  const outcome = await swappedRounds(seconds, (round) => {
    if (round % 1000 === 0)
      process.stderr.write(`${Math.round((Date.now() - begin) / 1000)} s: ${round} exports\n`);
  });
  process.stdout.write(`${JSON.stringify(outcome)}\n`);
}
