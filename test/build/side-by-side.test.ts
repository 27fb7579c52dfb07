// Several processes on one store.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { accounts } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

for (const account of accounts()) {
  describe(`two builds at once on one store as ${account.name}`, () => {
    let shop: Workshop;
    before(async () => {
      shop = await openWorkshop(account);
    });
    after(() => shop[Symbol.dispose]());

    it("run a step that both need once", async () => {
      // the step leaves a line in a cache mount each time it runs; the other build's own step comes after it
      const dockerfile = (own: string) => `
FROM base
RUN --mount=type=cache,target=/count echo ran >> /count/lines && sleep 0.3 && wc -l < /count/lines > /runs
RUN echo ${own} > /own
`;
      const one = shop.context("one", { Dockerfile: dockerfile("one") });
      const other = shop.context("other", { Dockerfile: dockerfile("other") });
      await Promise.all([shop.ok(["build", "-t", "one", one]), shop.ok(["build", "-t", "other", other])]);
      for (const name of ["one", "other"]) {
        const { stdout } = await shop.ok(["run", name, "cat", "/runs", "/own"]);
        assert.equal(stdout, `1\n${name}\n`);
      }
    });

    it("both have the whole result when they build the same", async () => {
      const context = shop.context("same", {
        Dockerfile: "FROM base\nRUN head -c 100000 /dev/urandom > /random\n",
      });
      const ids = await Promise.all(
        ["a", "b", "c"].map(async (name) => {
          await shop.ok(["build", "-t", name, "--iidfile", shop.at(name), context]);
          return readFileSync(shop.at(name), "utf8");
        }),
      );
      assert.equal(new Set(await Promise.all(["a", "b", "c"].map(sumOf))).size, 1);
      assert.equal(ids.length, 3);
    });

    it("prune takes nothing that a build is using", async () => {
      const context = shop.context("pruned", {
        Dockerfile:
          "FROM base AS first\nRUN echo kept > /file\nFROM base\nRUN echo waiting && sleep 1\nCOPY --from=first /file /file\n",
      });
      const build = shop.start(["build", "--progress=plain", "-t", "pruned", context]);
      await build.says(/^#\d+ [\d.]+ waiting$/m);
      await shop.ok(["prune", "--all", "--force"]);
      assert.equal((await build.outcome).code, 0);
      assert.equal((await shop.ok(["run", "pruned", "cat", "/file"])).stdout, "kept\n");
    });

    async function sumOf(name: string): Promise<string> {
      return (await shop.ok(["run", name, "sha256sum", "/random"])).stdout;
    }
  });
}
