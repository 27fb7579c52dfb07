// Names of stored and pushed images in --metadata-file, as in buildx.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { type DebianRegistry, startRegistry } from "../support/registry.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

describe("names of a build's image", () => {
  let shop: Workshop;
  let registry: DebianRegistry;
  let context: string;
  let serial = 0;
  before(async () => {
    registry = await startRegistry();
    shop = await openWorkshop();
    context = shop.context("app", { Dockerfile: "FROM scratch\nCOPY Dockerfile /x\n" });
  });
  after(async () => {
    await registry[Symbol.asyncDispose]();
    shop[Symbol.dispose]();
  });

  const metadataOf = async (...args: readonly string[]): Promise<Record<string, unknown>> => {
    const file = shop.at(`metadata-${serial++}`);
    await shop.ok(["build", "--metadata-file", file, ...args, context]);
    return JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
  };
  const repository = (): string => `${registry.host}/r${serial++}`;
  const tagsOf = async (name: string): Promise<unknown> => {
    const path = name.slice(name.indexOf("/") + 1);
    const answer = await fetch(`http://${registry.host}/v2/${path}/tags/list`);
    return ((await answer.json()) as { tags?: unknown }).tags ?? null;
  };
  const statusOf = async (name: string, reference: string): Promise<number> => {
    const path = name.slice(name.indexOf("/") + 1);
    const headers = { accept: "application/vnd.oci.image.manifest.v1+json" };
    return (await fetch(`http://${registry.host}/v2/${path}/manifests/${reference}`, { headers })).status;
  };

  it("have no tag that was not pushed: by digest, with name= and with -t", async () => {
    for (const named of [
      (name: string) => ["-o", `type=image,name=${name},push-by-digest=true,name-canonical=true,push=true`],
      (name: string) => ["-t", name, "-o", "type=image,push-by-digest=true,push=true"],
      (name: string) => ["-t", name, "-o", "type=registry,push-by-digest=true"],
      (name: string) => ["-t", name, "--push", "-o", "type=image,push-by-digest=true"],
    ]) {
      const name = repository();
      const metadata = await metadataOf(...named(name));
      assert.equal(metadata["image.name"], name);
      const digest = metadata["containerimage.digest"] as string;
      assert.equal((metadata["containerimage.descriptor"] as { digest: string }).digest, digest);
      assert.equal(await statusOf(name, digest), 200);
      assert.equal(await tagsOf(name), null);
      const { stdout } = await shop.ok(["inspect", "-f", "{{json .RepoDigests}}", `${name}@${digest}`]);
      assert.ok((JSON.parse(stdout) as string[]).includes(`${name}@${digest}`), stdout);
    }
  });

  it("may have no tag by digest: said in BuildKit's words before anything is built", async () => {
    const name = repository();
    for (const args of [
      ["-o", `type=image,name=${name}:7,push-by-digest=true,push=true`],
      ["-t", `${name}:7`, "-o", "type=image,push-by-digest=true,push=true"],
      ["-t", `${name}:7`, "--push", "-o", "type=image,push-by-digest=true"],
      ["-o", `type=image,"name=${name},${name}:7",push-by-digest=true,push=true`],
    ]) {
      const { code, stderr } = await shop.run(["build", ...args, context]);
      assert.equal(code, 1);
      assert.ok(
        stderr.includes(`failed to push ${name}:7: can't push tagged ref ${name}:7 by digest`),
        stderr,
      );
      assert.doesNotMatch(stderr, /COPY/);
    }
    assert.equal(await tagsOf(name), null);
    // Without a push it says nothing, as in BuildKit.
    await shop.ok(["build", "-o", `type=image,name=${name}:7,push-by-digest=true`, context]);
  });

  it("are as the user wrote them, full in archives, and those of -t where name= has others", async () => {
    const [one, two] = [repository(), repository()];
    assert.equal((await metadataOf("-t", one, "--push"))["image.name"], one);
    assert.deepEqual(await tagsOf(one), ["latest"]);
    assert.equal((await metadataOf("-t", "app", "-t", `${one}:2`))["image.name"], `app,${one}:2`);
    assert.equal((await metadataOf("-t", one, "-o", `type=image,name=${two}`))["image.name"], one);
    assert.equal((await metadataOf("-t", one, "-o", `type=image,name=${two},push=true`))["image.name"], one);
    assert.equal(await tagsOf(two), null);
    const archive = `type=oci,dest=${shop.at("image.tar")}`;
    assert.equal(
      (await metadataOf("-t", "app", "-o", archive))["image.name"],
      "docker.io/library/app:latest",
    );
    assert.equal((await metadataOf())["image.name"], undefined);
  });

  it("go with the digest that the registry has, whatever else is made beside the push", async () => {
    const name = repository();
    for (const outputs of [
      ["-o", "type=image", "-o", "type=registry"],
      ["-o", "type=registry", "-o", "type=image"],
      ["-o", "type=registry", "-o", `type=oci,dest=${shop.at("beside.tar")}`],
    ]) {
      const metadata = await metadataOf("-t", name, ...outputs);
      assert.equal(await statusOf(name, metadata["containerimage.digest"] as string), 200);
    }
  });
});
