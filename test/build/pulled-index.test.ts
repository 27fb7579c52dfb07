// An index of which only some platforms were pulled: its local name refers to the registry's index, and a push removes nothing
// from it.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import type { DebianRegistry } from "../support/registry.ts";
import { self } from "../support/unprivileged.ts";
import { eachWithRegistry, type Workshop } from "./fixture.ts";

const INDEX = "application/vnd.oci.image.index.v1+json";
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";

describe("an index of which one platform was pulled", () => {
  let shop: Workshop;
  let registry: DebianRegistry;
  let name: string;
  let serial = 0;
  eachWithRegistry(self(), async (fresh) => {
    ({ shop, registry } = fresh);
    name = `${registry.host}/both-${fresh.serial}`;
    await pushBoth(`${name}:1`, "first\n");
  });

  const pushBoth = async (to: string, text: string): Promise<void> => {
    const context = shop.context(`both-${serial++}`, {
      Dockerfile: "FROM scratch\nARG TARGETARCH\nCOPY file /$TARGETARCH\n",
      file: text,
    });
    await shop.ok(["build", "--platform", "linux/amd64,linux/arm64", "--push", "-t", to, context], {
      root: shop.at("maker"),
    });
  };
  const inRegistry = async (reference: string): Promise<{ type: string | null; digest: string | null }> => {
    const [, path = "", tag = ""] = /^[^/]+\/(.*):([^:]+)$/.exec(reference) ?? [];
    const url = `http://${registry.host}/v2/${path}/manifests/${tag}`;
    const { headers } = await fetch(url, { headers: { accept: `${INDEX}, ${MANIFEST}` } });
    return { type: headers.get("content-type"), digest: headers.get("docker-content-digest") };
  };
  const pull = (platform: string) => shop.ok(["pull", "--platform", platform, `${name}:1`]);
  const architecturesOf = async (text: string): Promise<readonly string[]> =>
    (await shop.ok(["inspect", "-f", "{{.Architecture}}", text])).stdout.trim().split("\n");

  it("keeps its digest, and a push of its name leaves the registry as it was", async () => {
    const there = await inRegistry(`${name}:1`);
    assert.equal(there.type, INDEX);
    const { stderr } = await pull("linux/arm64");
    assert.match(stderr, new RegExp(`Digest: ${there.digest}`));
    assert.deepEqual(await architecturesOf(`${name}@${there.digest}`), ["arm64"]);
    await shop.ok(["push", `${name}:1`]);
    assert.deepEqual(await inRegistry(`${name}:1`), there);
    await shop.ok(["tag", `${name}:1`, `${name}:2`]); // the repository has the other platform
    await shop.ok(["push", `${name}:2`]);
    assert.deepEqual(await inRegistry(`${name}:2`), there);
  });

  it("gets the other platforms with later pulls, and is then pushed whole to where nothing of it is", async () => {
    await pull("linux/arm64");
    await pull("linux/amd64");
    assert.deepEqual(await architecturesOf(`${name}:1`), ["amd64", "arm64"]);
    await shop.ok(["tag", `${name}:1`, `${name}-moved:1`]);
    await shop.ok(["push", `${name}-moved:1`]);
    assert.deepEqual(await inRegistry(`${name}-moved:1`), await inRegistry(`${name}:1`));
  });

  it("is pushed alone to where nothing of it is, and that is said", async () => {
    await pull("linux/arm64");
    await shop.ok(["tag", `${name}:1`, `${name}-alone:1`]);
    const { stderr } = await shop.ok(["push", `${name}-alone:1`]);
    assert.match(
      stderr,
      /some platforms of the image are not in the local store \(linux\/amd64\): pushing only linux\/arm64/,
    );
    assert.equal((await inRegistry(`${name}-alone:1`)).type, MANIFEST);
    await shop.ok(["pull", `${name}-alone:1`, "--platform", "linux/arm64"], { root: shop.at("third") });
  });

  it("does not take the place of several platforms in the registry, unless one is asked for", async () => {
    await pull("linux/arm64");
    const other = `${name}-other:1`;
    await pushBoth(other, "second\n");
    const there = await inRegistry(other);
    await shop.ok(["tag", `${name}:1`, other]);
    const refused = await shop.run(["push", other]);
    assert.equal(refused.code, 1);
    assert.match(
      refused.stderr,
      /also has linux\/amd64 in the registry; this push would leave only linux\/arm64/,
    );
    assert.match(refused.stderr, /tsbuild push --platform linux\/arm64 /);
    assert.deepEqual(await inRegistry(other), there);
    const wrong = await shop.run(["push", "--platform", "linux/amd64", other]);
    assert.equal(wrong.code, 1);
    assert.match(wrong.stderr, /its platform is not linux\/amd64/);
    await shop.ok(["push", "--platform", "linux/arm64", other]);
    assert.equal((await inRegistry(other)).type, MANIFEST);
  });

  it("is asked of the registry where a build or a run needs another platform of it", async () => {
    await pull("linux/arm64");
    const context = shop.context("upon", { Dockerfile: `FROM ${name}:1\nCOPY file /more\n`, file: "x\n" });
    await shop.ok(["build", "--platform", "linux/amd64", "-o", shop.at("out"), context]);
    await shop.ok(["build", "--platform", "linux/arm64", "-o", shop.at("out"), context]);
    assert.deepEqual(readdirSync(shop.at("out")).toSorted(), ["amd64", "arm64", "more"]);
  });
});
