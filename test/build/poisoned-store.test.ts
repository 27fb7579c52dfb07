// An image may make any claims about its layers. Those of a hostile one must not affect builds of others in the same store:
// neither the bytes they export, nor whether they work at all (threat model C1, C3, D5).

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Problem } from "../../cache/check.ts";
import { openStore } from "../../cache/store.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import { gunzipSync } from "node:zlib";
import {
  assertHonest,
  type BlobDescriptor,
  layerOf,
  readBlob,
  readImage,
  writeFalseImage,
} from "../support/false-image.ts";
import { copyFromRegistry, type RunningRegistry } from "../support/registry.ts";
import { accounts, self } from "../support/unprivileged.ts";
import { eachWithRegistry, openWorkshop, type Workshop } from "./fixture.ts";

const METADATA = { Dockerfile: "FROM base\nCOPY --link file /file\n", file: "1\n" };

describe("an image that lies about its layers", () => {
  let shop: Workshop;
  let registry: RunningRegistry;
  let base: string;
  let evil: string;
  let unseen: string;
  let serial = 0;
  eachWithRegistry(self(), async (fresh) => {
    ({ shop, registry } = fresh);
    base = shop.at("base");
    evil = shop.at("evil");
    writeFalseImage(evil, base, [{ bytes: await layerOf({ "evil.txt": "evil\n" }) }]);
    unseen = shop.context("unseen", METADATA);
  });

  const from = (layout: string): readonly string[] => ["--build-context", `base=oci-layout://${layout}`];
  const oci = async (...args: readonly string[]): Promise<string> => {
    const dest = shop.at(`out-${serial++}`);
    await shop.ok(["build", "-o", `type=oci,tar=false,dest=${dest}`, ...args]);
    return dest;
  };
  const pulled = (name: string): string => {
    const dest = shop.at(`pulled-${serial++}`);
    copyFromRegistry(name, dest);
    return dest;
  };
  /** The store knows the true claim, then the false one; neither was looked into. */
  const trueThenFalse = async (): Promise<void> => {
    await shop.ok(["build", ...from(base), unseen]);
    await shop.ok(["build", ...from(evil), unseen]);
  };
  const firstLayer = (layout: string): string | undefined => readImage(layout).manifest.layers[0]?.digest;

  it("is what it is itself, and no image after it has its blob", async () => {
    const first = await oci(...from(evil), unseen);
    assert.throws(() => assertHonest(first), /is not what the config says/);
    const second = await oci(...from(base), unseen);
    assertHonest(second);
    assert.equal(firstLayer(second), firstLayer(base));
  });

  it("changes nothing of the image that was there before it", async () => {
    assertHonest(await oci(...from(base), unseen));
    await oci(...from(evil), unseen);
    const again = await oci(...from(base), unseen);
    assertHonest(again);
    assert.equal(firstLayer(again), firstLayer(base));
  });

  it("does not get into a push of the image that it imitates", async () => {
    const name = `${registry.host}/app-${serial++}:1`;
    await trueThenFalse();
    await shop.ok(["build", ...from(base), "--push", "-t", name, unseen]);
    assertHonest(pulled(name));
  });

  it("does not get into an image that was built before and is pushed later", async () => {
    const name = `${registry.host}/app-${serial++}:1`;
    await shop.ok(["build", ...from(base), "-t", name, unseen]);
    await oci(...from(evil), unseen);
    await shop.ok(["push", name]);
    assertHonest(pulled(name));
  });

  it("does not get into what is built on an image of the local store", async () => {
    await shop.ok(["build", ...from(base), "-t", "honest", unseen]);
    await oci(...from(evil), unseen);
    const upon = shop.context("upon", { Dockerfile: "FROM honest\nCOPY --link file /more\n", file: "2\n" });
    assertHonest(await oci(upon));
  });

  it("does not keep the image that it imitates from being used, by metadata alone", async () => {
    await trueThenFalse();
    const running = shop.context("running", {
      Dockerfile: "FROM base\nRUN test -x /bin/sh && test ! -e /evil.txt\n",
    });
    await shop.ok(["build", ...from(base), running]);
    assertHonest(await oci(...from(base), running));
  });

  it("fails when it is looked into, and only itself", async () => {
    const running = shop.context("running", { Dockerfile: "FROM base\nRUN test -x /bin/sh\n" });
    const { code, stderr } = await shop.run(["build", ...from(evil), running]);
    assert.equal(code, 1);
    assert.match(stderr, /the layer has diff ID sha256:[0-9a-f]{64}, but the image config says sha256:/);
    await shop.ok(["build", ...from(base), running]);
    // And what it claims is known by now: the true layer is there.
    await shop.ok(["build", ...from(evil), running]);
  });

  it("does not get into the other image of the same Dockerfile", async () => {
    await shop.ok(["build", ...from(base), unseen]);
    const both = shop.context("both", {
      Dockerfile: "FROM lie AS other\nCOPY --link file /a\nFROM base\nCOPY --link --from=other /a /b\n",
      file: "3\n",
    });
    const out = await oci(...from(base), "--build-context", `lie=oci-layout://${evil}`, both);
    assertHonest(out);
  });

  it("does not get into a build cache of the other", async () => {
    await trueThenFalse();
    const cache = shop.at("cache");
    await shop.ok(["build", ...from(base), "--cache-to", `type=local,dest=${cache},mode=max`, unseen]);
    const [falseBlob = ""] = readImage(evil).manifest.layers.map(({ digest }) => digest.slice(7));
    assert.ok(!existsSync(join(cache, "blobs", "sha256", falseBlob)));
  });

  it("does not get into a form that is made of the other", async () => {
    await trueThenFalse();
    const name = `${registry.host}/app-${serial++}:1`;
    const output = `type=image,name=${name},push=true,compression=gzip,force-compression=true,compression-level=1`;
    await shop.ok(["build", ...from(base), "-o", output, unseen]);
    assertHonest(pulled(name));
  });

  it("that is a plain tar called gzip, or has another size, changes no other image's words for the same blob", async () => {
    const [layer] = readImage(base).manifest.layers as [BlobDescriptor];
    const bytes = readBlob(base, layer);
    const plain = shop.at("plain");
    writeFalseImage(plain, base, [{ bytes: gunzipSync(bytes) }]);
    const wrongType = shop.at("wrong-type");
    writeFalseImage(wrongType, base, [{ bytes, mediaType: "application/vnd.oci.image.layer.v1.tar+zstd" }]);
    const wrongSize = shop.at("wrong-size");
    writeFalseImage(wrongSize, base, [{ bytes, size: bytes.length + 1 }]);
    await shop.ok(["build", ...from(base), unseen]);
    for (const one of [plain, wrongType, wrongSize]) await shop.run(["build", ...from(one), unseen]);
    const out = await oci(...from(base), unseen);
    assertHonest(out);
    assert.deepEqual(readImage(out).manifest.layers[0], layer);
    const running = shop.context("running", { Dockerfile: "FROM base\nRUN test -x /bin/sh\n" });
    await shop.ok(["build", ...from(base), running]);
  });

  it("says nothing in the history of another image", async () => {
    const bare = shop.at("bare");
    const [layer] = readImage(base).manifest.layers as [BlobDescriptor];
    writeFalseImage(bare, base, [{ bytes: readBlob(base, layer) }], (config) => ({ ...config, history: [] }));
    const labelled = shop.context("labelled", { Dockerfile: "FROM base\nLABEL a=b\n" });
    await shop.ok(["build", ...from(evil), "-t", "evil", unseen]);
    const history = readImage(await oci(...from(bare), labelled)).config["history"];
    assert.doesNotMatch(JSON.stringify(history), /evil/);
  });

  describe("in a store that trusted it", () => {
    /** As stores were written that took the last claim for the truth. */
    async function poison(): Promise<void> {
      await using store = await openStore(shop.root);
      const [diffId] = readImage(base).config.rootfs.diff_ids as [Digest];
      const [layer] = readImage(evil).manifest.layers as [BlobDescriptor];
      store.content.put(readBlob(evil, layer));
      const id = store.layers.idOf(diffId);
      store.layers.update(id, {
        diffId,
        remotes: [
          { descriptor: { ...layer, digest: layer.digest as Digest }, from: `oci-layout:${evil}` },
          ...(store.layers.get(id)?.remotes ?? []),
        ],
      });
    }
    const check = async (...flags: string[]): Promise<{ code: number | null; problems: Problem[] }> => {
      const { code, stdout } = await shop.run(["fsck", "--format", "json", ...flags]);
      return { code, problems: (JSON.parse(stdout) as { problems: Problem[] }).problems };
    };

    it("honest builds are honest, without repair", async () => {
      await shop.ok(["build", ...from(base), unseen]);
      await poison();
      assertHonest(await oci(...from(base), unseen));
      const running = shop.context("running", { Dockerfile: "FROM base\nRUN test -x /bin/sh\n" });
      await shop.ok(["build", ...from(base), running]);
    });

    it("fsck finds the false blob, and --repair forgets it", async () => {
      await shop.ok(["build", ...from(base), unseen]);
      await poison();
      const seen = await check();
      assert.equal(seen.code, 1);
      assert.match(seen.problems.map(({ what }) => what).join("\n"), /contains something else/);
      assert.equal((await check("--repair")).code, 0);
      assert.deepEqual((await check()).problems, []);
      assertHonest(await oci(...from(base), unseen));
    });

    it("fsck finds a local image with the false blob in its manifest", async () => {
      await shop.ok(["build", ...from(evil), "-t", "victim", unseen]);
      await poison();
      const { problems } = await check();
      assert.ok(
        problems.some(({ kind, id }) => kind === "image" && id.includes("victim")),
        JSON.stringify(problems),
      );
      await check("--repair");
      assert.deepEqual((await check()).problems, []);
    });

    it("prune does not take the only true copy of a layer because a false blob is there", async () => {
      const running = shop.context("running", { Dockerfile: "FROM base\nRUN test -x /bin/sh\n" });
      await shop.ok(["build", ...from(base), "-t", "kept", running]);
      await poison();
      await shop.ok(["prune", "--all", "--force"]);
      await shop.ok(["run", "--rm", "kept", "test", "-x", "/bin/sh"]);
    });
  });
});

