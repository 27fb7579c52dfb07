// Random graphs: whatever is edited between builds, a warm build gives the same result as a cold one.

import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import type { Input, Vertex } from "../../solver/graph/definition.ts";
import type { ProgressEvent } from "../../solver/graph/event.ts";
import { nameOf } from "../support/arithmetic.ts";
import { openMemoryStore } from "../support/memory-store.ts";
import { contextOf, openDraft, openLab, ran, type Graph, type Lab } from "./graphs.ts";

/** RANDOM_TIMES=20: twenty times as many graphs. */
const TIMES = Number(process.env.RANDOM_TIMES ?? 1);

/** One vertex as data. Numbers that point below are taken modulo what is there. */
interface Plan {
  readonly kind: "sum" | "file" | "copy" | "copy-live" | "merge" | "diff" | "mount";
  readonly a: number;
  readonly b: number;
  readonly value: number;
}
interface World {
  readonly plans: readonly Plan[];
  readonly live: number;
  readonly image: number;
}

const plan = fc.record({
  kind: fc.constantFrom<Plan["kind"]>("sum", "file", "copy", "copy-live", "merge", "diff", "mount"),
  a: fc.nat(20),
  b: fc.nat(20),
  value: fc.nat(3),
});
const world: fc.Arbitrary<World> = fc.record({
  plans: fc.array(plan, { minLength: 1, maxLength: 10 }),
  live: fc.nat(2),
  image: fc.nat(2),
});
/** Small changes to a world: the lifetime of a Dockerfile. */
const edit = fc.record({
  what: fc.constantFrom<"value" | "live" | "image" | "target" | "none">(
    "value",
    "live",
    "image",
    "target",
    "none",
  ),
  at: fc.nat(20),
  to: fc.nat(3),
});
type Edit = typeof edit extends fc.Arbitrary<infer T> ? T : never;

function edited(before: World, { what, at, to }: Edit): World {
  if (what === "live") return { ...before, live: to };
  if (what === "image") return { ...before, image: to };
  const index = at % before.plans.length;
  if (what === "target") return { ...before, plans: before.plans.slice(0, index + 1) };
  if (what === "none") return before;
  return { ...before, plans: before.plans.with(index, { ...(before.plans[index] as Plan), value: to }) };
}

function draw({ plans }: World): { graph: Graph; root: Input; all: Input[] } {
  const graph = openDraft();
  const base = graph.source("docker-image://base");
  const all = [base];
  const paths = new Map([[base.vertex, "/base"]]);
  for (const [index, { kind, a, b, value }] of plans.entries()) {
    const [first, second] = [all[a % all.length] as Input, all[b % all.length] as Input];
    const path = `/${kind}${value}`;
    const made = {
      sum: () => graph.sum(`s${index}`, value, path, first),
      mount: () => graph.sum(`m${index}`, value, path, first, { mounts: [second] }),
      file: () => graph.file(path, value, first),
      copy: () => graph.copy(first, paths.get(first.vertex) as string, path, second),
      "copy-live": () => graph.copy(graph.source("local://context"), "/a", path, first),
      merge: () => graph.merge(first, second),
      diff: () => graph.diff(first, second),
    }[kind]();
    if (paths.has(made.vertex)) continue;
    // A path that the result surely has: for what is not written here, that of its upper input.
    if (kind === "diff") continue; // may be empty; nothing copies from it
    paths.set(made.vertex, kind === "merge" ? (paths.get(second.vertex) as string) : path);
    all.push(made);
  }
  return { graph, root: all.at(-1) as Input, all };
}

function set(lab: Lab, { live, image }: World): void {
  lab.worker.live.set("context", { "/a": live, "/b": 9 });
  lab.worker.images.set("base", { "/base": image });
}

