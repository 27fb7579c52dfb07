// A layer that is nearly the same takes over the compressed blocks of the one before, and has the bytes it would have had without.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { accounts } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

for (const account of accounts()) {
  describe(`layers built again as ${account.name}`, () => {
    let shop: Workshop;
    before(async () => {
      shop = await openWorkshop(account);
    });
    after(() => shop[Symbol.dispose]());

    /** Builds with a store of its own by that name; the layer's digest in the archive, and the blob. */
    async function build(
      store: string,
      context: string,
      flags: readonly string[],
    ): Promise<[string, Buffer]> {
      const dest = shop.at(`${store}.tar`);
      const output = ["-o", `type=oci,dest=${dest}${flags[0] ?? ""}`, ...flags.slice(1)];
      await shop.ok(["build", ...output, context], { root: shop.at(store) });
      const read = (name: string): Buffer =>
        execFileSync("tar", ["-xOf", dest, name], { maxBuffer: 1 << 28 });
      const blob = (digest: string): Buffer => read(`blobs/${digest.replace(":", "/")}`);
      const index = JSON.parse(read("index.json").toString());
      const manifest = JSON.parse(blob(index.manifests[0].digest).toString());
      const [{ digest }] = manifest.layers;
      return [digest, blob(digest)];
    }

    const files = Object.fromEntries(
      Array.from({ length: 300 }, (_, i): [string, string] => [
        `src/f${i}`,
        createHash("shake256", { outputLength: 30_000 }).update(`${i}`).digest("base64"),
      ]),
    );

    for (const flags of [[""], [",compression=zstd"], ["", "--reproducible"]]) {
      it(`have one digest with and without a layer before: ${flags.join(" ")}`, async () => {
        const context = shop.context("app", { ...files, Dockerfile: "FROM scratch\nCOPY src /src\n" });
        const name = flags.join("").replace(/\W/g, "");
        const [first] = await build(`known${name}`, context, flags);
        writeFileSync(`${context}/src/f150`, `changed${files["src/f150"]}`);
        const [again] = await build(`known${name}`, context, flags);
        const [alone, blob] = await build(`fresh${name}`, context, flags);
        assert.equal(again, alone);
        assert.notEqual(again, first);
        const tar = execFileSync(flags[0] === "" ? "gzip" : "zstd", ["-dc"], {
          input: blob,
          maxBuffer: 1 << 28,
        });
        const text = execFileSync("tar", ["-xOf", "-", "src/f150"], { input: tar }).toString();
        assert.equal(text, readFileSync(`${context}/src/f150`, "utf8"));
        const { stdout } = await shop.ok(["du", "--verbose"], { root: shop.at(`known${name}`) });
        // zstd of this machine is as fast as blocks are found.
        assert.equal(/blocks of compressed layers/.test(stdout), !flags.includes(",compression=zstd"));
      });
    }
  });
}