for (const account of accounts()) {
  describe(`a build cache that lies about its layers, as ${account.name}`, () => {
    it("does not get into builds that use another cache, though both promise the same layers", async () => {
      using shop = await openWorkshop(account);
      const context = shop.context("app", {
        Dockerfile: "FROM base\nRUN echo one > /one\nRUN echo two > /two\n",
      });
      const good = shop.at("good");
      await shop.ok(["build", "--cache-to", `type=local,dest=${good},mode=max`, context], {
        root: shop.at("a"),
      });
      assert.ok(existsSync(join(good, "index.json")));
      const bad = shop.at("bad");
      execFileSync("cp", ["-a", good, bad]);
      await falsify(bad);
      const root = shop.at("b");
      const dest = shop.at("image");
      const build = ["build", "-o", `type=oci,tar=false,dest=${dest}`];
      const from = (cache: string): readonly string[] => ["--cache-from", `type=local,src=${cache}`, context];
      // Neither fetches a layer.
      await shop.ok(["build", ...from(good)], { root });
      await shop.ok(["build", ...from(bad)], { root });
      await shop.ok([...build, ...from(good)], { root });
      assertHonest(dest);
    });
  });
}

/** Gives every step's layer of a local cache other bytes, and keeps what is said of it. */
async function falsify(dir: string): Promise<void> {
  const { readFileSync, writeFileSync } = await import("node:fs");
  const { createHash } = await import("node:crypto");
  const digestOf = (data: Buffer): string => `sha256:${createHash("sha256").update(data).digest("hex")}`;
  const put = (data: Buffer): string => {
    const digest = digestOf(data);
    writeFileSync(join(dir, "blobs", "sha256", digest.slice(7)), data);
    return digest;
  };
  const read = (digest: string): string =>
    readFileSync(join(dir, "blobs", "sha256", digest.slice(7)), "utf8");
  const index = JSON.parse(readFileSync(join(dir, "index.json"), "utf8")) as {
    manifests: { digest: string; size: number }[];
  };
  const [entry] = index.manifests;
  assert.ok(entry);
  const manifest = JSON.parse(read(entry.digest)) as {
    config: { digest: string; size: number };
    layers: { digest: string; size: number }[];
  };
  let config = read(manifest.config.digest);
  for (const layer of manifest.layers) {
    const bytes = await layerOf({ "evil.txt": layer.digest });
    const digest = put(bytes);
    config = config.replaceAll(layer.digest, digest);
    layer.digest = digest;
    layer.size = bytes.length;
  }
  manifest.config.digest = put(Buffer.from(config));
  manifest.config.size = Buffer.from(config).length;
  const bytes = Buffer.from(JSON.stringify(manifest));
  entry.digest = put(bytes);
  entry.size = bytes.length;
  writeFileSync(join(dir, "index.json"), JSON.stringify(index));
}
