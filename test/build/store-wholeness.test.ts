// The store's files and directories, damaged one at a time. The script of the same name does each in every way.

import { oneOfEach, openWholeness, type Wholeness } from "./store-wholeness.ts";

describe("a store of which a file or directory is empty, cut short, garbage, something else or gone", () => {
  let wholeness: Wholeness;
  before(async () => {
    wholeness = await openWholeness();
  });
  after(() => wholeness[Symbol.dispose]());

  it("works or says which, never hangs, is mended by fsck --repair, and the next build is right", async function () {
    this.timeout(1_800_000);
    for (const one of oneOfEach(wholeness.cases)) await wholeness.check(one);
  });
});
