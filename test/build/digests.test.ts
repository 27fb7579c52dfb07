// A digest shown for a name is one that a registry has, and images of a registry are found locally by that digest.

import assert from "node:assert/strict";
import type { DebianRegistry } from "../support/registry.ts";
import { self } from "../support/unprivileged.ts";
import { eachWithRegistry, type Workshop } from "./fixture.ts";

const TOOLS = { Dockerfile: "FROM base\nRUN echo tools > /tools\n" };

describe("digests of names", () => {
  let shop: Workshop;
  let registry: DebianRegistry;
  let tools: string;
  let name: string;
  eachWithRegistry(self(), (fresh) => {
    ({ shop, registry } = fresh);
    tools = shop.context("tools", TOOLS);
    name = `${registry.host}/tools-${fresh.serial}`;
  });

  const inRegistry = async (repository: string, tag: string): Promise<string> => {
    const accept =
      "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json";
    const path = repository.slice(repository.indexOf("/") + 1);
    const answer = await fetch(`http://${registry.host}/v2/${path}/manifests/${tag}`, {
      headers: { accept },
    });
    assert.equal(answer.status, 200);
    return answer.headers.get("docker-content-digest") as string;
  };
  const repoDigests = async (text: string, root = shop.root): Promise<readonly string[]> =>
    JSON.parse((await shop.ok(["inspect", "-f", "{{json .RepoDigests}}", text], { root })).stdout);
  const listed = async (root = shop.root): Promise<readonly string[]> => {
    const { stdout } = await shop.ok(
      ["images", "--digests", "--format", "{{.Repository}}:{{.Tag}} {{.Digest}}"],
      {
        root,
      },
    );
    return stdout.trim().split("\n").toSorted();
  };
  const upon = (image: string): string =>
    shop.context("upon", { Dockerfile: `FROM ${image}\nRUN cat /tools > /seen\n` });

  it("are none for what was only built, and the step names none either", async () => {
    await shop.ok(["build", "-t", "tools", tools]);
    assert.deepEqual(await repoDigests("tools"), []);
    assert.deepEqual(await listed(), ["tools:latest <none>"]);
    const [image] = JSON.parse((await shop.ok(["inspect", "tools"])).stdout) as Record<string, unknown>[];
    assert.equal(image?.Descriptor, undefined);
    const { stderr } = await shop.ok(["build", "--progress=plain", upon("tools")]);
    assert.match(stderr, /\[1\/2\] FROM docker\.io\/library\/tools:latest$/m);
  });

  it("are those of the registry after build, tag and push, for all names of the image", async () => {
    await shop.ok(["build", "-t", "tools", tools]);
    await shop.ok(["tag", "tools", `${name}:1`]);
    assert.deepEqual(await repoDigests(`${name}:1`), []);
    const { stderr } = await shop.ok(["push", `${name}:1`]);
    const digest = await inRegistry(name, "1");
    assert.match(stderr, new RegExp(`digest: ${digest}`));
    for (const one of ["tools", `${name}:1`]) assert.deepEqual(await repoDigests(one), [`${name}@${digest}`]);
    assert.deepEqual(await listed(), [`${name}:1 ${digest}`, "tools:latest <none>"].toSorted());
    const log = (await shop.ok(["build", "--progress=plain", upon(`${name}:1`)])).stderr;
    assert.match(log, new RegExp(`FROM ${name}:1@${digest}$`, "m"));
    const other = (await shop.ok(["build", "--progress=plain", upon("tools")])).stderr;
    assert.match(other, /FROM docker\.io\/library\/tools:latest$/m); // Docker Hub has no such thing
    // A second repository: the digest is the same there.
    await shop.ok(["tag", `${name}:1`, `${name}-copy:2`]);
    await shop.ok(["push", `${name}-copy:2`]);
    assert.equal(await inRegistry(`${name}-copy`, "2"), digest);
    assert.deepEqual(await repoDigests("tools"), [`${name}-copy@${digest}`, `${name}@${digest}`].toSorted());
  });

  for (const [what, args] of [
    ["build --push", () => ["--push", "-t", `${name}:1`]],
    ["an output that pushes", () => ["-o", `type=image,name=${name}:1,push=true,compression=zstd`]],
    [
      "an output that pushes beside one that stores",
      () => ["-t", `${name}:1`, "-o", "type=image", "-o", "type=registry"],
    ],
  ] as const) {
    it(`are those of the registry after ${what}`, async () => {
      await shop.ok(["build", ...args(), tools]);
      const digest = await inRegistry(name, "1");
      assert.deepEqual(await repoDigests(`${name}:1`), [`${name}@${digest}`]);
      await shop.ok(["tag", `${name}:1`, `${name}:again`]);
      await shop.ok(["push", `${name}:again`]);
      assert.equal(await inRegistry(name, "again"), digest);
    });
  }

  it("are not said to be confirmed when the push failed", async () => {
    const nobody = "127.0.0.1:1/tools:1";
    const { code } = await shop.run(["build", "-t", nobody, "-o", "type=image,push=true", tools]);
    assert.equal(code, 1);
    const found = await shop.run(["inspect", "-f", "{{json .RepoDigests}}", nobody]);
    if (found.code === 0) assert.equal(found.stdout.trim(), "[]");
    assert.equal(
      (await listed()).some((row) => row.includes("sha256:")),
      false,
    );
  });

  it("are found here without the network: inspect, FROM and run", async () => {
    await shop.ok(["build", "-t", `${name}:1`, tools]);
    await shop.ok(["push", `${name}:1`]);
    const digest = await inRegistry(name, "1");
    const before = (await registry.requests()).length;
    for (const reference of [`${name}@${digest}`, `${name}:1@${digest}`]) {
      assert.deepEqual(await repoDigests(reference), [`${name}@${digest}`]);
      await shop.ok(["build", "-t", "upon", upon(reference)]);
      assert.equal((await shop.ok(["run", "--rm", "upon", "cat", "/seen"])).stdout, "tools\n");
      assert.equal((await shop.ok(["run", "--rm", reference, "cat", "/tools"])).stdout, "tools\n");
    }
    assert.deepEqual((await registry.requests()).slice(before), []);
    // On another machine: what was pulled by digest.
    const root = shop.at("other");
    await shop.ok(["pull", `${name}@${digest}`], { root });
    assert.deepEqual(await repoDigests(`${name}@${digest}`, root), [`${name}@${digest}`]);
    const pulled = (await registry.requests()).length;
    await shop.ok(["build", upon(`${name}@${digest}`)], { root });
    assert.deepEqual((await registry.requests()).slice(pulled), []);
  });

  it("stay when what was pulled is pushed elsewhere, also after its blobs were pruned", async () => {
    await shop.ok(["build", "-o", `type=image,name=${name}:1,push=true,compression=zstd`, tools]);
    const digest = await inRegistry(name, "1");
    const root = shop.at("other");
    await shop.ok(["pull", `${name}:1`], { root });
    assert.deepEqual(await repoDigests(`${name}:1`, root), [`${name}@${digest}`]);
    await shop.ok(["tag", `${name}:1`, `${name}-moved:1`], { root });
    await shop.ok(["push", `${name}-moved:1`], { root });
    assert.equal(await inRegistry(`${name}-moved`, "1"), digest);
    await shop.ok(["prune", "-a", "-f"], { root });
    await shop.ok(["tag", `${name}:1`, `${name}-later:1`], { root });
    await shop.ok(["push", `${name}-later:1`], { root });
    assert.equal(await inRegistry(`${name}-later`, "1"), digest);
  });

  it("stay when the same is built again, and are forgotten with the image they are of", async () => {
    await shop.ok(["build", "-t", `${name}:1`, "--push", tools]);
    const digest = await inRegistry(name, "1");
    await shop.ok(["build", "-t", `${name}:1`, tools]);
    assert.deepEqual(await repoDigests(`${name}:1`), [`${name}@${digest}`]);
    await shop.ok(["build", "-t", `${name}:1`, "--annotation", "note=1", tools]);
    assert.deepEqual(await repoDigests(`${name}:1`), []);
    const other = shop.context("other", { Dockerfile: "FROM base\nRUN echo other > /tools\n" });
    await shop.ok(["build", "-t", `${name}:1`, other]);
    assert.deepEqual(await repoDigests(`${name}:1`), []);
    assert.deepEqual(await listed(), [`${name}:1 <none>`]);
  });
});
