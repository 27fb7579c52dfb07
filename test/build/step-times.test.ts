// The time of a step starts when the step starts, not when its input is read, and a step that never starts has none.

import assert from "node:assert/strict";
import { openWorkshop, type Workshop } from "./fixture.ts";

interface Vertex {
  readonly name: string;
  readonly started?: string;
  readonly completed?: string;
}

describe("times of steps", function () {
  this.timeout(60_000);
  let shop: Workshop;
  before(async () => {
    shop = await openWorkshop();
  });
  after(() => shop[Symbol.dispose]());

  const context = (name: string, wait: string): string =>
    shop.context(name, { Dockerfile: `FROM base\nRUN ${wait}\nCOPY file /\n`, file: "1\n" });
  /** The last that raw JSON says of each step. */
  const vertexes = (stderr: string): Map<string, Vertex> => {
    const found = new Map<string, Vertex>();
    for (const line of stderr.split("\n").filter((text) => text.startsWith("{"))) {
      for (const vertex of (JSON.parse(line).vertexes ?? []) as Vertex[])
        found.set(vertex.name.replace(/^\[\d+\/\d+\] /, ""), vertex);
    }
    return found;
  };

  it("do not include the wait for what comes before", async () => {
    const dir = context("slow", "sleep 2");
    const plain = (await shop.ok(["build", "--progress=plain", dir])).stderr;
    const number = /^#(\d+) \[\d\/\d\] COPY/m.exec(plain)?.[1];
    assert.match(plain, new RegExp(`^#${number} DONE 0\\.\\ds$`, "m"), plain);
    assert.ok(plain.indexOf("COPY file /") > plain.indexOf("DONE 2."), plain);
    const json = vertexes((await shop.ok(["build", "--no-cache", "--progress=rawjson", dir])).stderr);
    const [run, copy] = [json.get("RUN sleep 2"), json.get("COPY file /")];
    assert.ok(
      Date.parse(copy?.started ?? "") >= Date.parse(run?.completed ?? ""),
      JSON.stringify([run, copy]),
    );
  });

  it("are not of steps that never start, when a build is cancelled", async () => {
    const dir = context("stopped", "echo begun && sleep 100");
    for (const mode of ["plain", "rawjson"]) {
      const build = shop.start(["build", `--progress=${mode}`, dir]);
      await build.says(mode === "plain" ? /begun\n/ : /YmVndW4K/);
      build.kill("SIGINT");
      const { stderr } = await build.outcome;
      if (mode === "plain") {
        assert.match(stderr, /RUN echo begun.*\n(?:.*\n)*#\d+ CANCELED/);
        assert.doesNotMatch(stderr, /COPY/);
      } else {
        const copy = vertexes(stderr).get("COPY file /");
        assert.ok(copy !== undefined);
        assert.equal(copy.started, undefined);
        assert.equal(copy.completed, undefined);
      }
    }
  });
});
