// imagetools, compared byte by byte with docker buildx.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { tsbuild } from "../../support/cli.ts";
import { buildxProgram } from "../../support/buildx.ts";
import { digestOfText, type ImageFixture, openImageFixture } from "./fixture.ts";

describe("imagetools", () => {
  let fixture: ImageFixture;
  let one: string; // a name of a manifest alone
  let only: string; // its digest
  before(async () => {
    fixture = await openImageFixture({ attestations: ["--provenance=mode=max", "--sbom=true"] });
    one = `${fixture.registry.host}/app:one`;
    only = (await fixture.run("image", "copy", "-p", "linux/amd64", fixture.app, one)).stdout.trim();
  });
  after(() => fixture[Symbol.asyncDispose]());

  const buildx = (args: readonly string[]) =>
    tsbuild(["imagetools", ...args], { root: fixture.dir.at("buildx"), command: [buildxProgram()] });

  /** Ours and theirs give the same, also when they fail. Returns it. */
  async function same(...args: string[]): Promise<string> {
    const { dir } = fixture;
    const [theirs, ours] = await Promise.all([
      buildx(args),
      tsbuild(["buildx", "imagetools", ...args], { root: dir.at("other") }),
    ]);
    assert.equal(ours.stdout, theirs.stdout, args.join(" "));
    assert.equal(ours.code, theirs.code, `${args.join(" ")}: ${theirs.stderr} ${ours.stderr}`);
    return ours.stdout;
  }

  it("inspects images as buildx does", async () => {
    const { app, digest } = fixture;
    assert.match(await same("inspect", one), /^Name: {6}localhost/);
    assert.equal(digestOfText(await same("inspect", "--raw", app)), digest);
    const formats = [
      "{{json .}}",
      "{{json .Provenance}}",
      '{{range $platform, $image := .Image}}{{$platform}} {{$image.Config.Labels}}{{"\\n"}}{{end}}',
      "{{range .Manifest.Manifests}}{{.Digest}} {{with .Platform}}{{.OS}}/{{.Architecture}}{{end}} {{end}}",
      '{{json (index .SBOM "linux/arm64").SPDX.name}}',
      "{{.Nope}}",
    ];
    await Promise.all(formats.map((format) => same("inspect", "--format", format, app)));
    await same("inspect", "--format", "{{.Image}} {{.Image.Created}}", one);
  });

  it("shows the list of manifests as buildx does, whose annotations have no order", async () => {
    const lines = (text: string): string => text.split("\n").sort().join("\n");
    const ours = await fixture.run("imagetools", "inspect", fixture.app);
    const theirs = await buildx(["inspect", fixture.app]);
    assert.equal(lines(ours.stdout), lines(theirs.stdout));
  });

  it("makes the indexes that buildx makes", async () => {
    const { app, registry, dir } = fixture;
    const descriptor = {
      digest: only,
      platform: { os: "linux", architecture: "arm", variant: "v7" },
      annotations: { x: "<y>" },
    };
    writeFileSync(dir.at("desc.json"), JSON.stringify(descriptor));
    const dry = (...args: string[]) => same("create", "--dry-run", ...args);
    assert.match(await dry(one), /"manifests"/);
    assert.match(await dry("--prefer-index=false", one), /"layers"/);
    await Promise.all([
      dry("--annotation", "index:k=v", "--annotation", "manifest-descriptor[linux/arm64]:a=b", one, app),
      dry("-p", "linux/arm64", app),
      dry("-p", "linux/s390x", app),
      dry("-t", `${registry.host}/app:new`, "-f", dir.at("desc.json"), only),
      dry("--append", "-t", one, app),
      same("create", one),
      same("create", "--dry-run"),
      dry("--annotation", "manifest:k=v", one),
    ]);
  });

  it("joins what several builds have pushed, also into another repository and into a layout", async () => {
    const { registry, app, digest, raw, dir, run } = fixture;
    await run("image", "copy", "-p", "linux/arm64", app, `${registry.host}/arm:1`);
    const joined = `${registry.host}/joined`;
    const made = await run(
      "imagetools",
      "create",
      "-t",
      `${joined}:1`,
      "-t",
      `${joined}:2`,
      one,
      `${registry.host}/arm:1`,
    );
    const index = raw(`docker://${joined}:2`);
    assert.equal(made.stderr.trim(), digestOfText(index));
    const platforms = (JSON.parse(index) as { manifests: { platform: { architecture: string } }[] })
      .manifests;
    assert.deepEqual(
      platforms.map(({ platform }) => platform.architecture),
      ["amd64", "arm64"],
    );
    await run("imagetools", "create", "--append", "-t", `${joined}:1`, `${joined}@${digestOfText(index)}`);
    const layout = dir.at("layout");
    await run("image", "create", "-t", `oci:${layout}:whole`, app);
    assert.equal(digestOfText(raw(`oci:${layout}:whole`)), digest);
    await run("image", "create", "-t", "local:joined", `oci:${layout}:whole`, one);
  });
});
