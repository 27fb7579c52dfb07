// A base image is identified by its content, wherever it came from: one machine builds and pushes it, others pull it, and all of them
// find what any of them has built on it.

import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { assertHonest, layerOf, readImage, writeFalseImage } from "../support/false-image.ts";
import type { DebianRegistry } from "../support/registry.ts";
import { ordinaryUser } from "../support/unprivileged.ts";
import { eachWithRegistry, openWorkshop, type Workshop } from "./fixture.ts";

const BASE = {
  Dockerfile: "FROM base\nRUN echo tools > /tools && mkdir -p /opt/t && ln /tools /opt/t/hard\n",
};
const APP = {
  Dockerfile:
    "ARG BASE=base\nFROM $BASE\nCOPY file /file\nRUN cat /tools /file > /both && rm /tools\nRUN wc -c /both > /size\n",
  file: "file\n",
};
const STEPS = 3; // of APP

const account = ordinaryUser();

describe(`a base image that one machine builds and others pull, as ${account.name}`, () => {
  let shop: Workshop;
  let registry: DebianRegistry;
  let base: string;
  let app: string;
  let name: string;
  eachWithRegistry(account, (fresh) => {
    ({ shop, registry } = fresh);
    base = shop.context("tools", BASE);
    app = shop.context("app", APP);
    name = `${registry.host}/tools-${account.uid}-${fresh.serial}:1`;
  });

  const on = (machine: string) => ({ root: shop.at(machine), env: { TSBUILD_ROOT: shop.at(machine) } });
  const buildBase = (machine: string, ...more: readonly string[]) =>
    shop.ok(["build", "-t", name, "--push", ...more, base], on(machine));
  const build = async (machine: string, ...more: readonly string[]): Promise<string> =>
    (await shop.ok(["build", "--progress=plain", "--build-arg", `BASE=${name}`, ...more, app], on(machine)))
      .stderr;
  const cachedIn = (log: string): number => log.match(/^#\d+ CACHED$/gm)?.length ?? 0;
  const ranIn = (log: string): number =>
    [...log.matchAll(/^#(\d+) \[\d\/\d\] (?:RUN|COPY)/gm)].filter(
      ([, step]) => !log.includes(`#${step} CACHED`),
    ).length;
  /** Layers fetched meanwhile. */
  const fetching = async (work: () => Promise<unknown>): Promise<readonly string[]> => {
    const before = (await registry.requests()).length;
    await work();
    return (await registry.requests()).slice(before).filter((one) => /^GET .*\/blobs\//.test(one));
  };
  const assertAllCached = (log: string): void => {
    assert.equal(cachedIn(log), STEPS, log);
    assert.equal(ranIn(log), 0, log);
  };

  for (const [what, to, from] of [
    [
      "in a registry",
      () => ["--cache-to", `type=registry,ref=${name}-cache,mode=max`],
      () => `type=registry,ref=${name}-cache`,
    ],
    [
      "in a directory",
      () => ["--cache-to", `type=local,dest=${shop.at("cache")},mode=max`],
      () => `type=local,src=${shop.at("cache")}`,
    ],
    [
      "in the image",
      () => ["--cache-to", "type=inline", "--push", "-t", `${name}-app`],
      () => `type=registry,ref=${name}-app`,
    ],
  ] as const) {
    it(`needs no step on the others, whose cache is ${what}`, async () => {
      await buildBase("one");
      assert.equal(ranIn(await build("one", ...to())), STEPS);
      assertAllCached(await build("two", "--cache-from", from()));
      assertAllCached(await build("three", "--cache-from", from(), "--pull"));
    });

    it(`needs no step on the one that built it, when the cache of another is ${what}`, async () => {
      await buildBase("one");
      assert.equal(ranIn(await build("two", ...to())), STEPS);
      assertAllCached(await build("one", "--cache-from", from()));
      assertAllCached(await build("one", "--cache-from", from(), "--pull"));
    });
  }

  it("needs no step where it was built, with --pull, and no layer that is there is fetched", async () => {
    await buildBase("one");
    assert.equal(ranIn(await build("one")), STEPS);
    const fetched = await fetching(async () => {
      assertAllCached(await build("one", "--pull"));
      // Another step must run on it: the files of the base are there.
      const other = shop.context("other", { Dockerfile: `FROM ${name}\nRUN cat /opt/t/hard > /seen\n` });
      await shop.ok(["build", "--pull", "-t", "other", other], on("one"));
      assert.equal((await shop.ok(["run", "--rm", "other", "cat", "/seen"], on("one"))).stdout, "tools\n");
    });
    assert.deepEqual(fetched, []);
  });

  it("is not said to have changed by --explain", async () => {
    await buildBase("one");
    await build("one");
    shop.context("app", { ...APP, file: "changed\n" });
    const log = await build("one", "--pull", "--explain");
    assert.match(log, /file/);
    assert.doesNotMatch(log, /^ +base image/m, log);
  });

  it("is the same from a layout, and where a cache has promised it and nothing of it was fetched", async () => {
    const to = (what: string): string => `type=registry,ref=${name}-${what},mode=max`;
    const from = (what: string): string => `type=registry,ref=${name}-${what}`;
    const layout = shop.at("layout");
    await buildBase("one", "-o", `type=oci,tar=false,dest=${layout}`, "--cache-to", to("base"));
    await build("one", "--cache-to", to("app"));
    const asLayout = ["--build-context", `${name}=oci-layout://${layout}`];
    assertAllCached(await build("two", ...asLayout, "--cache-from", from("app")));
    assertAllCached(await build("one", ...asLayout));
    await shop.ok(["build", "-t", name, "--cache-from", from("base"), base], on("three"));
    assert.deepEqual(readdirSync(shop.at("three", "layers")), []);
    assertAllCached(await build("three", "--cache-from", from("app"), "-t", "app"));
    assert.deepEqual(readdirSync(shop.at("three", "layers")), []);
    const { stdout } = await shop.ok(["run", "--rm", "app", "cat", "/both"], on("three"));
    assert.equal(stdout, "tools\nfile\n");
  });

  for (const times of ["with its own times", "with times rewritten"]) {
    it(`gives the same image on all machines, ${times}`, async () => {
      await buildBase("one", ...(times === "with its own times" ? [] : ["--reproducible"]));
      const push = async (machine: string): Promise<string> => {
        const file = shop.at(`meta-${machine}`);
        await build(
          machine,
          "--reproducible",
          "--push",
          ...["-t", `${name}-${machine}`, "--metadata-file", file],
        );
        const metadata = JSON.parse(readFileSync(file, "utf8")) as Record<string, string>;
        return metadata["containerimage.digest"] ?? "";
      };
      const digests = [await push("one"), await push("two")];
      assert.match(digests[0] ?? "", /^sha256:/);
      assert.equal(digests[0], digests[1]);
    });
  }

  it("runs and is exported from where it was built, after its own name is gone and prune has run", async () => {
    await buildBase("one");
    await build("one", "-t", "app");
    await shop.ok(["rmi", name], on("one"));
    await shop.ok(["prune", "-f"], on("one"));
    assert.equal((await shop.ok(["run", "--rm", "app", "cat", "/both"], on("one"))).stdout, "tools\nfile\n");
    await shop.ok(["prune", "-a", "-f"], on("one"));
    assert.equal((await shop.ok(["run", "--rm", "app", "cat", "/both"], on("one"))).stdout, "tools\nfile\n");
    await shop.ok(["fsck"], on("one"));
    rmSync(shop.at("one", "db"), { recursive: true });
    const again = await shop.ok(["run", "--rm", "app", "cat", "/both"], on("one"));
    assert.equal(again.stdout, "tools\nfile\n");
  });

  it("is not pushed: what is built on it is whole, and nothing of it is compressed before it leaves", async () => {
    await shop.ok(["build", "-t", name, base], on("one"));
    await build("one", "-t", "app");
    const blobs = shop.at("one", "blobs", "sha256");
    const compressed = readdirSync(blobs).filter(
      (digest) => readFileSync(join(blobs, digest)).readUInt16BE(0) === 0x1f8b,
    );
    assert.equal(compressed.length, 1); // as it came, of the image below the base
  });
});

describe("an image that claims to consist of a base that was built here", () => {
  it("passes none of its bytes to what is built on that base, and is that base where steps run on it", async () => {
    using shop = await openWorkshop();
    const dest = shop.at("honest");
    const oci = (to: string, ...args: readonly string[]) =>
      shop.ok(["build", "-o", `type=oci,tar=false,dest=${to}`, ...args]);
    await shop.ok(["build", "-t", "honest", shop.context("tools", BASE)]);
    await oci(dest, shop.at("tools"));
    // Its layers are other bytes, its config says that they are the honest ones.
    const evil = shop.at("evil");
    const bytes = await layerOf({ "evil.txt": "evil\n" });
    writeFalseImage(
      evil,
      dest,
      readImage(dest).manifest.layers.map(() => ({ bytes })),
    );
    const unseen = shop.context("unseen", {
      Dockerfile: "FROM honest\nCOPY --link file /file\n",
      file: "1\n",
    });
    const running = shop.context("running", {
      Dockerfile: "FROM honest\nRUN cat /tools > /seen && test ! -e /evil.txt\n",
    });
    const asEvil = ["--build-context", `honest=oci-layout://${evil}`];
    const out = [shop.at("o1"), shop.at("o2"), shop.at("o3"), shop.at("o4")] as const;
    await oci(out[0], ...asEvil, unseen); // as bad as the image it was made of
    assert.throws(() => assertHonest(out[0]), /is not what the config says/);
    await oci(out[1], unseen);
    assertHonest(out[1]);
    // The files that are here are what the claim is about, and stand in for the bytes that are not.
    await shop.ok(["build", ...asEvil, running]);
    await oci(out[2], running);
    assertHonest(out[2]);
    await oci(out[3], "--no-cache", running);
    assertHonest(out[3]);
  });

  it("fails where steps run on it and the base is not here, and leaves nothing for the honest one", async () => {
    using shop = await openWorkshop();
    const dest = shop.at("honest");
    await shop.ok(["build", "-o", `type=oci,tar=false,dest=${dest}`, shop.context("tools", BASE)]);
    const evil = shop.at("evil");
    const bytes = await layerOf({ "evil.txt": "evil\n" });
    writeFalseImage(
      evil,
      dest,
      readImage(dest).manifest.layers.map(() => ({ bytes })),
    );
    const app = shop.context("app", { Dockerfile: "FROM honest\nRUN cat /tools > /seen\n" });
    const from = (layout: string): readonly string[] => ["--build-context", `honest=oci-layout://${layout}`];
    const root = shop.at("other");
    const failed = await shop.run(["build", ...from(evil), app], { root });
    assert.equal(failed.code, 1);
    assert.match(failed.stderr, /but the image config says/);
    const { stderr } = await shop.ok(["build", "--progress=plain", ...from(dest), "-t", "app", app], {
      root,
    });
    assert.doesNotMatch(stderr, /^#\d+ CACHED$/m);
    assert.equal((await shop.ok(["run", "--rm", "app", "cat", "/seen"], { root })).stdout, "tools\n");
  });
});
