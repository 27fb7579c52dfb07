// kill -9 of one process of a build at random moments: it may only leave behind what the next build cleans up, and that
// build must be correct.
//
// As a script: node dist/test/build/killed-rounds.js ROUNDS [LANES]

import assert from "node:assert/strict";
import { createHash, randomInt } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { setImmediate as turn, setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { RunningCommand } from "../support/cli.ts";
import { residentsOf } from "../support/store.ts";
import { type Account, self } from "../support/unprivileged.ts";
import { openWorkshop } from "./fixture.ts";

/** front: what the user started. keeper: its child with rights. launcher: outside of a step. step: PID 1 of a step. helper: a
 *  step's network. */
export const VICTIMS = ["front", "keeper", "launcher", "step", "helper"] as const;
export type Victim = (typeof VICTIMS)[number];

export interface KilledOutcome {
  /** Kills that hit, by victim. */
  readonly hits: Record<Victim, number>;
  /** Builds that were over before the kill came. */
  late: number;
  /** Rounds after which the store held unfinished work, until the next build. */
  left: number;
}

/** Two stages that run side by side, with everything a step can have; what comes out does not depend on the words. */
const dockerfile = (word: string, last: string): string => `
FROM base AS one
RUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/scratch --mount=type=secret,id=word \\
    : ${word}; sleep 600 & sleep 0.2; cat /run/secrets/word > /scratch/w; echo half > /file; echo x >> /cache/f; echo whole > /file
FROM base AS two
COPY src /src
RUN --mount=type=bind,from=one,target=/one : ${word}; cp -r /one/file /src/f1 /copy; ls /src | wc -l > /count
FROM base
COPY --from=one /file /one
COPY --from=two /count /two
RUN : ${word} ${last}; sleep 0.2; rm /bin/wget; echo last > /last
`;

/** Kills one process of each of so many builds, one after the other in one store. Throws for the first thing that is wrong. */
export async function killedRounds(
  account: Account,
  rounds: number,
  onRound: (round: number) => void = () => {},
): Promise<KilledOutcome> {
  using shop = await openWorkshop(account);
  const files: Record<string, string> = { Dockerfile: dockerfile("clean", "") };
  for (let i = 0; i < 20; i += 1) files[`src/f${i}`] = `file ${i}\n`.repeat(i * 40);
  const context = shop.context("app", files);
  shop.context("temporary", { "of-builds/keep": "" });
  const env = { TMPDIR: shop.at("temporary"), WORD: "secret" };
  const args = ["--secret", "id=word,env=WORD", "-t", "app", context];
  const build = async (): Promise<string> => {
    await shop.ok(["build", "--reproducible", "-o", `type=tar,dest=${shop.at("out.tar")}`, "-q", ...args], {
      env,
    });
    return createHash("sha256")
      .update(readFileSync(shop.at("out.tar")))
      .digest("hex");
  };
  const begun = performance.now();
  const clean = await build();
  const usualMs = performance.now() - begun;
  const still = inventory(shop.root);
  const foreign = new Set(await emptyCgroups()); // of who else builds here, or was killed long ago
  const outcome: KilledOutcome = {
    hits: { front: 0, keeper: 0, launcher: 0, step: 0, helper: 0 },
    late: 0,
    left: 0,
  };
  for (let round = 0; round < rounds; round += 1) {
    const victim = VICTIMS[round % VICTIMS.length] as Victim;
    const where = `after round ${round}, ${victim} killed`;
    shop.context("app", { Dockerfile: dockerfile(`round ${round}`, "") });
    const killed = shop.start(["build", "--progress=plain", ...args], { env });
    // Steps are short: the moment is one of theirs, not of the whole build.
    const isBrief = victim === "step" || victim === "launcher";
    if (!isBrief) await Promise.race([delay(randomInt(Math.ceil(usualMs))), killed.outcome]);
    if (await kill(killed, victim, shop.root)) outcome.hits[victim] += 1;
    else outcome.late += 1;
    const { code, stderr } = await killed.outcome;
    assert.ok(code === null || code === 0 || code === 1, `${where}: exit code ${code}\n${stderr}`);
    assert.doesNotMatch(stderr, /^\s+at .*\.[cm]?[jt]s:\d+/m, where); // errors are words, not stacks

    assert.deepEqual(await residentsOf(shop.dir), [], where);
    assert.deepEqual(await newEmptyCgroups(foreign), [], where);
    assert.deepEqual(readdirSync(shop.at("temporary")), ["of-builds"], where);
    if (readdirSync(join(shop.root, "active")).length > 0) outcome.left += 1;

    shop.context("app", { Dockerfile: dockerfile(`round ${round}`, "again") });
    assert.equal(await build(), clean, `the build ${where}`);
    assert.deepEqual(inventory(shop.root), still, `the store ${where}`);
    onRound(round);
  }
  // A front that is killed between a layer and its record leaves the layer, which takes space and harms nothing.
  const { stdout } = await shop.ok(["fsck", "--repair"]);
  assert.match(stdout, /: no problems found(?:, \d left over by killed processes)?$/m);
  assert.match((await shop.ok(["fsck"])).stdout, /: no problems found$/m);
  return outcome;
}

/** Kills it as soon as it is there; false when the build is over before. */
async function kill(build: RunningCommand, victim: Victim, root: string): Promise<boolean> {
  let over = false;
  void build.outcome.then(() => {
    over = true;
  });
  for (;;) {
    if (over) return false;
    const seen = find(build.pid, victim, root);
    if (seen.length > 0 && victim !== "front") await delay(randomInt(100));
    const pids = seen.length > 0 ? find(build.pid, victim, root) : [];
    const pid = pids[randomInt(Math.max(1, pids.length))];
    if (pid !== undefined) {
      try {
        process.kill(pid, "SIGKILL");
        return true;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
      }
    }
    await delay(1);
    await turn(); // a search that takes longer than the delay would else keep the loop in its timers, and `over` never come
  }
}

interface ProcessEntry {
  readonly pid: number;
  readonly parent: number;
  readonly name: string;
  /** Its pid in each pid namespace from this one on. */
  readonly pids: readonly number[];
}

function find(front: number, victim: Victim, root: string): number[] {
  if (victim === "front") return [front];
  const all = processes();
  const keeper = all.find(({ pid }) => commandOf(pid).includes(`"storeDir":"${root}"`));
  if (keeper === undefined) return [];
  if (victim === "keeper") return [keeper.pid];
  const children = all.filter(({ parent }) => parent === keeper.pid);
  const isHelper = ({ name }: ProcessEntry): boolean => /^(pasta|passt|slirp4netns)/.test(name);
  if (victim === "helper") return children.filter(isHelper).map(({ pid }) => pid);
  const launchers = children.filter((child) => !isHelper(child)).map(({ pid }) => pid);
  if (victim === "launcher") return launchers;
  return all
    .filter(({ parent, pids }) => launchers.includes(parent) && pids.at(-1) === 1)
    .map(({ pid }) => pid);
}

function processes(): ProcessEntry[] {
  const found: ProcessEntry[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const status = read(`/proc/${name}/status`);
    const field = (key: string): string => new RegExp(`^${key}:\\s*(.*)$`, "m").exec(status)?.[1] ?? "";
    if (status === "") continue;
    found.push({
      pid: Number(name),
      parent: Number(field("PPid")),
      name: field("Name"),
      pids: field("NSpid").split(/\s+/).map(Number),
    });
  }
  return found;
}

function commandOf(pid: number): string {
  return read(`/proc/${pid}/cmdline`);
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return ""; // gone meanwhile
  }
}

