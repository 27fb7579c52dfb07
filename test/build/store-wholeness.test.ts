// The store's files and directories, damaged one at a time: one of each kind, a third of the kinds each day. The script of the same name does
// all kinds with --short, and each file in every way without it.

import { oneOfEach, openWholeness, type Wholeness } from "./store-wholeness.ts";

describe("a store of which a file or directory is empty, cut short, garbage, something else or gone", () => {
  let wholeness: Wholeness;
  before(async () => {
    wholeness = await openWholeness();
  });
  after(() => wholeness[Symbol.dispose]());

  it("works or says which, never hangs, is mended by fsck --repair, and the next build is right", async function () {
    this.timeout(1_800_000);
    const day = Math.floor(Date.now() / 86_400_000);
    const cases = oneOfEach(wholeness.cases).filter((_, at) => (at + day) % 3 === 0);
    for (const one of cases) await wholeness.check(one);
  });
});
