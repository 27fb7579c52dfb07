// Trees that were made to harm whoever scans them: docs/threat-model.md. Each ends in a document that names what was not read.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { deflateSync } from "node:zlib";
import fc from "fast-check";
import type { DocumentInputs } from "../../../worker/sbom/contract.ts";
import { documentText } from "../../../worker/sbom/documents.ts";
import { woundedOf } from "../../fuzz/wounds.ts";
import { temporaryDir } from "../../support/store.ts";
import { elfOf, goBuildInfo, listOf, scanDirectory, scanOf, writeTree, zipOf } from "./fixture.ts";
import { readSpdx } from "./spdx-reader.ts";

const UNREAD_TIME_MS = 5_000;

/** Well-formed files by their path. */
const SEEDS: Readonly<Record<string, readonly (string | Buffer)[]>> = {
  "var/lib/dpkg/status": [
    "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\nMaintainer: A <a@b>\nSource: c (2)\n\nPackage: b\nVersion: 2\n",
  ],
  "lib/apk/db/installed": [
    "C:Q1=\nP:a\nV:1-r0\nA:x86_64\nL:MIT AND (GPL-2.0-only OR ISC)\no:b\nF:bin\nR:sh\n\nP:c\nV:2\n\n",
  ],
  "node_modules/@a/b/package.json": [
    '{"name":"@a/b","version":"1.0.0","license":"(MIT OR ISC)","author":{"name":"A","email":"a@b"}}',
  ],
  "x/package-lock.json": [
    '{"lockfileVersion":3,"packages":{"":{},"node_modules/a":{"version":"1.0.0","license":"MIT"},"node_modules/a/node_modules/@b/c":{"version":"2.0.0"}}}',
    '{"lockfileVersion":1,"dependencies":{"a":{"version":"npm:b@1.0.0","dependencies":{"c":{"version":"2.0.0"}}}}}',
  ],
  "x/pnpm-lock.yaml": [
    "lockfileVersion: '9.0'\n\npackages:\n\n  '@a/b@1.0.0(c@2.0.0)':\n    resolution: {}\n\n  /d/3.0.0_e@4:\n    dev: true\n",
  ],
  "x/yarn.lock": [
    '"@a/b@npm:^1.0.0, c@^2":\n  version: 1.0.0\n  resolution: "@a/b@npm:1.0.0"\n\nd@^3:\n  version "3.0.0"\n',
  ],
  "p/a-1.dist-info/METADATA": [
    "Metadata-Version: 2.4\nName: a\nVersion: 1\nLicense-Expression: MIT\nClassifier: License :: OSI Approved :: MIT License\n\ntext\n",
  ],
  "g/specifications/a-1.gemspec": [
    'Gem::Specification.new do |s|\n  s.name = "a".freeze\n  s.version = "1"\n  s.licenses = ["MIT".freeze]\nend\n',
  ],
  "x/composer.lock": ['{"packages":[{"name":"a/b","version":"v1.0.0","license":["MIT","ISC"]}]}'],
  "bin/go": [
    elfOf(
      ".go.buildinfo",
      goBuildInfo("go1.22.1", "path\ta\nmod\ta/b\tv1.0.0\th1:=\ndep\tc.d/e\tv2.0.0\n=>\tf.g/h\tv3.0.0\n"),
    ).subarray(0, 4600),
  ],
  "bin/rust": [
    elfOf(
      ".dep-v0",
      deflateSync(
        '{"packages":[{"name":"a","version":"1.0.0"},{"name":"b","version":"2.0.0","kind":"build"}]}',
      ),
    ),
  ],
  "a.jar": [
    zipOf({
      "META-INF/MANIFEST.MF": "Implementation-Version: 1\r\nBundle-License: MIT\r\n\r\n",
      "META-INF/maven/g/a/pom.properties": "groupId=g\nartifactId=a\nversion=1\n",
      "lib/b-2.jar": zipOf({ "META-INF/MANIFEST.MF": "Implementation-Vendor-Id: b\nBundle-Version: 2\n\n" }),
    }),
  ],
};
const INPUTS: DocumentInputs = {
  name: "hostile",
  kind: "directory",
  toolVersion: "1",
  createdEpochSeconds: 0,
  layers: [],
  digest: null,
  namespace: null,
};

