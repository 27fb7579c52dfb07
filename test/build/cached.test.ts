import assert from "node:assert/strict";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { accounts } from "../support/unprivileged.ts";
import { openWorkshop, THREE_STAGES, type Workshop } from "./fixture.ts";

for (const account of accounts()) {
  describe(`a second build as ${account.name}`, () => {
    let shop: Workshop;
    let context: string;
    before(async () => {
      shop = await openWorkshop(account);
      context = shop.context("app", THREE_STAGES);
      await shop.ok(["build", "-t", "app", context]);
    });
    after(() => shop[Symbol.dispose]());

    it("does nothing again, and gives the same image", async () => {
      const first = await idOf();
      const { stderr } = await shop.ok(["build", "-t", "app", "--progress=plain", context]);
      const steps = stderr.match(/^#\d+ \[(?!internal).*\] (?:RUN|COPY|WORKDIR)/gm) ?? [];
      assert.equal(steps.length, 8);
      assert.equal(stderr.match(/^#\d+ CACHED$/gm)?.length, 8);
      assert.equal(await idOf(), first);
    });

    it("does not start the keeper", async () => {
      // The keeper begins with the launcher, which is put into the store again when it is not there.
      const bin = join(shop.root, "bin");
      const isLauncher = (name: string): boolean => name.startsWith("launcher-");
      for (const name of readdirSync(bin).filter(isLauncher)) rmSync(join(bin, name));
      await shop.ok(["build", "-t", "app", context]);
      assert.deepEqual(readdirSync(bin).filter(isLauncher), []);
      await shop.ok(["build", "--no-cache", context]);
      assert.equal(readdirSync(bin).filter(isLauncher).length, 1);
    });

    it("runs again only what a changed file leads to", async () => {
      shop.context("app", { "src/program.txt": "changed\n" });
      const { stderr } = await shop.ok(["build", "-t", "app", "--progress=plain", context]);
      const cached = stderr.match(/^#\d+ CACHED$/gm)?.length;
      assert.equal(cached, 2, stderr); // WORKDIR /src, and the RUN of the other stage
      assert.match((await shop.ok(["run", "--rm", "app"])).stdout, /CHANGED/);
    });

    it("leaves the users of a step cached that ran again and made the same", async () => {
      await shop.ok(["build", shop.context("early", early("one"))]);
      const { stderr } = await shop.ok(["build", "--progress=plain", shop.context("early", early("two"))]);
      assert.match(stderr, /^#\d+ [\d.]+ ran twice/m);
      assert.doesNotMatch(stderr, /^#\d+ [\d.]+ expensive/m); // its output, not its name
    });

    async function idOf(): Promise<string> {
      const { stdout } = await shop.ok(["inspect", "app"]);
      const [image] = JSON.parse(stdout) as { Id: string }[];
      return image?.Id ?? "";
    }
  });
}

function early(word: string): Record<string, string> {
  return {
    Dockerfile: `
FROM base AS gen
RUN echo ran twice # ${word}
RUN mkdir -p /out && echo same > /out/file && touch -d @0 /out/file /out
FROM base
COPY --from=gen /out /out
RUN echo expensive
`,
  };
}
