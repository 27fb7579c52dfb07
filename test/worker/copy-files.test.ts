import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as later } from "node:timers/promises";
import { selectDigest } from "../../cache/path-hash.ts";
import { liveTree } from "../../cache/tree-live.ts";
import { copySelector } from "../../cache/tree-select.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import { openFileCopies } from "../../worker/ops/copy-files.ts";
import { fdTree } from "../../worker/ops/fd-tree.ts";
import { openPlace, type Place } from "../../worker/ops/place.ts";
import type { FileCopy } from "../../worker/ops/transfer.ts";
import { openat } from "../../worker/sys/file.ts";
import { describeAsRoot } from "../support/privileges.ts";
import { type Bench, copy, openBench } from "./file-op-fixture.ts";
import { O } from "../../worker/sys/constants.ts";

/** Enough for a second thread (1,536 empty files are). */
const COUNT = 2_500;
const nameOf = (index: number): string => `d${index % 7}/f${index}`;

describe("copying many files at once", () => {
  let dir: string;
  let place: Place;
  let source: ReturnType<typeof fdTree>;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "tsbuild-copy-files-"));
    for (const half of ["from", "to"]) {
      for (let d = 0; d < 7; d++) mkdirSync(join(dir, half, `d${d}`), { recursive: true });
    }
    for (let index = 0; index < COUNT; index++) writeFileSync(join(dir, "from", nameOf(index)), `${index}`);
    const open = (path: string): number => openat(-100, join(dir, path), O.RDONLY | O.DIRECTORY);
    source = fdTree(open("from"), { live: true });
    place = openPlace(open("to"), { singleId: true });
  });
  afterEach(() => {
    source.close();
    place.close();
    rmSync(dir, { recursive: true, force: true });
  });
  const files: FileCopy[] = Array.from({ length: COUNT }, (_, index) => ({
    from: nameOf(index),
    to: nameOf(index),
    size: 4,
    look: { owner: { uid: 0, gid: 0 }, mode: 0o640, mtimeNs: BigInt(index) * 1_000_000_000n },
  }));
  const open = () => openFileCopies({ source, sourceRoot: source.root, place, idMode: { singleId: true } });
  const run = async (list: readonly FileCopy[]) => {
    const copies = open();
    for (const file of list) copies.add(file);
    return await copies.finish();
  };

  it("tells the content of each in their order, whoever copied it", async () => {
    const contents = await run(files);
    assert.equal(contents.length, COUNT);
    for (const [index, content] of contents.entries()) {
      const path = join(dir, "to", nameOf(index));
      assert.equal(readFileSync(path, "utf8"), `${index}`);
      const { mode, mtimeMs } = statSync(path);
      assert.deepEqual([mode & 0o7777, mtimeMs], [0o640, index * 1000]);
      assert.deepEqual(content, { kind: "file", digest: digestOf(`${index}`), size: `${index}`.length });
    }
  });
  const copiedSoFar = (): number =>
    Array.from({ length: 7 }, (_, d) => readdirSync(join(dir, "to", `d${d}`)).length).reduce(
      (sum, n) => sum + n,
    );

  it("begins while files are still told of, without a turn of the thread that tells", async () => {
    const copies = open();
    for (const file of files) copies.add(file);
    for (const endMs = Date.now() + 20_000; copiedSoFar() < COUNT / 2; )
      assert.ok(Date.now() < endMs, "nothing was copied");
    assert.equal((await copies.finish()).length, COUNT);
    assert.equal(copiedSoFar(), COUNT);
  });

  it("ends when nobody wants it any more", async () => {
    const copies = open();
    for (const file of files) copies.add(file);
    await copies.abandon();
    const left = copiedSoFar();
    await later(100);
    assert.equal(copiedSoFar(), left);
  });

  for (const [where, index] of [
    ["near the start", 3],
    ["at the end", COUNT - 1],
  ] as const) {
    it(`fails with the one that cannot be read, ${where}`, async () => {
      rmSync(join(dir, "from", nameOf(index)));
      // In words that say whose file it is and what became of it, as where contexts are read.
      const message = `"${nameOf(index)}" changed while it was read`;
      await assert.rejects(run(files), { code: "CONTEXT_CHANGED", message });
    });
  }

  it("says which directory or link is gone", () => {
    const gone = { code: "CONTEXT_CHANGED", message: '"d9" changed while it was read' };
    assert.throws(() => source.children("d9"), gone);
    assert.throws(() => source.readlink("d9"), gone);
  });
});

describeAsRoot("a copy of many files", () => {
  let bench: Bench;
  afterEach(() => bench.dispose());

  it("is keyed by what was read, and directories keep their times", async () => {
    const context = Object.fromEntries(
      Array.from({ length: COUNT }, (_, index) => [nameOf(index), `${index}`]),
    );
    bench = openBench(context);
    const { readDigest } = await bench.run([copy("/", "/out/")]);
    assert.equal(
      readDigest,
      selectDigest(
        liveTree(bench.context, () => null),
        [copySelector(copy("/", "/out/"))],
      ),
    );
    assert.equal(Object.keys(bench.merged()).length, COUNT + 8);
    for (let d = 0; d < 7; d++) {
      const [from, to] = [statSync(join(bench.context, `d${d}`)), statSync(join(bench.upper, `out/d${d}`))];
      assert.equal(to.mtimeMs, from.mtimeMs);
    }
  });
});
