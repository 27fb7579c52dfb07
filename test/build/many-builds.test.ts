// Fifty concurrent builds on one store, of the same and of different Dockerfiles: each distinct step runs once.

import assert from "node:assert/strict";
import { openWorkshop, type Workshop } from "./fixture.ts";

const BUILDS = 50;
const KINDS = 5;

/** Each step leaves a line in a cache mount, which counts it whoever runs it. */
const dockerfile = (kind: number): string => {
  const step = (name: string): string =>
    `RUN --mount=type=cache,id=count,target=/count echo ${name} >> /count/log; echo ${name} > /${name}\n`;
  return `FROM base AS common\n${step("shared1")}${step("shared2")}FROM common\n${step(`own${kind}`)}COPY file /file\n`;
};

describe(`${BUILDS} builds at one time`, () => {
  let shop: Workshop;
  before(async () => {
    shop = await openWorkshop();
  });
  after(() => shop[Symbol.dispose]());

  it("do each distinct step once, and all end well", async function () {
    this.timeout(300_000);
    const contexts = Array.from({ length: KINDS }, (_, kind) =>
      shop.context(`kind${kind}`, { Dockerfile: dockerfile(kind), file: `${kind}\n` }),
    );
    // All are waited for, also where one fails: no other test runs beside the rest.
    const builds = await Promise.allSettled(
      Array.from({ length: BUILDS }, (_, index) =>
        shop.ok(["build", "--progress=quiet", "-t", `image${index}`, contexts[index % KINDS] as string]),
      ),
    );
    for (const build of builds) if (build.status === "rejected") throw build.reason;
    const counter = shop.context("counter", {
      Dockerfile: "FROM base\nRUN --mount=type=cache,id=count,target=/count cp /count/log /log\n",
    });
    await shop.ok(["build", "-t", "counter", counter]);
    const { stdout } = await shop.ok(["run", "counter", "cat", "/log"]);
    const expected = ["shared1", "shared2", ...Array.from({ length: KINDS }, (_, kind) => `own${kind}`)];
    assert.deepEqual(stdout.trim().split("\n").sort(), expected.sort());
    for (const index of [0, 1, BUILDS - 1])
      assert.equal((await shop.ok(["run", `image${index}`, "cat", "/file"])).stdout, `${index % KINDS}\n`);
    assert.match((await shop.ok(["fsck"])).stdout, /no problems found/);
  });
});
