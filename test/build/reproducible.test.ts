import assert from "node:assert/strict";
import { chmodSync, readFileSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { accounts } from "../support/unprivileged.ts";
import { openWorkshop, THREE_STAGES, type Workshop } from "./fixture.ts";
import { digestsIn, ENVIRONMENTS } from "./reproducible-rounds.ts";

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

    it("is kept by what leaves the local store later: the same layers, saved, copied or pushed", async () => {
      const context = shop.context("later", THREE_STAGES);
      const root = shop.at("store-6");
      const dest = (name: string): string => shop.at(`${name}.tar`);
      const layersIn = (archive: string): Promise<readonly string[]> =>
        shop
          .ok(["image", "inspect", "--format", "{{json .RootFS.Layers}}", `oci-archive:${archive}`], { root })
          .then(({ stdout }) => JSON.parse(stdout) as string[]);
      await shop.ok(["build", "--reproducible", "-o", `type=oci,dest=${dest("at-once")}`, context], { root });
      await shop.ok(["build", "--reproducible", "-t", "kept", context], { root });
      await shop.ok(["save", "-o", dest("saved"), "kept"], { root });
      await shop.ok(["image", "copy", "kept", `oci-archive:${dest("copied")}`], { root });
      assert.deepEqual(await layersIn(dest("saved")), await layersIn(dest("at-once")));
      assert.equal(
        (await shop.ok(["image", "digest", `oci-archive:${dest("copied")}`], { root })).stdout,
        (await shop.ok(["image", "digest", `oci-archive:${dest("at-once")}`], { root })).stdout,
      );
    });

    it("takes nothing of the directory that a context happens to be", async () => {
      const files = {
        Dockerfile: [
          "FROM base AS root",
          "FROM named AS given",
          "FROM base",
          "WORKDIR /existing",
          "COPY . /new/",
          "COPY . .",
          "COPY --parents ./folder /parents/",
          "COPY --from=named / /of-a-named/",
          "COPY --from=given / /of-a-stage/",
          "COPY --from=root / /of-an-image/",
          "",
        ].join("\n"),
        "folder/file": "1\n",
      };
      const dirs = [shop.context("one/dir", files), shop.context("other/dir", files)];
      const results: string[] = [];
      for (const [index, dir] of dirs.entries()) {
        for (const name of ["Dockerfile", "folder/file", "folder"]) utimesSync(join(dir, name), 1_000, 1_000);
        chmodSync(dir, index === 0 ? 0o755 : 0o700);
        utimesSync(dir, 2_000 + index, 2_000 + index);
        const image = shop.at(`image-${index}.tar`);
        const env = { SOURCE_DATE_EPOCH: "1500000000" };
        for (const [how, args] of [
          ["reproducible", ["--reproducible", "-o", `type=oci,dest=${image}`]],
          ["rewrite", ["-o", `type=oci,rewrite-timestamp=true,dest=${image}`]],
        ] as const) {
          const metadata = shop.at("metadata.json");
          await shop.ok(
            ["build", "--build-context", `named=${dir}`, ...args, "--metadata-file", metadata, dir],
            { root: shop.at(`store-of-${how}-${index}`), env },
          );
          results.push(digestIn(metadata));
        }
      }
      assert.deepEqual(results.slice(2), results.slice(0, 2));
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

describe("--reproducible", () => {
  it("gives one digest whatever checkout, umask, language, processors, user, sandbox and cache", async function () {
    this.timeout(120_000);
    const digests = await digestsIn(ENVIRONMENTS.slice(0, 4));
    assert.equal(digests.size, 4);
    assert.equal(new Set(digests.values()).size, 1, JSON.stringify([...digests], null, 2));
  });
});

function digestIn(file: string): string {
  const found = (JSON.parse(readFileSync(file, "utf8")) as Record<string, string>)["containerimage.digest"];
  assert.match(found ?? "", /^sha256:[0-9a-f]{64}$/);
  return found ?? "";
}
