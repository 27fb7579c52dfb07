import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import type { Input } from "../../solver/graph/definition.ts";
import type { ProgressEvent } from "../../solver/graph/event.ts";
import type { Solver } from "../../solver/solver.ts";
import { openMemoryStore } from "../support/memory-store.ts";
import { contextOf, openDraft, openLab, ran } from "./graphs.ts";

/** FROM base, RUN one, COPY a, RUN two: the everyday Dockerfile. */
function everyday(options: { readonly one?: number; readonly ignore?: boolean } = {}) {
  const graph = openDraft();
  const base = graph.source("docker-image://base");
  const one = graph.sum("one", options.one ?? 1, "/one", base);
  const copied = graph.copy(graph.source("local://context"), "/a", "/in/a", one);
  const two = graph.sum("two", 2, "/two", copied);
  if (options.ignore) graph.note(one, { ignoreCache: true });
  return { graph, base, one, copied, two };
}

function everydayLab() {
  const lab = openLab();
  lab.worker.images.set("base", { "/base": 100 });
  lab.worker.live.set("context", { "/a": 5, "/b": 6 });
  return lab;
}

describe("solver", () => {
  it("runs what is not known, and nothing that is", async () => {
    const lab = everydayLab();
    const { graph, two } = everyday();
    const cold = await lab.solve(graph, two);
    assert.deepEqual(cold, { "/base": 100, "/one": 101, "/in/a": 5, "/two": 208 });
    assert.deepEqual(ran(lab), { one: 1, "/in/a": 1, two: 1 });
    assert.deepEqual(await lab.solve(graph, two), cold);
    assert.deepEqual(ran(lab), {});
  });

  it("runs again from the first step that changed", async () => {
    const lab = everydayLab();
    await lab.solve(everyday().graph, everyday().two);
    ran(lab);
    lab.worker.live.set("context", { "/a": 7, "/b": 6 });
    assert.equal((await lab.solve(everyday().graph, everyday().two))["/two"], 210);
    assert.deepEqual(ran(lab), { "/in/a": 1, two: 1 });
    const changed = everyday({ one: 3 });
    assert.equal((await lab.solve(changed.graph, changed.two))["/two"], 212);
    assert.deepEqual(ran(lab), { one: 1, "/in/a": 1, two: 1 });
  });

  it("finds the first result when a file is changed back", async () => {
    const lab = everydayLab();
    const { graph, two } = everyday();
    await lab.solve(graph, two);
    lab.worker.live.set("context", { "/a": 7 });
    await lab.solve(graph, two);
    lab.worker.live.set("context", { "/a": 5 });
    ran(lab);
    assert.equal((await lab.solve(graph, two))["/two"], 208);
    assert.deepEqual(ran(lab), {});
  });

  it("does not mind a live file that no step reads", async () => {
    const lab = everydayLab();
    const { graph, two } = everyday();
    await lab.solve(graph, two);
    ran(lab);
    lab.worker.live.set("context", { "/a": 5, "/b": 60, "/c": 1 });
    await lab.solve(graph, two);
    assert.deepEqual(ran(lab), {});
  });

  it("stops at COPY --from when a stage changed but not the copied file", async () => {
    const lab = openLab();
    lab.worker.images.set("base", { "/base": 1 });
    const build = (noise: number) => {
      const graph = openDraft();
      const stage = graph.file("/noise", noise, graph.file("/s/a", 5, graph.source("docker-image://base")));
      const copied = graph.copy(stage, "/s/a", "/in/a", graph.source("docker-image://base"));
      return { graph, root: graph.sum("last", 1, "/last", copied) };
    };
    const first = build(1);
    await lab.solve(first.graph, first.root);
    ran(lab);
    const second = build(2);
    assert.equal((await lab.solve(second.graph, second.root))["/last"], 7);
    assert.deepEqual(ran(lab), { "/noise": 1 });
    await lab.solve(second.graph, second.root);
    assert.deepEqual(ran(lab), {}, "the hit by content was recorded under the key by definition");
  });

  it("counts a read-only mount by its content and the root by what it is", async () => {
    const lab = openLab();
    lab.worker.images.set("base", { "/base": 1 });
    const build = (way: readonly number[]) => {
      const graph = openDraft();
      let tool: Input | null = null;
      for (const number of way) tool = graph.file("/tool", number, tool);
      return {
        graph,
        root: graph.sum("use", 1, "/used", graph.source("docker-image://base"), { mounts: [tool as Input] }),
      };
    };
    const [direct, detour] = [build([4]), build([3, 4])];
    await lab.solve(direct.graph, direct.root);
    ran(lab);
    await lab.solve(detour.graph, detour.root);
    assert.deepEqual(Object.keys(ran(lab)), ["/tool"], "the mount holds the same, so its user is a hit");
  });

  it("needs nothing below a hit, and tells that all of it is cached", async () => {
    const lab = everydayLab();
    const { graph, two, one, copied } = everyday();
    await lab.solve(graph, two);
    for (const { key, value } of [
      ...lab.store.records.entries<{ ingredients: Record<string, string> }>("result"),
    ]) {
      if (!value.ingredients["args"]?.includes("two")) lab.store.records.remove("result", key);
    }
    ran(lab);
    const events: ProgressEvent[] = [];
    await lab.solve(graph, two, { context: contextOf(events) });
    assert.deepEqual(ran(lab), {});
    const cached = events.flatMap((event) => (event.kind === "cached" ? [event.vertex] : []));
    assert.deepEqual(cached, [two.vertex, one.vertex, copied.vertex]);
  });

  it("does not believe a record whose layers are gone", async () => {
    const store = openMemoryStore();
    const lab = openLab(store);
    const graph = openDraft();
    const one = graph.file("/one", 1, null);
    const two = graph.sum("two", 2, "/two", one);
    await lab.solve(graph, two);
    ran(lab);
    const solution = await lab.solver.solve(
      { definition: graph.definition(), noCache: false },
      [two],
      contextOf(),
    );
    const [result] = solution.results;
    assert(result?.kind === "layers");
    store.forget(result.layers[1] ?? assert.fail());
    assert.equal((await lab.solve(graph, two))["/two"], 3);
    assert.deepEqual(ran(lab), { two: 1 });
  });

  it("ignores records that are no records", async () => {
    const lab = openLab();
    const graph = openDraft();
    const root = graph.file("/one", 1, null);
    await lab.solve(graph, root);
    for (const { key } of [...lab.store.records.entries("result")]) {
      lab.store.records.put("result", key, { outputs: ["not a list"] });
    }
    assert.deepEqual(await lab.solve(graph, root), { "/one": 1 });
  });

  it("runs everything anew with noCache, each step once, and records it", async () => {
    const lab = everydayLab();
    const { graph, two } = everyday();
    await lab.solve(graph, two);
    ran(lab);
    await lab.solve(graph, two, { noCache: true });
    assert.deepEqual(ran(lab), { one: 1, "/in/a": 1, two: 1 });
    await lab.solve(graph, two);
    assert.deepEqual(ran(lab), {});
  });

  it("runs a step whose note says so, and what stands on it, and leaves good records", async () => {
    const lab = everydayLab();
    await lab.solve(everyday().graph, everyday().two);
    ran(lab);
    lab.worker.world.set("one", 50);
    const forced = everyday({ ignore: true });
    const numbers = await lab.solve(forced.graph, forced.two);
    assert.equal(numbers["/one"], 151);
    assert.deepEqual(ran(lab), { one: 1, "/in/a": 1, two: 1 });
    assert.deepEqual(await lab.solve(everyday().graph, everyday().two), numbers);
    assert.deepEqual(ran(lab), {});
  });

  it("takes a forced step from the build that its graph is an input from, while that is open", async () => {
    const lab = openLab();
    const graph = openDraft();
    const root = graph.sum("step", 1, "/made", null);
    const request = { definition: graph.definition(), noCache: true };
    const [maker, linked, other, late] = [lab.openBuild(), lab.openBuild(), lab.openBuild(), lab.openBuild()];
    const runs = async (build: Solver): Promise<Record<string, number>> => {
      await using _ = await build.solve(request, [root], contextOf());
      return ran(lab);
    };
    for (const build of [linked, late]) build.accept(request.definition);
    assert.deepEqual(await runs(maker), { step: 1 });
    assert.deepEqual(await runs(linked), {});
    assert.deepEqual(await runs(other), { step: 1 });
    for (const build of [maker, linked, other]) build.close();
    assert.deepEqual(await runs(late), { step: 1 });
  });

  it("keeps what copies from a forced stage when the copied content is the same", async () => {
    const lab = openLab();
    const graph = openDraft();
    const stage = graph.sum("stage", 1, "/made", null);
    graph.note(stage, { ignoreCache: true });
    const copied = graph.copy(stage, "/made", "/in", graph.file("/f", 1, null));
    const last = graph.sum("last", 1, "/last", copied);
    await lab.solve(graph, last);
    ran(lab);
    await lab.solve(graph, last);
    assert.deepEqual(ran(lab), { stage: 1 });
  });

  it("runs equal file steps of two platforms once", async () => {
    const lab = openLab();
    lab.worker.live.set("context", { "/a": 1 });
    const graph = openDraft();
    const roots = ["amd64", "arm64"].map((architecture) =>
      graph.copy(graph.source("local://context"), "/a", "/in", null, { os: "linux", architecture }),
    );
    assert.notEqual(roots[0]?.vertex, roots[1]?.vertex);
    await lab.solve(graph, roots);
    assert.deepEqual(ran(lab), { "/in": 1 });
  });

  it("stacks merges and cuts diffs without the worker", async () => {
    const lab = openLab();
    lab.worker.images.set("base", { "/base": 1 });
    const graph = openDraft();
    const base = graph.source("docker-image://base");
    const one = graph.file("/one", 1, base);
    const merged = graph.merge(base, graph.diff(base, one), graph.file("/two", 2, null));
    assert.deepEqual(await lab.solve(graph, merged), { "/base": 1, "/one": 1, "/two": 2 });
    assert.deepEqual(ran(lab), { "/one": 1, "/two": 1 });
  });

  it("asks the worker for a diff of two results with no common base, once", async () => {
    const lab = openLab();
    const graph = openDraft();
    const differing = graph.diff(graph.file("/one", 1, null), graph.file("/two", 2, null));
    assert.deepEqual(await lab.solve(graph, differing), { "/two": 2 });
    assert.deepEqual(await lab.solve(graph, differing), { "/two": 2 });
    assert.equal(ran(lab)["diff"], 1);
  });

  it("fetches a source that only its files can tell, then goes by content", async () => {
    const lab = openLab();
    lab.worker.live.set("far", { "/a": 5 });
    const graph = openDraft();
    const root = graph.copy(graph.source("local://far", { fetched: "yes" }), "/a", "/in", null);
    assert.deepEqual(await lab.solve(graph, root), { "/in": 5 });
    ran(lab);
    await lab.solve(graph, root);
    assert.deepEqual(ran(lab), { "local://far": 1 });
  });

  it("runs a source known by digest only when its files are needed", async () => {
    const lab = openLab();
    lab.worker.images.set("repo", { "/a": 5 });
    const graph = openDraft();
    const root = graph.copy(graph.source("git://repo"), "/a", "/in", null);
    await lab.solve(graph, root);
    assert.deepEqual(ran(lab), { "git://repo": 1, "/in": 1 });
    await lab.solve(graph, root);
    assert.deepEqual(ran(lab), {});
    lab.worker.images.set("repo", { "/a": 6 });
    assert.deepEqual(await lab.solve(graph, root), { "/in": 6 });
  });

  it("gives live files as they are when they are the root", async () => {
    const lab = openLab();
    lab.worker.live.set("context", { "/a": 5 });
    const graph = openDraft();
    assert.deepEqual(await lab.solve(graph, graph.source("local://context")), { "/a": 5 });
  });

  it("tells every result as soon as it is there, inputs first", async () => {
    const lab = everydayLab();
    const { graph, base, one, copied, two } = everyday();
    const told: [string, boolean][] = [];
    const onResult = (input: Input, _result: unknown, cached: boolean) =>
      void told.push([input.vertex, cached]);
    await lab.solve(graph, two, { onResult });
    const steps = told.filter(([vertex]) => [one, copied, two].some((step) => step.vertex === vertex));
    assert.deepEqual(steps, [
      [one.vertex, false],
      [copied.vertex, false],
      [two.vertex, false],
    ]);
    assert.deepEqual(
      told.find(([vertex]) => vertex === base.vertex),
      [base.vertex, true],
    );
    told.length = 0;
    await lab.solve(graph, two, { onResult });
    assert.deepEqual(told.at(-1), [two.vertex, true]);
  });

  it("holds results against collection until the solution is disposed", async () => {
    const store = openMemoryStore();
    const lab = openLab(store);
    const graph = openDraft();
    const root = graph.file("/one", 1, null);
    const solution = await lab.solver.solve(
      { definition: graph.definition(), noCache: false },
      [root],
      contextOf(),
    );
    const [result] = solution.results;
    assert(result?.kind === "layers");
    assert.deepEqual([...store.held()], result.layers);
    await solution[Symbol.asyncDispose]();
    assert.equal(store.held().size, 0);
  });

  it("starts the worker ahead on the first miss, never for a build that hits", async () => {
    const lab = everydayLab();
    const { graph, two } = everyday();
    await lab.solve(graph, two);
    assert.equal(lab.worker.warmed, 1);
    await lab.solve(graph, two);
    assert.equal(lab.worker.warmed, 1);
    await lab.solve(graph, two, { noCache: true });
    assert.equal(lab.worker.warmed, 2);
  });

  it("notes the use of records once in a while, also of those below a hit", async () => {
    const store = openMemoryStore();
    let now = 1_000_000;
    const lab = openLab(store, () => now);
    const graph = openDraft();
    const root = graph.sum("two", 2, "/two", graph.file("/one", 1, null));
    await lab.solve(graph, root);
    const before = store.writes.length;
    now += 60_000;
    await lab.solve(graph, root);
    assert.equal(store.writes.length, before, "a minute later nothing is written");
    now += 24 * 3_600_000;
    await lab.solve(graph, root);
    assert.equal(store.writes.length, before + 1, "a day later one transaction");
    assert((store.writes.at(-1)?.spaces.length ?? 0) >= 2);
    const used = [...store.records.entries<{ name: string; lastUsedMs: number }>("result")].map(
      ({ value }) => value,
    );
    for (const name of ["file", "exec"]) {
      assert(
        used.some((record) => record.name === name && record.lastUsedMs === now),
        name,
      );
    }
  });

  it("starts the longest chain first", async () => {
    const lab = openLab(openMemoryStore(), Date.now, 1);
    const graph = openDraft();
    const short = graph.sum("short", 1, "/short", null);
    let long = graph.sum("long 0", 1, "/long", null);
    for (const step of [1, 2, 3]) long = graph.sum(`long ${step}`, 1, "/long", long);
    const other = graph.sum("other", 1, "/other", null);
    await lab.solve(graph, graph.sum("all", 0, "/all", null, { mounts: [short, other, long] }));
    const order = [...lab.worker.runs.keys()];
    assert.deepEqual(order.slice(0, 3), ["short", "long 0", "other"]);
  });

  it("lets a step go first that took long the last time", async () => {
    let clockMs = 0;
    const lab = openLab(openMemoryStore(), () => clockMs, 1);
    lab.worker.during = async (name) => {
      clockMs += name === "heavy" ? 60_000 : 10;
    };
    const graph = openDraft();
    const parts = ["first", "light", "heavy"].map((name) => graph.sum(name, 1, `/${name}`, null));
    const all = graph.sum("all", 0, "/all", null, { mounts: parts });
    await lab.solve(graph, all);
    assert.deepEqual(Object.keys(ran(lab)), ["first", "light", "heavy", "all"]);
    await lab.solve(graph, all, { noCache: true });
    assert.deepEqual(Object.keys(ran(lab)), ["first", "heavy", "light", "all"]);
  });

  it("runs as many commands, file steps and fetches at a time as it may, and none waits for another kind", async () => {
    const width = 2;
    const lab = openLab(openMemoryStore(), Date.now, width);
    const kindOf = (name: string): string => (/^(?:run|https)/.exec(name) ?? ["file"])[0];
    const active: Record<string, number> = { run: 0, file: 0, https: 0 };
    const most = { ...active, all: 0 };
    lab.worker.during = async (name) => {
      const kind = kindOf(name);
      const now = (active[kind] = (active[kind] ?? 0) + 1);
      most[kind as keyof typeof most] = Math.max(most[kind as keyof typeof most] ?? 0, now);
      most.all = Math.max(
        most.all,
        Object.values(active).reduce((sum, one) => sum + one, 0),
      );
      for (let i = 0; i < 20; i += 1) await turn();
      active[kind] = (active[kind] ?? 0) - 1;
    };
    const graph = openDraft();
    const roots = Array.from({ length: 6 }, (_, index) => {
      lab.worker.images.set(`host/${index}`, { "/fetched": index });
      return [
        graph.sum(`run ${index}`, index, "/run", null),
        graph.file(`/file${index}`, index, null),
        graph.sum(`run on ${index}`, index, "/on", graph.source(`https://host/${index}`)),
      ];
    });
    await lab.solve(graph, roots.flat());
    assert.deepEqual(most, { run: width, file: width, https: width, all: 3 * width });
  });

  it("keeps out of exported caches what its definition keeps out of them", async () => {
    const lab = everydayLab();
    const { graph, one, two } = everyday();
    graph.note(one, { name: "one", exportCache: false });
    graph.note(two, { name: "two" });
    const request = { definition: graph.definition(), noCache: false };
    await using solution = await lab.solver.solve(request, [two], contextOf());
    const recorded = new Map(solution.chain().map((step) => [step.name, step.isRecorded]));
    assert.equal(recorded.get("one"), false);
    assert.equal(recorded.get("two"), true);
  });

  it("says what a key was made of", async () => {
    const lab = everydayLab();
    await lab.solve(everyday().graph, everyday().two);
    const records = [...lab.store.records.entries<{ ingredients: Record<string, string> }>("result")];
    const two = records.find(({ value }) => value.ingredients["args"]?.includes("two"))?.value.ingredients;
    assert.equal(two?.["op"], "exec");
    assert.match(two?.["input 0"] ?? "", /^key:[0-9a-f]{64}#0$/);
    assert.match(two?.["input 0 is"] ?? "", /^layers:d-/);
  });
});
