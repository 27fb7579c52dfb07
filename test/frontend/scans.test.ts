// What belongs into bills of materials beside the image: BuildKit's docs/attestations/sbom.md, "Dockerfile configuration".

import assert from "node:assert/strict";
import type { FrontendOptions } from "../../frontend/contract.ts";
import { baseImage, build, hostOf, image, opsOf } from "./dockerfile.ts";

/** Names of what is scanned for the target. */
async function scans(
  text: string,
  args: Readonly<Record<string, string>> = {},
  more: Partial<FrontendOptions> = {},
): Promise<readonly string[]> {
  const { images } = await build(text, { ...more, buildArgs: new Map(Object.entries(args)) }, hostOf(IMAGES));
  return images[0]?.scans.map(({ name }) => name) ?? [];
}

const IMAGES = { "docker.io/library/base:1": baseImage(), "docker.io/library/other:1": baseImage() };
const STAGE = "ARG BUILDKIT_SBOM_SCAN_STAGE";
const CONTEXT = "ARG BUILDKIT_SBOM_SCAN_CONTEXT";
const CHAIN =
  "FROM scratch AS a\nCOPY a /\nFROM a AS b\nCOPY b /\nFROM scratch AS c\nCOPY c /\nFROM scratch\nCOPY --from=b / /\n";

describe("what is scanned beside the image", () => {
  it("is nothing unless a Dockerfile declares it, whatever build arguments say", async () => {
    assert.deepEqual(await scans(CHAIN), []);
    const all = { BUILDKIT_SBOM_SCAN_STAGE: "true", BUILDKIT_SBOM_SCAN_CONTEXT: "true" };
    assert.deepEqual(await scans(CHAIN, all), []);
    assert.deepEqual(await scans(`${STAGE}\n${CONTEXT}\n${CHAIN}`, all), ["context", "a", "b"]);
  });

  it("are stages that the target is made of, all or those that are named; never the target itself", async () => {
    assert.deepEqual(await scans(`${STAGE}=true\n${CHAIN}`), ["a", "b"]);
    assert.deepEqual(await scans(`${STAGE}=1\n${CHAIN}`, {}, { target: "b" }), ["a"]);
    assert.deepEqual(await scans(`${STAGE}=b,c,stage-3\n${CHAIN}`), ["b"]);
    assert.deepEqual(await scans(`${STAGE}=false\n${CHAIN}`), []);
    assert.deepEqual(await scans(`${STAGE}=true\n${CHAIN}`, { BUILDKIT_SBOM_SCAN_STAGE: "a" }), ["a"]);
  });

  it("stages say themselves, before what holds for all, and for those that build on them", async () => {
    const text = `${STAGE}=true\nFROM scratch AS a\n${STAGE}=0\nCOPY a /\nFROM scratch AS x\nCOPY x /\nFROM scratch\nCOPY --from=a / /\nCOPY --from=x / /\n`;
    assert.deepEqual(await scans(text), ["x"]);
    const below = `FROM scratch AS a\n${STAGE}=b,c\nCOPY a /\nFROM a AS b\n${STAGE}\nFROM b AS c\nFROM c AS d\n`;
    assert.deepEqual(await scans(below), ["b", "c"]);
    assert.deepEqual(await scans(`FROM scratch\n${STAGE}=true\nCOPY a /\n`), []);
  });

  it("is the context if the target says so, also where it copies nothing", async () => {
    assert.deepEqual(
      await scans(`FROM scratch AS a\n${CONTEXT}=true\nCOPY a /\nFROM scratch\nCOPY --from=a / /\n`),
      [],
    );
    assert.deepEqual(
      await scans(`FROM scratch AS a\nCOPY a /\nFROM scratch\n${CONTEXT}=true\nCOPY --from=a / /\n`),
      ["context"],
    );
    assert.deepEqual(await scans(`${CONTEXT}=end\nFROM scratch AS end\nCOPY a /\n`), ["context"]);
  });

  it("stages without a name have the one that they are shown with, and images are not stages", async () => {
    const text = `${STAGE}=true\nFROM base:1\nCOPY a /\nFROM scratch\nCOPY --from=0 / /\nCOPY --from=other:1 / /\n`;
    assert.deepEqual(await scans(text), ["stage-0"]);
  });

  it("says nothing to the image: no variable, and the history as it was", async () => {
    const { definition, history } = await image(
      `${STAGE}=true\nFROM base:1\n${STAGE}\nRUN echo $BUILDKIT_SBOM_SCAN_STAGE\n`,
    );
    assert.ok(!opsOf(definition, "exec")[0]?.env.join().includes("BUILDKIT_SBOM"));
    assert.equal(history[0], "- ARG BUILDKIT_SBOM_SCAN_STAGE=true");
  });
});
