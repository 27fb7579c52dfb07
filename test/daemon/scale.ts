// Hours of a busy daemon in some minutes: many clients at once, many builds, and kills under load, as root also for an ordinary user.
//
// As a script: node dist/test/daemon/scale.js [CLIENTS] [BUILDS] [KILLS]; a part whose number is 0 is left out.

import { chmodSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { residentsOf, removeTree } from "../support/store.ts";
import { accounts } from "../support/unprivileged.ts";
import { buildsAtOnce } from "./builds-at-once.ts";
import { killedDaemons } from "./killed-daemon.ts";
import { manyBuilds, words } from "./many-builds.ts";

const [clients = 50, builds = 2_000, kills = 10] = process.argv.slice(2).map(Number);
const say = (text: string): void => void process.stdout.write(`${text}\n`);

const own = mkdtempSync(join(tmpdir(), "tsbuild-test-"));
chmodSync(own, 0o711); // other accounts pass through to what is theirs
process.env.TMPDIR = own;
process.on("exit", () => removeTree(own));

for (const account of accounts()) {
  if (clients > 0) {
    const { seconds, longestMs, ran, asked } = await buildsAtOnce(account, clients);
    say(
      `${account.name}: ${clients} clients at once in ${seconds.toFixed(1)} s; ${ran} of ${asked} steps ran, each once; a short question took ${longestMs.toFixed(0)} ms at most`,
    );
  }
  if (builds > 0) {
    const warmUp = Math.max(20, Math.ceil(builds / 5));
    const { seconds, ends, before, after } = await manyBuilds(account, builds, {
      warmUp,
      onTenth: (figures, done) => say(`${account.name}: after ${done} builds ${words(figures)}`),
    });
    say(
      `${account.name}: ${builds} builds after ${warmUp} in ${seconds.toFixed(0)} s; ${JSON.stringify(ends)}`,
    );
    say(`${account.name}: before ${words(before)}`);
    say(`${account.name}: after  ${words(after)}`);
  }
  if (kills > 0) {
    const { answered, broken, left } = await killedDaemons(account, kills);
    say(
      `${account.name}: ${kills} kills; ${answered} builds answered, ${broken} ended by a kill; ${left} stores with unfinished work, which the next daemon cleared away`,
    );
  }
}
const residents = await residentsOf(own);
if (residents.length > 0) throw new Error(`left behind:\n${residents.join("\n")}`);
say("no process, mount or temporary file left");
