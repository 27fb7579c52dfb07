// Deliberate damage: what fsck reports, what --repair does, and that the next build restores everything.

import assert from "node:assert/strict";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { Problem } from "../../cache/check.ts";
import { openStore } from "../../cache/store.ts";
import { openWorkshop, THREE_STAGES, THREE_STAGES_OUTPUT, type Workshop } from "./fixture.ts";

describe("fsck", () => {
  let shop: Workshop;
  let context: string;
  beforeEach(async () => {
    shop = await openWorkshop();
    context = shop.context("app", THREE_STAGES);
    await shop.ok(["build", "-t", "app", context]);
  });
  afterEach(() => shop[Symbol.dispose]());

  async function check(
    ...flags: string[]
  ): Promise<{ code: number | null; problems: Problem[]; comparedLayers: number; layers: number }> {
    const { code, stdout, stderr } = await shop.run(["fsck", "--format", "json", ...flags]);
    assert.notEqual(stdout, "", stderr);
    return {
      code,
      ...(JSON.parse(stdout) as { problems: Problem[]; comparedLayers: number; layers: number }),
    };
  }

  /** Looks, repairs, looks again, builds again and runs what came out. */
  async function mends(kind: Problem["kind"], words: RegExp): Promise<Problem[]> {
    const seen = await check();
    assert.equal(seen.code, 1);
    assert.match(seen.problems.find((one) => one.kind === kind)?.what ?? "", words);
    const repaired = await check("--repair");
    assert.equal(repaired.code, 0);
    assert.ok(repaired.problems.length >= seen.problems.length);
    assert.deepEqual((await check()).problems, []);
    await shop.ok(["build", "-t", "app", context]);
    assert.equal((await shop.ok(["run", "--rm", "app"])).stdout, THREE_STAGES_OUTPUT);
    assert.deepEqual((await check()).problems, []);
    return seen.problems;
  }

  const layerDirs = (prefix: string): string[] =>
    readdirSync(join(shop.root, "layers"))
      .filter((name) => name.startsWith(prefix))
      .map((name) => join(shop.root, "layers", name));
  const holding = (path: string, prefix = "r-"): string => {
    const dir = layerDirs(prefix).find((one) => existsSync(join(one, "fs", path)));
    assert.ok(dir, `no layer has ${path}`);
    return dir;
  };

  it("finds nothing wrong with a store that is right, and compares every layer from the second time on", async () => {
    const { code, problems } = await check();
    assert.deepEqual([code, problems], [0, []]);
    const again = await check();
    assert.equal(again.comparedLayers, again.layers);
    const { stdout } = await shop.ok(["fsck"]);
    assert.match(stdout, / (\d+) layers \(\1 compared\).*no problems found/);
  });

  it("a blob whose bytes changed", async () => {
    const dir = join(shop.root, "blobs", "sha256");
    const [name = ""] = readdirSync(dir).sort(
      (a, b) => statSync(join(dir, b)).size - statSync(join(dir, a)).size,
    );
    const bytes = readFileSync(join(dir, name));
    bytes.writeUInt8(bytes.readUInt8(bytes.length >> 1) ^ 1, bytes.length >> 1);
    chmodSync(join(dir, name), 0o600);
    writeFileSync(join(dir, name), bytes);
    await mends("blob", /damaged/);
  });

  it("the manifest of an image", async () => {
    await using store = await openStore(shop.root);
    const [image] = [...store.records.entries<{ target: { digest: string } }>("image")];
    const path = join(shop.root, "blobs", "sha256", image?.value.target.digest.slice(7) ?? "");
    chmodSync(path, 0o600);
    writeFileSync(path, "{}");
    await store[Symbol.asyncDispose]();
    const problems = await mends("image", /manifest/);
    assert.ok(problems.some(({ kind }) => kind === "blob"));
  });

  it("a file of a step's layer that changed, after it was once looked at", async () => {
    await check();
    appendFileSync(join(holding("src/program.out"), "fs", "src", "program.out"), "x");
    await mends("layer", /damaged/);
  });

  const step = (path: string): string => join(holding("src/program.out"), "fs", path);
  const damages: Readonly<Record<string, [damage: () => void, words: RegExp]>> = {
    "a mode": [() => chmodSync(step("src/program.out"), 0o644), /modes/],
    "a time": [() => utimesSync(step("src/program.out"), 1, 1), /times/],
    "a length": [() => truncateSync(step("src/program.out"), 1), /sizes/],
    "a name more": [() => writeFileSync(step("src/new"), ""), /names/],
    "a name less": [() => rmSync(step("src/program.out")), /names/],
  };
  for (const [what, [damage, words]] of Object.entries(damages)) {
    it(`a step's layer that was never packed, with ${what}`, async () => {
      damage();
      await mends("layer", words);
    });
  }

  it("a file of an image's layer that changed", async () => {
    appendFileSync(join(holding("etc/passwd", "d-"), "fs", "etc", "passwd"), "x");
    await mends("layer", /damaged/);
  });

  it("a mode of a file that changed, and a file that is gone", async () => {
    await check();
    chmodSync(join(holding("src/program.out"), "fs", "src", "program.out"), 0o644);
    rmSync(join(holding("assets/style.css"), "fs", "assets", "style.css"));
    const problems = await mends("layer", /damaged/);
    assert.equal(problems.filter(({ kind }) => kind === "layer").length, 2);
  });

  it("a layer's directory that is gone, with all that stands on it", async () => {
    renameSync(holding("src/program.out"), shop.at("elsewhere"));
    const problems = await mends("layer", /missing/);
    assert.ok(problems.some(({ kind, what }) => kind === "result" && /RUN tr/.test(what)));
  });

  // Only root can take a layer away by hand: overlayfs leaves a directory in it that is closed even to its owner.
  const itAsRoot: (title: string, test: () => Promise<void>) => void =
    process.getuid?.() === 0 ? it : () => {};
  itAsRoot("a build notices by itself that a layer's directory is gone", async () => {
    rmSync(holding("src/program.out"), { recursive: true });
    rmSync(layerDirs("d-")[0] ?? "", { recursive: true });
    shop.context("app", { "src/program.txt": "again\n" });
    await shop.ok(["build", "-t", "app", context]);
    assert.match((await shop.ok(["run", "--rm", "app"])).stdout, /AGAIN/);
    shop.context("app", THREE_STAGES);
    await shop.ok(["build", "-t", "app", context]);
    assert.equal((await shop.ok(["run", "--rm", "app"])).stdout, THREE_STAGES_OUTPUT);
  });

  it("a database that is empty or none is told by the first command that meets it", async () => {
    for (const [text, said] of [
      ["", /WARNING: .*db\/data\.mdb: was empty or missing/],
      ["rubbish".repeat(4096), /WARNING: .*db\/data\.mdb: was not a database; set aside/],
    ] as const) {
      writeFileSync(join(shop.root, "db", "data.mdb"), text);
      assert.match((await shop.ok(["images"])).stderr, said);
      assert.doesNotMatch((await shop.ok(["images"])).stderr, /WARNING/);
    }
  });

  it("a database that is no database any more", async () => {
    writeFileSync(join(shop.root, "db", "data.mdb"), "rubbish".repeat(4096));
    const { code } = await check("--repair");
    assert.equal(code, 0);
    await shop.ok(["build", "-t", "app", context]);
    assert.equal((await shop.ok(["run", "--rm", "app"])).stdout, THREE_STAGES_OUTPUT);
    assert.deepEqual((await check()).problems, []);
  });

  it("what a killed build left", async () => {
    const build = shop.start([
      "build",
      "--progress=plain",
      shop.context("hangs", { Dockerfile: "FROM base\nRUN echo started; sleep 1000\n" }),
    ]);
    await build.says(/^#\d+ [\d.]+ started/m);
    build.kill("SIGKILL");
    await build.outcome;
    const { code, problems } = await check();
    assert.equal(code, 0, "it harms nothing");
    assert.deepEqual(
      problems.map(({ kind }) => kind),
      ["leftover"],
    );
    await check("--repair");
    assert.deepEqual((await check()).problems, []);
    assert.deepEqual(readdirSync(join(shop.root, "active")), []);
  });
});
