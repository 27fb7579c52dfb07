// kill -9 of a daemon while it builds for several clients: the next one starts on its store, and nothing of what was under way is there or in
// its way.

import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { openWorkshop, type Workshop } from "../build/fixture.ts";
import type { RunningCommand } from "../support/cli.ts";
import { BASE, busyboxContext, sh } from "../support/daemon.ts";
import { buildOn, connectedTo, historyOf, stepsIn } from "../support/daemon-client.ts";
import { residentsOf } from "../support/store.ts";
import type { Account } from "../support/unprivileged.ts";

const LANES = 4;
/** The kill comes so long after the first build of a round has ended. */
const KILL_WITHIN_MS = 1_500;
/** Clients find out by the end of their connections, not by silence. */
const TOLD_WITHIN_MS = 15_000;
const CLEARED_MS = 20_000;

export interface KilledOutcome {
  /** Builds that had ended well before a kill, and those that a kill has ended. */
  answered: number;
  broken: number;
  /** Rounds whose store held unfinished work after the kill. */
  left: number;
}

/** Kills so many daemons, one after the other on one store. Throws for the first thing that is wrong. */
export async function killedDaemons(account: Account, rounds: number): Promise<KilledOutcome> {
  using shop = await openWorkshop(account);
  shop.context("home", { ".keep": "" });
  const socket = shop.at("home", "d.sock");
  const context = busyboxContext(shop, "app", {
    Dockerfile: `${BASE}FROM base AS one
${sh("echo one > /one; sleep 0.3")}FROM base AS two
ARG N
${sh("echo $N > /half; mkdir /many; for i in 1 2 3 4 5 6 7 8; do echo $i > /many/$i; done; echo $N > /whole")}FROM scratch
COPY --from=one /one /
COPY --from=two /half /whole /many /
`,
  });
  const outcome: KilledOutcome = { answered: 0, broken: 0, left: 0 };
  const answered = new Set<string>();
  let serial = 0;
  let daemon = await start(shop, socket);
  /** Builds, looks at the files, and removes them. */
  const whole = async (N: string): Promise<void> => {
    const out = shop.at("home", `out-${N}`);
    await buildOn(socket, { context, args: { N }, output: `type=local,dest=${out}` });
    assert.equal(readFileSync(join(out, "whole"), "utf8"), `${N}\n`);
    assert.deepEqual(readdirSync(out).toSorted(), [
      "1",
      "2",
      "3",
      "4",
      "5",
      "6",
      "7",
      "8",
      "half",
      "one",
      "whole",
    ]);
    rmSync(out, { recursive: true });
    answered.add(N);
  };
  try {
    for (let round = 0; round < rounds; round++) {
      let isKilled = false;
      let first = (): void => {};
      const hasBegun = new Promise<void>((resolve) => {
        first = resolve;
      });
      const lane = async (): Promise<void> => {
        while (!isKilled) {
          const N = String(serial++);
          try {
            await whole(N);
            outcome.answered++;
            first();
          } catch (error) {
            if (!isKilled) throw error;
            outcome.broken++;
            rmSync(shop.at("home", `out-${N}`), { recursive: true, force: true });
          }
        }
      };
      const lanes = Promise.all(Array.from({ length: LANES }, lane));
      lanes.catch(() => {}); // where one fails before the kill
      await Promise.race([hasBegun, lanes]);
      await delay(randomInt(KILL_WITHIN_MS));
      isKilled = true;
      daemon.kill("SIGKILL");
      assert.equal((await daemon.outcome).signal, "SIGKILL");
      const told = performance.now();
      await lanes;
      assert.ok(performance.now() - told < TOLD_WITHIN_MS, "clients were not told that their daemon is gone");
      assert.deepEqual(await residentsOf(shop.dir), [], `after round ${round}`);
      if (unfinished(shop.root).length > 0) outcome.left++;

      daemon = await start(shop, socket);
      await whole(`again-${round}`);
      await checkHistory(socket, answered, round);
      await cleared(shop.root, round);
      const { stdout, stderr } = await shop.ok(["fsck"]);
      assert.match(stdout, /: no problems found/, `after round ${round}: ${stderr}${stdout}`); // a layer whose record was lost is none
    }
    daemon.kill("SIGTERM");
    const { code, stderr } = await daemon.outcome;
    assert.equal(code, 0, stderr);
    assert.doesNotMatch(stderr, /internal error/);
    return outcome;
  } finally {
    daemon.kill("SIGKILL");
    await daemon.outcome;
  }
}

async function start(shop: Workshop, socket: string): Promise<RunningCommand> {
  const daemon = shop.start(["--addr", `unix://${socket}`], { program: "tsbuildd" });
  await daemon.says(/listens on unix:/);
  return daemon;
}

/** Each build whose client was answered is there, whole; no other is there in part. */
async function checkHistory(socket: string, answered: ReadonlySet<string>, round: number): Promise<void> {
  await connectedTo(socket, async (http) => {
    const records = await historyOf(http);
    const names = new Set<string>();
    for (const record of records) {
      assert.ok(record.CompletedAt !== undefined && record.logs !== undefined, `after round ${round}`);
      const N = record.FrontendAttrs["build-arg:N"] ?? "";
      if (record.error === undefined) names.add(N);
    }
    assert.deepEqual(
      [...answered].filter((name) => !names.has(name)),
      [],
      `after round ${round}`,
    );
    for (const { Ref } of records.slice(0, LANES * 2)) assert.ok((await stepsIn(http, Ref)) > 0);
  });
}

/** What only the keeper may delete goes a moment after the end of a build. */
async function cleared(root: string, round: number): Promise<void> {
  const deadline = Date.now() + CLEARED_MS;
  while (unfinished(root).length > 0 && Date.now() < deadline) await delay(20);
  assert.deepEqual(unfinished(root), [], `after round ${round}`);
}

/** Work in the store that no process does: a live one has a directory for temporary files, empty while it does nothing. */
function unfinished(root: string): string[] {
  const entries = (dir: string): string[] => {
    try {
      return readdirSync(join(root, dir)).map((entry) => `${dir}/${entry}`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
      throw error;
    }
  };
  return [...["active", "ingest", "locks"].flatMap(entries), ...entries("tmp").flatMap(entries)];
}
