// image copy, with a real registry, skopeo and umoci as readers.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { tsbuildOk } from "../../support/cli.ts";
import { startOci11Registry } from "../../support/oci11-registry.ts";
import { needs } from "../../support/needs.ts";
import { digestOfText, type ImageFixture, openImageFixture } from "./fixture.ts";

describe("image copy", () => {
  let fixture: ImageFixture;
  before(async () => {
    fixture = await openImageFixture();
  });
  after(() => fixture[Symbol.asyncDispose]());

  const run = (...args: string[]) => fixture.run("image", "copy", ...args);

  it("mounts blobs within a registry, keeps the digest, and sends nothing the second time", async () => {
    const { registry, digest, raw, app } = fixture;
    const before = (await registry.requests()).length;
    const first = await run(app, `${registry.host}/elsewhere/app:2`);
    assert.equal(first.stdout, `${digest}\n`);
    assert.match(first.stderr, /^0 blobs copied \(0B\), \d+ mounted, 0 there already$/m);
    assert.equal(digestOfText(raw(`docker://${registry.host}/elsewhere/app:2`)), digest);
    const during = (await registry.requests()).slice(before);
    assert.deepEqual(
      during.filter((one) => /^GET .*blobs\/sha256/.test(one)),
      [],
    );
    const again = await run(app, `${registry.host}/elsewhere/app:3`);
    assert.match(again.stderr, /^0 blobs copied \(0B\), 0 mounted/m);
  });

  it("mounts what the store has seen elsewhere, also for an image that was built on it", async () => {
    const { registry, dir, app } = fixture;
    await run(app, "local:base");
    const copied = await run("base", `${registry.host}/from-local:1`);
    assert.match(copied.stderr, /^0 blobs copied \(0B\), \d+ mounted/m);
    writeFileSync(dir.at("Dockerfile"), "FROM base\nCOPY --from=base /a /b\n");
    await fixture.run("build", "-q", "-t", "above", "-f", dir.at("Dockerfile"), fixture.context);
    const above = await run("above", `${registry.host}/above:1`);
    assert.match(above.stderr, /^2 blobs copied \(\S+\), 1 mounted/m);
  });

  it("takes along signatures and other artifacts about an image", async () => {
    const { registry, dir, app, digest, raw } = fixture;
    const layout = dir.at("artifacts");
    mkdirSync(`${layout}/blobs/sha256`, { recursive: true });
    const put = (text: string, mediaType: string): { digest: string; size: number; mediaType: string } => {
      const own = digestOfText(text);
      writeFileSync(`${layout}/blobs/sha256/${own.slice(7)}`, text);
      return { mediaType, digest: own, size: text.length };
    };
    const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
    const INDEX = "application/vnd.oci.image.index.v1+json";
    const config = put("{}", "application/vnd.oci.empty.v1+json");
    const subject = { mediaType: INDEX, digest, size: raw(`docker://${app}`).length };
    const artifact = (data: string): ReturnType<typeof put> => {
      const layers = [put(data, "text/plain")];
      return put(
        JSON.stringify({
          schemaVersion: 2,
          mediaType: MANIFEST,
          artifactType: "a/b",
          config,
          layers,
          subject,
        }),
        MANIFEST,
      );
    };
    const note = artifact("a note");
    const list = put(
      JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests: [{ ...note, artifactType: "a/b" }] }),
      INDEX,
    );
    const prefix = digest.replace(":", "-");
    const names = { [`${prefix}.sig`]: artifact("a signature"), [prefix]: list };
    const manifests = Object.entries(names).map(([name, descriptor]) => ({
      ...descriptor,
      annotations: { "org.opencontainers.image.ref.name": name },
    }));
    writeFileSync(`${layout}/index.json`, JSON.stringify({ schemaVersion: 2, manifests }));
    writeFileSync(`${layout}/oci-layout`, '{"imageLayoutVersion":"1.0.0"}');
    for (const name of Object.keys(names)) await run(`oci:${layout}:${name}`, `${registry.host}/app:${name}`);

    await run(app, `${registry.host}/plain:1`);
    assert.match(await fixture.fails("image", "digest", `${registry.host}/plain:${prefix}.sig`), /not found/);
    const copied = await run("--referrers", app, `${registry.host}/signed:1`);
    assert.match(copied.stderr, /; 2 artifacts about it$/m);
    assert.equal(
      raw(`docker://${registry.host}/signed:${prefix}.sig`),
      raw(`docker://${registry.host}/app:${prefix}.sig`),
    );
    assert.equal(digestOfText(raw(`docker://${registry.host}/signed@${note.digest}`)), note.digest);
    // This registry has no API for them, so the list is under a tag.
    assert.match(raw(`docker://${registry.host}/signed:${prefix}`), new RegExp(note.digest));
    const again = await run("--referrers", app, `${registry.host}/signed:1`);
    assert.match(again.stderr, /^0 blobs copied \(0B\), 0 mounted/m);

    // One that lists them by itself gets no tag for it, and back again.
    await using newer = await startOci11Registry();
    await run("--referrers", app, `${newer.host}/signed:1`);
    assert.ok(newer.manifests.has(`signed/${note.digest}`));
    assert.ok(!newer.manifests.has(`signed/${prefix}`));
    await run("--referrers", `${newer.host}/signed:1`, `${registry.host}/returned:1`);
    assert.match(raw(`docker://${registry.host}/returned:${prefix}`), new RegExp(note.digest));
  });

  it("goes through layouts and archives that others read, with attestations", async () => {
    const { registry, dir, digest, raw, app } = fixture;
    const layout = dir.at("layout");
    await run(`docker://${app}`, `oci-layout://${layout}:one`);
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
    const { dir, raw, app } = fixture;
    const layout = dir.at("layout2");
    const one = await run("--platform", "linux/arm64", app, `oci:${layout}:arm`);
    const whole = JSON.parse(raw(`docker://${app}`)) as {
      manifests: { digest: string; platform: { architecture: string } }[];
    };
    const arm = whole.manifests.find(({ platform }) => platform.architecture === "arm64");
    assert.equal(one.stdout.trim(), arm?.digest);
    await run("--platform", "linux/arm64", app, `docker-archive:${dir.at("d.tar")}:app:1`);
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
    const words = await fixture.fails("image", "copy", "--platform", "linux/s390x", app, `oci:${layout}:x`);
    assert.match(words, /there is no image for linux\/s390x/);
    assert.match(words, /available for linux\/amd64, linux\/arm64/);
  });

  it("packs local images that were never pushed, and loads into the local store", async () => {
    const { dir, raw, context } = fixture;
    await tsbuildOk(["build", "-q", "-t", "only-here", context], { root: dir.at("store") });
    const layout = dir.at("layout3");
    await tsbuildOk(["image", "copy", "only-here", `oci:${layout}:here`], { root: dir.at("store") });
    assert.match(
      raw(`oci:${layout}:here`),
      /"mediaType": ?"application\/vnd\.oci\.image\.layer\.v1\.tar\+gzip"/,
    );
    await run(`oci:${layout}:here`, "local:taken");
    const shown = await fixture.run(
      "inspect",
      "--format",
      "{{.Os}} {{range .Config.Cmd}}{{.}}{{end}}",
      "taken",
    );
    assert.equal(shown.stdout, "linux /a\n");
  });

  it("says in one sentence what is wrong", async () => {
    const { registry, dir, app } = fixture;
    const layout = dir.at("layout4");
    await run(app, `oci:${layout}:x`);
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
      assert.match(await fixture.fails("image", "copy", from, `oci:${dir.at("out")}:x`), words);
    }
  });
});