/** Control groups of ours that no process is in. Others may come and go meanwhile: then it is looked again. */
async function emptyCgroups(): Promise<string[]> {
  for (;;) {
    try {
      return below("/sys/fs/cgroup").filter(
        (path) =>
          /tsbuild/.test(basename(path)) &&
          existsSync(join("/sys/fs/cgroup", path, "cgroup.procs")) &&
          read(join("/sys/fs/cgroup", path, "cgroup.procs")) === "",
      );
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      await delay(20);
    }
  }
}

/** Those that were not there before, and that stay. */
async function newEmptyCgroups(before: ReadonlySet<string>): Promise<string[]> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const found = (await emptyCgroups()).filter((path) => !before.has(path));
    if (found.length === 0 || Date.now() > deadline) return found;
    await delay(20);
  }
}

/** Everything in the store but what a build adds for good. */
function inventory(root: string): string[] {
  const lasting = new Set(["layers", "blobs", "db"]);
  const isShallow = (name: string): boolean => name === "mounts"; // what is in a cache mount is the steps'
  return readdirSync(root)
    .filter((name) => !lasting.has(name))
    .flatMap((name) => {
      const inside = isShallow(name) ? readdirSync(join(root, name)) : below(join(root, name));
      return [name, ...inside.map((path) => `${name}/${path}`)];
    })
    .filter((path) => !/^names\/[0-9a-f]{64}$/.test(path)) // of an image that a late kill let be named
    .toSorted();
}

function below(dir: string): string[] {
  try {
    return readdirSync(dir, { recursive: true, encoding: "utf8" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOTDIR") return [];
    throw error;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [rounds = 200, lanes = 2] = process.argv.slice(2).map(Number);
  let done = 0;
  const begun = Date.now();
  const lane = () =>
    killedRounds(
      self(),
      Math.ceil(rounds / lanes),
      () => void (++done % 20 === 0 && process.stdout.write(`${done} killed\n`)),
    );
  const outcomes = await Promise.all(Array.from({ length: lanes }, lane));
  const sum = (of: (one: KilledOutcome) => number): number => outcomes.reduce((all, one) => all + of(one), 0);
  process.stdout.write(
    `${done} rounds: ${VICTIMS.map((victim) => `${victim} ${sum((one) => one.hits[victim])}`).join(", ")}; ` +
      `${sum((one) => one.late)} over before the kill; ${sum((one) => one.left)} left unfinished work, which the next ` +
      `build cleared away; no process, mount or temporary file left (${Math.round((Date.now() - begun) / 1000)} s)\n`,
  );
}