describe("hostile trees", function () {
  this.timeout(120_000);

  it("links lead nowhere, special files are not opened", async () => {
    using outside = temporaryDir();
    using dir = temporaryDir();
    const manifest = JSON.stringify({ name: "outside", version: "1.0.0" });
    writeTree(outside.path, {
      "node_modules/outside/package.json": manifest,
      status: "Package: outside\nVersion: 1\n",
    });
    writeTree(dir.path, { "node_modules/inside/package.json": manifest.replaceAll("outside", "inside") });
    mkdirSync(dir.at("var/lib/dpkg"), { recursive: true });
    symlinkSync(outside.at("status"), dir.at("var/lib/dpkg/status"));
    symlinkSync(outside.at("node_modules"), dir.at("node_modules/linked"));
    mkdirSync(dir.at("a"));
    symlinkSync(outside.at("node_modules"), dir.at("a/node_modules"));
    symlinkSync("..", dir.at("a/loop"));
    mkdirSync(dir.at("etc"));
    symlinkSync("os-release", dir.at("etc/os-release"));
    execFileSync("mkfifo", [dir.at("package-lock.json"), dir.at("app.jar")]);
    const scan = await scanDirectory(dir.path);
    assert.deepEqual(listOf(scan, "npm"), ["inside@1.0.0"]);
    assert.deepEqual([scan.distro, scan.unread, scan.packages.length], [null, [], 1]);
  });

  it("files that are broken, of the wrong kind or huge are named with the reason", async () => {
    using dir = temporaryDir();
    writeTree(dir.path, {
      "node_modules/a/package.json": "{ not JSON",
      "node_modules/b/package.json": "[]",
      "node_modules/c/package.json": '{"name":{},"version":[]}',
      "x/package-lock.json": "\0\0\0",
      "y/pnpm-lock.yaml": "a: b",
      "z/composer.lock": '{"packages":{}}',
      "p/a.dist-info/METADATA": "no headers",
      "lib/apk/db/installed": "\x00\x01 no database",
      "g/specifications/a.gemspec": "puts 1",
      "j/a.jar": "no archive",
      "node_modules/good/package.json": '{"name":"good","version":"1.0.0"}',
    });
    // Sparse: a gigabyte that takes no room.
    mkdirSync(dir.at("node_modules/huge"));
    for (const name of ["node_modules/huge/package.json", "huge.jar"]) {
      writeFileSync(dir.at(name), "{");
      truncateSync(dir.at(name), 1 << 30);
    }
    const started = performance.now();
    const scan = await scanDirectory(dir.path);
    assert.ok(performance.now() - started < UNREAD_TIME_MS);
    assert.deepEqual(listOf(scan, "npm"), ["good@1.0.0"]);
    assert.deepEqual(
      scan.unread.map(({ path, reason }) => `${path}: ${reason}`),
      [
        "/g/specifications/a.gemspec: it states no name and version",
        "/huge.jar: it is not a zip archive",
        "/j/a.jar: it is not a zip archive",
        "/lib/apk/db/installed: it is not a database of apk",
        "/node_modules/a/package.json: it is not JSON",
        "/node_modules/b/package.json: it is JSON, but not an object",
        "/node_modules/huge/package.json: 1073741824 bytes are more than the 8388608 that are read",
        "/p/a.dist-info/METADATA: it has no name and version",
        "/x/package-lock.json: it is not JSON",
        "/y/pnpm-lock.yaml: it has no lockfileVersion",
        "/z/composer.lock: it has no list of packages",
      ],
    );
  });

  it("archives and lists that grow when they are decompressed end at a limit", async () => {
    const zeros = Buffer.alloc(200 << 20);
    let nested = zipOf({ "META-INF/MANIFEST.MF": "Implementation-Version: 1\n\n" });
    for (let level = 0; level < 6; level++) nested = zipOf({ [`level${level}.jar`]: nested });
    const scan = await scanOf({
      "bomb.jar": zipOf({ "inner.jar": zeros, "META-INF/MANIFEST.MF": "Implementation-Version: 7\n\n" }),
      // Its directory states a few bytes.
      "liar.jar": zipOf(
        { "META-INF/MANIFEST.MF": zeros.subarray(0, 32 << 20) },
        { "META-INF/MANIFEST.MF": 10 },
      ),
      "nested.jar": nested,
      "bin/rust": elfOf(".dep-v0", deflateSync(zeros)),
    });
    assert.deepEqual(listOf(scan, "maven"), ["bomb@7"]);
    const reasons = new Map(scan.unread.map(({ path, reason }) => [path, reason]));
    assert.match(reasons.get("/bomb.jar!/inner.jar") ?? "", /larger than/);
    assert.match(reasons.get("/liar.jar!/META-INF/MANIFEST.MF") ?? "", /larger than it states/);
    assert.match(reasons.get("/bin/rust") ?? "", /cannot be decompressed/);
    assert.ok([...reasons.values()].some((reason) => /nested more than 3 levels/.test(reason)));
  });

  for (const [path, seeds] of Object.entries(SEEDS))
    it(`${path} with any damage ends in a valid document`, () =>
      fc.assert(
        fc.asyncProperty(woundedOf(seeds), async (bytes) => {
          const started = performance.now();
          const scan = await scanOf({ [path]: bytes });
          assert.ok(performance.now() - started < UNREAD_TIME_MS);
          readSpdx(documentText("spdx-json", scan, INPUTS));
          assert.ok(scan.unread.every((one) => one.path.startsWith(`/${path}`)));
        }),
        { numRuns: 150 },
      ));

  it("programs of Go before 1.18 are named", async () => {
    const old = goBuildInfo("go1.17", "");
    old[15] = 0;
    const scan = await scanOf({ "bin/old": elfOf(".go.buildinfo", old) });
    assert.match(scan.unread[0]?.reason ?? "", /before 1\.18/);
  });

  it("texts that make matching slow do not", async () => {
    const [spaces, lines] = [" ".repeat(4 << 20), "\n".repeat(4 << 20)];
    const started = performance.now();
    await scanOf({
      "var/lib/dpkg/status": `Package: a\n${lines}${spaces}x`,
      "etc/os-release": `ID=${"a".repeat(60_000)}`,
      "usr/share/doc/a/copyright": "License: ".repeat(100_000),
      "lib/apk/db/installed": `P:a\n${lines}V:1`,
      "a/yarn.lock": `"a@1":\n  version "${spaces}"x`,
      "b/yarn.lock": `${":".repeat(1 << 20)}\n${`a${": ".repeat(2000)}x\n`.repeat(100)}`,
      "c/pnpm-lock.yaml": `lockfileVersion: 9\npackages:\n  ${"a@".repeat(1 << 20)}:\n`,
      "g/specifications/a.gemspec": `${lines}s.name${spaces}=${spaces}`.slice(0, 4 << 20),
      "p/a.egg-info": `Name: a\nVersion: 1\n${"Classifier: License :: ".repeat(100_000)}`,
      "x/package-lock.json": `{"lockfileVersion":1,"dependencies":${'{"a":{"dependencies":'.repeat(2_000)}{}${"}}".repeat(2_000)}}`,
      "y/composer.lock": `${"[".repeat(1_000_000)}`,
    });
    assert.ok(performance.now() - started < UNREAD_TIME_MS, `${performance.now() - started} ms`);
  });

  it("lists without end, of names without end, end at a limit that is named", async () => {
    const many = (count: number, name: (index: number) => string): string => {
      const entries = Array.from({ length: count }, (_, index) => [
        `node_modules/${name(index)}`,
        { version: "1" },
      ]);
      return JSON.stringify({ packages: Object.fromEntries(entries) });
    };
    const listed = await scanOf({ "package-lock.json": many(101_000, (index) => `p${index}`) });
    assert.equal(listed.packages.length, 100_001);
    assert.deepEqual(
      listed.unread.map(({ path }) => path),
      ["/", "/package-lock.json"],
    );
    const long = await scanOf({
      "a/package-lock.json": many(40_000, (index) => `a${index}-${"x".repeat(600)}`),
      "b/package-lock.json": many(40_000, (index) => `b${index}-${"x".repeat(600)}`),
    });
    assert.ok(long.packages.length > 40_000 && long.packages.length < 80_000, `${long.packages.length}`);
    assert.match(long.unread[0]?.reason ?? "", /more than 100000 packages, or names longer/);
    // A document of a thousand licences for one package.
    const licenses = Array.from({ length: 1_000 }, (_, index) => `License: odd-${index}\n`).join("");
    const one = await scanOf({
      "var/lib/dpkg/status": "Package: one\nVersion: 1\n",
      "usr/share/doc/one/copyright": `Format: x\n${licenses}`,
    });
    assert.equal(one.packages[0]?.licenses.length, 100);
  });

  it("names are short lines without control characters, whatever a package calls itself", async () => {
    const name = `a\u001b[31m\n${"b".repeat(100_000)}`;
    const scan = await scanOf({
      "node_modules/x/package.json": JSON.stringify({
        name,
        version: "1\u0000\ud800",
        license: { type: ["MIT"] },
      }),
      "node_modules/__proto__/package.json":
        '{"name":"__proto__","version":"constructor","license":{"__proto__":{"type":"MIT"}}}',
    });
    assert.equal(scan.packages.length, 2);
    // oxlint-disable-next-line no-control-regex
    for (const found of scan.packages) assert.ok(found.name.length <= 512 && !/[\x00-\x1f]/.test(found.name));
  });
});
