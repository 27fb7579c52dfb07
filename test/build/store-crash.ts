// Builds killed at random points: the store must be intact each time, and the next build equal to a clean one.
//
// As a script: node dist/test/build/store-crash.js ROUNDS [LANES]

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { openEngine } from "../../bin/engine/engine.ts";
import { readConfig } from "../../bin/config.ts";
import type { CheckOutcome } from "../../cache/check.ts";
import { buildHere } from "./in-process.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

/** The word makes the steps of each round new; what comes out is always the same. */
const dockerfile = (word: string): string => `
FROM base AS gen
WORKDIR /out
RUN : ${word}; i=0; while [ $i -lt 40 ]; do echo $i > f$i; i=$((i+1)); done; ln f1 hard; ln -s f2 soft; chmod 4755 f3
FROM base AS other
RUN : ${word}; mkdir -p /o/deep && echo other > /o/deep/file
FROM base
COPY --from=gen /out /gen
COPY src /src
COPY --from=other /o /other
RUN : ${word}; rm /gen/f4 /bin/wget && echo last > /last
`;

export interface CrashOutcome {
  /** Builds that were over before the kill came. */
  readonly late: number;
  /** Kinds of problems fsck found; leftovers are none. */
  readonly left: number;
}

/** Kills so many builds, one after the other in one store. Throws for the first thing that is wrong. */
export async function crashRounds(
  rounds: number,
  onRound: (round: number) => void = () => {},
): Promise<CrashOutcome> {
  using shop = await openWorkshop();
  const files: Record<string, string> = { Dockerfile: dockerfile("clean") };
  for (let i = 0; i < 30; i += 1) files[`src/f${i}`] = `file ${i}\n`.repeat(i * 50);
  const context = shop.context("app", files);
  const clean = await treeOf(shop, context);
  let usualMs = 1000; // of a build that nobody kills
  let late = 0;
  let left = 0;
  for (let round = 0; round < rounds; round += 1) {
    shop.context("app", { Dockerfile: dockerfile(`round ${round}`) });
    const begun = performance.now();
    const build = shop.start(["build", "--progress=quiet", "-t", "app", context], { group: true });
    await Promise.race([delay(Math.random() * usualMs), build.outcome]);
    build.killGroup("SIGKILL");
    const { signal, code, stderr } = await build.outcome;
    if (signal !== "SIGKILL") {
      assert.equal(code, 0, stderr); // else nothing was killed, and nothing is shown
      late += 1;
      usualMs = performance.now() - begun;
    } else {
      usualMs *= 1.05; // for a machine that has become slower
    }

    const { problems } = await check(shop);
    const wrong = problems.filter(({ kind }) => kind !== "leftover");
    assert.deepEqual(wrong, [], `fsck after round ${round}`);
    left += problems.length > 0 ? 1 : 0;
    assert.equal(await treeOf(shop, context), clean, `the build after round ${round}`);
    onRound(round);
  }
  return { late, left };
}

/** Digest of everything in the image: names, modes, contents. */
async function treeOf(shop: Workshop, context: string): Promise<string> {
  const { code, stderr } = await buildHere(shop, [
    "--reproducible",
    "-t",
    "app",
    "-o",
    `type=tar,dest=${shop.at("out.tar")}`,
    context,
  ]);
  assert.equal(code, 0, stderr);
  return createHash("sha256")
    .update(readFileSync(shop.at("out.tar")))
    .digest("hex");
}

async function check(shop: Workshop): Promise<CheckOutcome> {
  const config = readConfig(
    { root: shop.root, debug: false, verbose: false },
    { PATH: process.env.PATH },
    shop.dir,
  );
  const { signal } = new AbortController();
  await using engine = await openEngine(config, { signal });
  return await engine.check({ repair: false, signal });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [rounds = 500, lanes = 2] = process.argv.slice(2).map(Number);
  let done = 0;
  const begun = Date.now();
  const lane = () =>
    crashRounds(
      Math.ceil(rounds / lanes),
      () => void (++done % 25 === 0 && process.stdout.write(`${done} killed\n`)),
    );
  const outcomes = await Promise.all(Array.from({ length: lanes }, lane));
  const late = outcomes.reduce((sum, one) => sum + one.late, 0);
  const left = outcomes.reduce((sum, one) => sum + one.left, 0);
  process.stdout.write(
    `${done} rounds, ${late} were over before the kill, ${left} left something behind: ` +
      `store sound and next build equal to a clean one each time (${Math.round((Date.now() - begun) / 1000)} s)\n`,
  );
}
