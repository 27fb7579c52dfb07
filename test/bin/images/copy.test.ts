// image copy, with a real registry, skopeo and umoci as readers.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { tsbuild, tsbuildOk } from "../../support/cli.ts";
import { needs } from "../../support/needs.ts";
import { type DebianRegistry, startRegistry } from "../../support/registry.ts";
import { temporaryDir, type TemporaryDir } from "../../support/store.ts";

const DOCKERFILE = `FROM scratch
ARG TARGETARCH
LABEL for=$TARGETARCH
COPY a /a
`;

describe("image copy", () => {
  let registry: DebianRegistry;
  let dir: TemporaryDir;
  let root: string;
  let digest: string; // of a multi-platform image with attestations

  before(async () => {
    registry = await startRegistry();
    dir = temporaryDir();
    root = dir.at("store");
    const context = dir.at("context");
    execFileSync("mkdir", [context]);
    writeFileSync(`${context}/Dockerfile`, DOCKERFILE);
    writeFileSync(`${context}/a`, "one file\n");
    const args = ["build", "-q", "--platform", "linux/amd64,linux/arm64", "--provenance=true", "--push"];
    const built = await tsbuildOk([...args, "-t", `${registry.host}/app:1`, context], { root });
    digest = built.stdout.trim();
  });
  after(async () => {
    await registry[Symbol.asyncDispose]();
    dir[Symbol.dispose]();
  });

  const run = (...args: string[]) => tsbuildOk(["image", "copy", ...args], { root: dir.at("other") });
  const raw = (address: string): string =>
    execFileSync(needs("skopeo"), ["inspect", "--raw", "--tls-verify=false", address], { encoding: "utf8" });
  const digestOf = (text: string): string => `sha256:${createHash("sha256").update(text).digest("hex")}`;

  it("mounts blobs within a registry, keeps the digest, and sends nothing the second time", async () => {
    const before = (await registry.requests()).length;
    const first = await run(`${registry.host}/app:1`, `${registry.host}/elsewhere/app:2`);
    assert.equal(first.stdout, `${digest}\n`);
    assert.match(first.stderr, /^0 blobs copied \(0B\), \d+ mounted, 0 were there$/m);
    assert.equal(digestOf(raw(`docker://${registry.host}/elsewhere/app:2`)), digest);
    const during = (await registry.requests()).slice(before);
    assert.deepEqual(
      during.filter((one) => /^GET .*blobs\/sha256/.test(one)),
      [],
    );
    const again = await run(`${registry.host}/app:1`, `${registry.host}/elsewhere/app:3`);
    assert.match(again.stderr, /^0 blobs copied \(0B\), 0 mounted/m);
  });

  it("goes through layouts and archives that others read, with attestations", async () => {
    const layout = dir.at("layout");
    await run(`docker://${registry.host}/app:1`, `oci-layout://${layout}:one`);
    await run(`oci:${layout}:one`, `oci-archive:${dir.at("app.tar")}:two`);
    execFileSync("gzip", [dir.at("app.tar")]);
    const back = await run(`oci-archive:${dir.at("app.tar.gz")}`, `${registry.host}/back:1`);
    assert.equal(back.stdout, `${digest}\n`);
    const index = JSON.parse(raw(`oci:${layout}:one`)) as { manifests: { annotations?: object }[] };
    assert.equal(index.manifests.filter(({ annotations }) => annotations !== undefined).length, 2);
    const tags = execFileSync(needs("umoci"), ["ls", "--layout", layout], { encoding: "utf8" });
    assert.equal(tags, "one\n");
  });

  it("takes one platform as it is, several as an index, and writes archives for docker", async () => {
    const layout = dir.at("layout2");
    const one = await run("--platform", "linux/arm64", `${registry.host}/app:1`, `oci:${layout}:arm`);
    const whole = JSON.parse(raw(`docker://${registry.host}/app:1`)) as {
      manifests: { digest: string; platform: { architecture: string } }[];
    };
    const arm = whole.manifests.find(({ platform }) => platform.architecture === "arm64");
    assert.equal(one.stdout.trim(), arm?.digest);
    await run(
      "--platform",
      "linux/arm64",
      `${registry.host}/app:1`,
      `docker-archive:${dir.at("d.tar")}:app:1`,
    );
    const config = execFileSync(needs("skopeo"), [
      "inspect",
      "--config",
      `docker-archive:${dir.at("d.tar")}`,
    ]);
    assert.match(config.toString(), /"for": ?"arm64"/);
    const old = dir.at("old.tar");
    execFileSync(needs("skopeo"), ["copy", "-q", `oci:${layout}:arm`, `docker-archive:${old}:local/app:7`]);
    await run(`docker-archive:${old}:local/app:7`, `oci:${layout}:from-old`);
    assert.match(execFileSync(needs("umoci"), ["ls", "--layout", layout], { encoding: "utf8" }), /from-old/);
    const none = await tsbuild(
      ["image", "copy", "--platform", "linux/s390x", `${registry.host}/app:1`, `oci:${layout}:x`],
      { root },
    );
    assert.equal(none.code, 1);
    assert.match(none.stderr, /there is no image for linux\/s390x/);
    assert.match(none.stderr, /available for linux\/amd64, linux\/arm64/);
  });

  it("packs local images that were never pushed, and loads into the local store", async () => {
    const context = dir.at("context");
    await tsbuildOk(["build", "-q", "-t", "only-here", context], { root });
    const layout = dir.at("layout3");
    await tsbuildOk(["image", "copy", "only-here", `oci:${layout}:here`], { root });
    assert.match(
      raw(`oci:${layout}:here`),
      /"mediaType": ?"application\/vnd\.oci\.image\.layer\.v1\.tar\+gzip"/,
    );
    await run(`oci:${layout}:here`, "local:taken");
    const { stdout } = await tsbuildOk(["run", "--rm", "--help"], { root });
    assert.notEqual(stdout, "");
    const saved = await tsbuildOk(["inspect", "--format", "{{.Size}}", "taken"], { root: dir.at("other") });
    assert.match(saved.stdout, /^\d+\n$/);
  });

  it("says in one sentence what is wrong", async () => {
    const layout = dir.at("layout4");
    await run(`${registry.host}/app:1`, `oci:${layout}:x`);
    const index = JSON.parse(readFileSync(`${layout}/index.json`, "utf8")) as {
      manifests: { digest: string }[];
    };
    const blob = `${layout}/blobs/sha256/${index.manifests[0]?.digest.slice(7)}`;
    execFileSync("chmod", ["u+w", blob]);
    const cases: readonly (readonly [string, RegExp, (() => void)?])[] = [
      ["oci:/nowhere/at/all", /there is no OCI layout at \/nowhere\/at\/all/],
      [`oci:${layout}:nope`, /no image "nope" in the OCI layout/],
      ["local:nope", /No such image: nope/],
      [`${registry.host}/app:nope`, /not found/],
      ["docker-archive:", /invalid image address/],
      [`oci:${layout}:x`, /does not match its digest/, () => writeFileSync(blob, "{}")],
      [
        `oci:${layout}`,
        /does not match its digest|more than/,
        () => writeFileSync(blob, "[".repeat(5_000_000)),
      ],
    ];
    for (const [from, words, first] of cases) {
      first?.();
      const { code, stderr } = await tsbuild(["image", "copy", from, `oci:${dir.at("out")}:x`], { root });
      assert.equal(code, 1, from);
      assert.match(stderr, words);
      assert.equal(stderr.match(/^ERROR/gm)?.length, 1, stderr);
    }
  });
});