describe("random graphs", function () {
  this.timeout(60_000 * TIMES); // many builds each
  it("warm equals cold after any edits, and no step runs twice in a build", async () => {
    await fc.assert(
      fc.asyncProperty(
        world,
        fc.array(edit, { maxLength: 5 }),
        fc.boolean(),
        async (start, edits, noCache) => {
          const warm = openLab();
          let now = start;
          for (const change of [null, ...edits]) {
            if (change !== null) now = edited(now, change);
            const cold = openLab();
            for (const lab of [warm, cold]) set(lab, now);
            const { graph, root } = draw(now);
            const isLast = change === edits.at(-1);
            const expected = await cold.solve(graph, root);
            assert.deepEqual(await warm.solve(graph, root, { noCache: noCache && isLast }), expected);
            for (const [name, count] of [...warm.worker.runs, ...cold.worker.runs]) {
              if (/^[sm]\d/.test(name)) assert.equal(count, 1, name);
            }
            ran(warm);
            await warm.solve(graph, root);
            assert.deepEqual(ran(warm), {}, "built again without a change, nothing runs");
          }
        },
      ),
      { numRuns: 150 * TIMES },
    );
  });

  it("forced steps run, and the next build needs nothing", async () => {
    await fc.assert(
      fc.asyncProperty(world, fc.nat(10), async (start, at) => {
        const lab = openLab();
        set(lab, start);
        const plain = draw(start);
        const expected = await lab.solve(plain.graph, plain.root);
        ran(lab);
        const forced = draw(start);
        forced.graph.note(forced.all[at % forced.all.length] as Input, { ignoreCache: true });
        assert.deepEqual(await lab.solve(forced.graph, forced.root), expected);
        for (const [name, count] of Object.entries(ran(lab)))
          if (/^[sm]\d/.test(name)) assert.equal(count, 1, name);
        assert.deepEqual(await lab.solve(plain.graph, plain.root), expected);
        assert.deepEqual(ran(lab), {});
      }),
      { numRuns: 100 * TIMES },
    );
  });

  it("run nothing but what is forced, as that makes what it made before", async () => {
    await fc.assert(
      fc.asyncProperty(world, fc.array(fc.nat(10), { minLength: 1, maxLength: 3 }), async (start, at) => {
        const lab = openLab();
        set(lab, start);
        const plain = draw(start);
        const expected = await lab.solve(plain.graph, plain.root);
        ran(lab);
        const forced = draw(start);
        const definition = forced.graph.definition();
        const names = new Set<string>();
        for (const index of at) {
          const input = forced.all[index % forced.all.length] as Input;
          forced.graph.note(input, { ignoreCache: true });
          names.add(nameOf((definition.vertices.get(input.vertex) as Vertex).op));
        }
        assert.deepEqual(await lab.solve(forced.graph, forced.root), expected);
        const others = Object.keys(ran(lab)).filter((name) => !names.has(name));
        assert.deepEqual(others, []);
      }),
      { numRuns: 150 * TIMES },
    );
  });

  it("tell each vertex's story once and in order", async () => {
    await fc.assert(
      fc.asyncProperty(world, fc.boolean(), async (start, isWarm) => {
        const lab = openLab();
        set(lab, start);
        const { graph, root } = draw(start);
        if (isWarm) await lab.solve(graph, root);
        const events: ProgressEvent[] = [];
        await lab.solve(graph, root, { context: contextOf(events) });
        const stories = new Map<string, string[]>();
        for (const event of events) {
          if (!("vertex" in event) || event.kind === "log" || event.kind === "looking") continue;
          stories.set(event.vertex, [...(stories.get(event.vertex) ?? []), event.kind]);
        }
        for (const story of stories.values())
          assert.match(story.join(" "), /^vertex (started )?(bytes )*(cached|done)$/);
      }),
      { numRuns: 60 * TIMES },
    );
  });

  it("leave nothing running when cancelled at any moment, and nothing wrong behind", async () => {
    await fc.assert(
      fc.asyncProperty(world, fc.nat(40), async (start, moment) => {
        const lab = openLab();
        set(lab, start);
        const { graph, root } = draw(start);
        const controller = new AbortController();
        const solving = lab.solve(graph, root, { context: contextOf([], controller.signal) });
        const outcome = solving.then(
          () => "built",
          (error: unknown) => error,
        );
        for (let i = 0; i < moment; i += 1) await (i % 4 === 3 ? turn() : Promise.resolve());
        controller.abort("enough");
        assert(["built", "enough"].includes((await outcome) as string));
        assert.equal(lab.worker.active, 0);
        const cold = openLab();
        set(cold, start);
        assert.deepEqual(await lab.solve(graph, root), await cold.solve(graph, root));
      }),
      { numRuns: 100 * TIMES },
    );
  });

  it("survive that any layer is collected between builds", async () => {
    await fc.assert(
      fc.asyncProperty(world, fc.array(fc.nat(30), { maxLength: 4 }), async (start, lost) => {
        const store = openMemoryStore();
        const lab = openLab(store);
        set(lab, start);
        const { graph, root } = draw(start);
        const expected = await lab.solve(graph, root);
        const layers = store.layers.list();
        for (const index of lost) {
          const layer = layers[index % Math.max(1, layers.length)];
          if (layer !== undefined) store.forget(layer.id);
        }
        assert.deepEqual(await lab.solve(graph, root), expected);
      }),
      { numRuns: 100 * TIMES },
    );
  });
});

describe("speed", () => {
  it("decides a cached graph of 1,000 vertices in under 50 ms", async () => {
    const lab = openLab();
    lab.worker.live.set("context", { "/a": 1 });
    const graph = openDraft();
    let root = graph.source("local://context");
    root = graph.copy(root, "/a", "/a", null);
    const tips: Input[] = [];
    for (let step = 1; step < 1_000; step += 1) {
      root = graph.sum(`step ${step}`, step, `/${step % 7}`, step % 100 === 0 ? null : root);
      if (step % 100 === 99) tips.push(root);
    }
    const definition = graph.definition();
    const solve = async (): Promise<number> => {
      const start = performance.now();
      const solution = await lab.solver.solve({ definition, noCache: false }, tips, contextOf());
      const ms = performance.now() - start;
      await solution[Symbol.asyncDispose]();
      return ms;
    };
    await solve();
    ran(lab);
    let best = Number.POSITIVE_INFINITY; // of more on a busy machine: other load is not ours
    for (let i = 0; i < 15 || (i < 100 && best >= 50); i += 1) best = Math.min(best, await solve());
    assert.deepEqual(ran(lab), {});
    assert(best < 50, `${best.toFixed(1)} ms`); // 8 where nothing else runs
  });
});
