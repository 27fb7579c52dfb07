// Output of tsbuild du and prune.

import assert from "node:assert/strict";
import { openWorkshop, type Workshop } from "./fixture.ts";

describe("what the store holds, in words", () => {
  let shop: Workshop;
  before(async () => {
    shop = await openWorkshop();
    const context = shop.context("app", {
      Dockerfile:
        "FROM base AS early\nRUN --mount=type=cache,target=/cache echo kept > /kept; echo c > /cache/c\nFROM early\nRUN echo and something that takes more than one line of a terminal to say > /last\n",
    });
    await shop.ok(["build", "-t", "app", "-t", "localhost:5000/app:2", context]);
    const loose = shop.context("loose", { Dockerfile: "FROM base\nRUN echo loose > /loose\n" });
    await shop.ok(["build", loose]);
  });
  after(() => shop[Symbol.dispose]());

  it("begins with a summary of each kind", async () => {
    const { stdout } = await shop.ok(["du"]);
    const [heading = "", ...lines] = stdout.split("\n\n")[0]?.split("\n") ?? [];
    assert.match(heading, /^TYPE +TOTAL +ACTIVE +SIZE +RECLAIMABLE$/);
    assert.deepEqual(
      lines.map((line) => line.split(/ {3,}/)[0]),
      ["Layers", "Blobs", "Cache mounts", "Records"],
    );
    assert.match(lines[0] ?? "", /^Layers +4 +3 +[\d.]+[kMG]?B +[\d.]+[kMG]?B \(\d+%\)$/);
    assert.match(lines[2] ?? "", /^Cache mounts +1 +0 /);
    assert.match(stdout, /\nReclaimable:\t[\d.]+kB\nTotal:\t\t[\d.]+MB\n$/);
  });

  it("says what made each thing, which images have it and when it was used, and fits a line", async () => {
    const { stdout } = await shop.ok(["du"]);
    assert.match(stdout, /\nID +TYPE +RECLAIMABLE +SIZE +LAST ACCESSED +IMAGE +DESCRIPTION\n/);
    assert.match(
      stdout,
      /^r-[0-9a-f]{17} +layer +false +\S+ +\S.* ago +app:latest \+1 +RUN echo kept > \/kept; echo c > \/cache\/c$/m,
    );
    assert.match(stdout, /^r-[0-9a-f]{17} +layer +true +\S+ +\S.* ago +- +RUN echo loose > \/loose$/m);
    assert.match(stdout, /cache-mount +true +.* - +cache mount \/+cache$/m);
    assert.match(stdout, /RUN echo and something that takes .*…$/m);
    const whole = (await shop.ok(["du", "--no-trunc"])).stdout;
    assert.match(
      whole,
      /^r-[0-9a-f]{32} +layer.* app:latest, localhost:5000\/app:2 .*line of a terminal to say > \/last$/m,
    );
  });

  it("takes the beginning of an ID that it showed", async () => {
    const id = /^(r-\S+) .*loose$/m.exec((await shop.ok(["du"])).stdout)?.[1] ?? "";
    const { stdout } = await shop.ok(["du", "--filter", `id=${id}`, "--format", "{{.ID}} {{.Description}}"]);
    assert.match(stdout, /^r-[0-9a-f]{32} \/bin\/sh -c echo loose > \/loose\n$/);
  });

  it("says first how much went, then what it was", async () => {
    const { stdout } = await shop.ok(["prune", "--force"]);
    assert.match(
      stdout,
      /^Removed 1 layer \([\d.]+kB\), (?:\d+ blobs? \(\S+\), )?1 cache mount \(\S+\), \d+ records? \(\S+\)\n/,
    );
    assert.match(stdout, /\nID +TYPE +SIZE +LAST ACCESSED +DESCRIPTION\n/);
    assert.match(stdout, /^r-\S+ +layer +\S+ +\S.* ago +RUN echo loose > \/loose$/m);
    assert.match(stdout, /\nTotal reclaimed space: \S+\n$/);
  });
});
