// Bills of materials by scanners in images, and of stages and contexts: BuildKit's docs/attestations/sbom-protocol.md and sbom.md.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { needs } from "../support/needs.ts";
import { type DebianRegistry, startRegistry } from "../support/registry.ts";
import { SCANNER } from "../support/scanner-image.ts";
import { accounts } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

interface Descriptor {
  readonly digest: string;
  readonly platform?: { readonly os: string; readonly architecture: string };
  readonly annotations?: Readonly<Record<string, string>>;
}
interface Statement {
  readonly predicateType: string;
  readonly subject: readonly { readonly name: string; readonly digest: Readonly<Record<string, string>> }[];
  readonly predicate: {
    readonly name?: string;
    readonly saw?: string;
    readonly files?: readonly { readonly fileName: string; readonly comment?: string }[];
    readonly packages?: readonly { readonly name: string; readonly comment?: string }[];
    readonly creationInfo?: { readonly creators: readonly string[] };
    readonly buildDefinition?: {
      readonly resolvedDependencies: readonly { readonly uri: string; readonly digest: unknown }[];
    };
  };
}

/** Stages that are scanned, that ask for it and are not needed, and that do not ask. */
const DOCKERFILE = `ARG BUILDKIT_SBOM_SCAN_CONTEXT=true
FROM scratch AS build
ARG BUILDKIT_SBOM_SCAN_STAGE=true
COPY node_modules /node_modules
FROM scratch AS unneeded
ARG BUILDKIT_SBOM_SCAN_STAGE=true
COPY none /
FROM scratch AS quiet
COPY gone /gone
FROM quiet
ARG BUILDKIT_SBOM_SCAN_STAGE=true
COPY --from=build /node_modules/a/package.json /etc/foo
COPY gone /late
`;

