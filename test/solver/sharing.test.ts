import assert from "node:assert/strict";
import { once } from "node:events";
import { BuildError } from "../../solver/graph/error.ts";
import type { ProgressEvent } from "../../solver/graph/event.ts";
import type { Session } from "../../solver/graph/session.ts";
import { openMemoryStore } from "../support/memory-store.ts";
import { contextOf, openDraft, openLab, ran } from "./graphs.ts";

function slow() {
  const graph = openDraft();
  const root = graph.sum("slow", 1, "/slow", null);
  return { graph, root };
}

/** Resolves when the named step is at work. */
function gate(lab: ReturnType<typeof openLab>) {
  let open = (): void => {};
  let entered = (): void => {};
  const opened = new Promise<void>((resolve) => (open = resolve));
  const isIn = new Promise<void>((resolve) => (entered = resolve));
  lab.worker.during = async (_name, { signal }) => {
    entered();
    await Promise.race([opened, once(signal, "abort")]);
    signal.throwIfAborted();
  };
  return { open, isIn };
}

describe("builds that run at the same time", () => {
  it("run equal steps once and both hear of them", async () => {
    const lab = openLab();
    const { open, isIn } = gate(lab);
    const { graph, root } = slow();
    const events: ProgressEvent[] = [];
    const first = lab.solve(graph, root);
    await isIn;
    const second = lab.solve(graph, root, { context: contextOf(events) });
    open();
    assert.deepEqual(await first, await second);
    assert.deepEqual(ran(lab), { slow: 1 });
    assert.deepEqual(
      events.map(({ kind }) => kind),
      ["vertex", "started", "log", "done"],
    );
  });

  it("go on when the one who began is cancelled", async () => {
    const lab = openLab();
    const { open, isIn } = gate(lab);
    const { graph, root } = slow();
    const controller = new AbortController();
    const first = lab.solve(graph, root, { context: contextOf([], controller.signal) });
    await isIn;
    const second = lab.solve(graph, root);
    await Promise.resolve();
    controller.abort(new Error("not me"));
    await assert.rejects(first, { message: "not me" });
    open();
    assert.deepEqual(await second, { "/slow": 1 });
    assert.deepEqual(ran(lab), { slow: 1 });
  });

  it("stop the step when all have left", async () => {
    const lab = openLab();
    const { isIn } = gate(lab);
    const { graph, root } = slow();
    const controllers = [new AbortController(), new AbortController()];
    const builds = controllers.map(({ signal }) =>
      lab.solve(graph, root, { context: contextOf([], signal) }),
    );
    await isIn;
    for (const controller of controllers) controller.abort(new Error("off"));
    for (const build of await Promise.allSettled(builds)) assert.equal(build.status, "rejected");
    assert.equal(lab.worker.active, 0);
  });

  it("try for themselves when the other had no secret", async () => {
    const lab = openLab();
    const { graph, root } = slow();
    const session = (value: string | null): Session => ({
      ...contextOf().session,
      secret: async () => (value === null ? null : Buffer.from(value)),
    });
    let both = (): void => {};
    const joined = new Promise<void>((resolve) => (both = resolve));
    lab.worker.during = async (_name, context) => {
      await joined;
      if ((await context.session.secret("s")) === null) throw new BuildError("SECRET_MISSING", "no secret");
    };
    const poor = lab.solve(graph, root, { context: contextOf([], undefined, session(null)) });
    const rich = lab.solve(graph, root, { context: contextOf([], undefined, session("x")) });
    const outcome = Promise.allSettled([poor, rich]);
    for (let i = 0; i < 20; i += 1) await Promise.resolve();
    both();
    const [first, second] = await outcome;
    assert.equal(first.status, "rejected");
    assert.deepEqual(second, { status: "fulfilled", value: { "/slow": 1 } });
  });

  it("with noCache do not share with each other", async () => {
    const lab = openLab();
    const { graph, root } = slow();
    await Promise.all([lab.solve(graph, root, { noCache: true }), lab.solve(graph, root, { noCache: true })]);
    assert.deepEqual(ran(lab), { slow: 2 });
  });

  it("share across two solvers on one store", async () => {
    const store = openMemoryStore();
    const labs = [openLab(store), openLab(store)];
    const graph = openDraft();
    let root = graph.file("/first", 1, null);
    for (let step = 0; step < 10; step += 1) root = graph.sum(`step ${step}`, step, `/${step}`, root);
    const results = await Promise.all(labs.map((lab) => lab.solve(graph, root)));
    assert.deepEqual(results[0], results[1]);
    const counts = labs.map(ran);
    for (let step = 0; step < 10; step += 1) {
      const times = counts.reduce((sum, count) => sum + (count[`step ${step}`] ?? 0), 0);
      assert.equal(times, 1, `step ${step}`);
    }
  });
});
