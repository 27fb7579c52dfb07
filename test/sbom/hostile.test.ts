// Trees that were made to harm whoever scans them: docs/threat-model.md. Each ends in a document that names what was not read.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { deflateSync } from "node:zlib";
import { temporaryDir } from "../support/store.ts";
import { elfOf, goBuildInfo, listOf, scanDirectory, scanOf, writeTree, zipOf } from "./fixture.ts";

const UNREAD_TIME_MS = 5_000;

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

  it("headers of programs and archives with wrong numbers are read to their end and no further", async () => {
    const program = elfOf(".go.buildinfo", goBuildInfo("go1.22", "mod\tm\tv1.0.0\n"));
    const archive = zipOf({ "META-INF/maven/g/a/pom.properties": "groupId=g\nartifactId=a\nversion=1\n" });
    for (let round = 0; round < 200; round++) {
      const [binary, jar] = [Buffer.from(program), Buffer.from(archive)];
      // Every number of the headers becomes large once, the same in each run.
      const value = [0xff, 0x7f, 0x80, 0x01][round % 4] as number;
      const [from, to] = [(round * 3) % 260, (round * 2) % jar.length];
      binary.fill(value, from, from + 1 + (round % 8));
      jar.fill(value, to, Math.min(jar.length, to + 1 + (round % 4)));
      await scanOf({ "bin/app": binary, "a.jar": jar });
    }
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