for (const account of accounts())
  describe(`bills of materials by scanners in images, as ${account.name}`, function () {
    this.timeout(60_000);
    let shop: Workshop;
    let registry: DebianRegistry;
    let scanner: string;
    let dir: string;
    let serial = 0;
    before(async () => {
      registry = await startRegistry();
      shop = await openWorkshop(account);
      scanner = `${registry.host}/scan/ner:1`;
      await shop.ok(["build", "--push", "-t", scanner, shop.context("scanner", SCANNER)]);
      dir = shop.context("app", {
        Dockerfile: DOCKERFILE,
        "node_modules/a/package.json": '{"name":"a","version":"1.2.3"}',
        gone: "x",
        ignored: "y",
        ".dockerignore": "ignored\n",
        "package-lock.json": JSON.stringify({
          lockfileVersion: 3,
          packages: { "": {}, "node_modules/b": { version: "2.0.0" } },
        }),
      });
    });
    after(async () => {
      await registry[Symbol.asyncDispose]();
      shop[Symbol.dispose]();
    });

    const generator = (...fields: readonly string[]): string =>
      `--sbom=${[`generator=${scanner}`, ...fields].join(",")}`;
    const document = <T>(name: string, digest: string): T =>
      JSON.parse(
        execFileSync(
          needs("skopeo"),
          ["inspect", "--raw", "--tls-verify=false", `docker://${name.replace(/:1$/, "")}@${digest}`],
          { encoding: "utf8" },
        ),
      ) as T;
    const pushed = async (name: string, index: string) => {
      const { manifests } = document<{ manifests: readonly Descriptor[] }>(name, index);
      const [image, attached] = manifests;
      assert.ok(image && attached?.platform?.os === "unknown");
      const { layers } = document<{ layers: readonly Descriptor[] }>(name, image.digest);
      const made = document<{ layers: readonly Descriptor[] }>(name, attached.digest);
      const statements = await Promise.all(
        made.layers.map(async ({ digest }) => {
          const path = name.slice(name.indexOf("/") + 1, name.lastIndexOf(":"));
          const text = await (await fetch(`http://${registry.host}/v2/${path}/blobs/${digest}`)).text();
          return { text, ...(JSON.parse(text) as Statement) };
        }),
      );
      return { image, layers, types: made.layers.map(({ annotations }) => annotations), statements };
    };
    const digestOf = (file: string): string =>
      (JSON.parse(readFileSync(file, "utf8")) as Record<string, string>)["containerimage.digest"] ?? "";
    const files = (out: string): Readonly<Record<string, Statement>> =>
      Object.fromEntries(
        readdirSync(out)
          .filter((name) => name.endsWith(".json"))
          .map((name) => [name, JSON.parse(readFileSync(join(out, name), "utf8")) as Statement]),
      );

    it("are what the scanner writes, about the image and what is scanned beside it, with layers of its files", async () => {
      const name = `${registry.host}/app${serial++}:1`;
      const metadata = shop.at("metadata.json");
      const flags = ["--provenance=true", "--push", "--metadata-file", metadata, "-t", name];
      await shop.ok(["build", generator(), ...flags, dir]);
      const { image, layers, types, statements } = await pushed(name, digestOf(metadata));
      assert.deepEqual(
        types.map((annotations) => annotations?.["in-toto.io/predicate-type"]),
        [...Array.from({ length: 3 }, () => "https://spdx.dev/Document"), "https://slsa.dev/provenance/v1"],
      );
      for (const { subject } of statements) {
        assert.match(subject[0]?.name ?? "", /^pkg:docker\/.*\/app\d+@1\?platform=linux%2F/);
        assert.deepEqual(subject[0]?.digest, { sha256: image.digest.slice("sha256:".length) });
      }
      assert.deepEqual(
        statements.slice(0, 3).map(({ predicate }) => [predicate.name, predicate.saw]),
        [
          ["sbom", "etc gone late"],
          ["sbom-build", "node_modules"],
          ["sbom-context", "Dockerfile gone node_modules package-lock.json"],
        ],
      );
      const [core, extra, , provenance] = statements;
      const layer = (index: number): string => `layerID: ${layers[index]?.digest}`;
      assert.deepEqual(
        core?.predicate.files?.map(({ comment }) => comment),
        [layer(1), layer(0), undefined, "mine"],
      );
      assert.match(core?.predicate.creationInfo?.creators.join() ?? "", /^Tool: test,Tool: tsbuild-\d/);
      assert.equal(extra?.predicate.files?.[0]?.comment, undefined);
      assert.match(extra?.text ?? "", /"big":12345678901234567890,/);
      const material = provenance?.predicate.buildDefinition?.resolvedDependencies.find(({ uri }) =>
        uri.includes("/scan/ner@1"),
      );
      assert.ok(material?.digest);
      const { stdout } = await shop.ok(["imagetools", "inspect", name, "--format", "{{json .SBOM}}"]);
      assert.deepEqual(
        [...stdout.matchAll(/"name": ?"(sbom[^"]*)"/g)].map(([, found]) => found),
        ["sbom", "sbom-build", "sbom-context"],
      );
      // The scanner is a step: nothing it is made of has changed.
      const again = await shop.ok(["build", generator(), "--progress=plain", "-o", "type=cacheonly", dir]);
      assert.match(
        again.stderr,
        /#(\d+) \[linux\/\w+\] generating sbom using \S+\/scan\/ner:1\n#\1 CACHED\n/,
      );
    });

    it("are run as the protocol says", async () => {
      const asked = [generator("MODE=env", "KEY=value=1"), "--progress=plain", "-o", "type=cacheonly"];
      const { stderr } = await shop.ok(["build", ...asked, dir]);
      const [saw, ...others] = [...stderr.matchAll(/SAW (.*)/g)].map(([, text]) => text);
      assert.equal(
        saw,
        "user=0 pwd=/work args=argument image=image source=/run/src/core/sbom extras=/run/src/extras/ key=value=1",
      );
      assert.deepEqual(others, ["readonly", "tmpfs"]);
      assert.match(stderr, /the SBOM scanner \S+\/scan\/ner:1 has written no bill of materials/);
      const off = [
        "--build-arg",
        "BUILDKIT_SBOM_SCAN_CONTEXT=0",
        "--build-arg",
        "BUILDKIT_SBOM_SCAN_STAGE=x,y",
      ];
      assert.match((await shop.ok(["build", ...asked, ...off, dir])).stderr, /extras=unset/);
    });

    it("are files beside exported files, of each platform", async () => {
      const out = shop.at(`out-${serial++}`);
      const to = `type=local,dest=${out},platform-split=false,attestation-prefix=p.`;
      const small = shop.context("small", {
        Dockerfile:
          "FROM scratch AS one\nARG BUILDKIT_SBOM_SCAN_STAGE=one\nARG TARGETARCH\nCOPY Dockerfile /$TARGETARCH\nFROM one\n",
      });
      await shop.ok(["build", generator(), "--platform", "linux/amd64,linux/arm64", "-o", to, small]);
      const found = files(out);
      assert.deepEqual(
        Object.keys(found).sort(),
        ["sbom-one", "sbom"].flatMap((name) =>
          ["amd64", "arm64"].map((arch) => `p.${name}.spdx.linux_${arch}.json`),
        ),
      );
      for (const arch of ["amd64", "arm64"]) {
        const { subject, predicate } = found[`p.sbom.spdx.linux_${arch}.json`] as Statement;
        assert.deepEqual([subject.map(({ name }) => name), predicate.saw], [[arch], arch]);
        assert.equal(predicate.files?.[0]?.comment, undefined); // files have no layers
      }
    });

    it("fail the build with the scanner, its exit code and what it said", async () => {
      const { code, stderr } = await shop.run(["build", "--progress=plain", generator("EXIT=7"), dir]);
      assert.equal(code, 1);
      assert.match(stderr, /scanner gives up/);
      assert.match(
        stderr,
        /failed to solve: generating sbom using \S+\/scan\/ner:1: process "\/scan\.sh argument" did not complete successfully: exit code: 7\n/,
      );
      for (const [image, words] of [
        ["Not_a_name", /failed to parse sbom scanner Not_a_name/],
        [`${registry.host}/none:1`, /ERROR: .*\/none:1: not found/],
        ["", /sbom generator cannot be empty/],
      ] as const) {
        const failed = await shop.run(["build", `--sbom=generator=${image}`, dir]);
        assert.equal(failed.code, 1);
        assert.match(failed.stderr, words);
        assert.doesNotMatch(failed.stderr, /COPY/); // before the first step
      }
      const bare = shop.context("bare", { Dockerfile: "FROM scratch\nCOPY Dockerfile /\n" });
      await shop.ok(["build", "-t", "bare", bare]);
      const none = await shop.run(["build", "--sbom=generator=bare", bare]);
      assert.match(none.stderr, /the SBOM scanner docker\.io\/library\/bare:latest has no command to run/);
    });

    it("are refused in one sentence where the scanner writes something else", async () => {
      for (const [mode, words] of [
        ["link", "is a symlink, and only regular files can be statements"],
        ["junk", "is not JSON"],
      ] as const) {
        const { code, stderr } = await shop.run(["build", generator(`MODE=${mode}`), dir]);
        assert.equal(code, 1);
        const sentence = `sbom.spdx.json, written by the SBOM scanner ${scanner}, ${words}\n`;
        assert.ok(stderr.includes(sentence), `${mode}: ${stderr}`);
      }
    });

    it("are resolved like a base image: policies and locks hold for scanners", async () => {
      const policy = shop.context("policy", {
        "policy.json": JSON.stringify({
          rules: [{ action: "DENY", selector: { identifier: `docker-image://${scanner}` } }],
        }),
      });
      const rules = ["--source-policy-file", join(policy, "policy.json")];
      const denied = await shop.run(["build", generator(), ...rules, dir]);
      assert.equal(denied.code, 1);
      assert.match(
        denied.stderr,
        /source "docker-image:\/\/\S+\/scan\/ner:1" (?:is )?(?:denied|not allowed)/,
      );

      const small = shop.context("locked", { Dockerfile: "FROM scratch\nCOPY Dockerfile /\n" });
      const unlocked = ["build", generator(), "--locked", "-o", "type=cacheonly", small];
      await shop.ok(["update", small]);
      const missing = await shop.run(unlocked);
      assert.equal(missing.code, 1);
      assert.match(missing.stderr, /\/scan\/ner:1/);
      await shop.ok(["update", generator(), small]);
      const lock = JSON.parse(readFileSync(join(small, "tsbuild.lock"), "utf8")) as {
        images: Record<string, { digest: string }>;
      };
      assert.deepEqual(Object.keys(lock.images), [scanner]);
      await shop.ok(unlocked);
    });

    it("of the built-in scanner have stages and the context too", async () => {
      const out = shop.at(`out-${serial++}`);
      await shop.ok(["build", "--sbom=true", "-o", out, dir]);
      const found = files(out);
      assert.deepEqual(Object.keys(found), [
        "sbom-build.spdx.json",
        "sbom-context.spdx.json",
        "sbom.spdx.json",
      ]);
      const packages = (file: string): readonly string[] =>
        (found[file]?.predicate.packages ?? []).map(({ name }) => name);
      assert.deepEqual(packages("sbom-build.spdx.json"), ["build", "a"]);
      assert.deepEqual(packages("sbom-context.spdx.json"), ["context", "a"]); // its lock file has node_modules beside it
      assert.deepEqual(packages("sbom.spdx.json"), ["image"]);
      assert.deepEqual(
        found["sbom-build.spdx.json"]?.subject.map(({ name }) => name),
        ["etc/foo", "gone", "late"],
      );
    });
  });
