// Attestations of builds by stock clients: docker buildx asks for provenance by itself. Read from a registry by buildx.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { openWorkshop, type Workshop } from "../build/fixture.ts";
import { type DaemonShop, openDaemonShop } from "../support/daemon.ts";
import { needs } from "../support/needs.ts";
import { type DebianRegistry, startRegistry } from "../support/registry.ts";
import { SCANNER } from "../support/scanner-image.ts";
import { ordinaryUser } from "../support/unprivileged.ts";

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly platform?: { readonly os: string; readonly architecture: string };
}
interface Provenance {
  readonly SLSA: {
    readonly buildDefinition: {
      readonly externalParameters: {
        readonly request: { readonly frontend?: string; readonly args?: unknown };
      };
      readonly internalParameters: { readonly buildConfig?: unknown };
      readonly resolvedDependencies?: readonly { readonly uri: string; readonly digest: unknown }[];
    };
    readonly runDetails: {
      readonly builder: { readonly id: string };
      readonly metadata: { readonly buildkit_completeness: { readonly request: boolean } };
    };
  };
}

const account = ordinaryUser();

describe(`attestations of builds by docker buildx, as ${account.name}`, function () {
  this.timeout(120_000);
  let shop: Workshop;
  let clients: DaemonShop;
  let registry: DebianRegistry;
  let dir: string;
  let serial = 0;
  before(async () => {
    shop = await openWorkshop(account);
    registry = await startRegistry();
    clients = await openDaemonShop(shop);
    dir = shop.context("app", { Dockerfile: "FROM scratch\nARG A\nCOPY file /$A\n", file: "x\n" });
  });
  after(async () => {
    const { code, stderr } = await clients.stop();
    await clients[Symbol.asyncDispose]();
    await registry[Symbol.asyncDispose]();
    shop[Symbol.dispose]();
    assert.equal(code, 0, stderr);
    assert.doesNotMatch(stderr, /internal error|cannot store/);
  });

  const nameOf = (): string => `${registry.host}/b${serial++}:1`;
  const raw = (name: string): { readonly mediaType: string; readonly manifests?: readonly Descriptor[] } =>
    JSON.parse(
      execFileSync(needs("skopeo"), ["inspect", "--raw", "--tls-verify=false", `docker://${name}`], {
        encoding: "utf8",
      }),
    ) as { mediaType: string };
  const provenanceOf = async (name: string): Promise<Provenance["SLSA"]> => {
    const { stdout } = await clients.ok("imagetools", "inspect", name, "--format", "{{json .Provenance}}");
    return (JSON.parse(stdout) as Provenance).SLSA;
  };

  it("are attached by default, as with buildkitd, without values of arguments", async () => {
    const name = nameOf();
    await clients.ok("build", "--push", "-t", name, "--build-arg", "A=1", dir);
    const { mediaType, manifests = [] } = raw(name);
    assert.equal(mediaType, "application/vnd.oci.image.index.v1+json");
    assert.deepEqual(
      manifests.map(({ platform }) => platform?.os),
      ["linux", "unknown"],
    );
    const { buildDefinition, runDetails } = await provenanceOf(name);
    assert.deepEqual(buildDefinition.externalParameters.request, {
      frontend: "dockerfile.v0",
      locals: [{ name: "context" }, { name: "dockerfile" }],
    });
    assert.equal(buildDefinition.internalParameters.buildConfig, undefined);
    assert.equal(runDetails.metadata.buildkit_completeness.request, false);
  });

  it("are left out when they are not wanted, and in archives where they are only a default", async () => {
    const name = nameOf();
    await clients.ok("build", "--push", "-t", name, "--provenance=false", dir);
    assert.equal(raw(name).mediaType, "application/vnd.oci.image.manifest.v1+json");
    const out = shop.at("home", `out-${serial++}`);
    await clients.ok("build", "-o", out, dir);
    assert.ok(!existsSync(join(out, "provenance.json")));
    const layout = async (...flags: string[]): Promise<string> => {
      const tar = shop.at("home", `oci-${serial++}.tar`);
      await clients.ok("build", ...flags, "-o", `type=oci,dest=${tar}`, dir);
      const index = execFileSync("tar", ["xOf", tar, "index.json"], { encoding: "utf8" });
      return (JSON.parse(index) as { manifests: [Descriptor] }).manifests[0].mediaType;
    };
    assert.equal(await layout(), "application/vnd.oci.image.manifest.v1+json");
    assert.equal(await layout("--provenance=true"), "application/vnd.oci.image.index.v1+json");
  });

  it("say all with mode=max, and are files beside exported files", async () => {
    const out = shop.at("home", `out-${serial++}`);
    const flags = ["--provenance=mode=max,builder-id=https://ci.example/1", "--build-arg", "A=1"];
    await clients.ok("build", ...flags, "-o", out, dir);
    const { predicate, subject } = JSON.parse(readFileSync(join(out, "provenance.json"), "utf8")) as {
      predicate: Provenance["SLSA"];
      subject: { name: string }[];
    };
    assert.deepEqual(
      subject.map(({ name }) => name),
      ["1"],
    );
    assert.equal(predicate.runDetails.builder.id, "https://ci.example/1");
    assert.deepEqual(predicate.buildDefinition.externalParameters.request.args, { "build-arg:A": "1" });
    assert.ok(predicate.buildDefinition.internalParameters.buildConfig);
  });

  it("are there for each platform, also in the history and the metadata file", async () => {
    const name = nameOf();
    const flags = ["--platform", "linux/amd64,linux/arm64"];
    await clients.ok("build", ...flags, "--push", "-t", name, dir);
    assert.deepEqual(
      raw(name).manifests?.map(({ platform }) => platform?.architecture),
      ["amd64", "arm64", "unknown", "unknown"],
    );
    const wanted = ["--type", "provenance", "--platform", "linux/arm64"];
    const { stdout } = await clients.start(["history", "inspect", "attachment", ...wanted], undefined, {
      BUILDX_EXPERIMENTAL: "1",
    }).outcome;
    assert.ok((JSON.parse(stdout) as Provenance["SLSA"]).buildDefinition.internalParameters.buildConfig);
    // Where images are made, this buildx looks for the provenance of a single one.
    const metadata = shop.at("home", `m-${serial++}.json`);
    await clients.ok("build", ...flags, "--metadata-file", metadata, "-o", shop.at("home", "split"), dir);
    const keys = Object.keys(JSON.parse(readFileSync(metadata, "utf8")) as object);
    assert.deepEqual(keys.filter((key) => key.startsWith("buildx.build.provenance")).sort(), [
      "buildx.build.provenance/linux/amd64",
      "buildx.build.provenance/linux/arm64",
    ]);
  });

  it("are bills of materials, which buildx shows", async () => {
    const name = nameOf();
    await clients.ok("build", "--sbom=true", "--push", "-t", name, dir);
    const { stdout } = await clients.ok("imagetools", "inspect", name, "--format", "{{json .SBOM}}");
    const { SPDX } = JSON.parse(stdout) as {
      SPDX: { spdxVersion: string; creationInfo: { creators: string[] } };
    };
    assert.equal(SPDX.spdxVersion, "SPDX-2.3");
    assert.match(SPDX.creationInfo.creators.join(), /tsbuild-\d/);
  });

  it("are bills of materials by a scanner in an image, of stages and context too", async () => {
    const scanner = nameOf();
    await shop.ok(["build", "--push", "-t", scanner, shop.context("scanner", SCANNER)], {
      root: shop.at("own"),
    });
    const app = shop.context("stages", {
      Dockerfile:
        "FROM scratch AS build\nARG BUILDKIT_SBOM_SCAN_STAGE\nCOPY file /built\nFROM scratch\nCOPY --from=build /built /\n",
      file: "x\n",
    });
    const name = nameOf();
    const args = ["--build-arg", "BUILDKIT_SBOM_SCAN_STAGE=other,build"];
    const asked = [`--sbom=generator=${scanner},KEY=x`, ...args];
    const { stderr } = await clients.ok("build", "--progress=plain", ...asked, "--push", "-t", name, app);
    assert.match(stderr, new RegExp(`\\[linux/\\w+\\] generating sbom using ${scanner}\n`));
    const { stdout } = await clients.ok("imagetools", "inspect", name, "--format", "{{json .SBOM}}");
    const { SPDX, AdditionalSPDXs = [] } = JSON.parse(stdout) as {
      SPDX: { name: string };
      AdditionalSPDXs?: { name: string; saw: string }[];
    };
    assert.deepEqual(
      [SPDX, ...AdditionalSPDXs].map(({ name }) => name),
      ["sbom", "sbom-build"],
    );
    const out = shop.at("home", `out-${serial++}`);
    await clients.ok("build", ...asked, "-o", out, app);
    assert.equal(AdditionalSPDXs[0]?.saw, "built");
    assert.ok(existsSync(join(out, "sbom-build.spdx.json")));
    const failed = await clients.run(
      "build",
      `--sbom=generator=${scanner},EXIT=3`,
      "-o",
      "type=cacheonly",
      app,
    );
    assert.equal(failed.code, 1);
    assert.match(
      failed.stderr,
      /generating sbom using \S+: process "\/scan\.sh argument" did not .* exit code: 3/,
    );
  });

  it("that are none or not supported are refused in one sentence", async () => {
    for (const [flag, words] of [
      ["--attest=type=dance", /failed to solve: unknown attestation type "dance"/],
      ["--provenance=mode=most", /failed to solve: invalid mode "most"/],
      ["--provenance=version=v3", /failed to solve: invalid provenance SLSA version: v3/],
    ] as const) {
      const { code, stderr } = await clients.run("build", flag, "-o", "type=cacheonly", dir);
      assert.equal(code, 1);
      assert.match(stderr, words);
    }
  });

  it("come through to a builder somewhere else, with the image into the store here", async () => {
    const far = ["--builder", `unix://${clients.socket}`];
    const name = nameOf();
    const own = { root: shop.at("own"), env: { HOME: shop.at("home") } };
    await shop.ok(["build", ...far, "--provenance=mode=min", "-t", name, dir], own);
    await shop.ok(["push", name], own);
    const { buildDefinition } = await provenanceOf(name);
    assert.equal(buildDefinition.externalParameters.request.frontend, "dockerfile.v0");
    const out = shop.at("home", `out-${serial++}`);
    const output = `type=local,dest=${out},attestation-prefix=far-`;
    await shop.ok(["build", ...far, "--provenance=version=v0.2", "-o", output, dir], own);
    assert.match(readFileSync(join(out, "far-provenance.json"), "utf8"), /slsa\.dev\/provenance\/v0\.2/);
  });
});
