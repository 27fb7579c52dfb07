// kill -9 of a build's whole process group at random points. The script of the same name runs any number of them.

import assert from "node:assert/strict";
import { crashRounds } from "./store-crash.ts";

describe("a store whose builds are killed at random points", () => {
  it("is sound each time, and the next build gives what a clean one gives (24 kills)", async function () {
    this.timeout(900_000);
    const lanes = await Promise.all([crashRounds(12), crashRounds(12)]);
    const late = lanes.reduce((sum, lane) => sum + lane.late, 0);
    assert.ok(late < 12, `${late} builds were over before they were killed`);
  });
});
