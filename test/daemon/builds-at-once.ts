// Builds of many clients at one time, which share steps: each equal step runs once, and nobody waits for a client that reads nothing, sends
// garbage or stands still.

import assert from "node:assert/strict";
import { setMaxListeners } from "node:events";
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { builderInfo } from "../../bin/remote/control.ts";
import { openWorkshop } from "../build/fixture.ts";
import { BASE, openDaemonShop, sh } from "../support/daemon.ts";
import { buildOn, connectedTo, sendGarbage, watchWithoutReading } from "../support/daemon-client.ts";
import type { Account } from "../support/unprivileged.ts";

/** One of so many clients is docker buildx, a process of its own; the others are in this process. */
const STOCK_EVERY = 10;
/** More than fits on the way to a client that reads nothing. */
const LOG_BYTES = 400_000;
const GIVEN_UP_SECONDS = 20;
/** Of the end of a client's output, which is mostly the log. */
const ERROR_CHARS = 2_000;
/** For all of it: only against waiting forever. */
const LATE_MS = 300_000;

/** A step that notes its run in a cache mount, which also keeps the runs whose results nobody got. */
const noted = (name: string, script: string): string =>
  sh(`echo ${name} >> /runs/all; ${script}`).replace("RUN ", "RUN --mount=type=cache,id=runs,target=/runs ");
const MARK = "cat /proc/sys/kernel/random/uuid";

/** `holdSeconds`: how long the first step runs, for all clients to come meanwhile. */
const dockerfile = (holdSeconds: number): string => `${BASE}
FROM base AS one
${noted("one", `${MARK} > /mark; echo begun; yes of the shared step | head -c ${LOG_BYTES}; sleep ${holdSeconds}`)}
FROM base AS two
${noted("two", `${MARK} > /mark; sleep 0.5`)}
FROM base AS pair
ARG PAIR
COPY --from=one /mark /one
COPY --from=two /mark /two
${noted("pair-$PAIR", `${MARK} > /pair`)}
FROM scratch
COPY --from=pair /one /two /pair /
`;

export interface AtOnceOutcome {
  readonly clients: number;
  readonly seconds: number;
  /** The longest that a client with a short question waited meanwhile. */
  readonly longestMs: number;
  /** How many steps ran, of how many that the clients asked for. */
  readonly ran: number;
  readonly asked: number;
}

/** Builds for so many clients at one time, an even number. Throws for the first thing that is wrong. */
export async function buildsAtOnce(account: Account, clients: number): Promise<AtOnceOutcome> {
  using shop = await openWorkshop(account);
  await using worker = await openDaemonShop(shop);
  const { socket } = worker;
  const context = worker.context("app", { Dockerfile: dockerfile(1 + clients / 10) });
  const begun = performance.now();
  const signal = AbortSignal.timeout(LATE_MS);
  setMaxListeners(0, signal);
  const out = (name: number | string): string => shop.at("home", `out-${name}`);

  using silent = watchWithoutReading(socket);
  using _garbage = sendGarbage(socket, clients);
  await silent.ready;
  const stock = (name: number | string, pair: number) =>
    worker.start(["build", "--progress=plain", "--build-arg", `PAIR=${pair}`, "-o", out(name), context]);
  const stopped = stock("stopped", 0);
  let isOver = false;
  void stopped.outcome.then(() => {
    isOver = true;
  });
  // The first of those who wait for the step stands still; the others come while it runs.
  await stopped.says(/ begun$/m);
  process.kill(stopped.pid, "SIGSTOP");
  const probe = openProbe(socket);
  await Promise.all(
    Array.from({ length: clients }, async (_, at) => {
      const pair = Math.floor(at / 2);
      if (at % STOCK_EVERY === 1) {
        const { code, stderr } = await stock(at, pair).outcome;
        assert.equal(code, 0, stderr.slice(-ERROR_CHARS));
      } else
        await buildOn(socket, {
          context,
          args: { PAIR: String(pair) },
          output: `type=local,dest=${out(at)}`,
          signal,
        });
    }),
  );
  const longestMs = await probe.stop();
  const seconds = (performance.now() - begun) / 1000;
  assert.equal(isOver, false, "a stopped client cannot have ended");
  process.kill(stopped.pid, "SIGCONT");
  const { code, stderr } = await stopped.outcome;
  // One that has not answered for so long may have been given up.
  const isLost = code !== 0 && seconds > GIVEN_UP_SECONDS;
  if (!isLost) assert.equal(code, 0, stderr.slice(-ERROR_CHARS));
  assert.ok(silent.asked() >= clients, `${silent.asked()} builds asked about`);

  const names = [...(isLost ? [] : ["stopped"]), ...Array.from({ length: clients }, (_, at) => at)];
  const marks = (file: string): Set<string> =>
    new Set(names.map((name) => readFileSync(`${out(name)}/${file}`, "utf8")));
  const pairs = Math.ceil(clients / 2);
  assert.deepEqual([marks("one").size, marks("two").size, marks("pair").size], [1, 1, pairs]);
  const runs = worker.context("runs", {
    Dockerfile: `${BASE}FROM base AS runs\n${noted("", "cat /runs/all > /all")}FROM scratch\nCOPY --from=runs /all /\n`,
  });
  await buildOn(socket, { context: runs, output: `type=local,dest=${out("runs")}`, signal });
  const lines = readFileSync(`${out("runs")}/all`, "utf8")
    .split("\n")
    .filter(Boolean)
    .toSorted();
  const expected = ["one", "two", ...Array.from({ length: pairs }, (_, pair) => `pair-${pair}`)];
  assert.deepEqual(lines, expected.toSorted());
  const ended = await worker.stop();
  assert.equal(ended.code, 0, ended.stderr);
  assert.doesNotMatch(ended.stderr, /internal error/);
  return { clients, seconds, longestMs, ran: lines.length, asked: 3 * (clients + 1) };
}

/** A client that asks again and again who the daemon is. */
function openProbe(socket: string): { stop(): Promise<number> } {
  const ended = new AbortController();
  const asking = connectedTo(socket, async (http) => {
    let longestMs = 0;
    while (!ended.signal.aborted) {
      const begun = performance.now();
      await builderInfo(http, { signal: new AbortController().signal });
      longestMs = Math.max(longestMs, performance.now() - begun);
      await delay(PROBE_EVERY_MS, undefined, { signal: ended.signal }).catch(() => {});
    }
    return longestMs;
  });
  asking.catch(() => {}); // told by stop()
  return {
    stop: () => {
      ended.abort();
      return asking;
    },
  };
}
const PROBE_EVERY_MS = 100;
