import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { buildRequest } from "../../../bin/engine/defaults.ts";
import { openWorkshop, type Workshop } from "../../build/fixture.ts";
import { projectDir } from "../../support/project.ts";
import { temporaryDir } from "../../support/store.ts";

describe("an engine without a command", () => {
  let shop: Workshop;
  before(async () => {
    shop = await openWorkshop();
  });
  after(() => shop[Symbol.dispose]());

  it("builds an image, with no other file of bin/ loaded", () => {
    const context = shop.context("app", {
      Dockerfile: "FROM base\nRUN echo made > /made\nCOPY a /a\n",
      a: "a",
    });
    const coverage = shop.at("coverage");
    mkdirSync(coverage);
    const program = join(projectDir, "dist/test/bin/engine/build-once.js");
    const out = execFileSync(process.execPath, [program, shop.root, context, shop.at("base")], {
      encoding: "utf8",
      env: { ...process.env, NODE_V8_COVERAGE: coverage },
    });
    const { steps, names, imageDigest } = JSON.parse(out) as {
      steps: string[];
      names: string[];
      imageDigest: string;
    };
    assert.deepEqual(names, ["app:1"]);
    assert.match(imageDigest, /^sha256:[0-9a-f]{64}$/);
    assert.ok(
      steps.some((name) => name.includes("RUN echo made")),
      steps.join("\n"),
    );

    const all = filesOf(coverage);
    // Nobody asked for attestations.
    assert.deepEqual(
      all.filter((file) =>
        /^dist\/(?:exporters\/attestation|bin\/engine\/(?:attestations|provenance))/.test(file),
      ),
      [],
    );
    assert.ok(all.includes("dist/exporters/assemble.js"), all.join("\n"));
    const loaded = all.filter((file) => file.startsWith("dist/bin/"));
    assert.ok(loaded.includes("dist/bin/engine/bridge.js"), loaded.join("\n"));
    assert.deepEqual(
      loaded.filter((file) => !file.startsWith("dist/bin/engine/")),
      [],
    );
  });
});

/** Every file of the project that a process under this directory's coverage has loaded as a module of its own. */
function filesOf(coverage: string): string[] {
  const urls = readdirSync(coverage).flatMap((name) => {
    const { result } = JSON.parse(readFileSync(join(coverage, name), "utf8")) as {
      result: { url: string }[];
    };
    return result.map(({ url }) => url);
  });
  return [...new Set(urls)]
    .filter((url) => url.startsWith("file:"))
    .map((url) => relative(projectDir, fileURLToPath(url)));
}

describe("buildRequest", () => {
  it("fills in what `tsbuild build` would take", async () => {
    using dir = temporaryDir();
    const request = buildRequest({ context: { kind: "directory", path: dir.path } });
    assert.deepEqual(request.dockerfile, { kind: "default" });
    assert.deepEqual(await request.session.files("context"), { kind: "here", path: dir.path });
    assert.ok(Object.isFrozen(request));
  });

  it("grants the host's network to who asks for it", () => {
    assert.deepEqual(buildRequest({ context: { kind: "empty" }, network: "host" }).allow, ["network.host"]);
  });

  it("refuses what would fail later", () => {
    for (const asked of [
      { context: { kind: "directory", path: "here" } },
      { context: { kind: "empty" }, tags: ["No/Upper:case"] },
      { context: { kind: "empty" }, noCache: true, noCacheFilter: ["a"] },
    ] as const)
      assert.throws(() => buildRequest(asked), { code: "USAGE" });
  });
});
