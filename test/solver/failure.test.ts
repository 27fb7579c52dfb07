import assert from "node:assert/strict";
import { once } from "node:events";
import { setImmediate as turn } from "node:timers/promises";
import { BuildError, type SourceRange } from "../../solver/graph/error.ts";
import type { ProgressEvent } from "../../solver/graph/event.ts";
import { contextOf, openDraft, openLab, ran } from "./graphs.ts";

const AT: SourceRange = { file: "Dockerfile", start: { line: 3, column: 1 }, end: { line: 3, column: 9 } };

/** Waits until the signal aborts, then takes a while to stop. */
async function untilStopped(signal: AbortSignal): Promise<never> {
  if (!signal.aborted) await once(signal, "abort");
  for (let i = 0; i < 5; i += 1) await turn();
  throw signal.reason;
}

describe("a step that fails", () => {
  function failing() {
    const lab = openLab();
    const graph = openDraft();
    const good = graph.sum("good", 1, "/good", null);
    const bad = graph.sum("bad", 1, "/bad", null);
    graph.note(bad, { name: "RUN bad", at: [AT] });
    const all = graph.sum("all", 0, "/all", null, { mounts: [good, bad] });
    const events: ProgressEvent[] = [];
    return { lab, graph, good, bad, all, events };
  }

  it("stops the others, waits for them, and is thrown with its place", async () => {
    const { lab, graph, good, bad, all, events } = failing();
    lab.worker.during = async (name, { signal }) => {
      if (name === "bad") throw new BuildError("EXEC_FAILED", "it did not work", { exitCode: 3 });
      await untilStopped(signal);
    };
    await assert.rejects(lab.solve(graph, all, { context: contextOf(events) }), (error) => {
      assert(error instanceof BuildError);
      assert.deepEqual(
        [error.code, error.exitCode, error.at, error.vertex],
        ["EXEC_FAILED", 3, AT, bad.vertex],
      );
      return true;
    });
    assert.equal(lab.worker.active, 0);
    const ends = events.filter(({ kind }) => kind === "failed" || kind === "cancelled" || kind === "done");
    assert.deepEqual(
      ends.map((event) => [event.kind, "vertex" in event && event.vertex]),
      [
        ["failed", bad.vertex],
        ["cancelled", good.vertex],
      ],
    );
  });

  it("leaves no record, the good ones stay", async () => {
    const { lab, graph, all } = failing();
    let isBroken = true;
    lab.worker.during = async (name) => {
      if (name !== "bad") return;
      for (let i = 0; i < 50; i += 1) await turn();
      if (isBroken) throw new BuildError("EXEC_FAILED", "not yet");
    };
    await assert.rejects(lab.solve(graph, all), { code: "EXEC_FAILED" });
    isBroken = false;
    ran(lab);
    assert.deepEqual(await lab.solve(graph, all), { "/all": 2 });
    assert.deepEqual(ran(lab), { bad: 1, all: 1 });
  });

  it("is told as a BuildError also when it threw something else", async () => {
    const { lab, graph, all } = failing();
    const cause = new Error("no space left on device");
    lab.worker.during = async (name) => {
      if (name === "bad") throw cause;
    };
    await assert.rejects(
      lab.solve(graph, all),
      (error) => error instanceof BuildError && error.cause === cause && error.at === AT,
    );
  });

  it("fails on a missing path before anything runs", async () => {
    const lab = openLab();
    lab.worker.live.set("context", {});
    const graph = openDraft();
    const copied = graph.copy(
      graph.source("local://context"),
      "/gone",
      "/in",
      graph.sum("first", 1, "/first", null),
    );
    graph.note(copied, { at: [AT] });
    await assert.rejects(lab.solve(graph, copied), {
      code: "CONTEXT_PATH_MISSING",
      at: AT,
      vertex: copied.vertex,
    });
    assert.deepEqual(ran(lab), {});
  });

  it("fails on an unknown image, under the vertex of the source", async () => {
    const lab = openLab();
    const graph = openDraft();
    const base = graph.source("docker-image://nowhere");
    const events: ProgressEvent[] = [];
    const solving = lab.solve(graph, graph.sum("use", 1, "/use", base), { context: contextOf(events) });
    await assert.rejects(solving, { code: "IMAGE_UNKNOWN", vertex: base.vertex });
    assert.deepEqual(
      events.flatMap((event) => ("vertex" in event && event.vertex === base.vertex ? [event.kind] : [])),
      ["vertex", "started", "failed"],
    );
  });
});

describe("cancelling a build", () => {
  it("rejects with the reason after all has stopped", async () => {
    const lab = openLab();
    const graph = openDraft();
    const controller = new AbortController();
    lab.worker.during = async (_name, { signal }) => {
      controller.abort(new Error("enough"));
      await untilStopped(signal);
    };
    const events: ProgressEvent[] = [];
    const root = graph.sum("one", 1, "/one", null);
    await assert.rejects(lab.solve(graph, root, { context: contextOf(events, controller.signal) }), {
      message: "enough",
    });
    assert.equal(lab.worker.active, 0);
    assert.equal(events.at(-1)?.kind, "cancelled");
    assert.deepEqual([...lab.store.records.entries("result")], []);
  });

  it("does not start when cancelled before", async () => {
    const lab = openLab();
    const graph = openDraft();
    const events: ProgressEvent[] = [];
    const context = contextOf(events, AbortSignal.abort(new Error("early")));
    await assert.rejects(lab.solve(graph, graph.file("/a", 1, null), { context }), { message: "early" });
    assert.deepEqual(events, []);
  });

  it("takes waiting steps out of the queue at once", async () => {
    const lab = openLab(undefined, undefined, 1);
    const other = openDraft();
    let letGo = (): void => {};
    const held = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    const controller = new AbortController();
    lab.worker.during = async () => {
      controller.abort(new Error("enough"));
      await held;
    };
    const occupying = lab.solve(other, other.sum("long", 1, "/long", null));
    const graph = openDraft();
    const waiting = lab.solve(graph, graph.sum("queued", 1, "/queued", null), {
      context: contextOf([], controller.signal),
    });
    await assert.rejects(waiting, { message: "enough" });
    letGo();
    await occupying;
    assert.deepEqual(ran(lab), { long: 1 });
  });
});
