// Resource usage of steps, as reported: a line below slow steps, a part of the metadata, an object in rawjson.

import assert from "node:assert/strict";
import { openJsonDisplay } from "../../bin/progress-json.ts";
import { openStepUsage, SLOW_STEP_MS } from "../../bin/step-usage.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import type { ProgressEvent } from "../../solver/graph/event.ts";

const vertex = digestOf("a step");
const step = (tookMs: number): ProgressEvent[] => [
  { kind: "vertex", vertex, name: "[2/3] RUN make", inputs: [], at: [] },
  { kind: "started", vertex, atMs: 1_000 },
  { kind: "usage", vertex, cpuMs: 11_840.4, peakBytes: 340_000_000 },
  { kind: "done", vertex, atMs: 1_000 + tookMs },
];

describe("what a step used", () => {
  it("is a line when the step was slow", () => {
    const usage = openStepUsage();
    const said = step(SLOW_STEP_MS).map((event) => usage.take(event));
    assert.deepEqual(said, [
      null,
      null,
      null,
      "[2/3] RUN make: 11.8s of CPU time, at most 340.00MB of memory",
    ]);
  });

  it("is no line for others, nor for steps that ran nothing", () => {
    const usage = openStepUsage();
    assert.deepEqual(
      step(SLOW_STEP_MS - 1).flatMap((event) => usage.take(event) ?? []),
      [],
    );
    const idle = openStepUsage();
    const without = step(60_000).filter(({ kind }) => kind !== "usage");
    assert.deepEqual(
      without.flatMap((event) => idle.take(event) ?? []),
      [],
    );
    assert.deepEqual(idle.metadata(), {});
  });

  it("is in the metadata, slow or not", () => {
    const usage = openStepUsage();
    for (const event of step(1)) usage.take(event);
    assert.deepEqual(usage.metadata(), {
      "tsbuild.steps": [{ name: "[2/3] RUN make", cpuMs: 11_840, peakBytes: 340_000_000 }],
    });
  });

  it("is an object of its own in rawjson", () => {
    const written: string[] = [];
    const display = openJsonDisplay({ write: (text) => void written.push(text) });
    for (const event of step(1)) display.event(event);
    assert.deepEqual(JSON.parse(written[2] ?? ""), {
      usage: [{ vertex, cpuMs: 11_840.4, peakBytes: 340_000_000 }],
    });
  });
});
