// How long builds take with a limited number of steps at once, in simulated time: the solver knows from the last build how long steps take, and
// starts those first that most work waits for. Compared with steps that start in the order in which they become ready.

import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import type { Input } from "../../solver/graph/definition.ts";
import { openMemoryStore } from "../support/memory-store.ts";
import { contextOf, openDraft, openLab } from "./graphs.ts";

const WIDTH = 2;
/** Turns of the event loop in which nothing new sleeps until time goes on. */
const QUIET_TURNS = 25;

interface Step {
  readonly name: string;
  readonly ms: number;
  /** Places of earlier steps in the list. */
  readonly after: readonly number[];
}

/** A clock that goes to the next moment somebody waits for when nothing else is to be done. */
function simulatedClock() {
  let now = 0;
  const sleeping: { readonly until: number; readonly wake: () => void }[] = [];
  return {
    now: () => now,
    sleep: (ms: number) => new Promise<void>((wake) => sleeping.push({ until: now + ms, wake })),
    /** Lets time pass until the work is over. */
    async during<T>(work: Promise<T>): Promise<T> {
      let over = false;
      const ended = work.finally(() => {
        over = true;
      });
      ended.catch(() => {});
      for (let quiet = 0, known = 0; !over; quiet += 1) {
        await turn();
        if (sleeping.length !== known) [quiet, known] = [0, sleeping.length];
        if (quiet < QUIET_TURNS || sleeping.length === 0) continue;
        sleeping.sort((a, b) => b.until - a.until);
        const { until, wake } = sleeping.pop() as (typeof sleeping)[number];
        now = until;
        wake();
      }
      return await ended;
    },
  };
}

/** What a build takes whose last one is known. Everything runs again. */
async function solved(steps: readonly Step[]): Promise<number> {
  const clock = simulatedClock();
  const lab = openLab(openMemoryStore(), clock.now, WIDTH);
  const duration = new Map(steps.map(({ name, ms }) => [name, ms]));
  lab.worker.during = (name) => clock.sleep(duration.get(name) ?? 0);
  const graph = openDraft();
  const inputs: Input[] = [];
  for (const { name, after } of steps)
    inputs.push(graph.sum(name, 1, `/${name}`, null, { mounts: after.map((at) => inputs[at] as Input) }));
  const definition = graph.definition();
  let took = 0;
  for (const noCache of [false, true]) {
    const begun = clock.now();
    const solution = await clock.during(lab.solver.solve({ definition, noCache }, inputs, contextOf()));
    await solution[Symbol.asyncDispose]();
    took = clock.now() - begun;
  }
  assert.equal(lab.worker.runs.size, steps.length);
  return took;
}

/** What it takes when steps start in the order in which they become ready. */
function inOrder(steps: readonly Step[]): number {
  const ends = new Map<number, number>();
  const waiting = new Set(steps.keys());
  const ready: number[] = [];
  let running: { readonly at: number; readonly end: number }[] = [];
  let now = 0;
  while (ends.size < steps.length) {
    for (const at of waiting) {
      if (!(steps[at] as Step).after.every((input) => ends.has(input))) continue;
      waiting.delete(at);
      ready.push(at);
    }
    while (running.length < WIDTH && ready.length > 0) {
      const at = ready.shift() as number;
      running.push({ at, end: now + (steps[at] as Step).ms });
    }
    now = Math.min(...running.map(({ end }) => end));
    for (const { at, end } of running) if (end === now) ends.set(at, end);
    running = running.filter(({ end }) => end > now);
  }
  return now;
}

/** No schedule is shorter: the longest chain, or all work shared evenly. */
function leastPossible(steps: readonly Step[]): number {
  const chain: number[] = [];
  for (const { ms, after } of steps) chain.push(ms + Math.max(0, ...after.map((at) => chain[at] as number)));
  return Math.max(...chain, steps.reduce((sum, { ms }) => sum + ms, 0) / WIDTH);
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function randoms(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Stages of a few steps each; some take a result of an earlier stage, durations are as uneven as those of real builds. */
function randomBuild(seed: number): readonly Step[] {
  const random = randoms(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const steps: Step[] = [];
  const lasts: number[] = [];
  for (let stage = 0; stage < 8; stage += 1) {
    const copied = lasts.length > 0 && random() < 0.4 ? [lasts[below(lasts.length)] as number] : [];
    let before: readonly number[] = copied;
    for (let step = 0; step < 1 + below(4); step += 1) {
      steps.push({ name: `s${stage}-${step}`, ms: Math.ceil(20 * 200 ** random()), after: before });
      before = [steps.length - 1];
    }
    lasts.push(steps.length - 1);
  }
  return steps;
}

describe("the order of steps", () => {
  it("is such that a long chain starts before short steps that come first in the Dockerfile", async () => {
    const short = Array.from({ length: 12 }, (_, i): Step => ({ name: `short${i}`, ms: 100, after: [] }));
    const chain = [0, 1, 2].map((i): Step => ({ name: `long${i}`, ms: 400, after: i === 0 ? [] : [11 + i] }));
    const steps = [...short, ...chain];
    assert.equal(inOrder(steps), 1800);
    // 1200 and at most a short step before each long one: a slot that is free is given to who is there.
    assert.ok((await solved(steps)) <= 1400);
  });

  it("makes builds shorter than the order of readiness does, and hardly longer than they must be", async () => {
    let [own, fifo, least] = [0, 0, 0];
    for (let seed = 1; seed <= 40; seed += 1) {
      const steps = randomBuild(seed);
      const [took, bound] = [await solved(steps), leastPossible(steps)];
      assert.ok(took >= bound, `seed ${seed}: ${took} is less than possible (${bound})`);
      // Graham 1969: no order that leaves no slot idle takes longer than that.
      assert.ok(took <= bound * (2 - 1 / WIDTH), `seed ${seed}: ${took} of ${bound}`);
      [own, fifo, least] = [own + took, fifo + inOrder(steps), least + bound];
    }
    assert.ok(own < fifo * 0.97, `${own} ms, in order ${fifo} ms`);
    assert.ok(own < least * 1.05, `${own} ms, at least ${least} ms`);
  });
});
