// A context that is written to all the time, during and between builds, with some of the builds killed. Content of an image must have
// been on disk during its build: never older than what was there when the build started, whatever the stat of a file says.

import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { buildHere } from "./in-process.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

const FILES = 12;
const DOCKERFILE = `
FROM base AS one
COPY src /a
RUN --mount=type=bind,source=src,target=/ctx cat /ctx/f1 > /bound
FROM base
COPY --from=one /a /a
COPY --from=one /bound /bound
COPY src/f0 /alone
`;

describe("a context that changes all the time", () => {
  let shop: Workshop;
  let context: string;
  before(async () => {
    shop = await openWorkshop();
    const files = Object.fromEntries(Array.from({ length: FILES }, (_, i) => [`src/f${i}`, generation(0)]));
    context = shop.context("app", { Dockerfile: DOCKERFILE, ...files });
    await buildHere(shop, ["-t", "app", context]);
  });
  after(() => shop[Symbol.dispose]());

  for (const kills of [false, true]) {
    it(
      kills ? "is never delivered old after builds are killed" : "is delivered as it was when it was read",
      async function () {
        this.timeout(180_000);
        // Counts of its own: those of the writer before would be taken for newer ones.
        const [begun, ended] = [shop.at(`begun-${kills}`), shop.at(`ended-${kills}`)];
        const writer = fork(fileURLToPath(new URL("./context-writer.js", import.meta.url)), [
          join(context, "src"),
          String(FILES),
          begun,
          ended,
        ]);
        try {
          while (readCount(ended) < 3) await delay(5);
          let checked = 0;
          for (let round = 0; round < 10 || checked === 0; round += 1) {
            if (kills) {
              const doomed = shop.start(["build", "--progress=quiet", "-t", "app", context], { group: true });
              await Promise.race([delay(100 + Math.random() * 500), doomed.outcome]);
              doomed.killGroup("SIGKILL");
              await doomed.outcome;
            }
            const oldest = readCount(ended);
            const out = shop.at(`out-${kills}-${round}`);
            const { code, stderr } = await buildHere(shop, ["-o", `type=local,dest=${out}`, context]);
            const newest = readCount(begun);
            if (code !== 0) {
              assert.match(stderr, /changed while/); // told, not delivered
              continue;
            }
            checked += 1;
            for (const name of [...Array.from({ length: FILES }, (_, i) => `a/f${i}`), "alone", "bound"]) {
              const found = Number(readFileSync(join(out, name), "utf8"));
              assert.ok(
                found >= oldest && found <= newest,
                `${name} has ${found}, on disk were ${oldest} to ${newest}`,
              );
            }
          }
        } finally {
          const gone = once(writer, "exit");
          writer.kill("SIGKILL");
          await gone;
        }
      },
    );
  }

  it("is read again when a file of the same size got its old times back", async () => {
    const path = join(context, "src", "f0");
    for (let round = 1; round <= 5; round += 1) {
      const { atime, mtime } = statSync(path);
      writeFileSync(path, generation(900 + round));
      utimesSync(path, atime, mtime); // touch -d
      const out = shop.at(`times-${round}`);
      assert.equal((await buildHere(shop, ["-o", `type=local,dest=${out}`, context])).code, 0);
      assert.equal(Number(readFileSync(join(out, "alone"), "utf8")), 900 + round);
    }
  });
});

function generation(number: number): string {
  return `${String(number).padStart(15, "0")}\n`;
}

function readCount(path: string): number {
  try {
    return Number(readFileSync(path, "utf8"));
  } catch {
    return 0; // not begun
  }
}
