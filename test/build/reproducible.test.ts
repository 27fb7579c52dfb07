import assert from "node:assert/strict";
import { readFileSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { accounts } from "../support/unprivileged.ts";
import { openWorkshop, THREE_STAGES, type Workshop } from "./fixture.ts";

for (const account of accounts()) {
  describe(`--reproducible as ${account.name}`, () => {
    let shop: Workshop;
    before(async () => {
      shop = await openWorkshop(account);
    });
    after(() => shop[Symbol.dispose]());

    it("gives equal bytes from two directories with other file times into two stores", async () => {
      const here = shop.context("here", THREE_STAGES);
      const there = shop.context("elsewhere/there", THREE_STAGES);
      utimesSync(join(there, "src/program.txt"), 1_000_000_000, 1_000_000_000);
      const first = await outputs(here, "store-1", "first");
      const second = await outputs(there, "store-2", "second");
      assert.equal(second.digest, first.digest);
      assert.ok(second.tar.equals(first.tar), "the archives differ");
    });

    it("gives other bytes without the flag", async () => {
      // the control: else the test above would prove nothing
      const context = shop.context("plain", THREE_STAGES);
      const one = await digest(["build", "--no-cache", context], "store-3");
      const other = await digest(["build", "--no-cache", context], "store-4");
      assert.notEqual(one, other);
    });

    it("clamps all times to SOURCE_DATE_EPOCH where that is given", async () => {
      const context = shop.context("epoch", THREE_STAGES);
      const args = ["build", "--reproducible", "-t", "dated", context];
      await shop.ok(args, { root: shop.at("store-5"), env: { SOURCE_DATE_EPOCH: "1234567890" } });
      const { stdout } = await shop.ok(["inspect", "dated"], { root: shop.at("store-5") });
      const [image] = JSON.parse(stdout) as { Created: string }[];
      assert.equal(image?.Created, "2009-02-13T23:31:30Z");
    });

    async function outputs(
      context: string,
      store: string,
      name: string,
    ): Promise<{ digest: string; tar: Buffer }> {
      const metadata = shop.at(`${name}.json`);
      const dest = shop.at(`${name}.tar`);
      const output = `type=oci,dest=${dest}`;
      await shop.ok(["build", "--reproducible", "-o", output, "--metadata-file", metadata, context], {
        root: shop.at(store),
      });
      return { digest: digestIn(metadata), tar: readFileSync(dest) };
    }

    async function digest(args: readonly string[], store: string): Promise<string> {
      const metadata = shop.at(`${store}.json`);
      await shop.ok([...args, "--metadata-file", metadata], { root: shop.at(store) });
      return digestIn(metadata);
    }
  });
}

function digestIn(file: string): string {
  const found = (JSON.parse(readFileSync(file, "utf8")) as Record<string, string>)["containerimage.digest"];
  assert.match(found ?? "", /^sha256:[0-9a-f]{64}$/);
  return found ?? "";
}
