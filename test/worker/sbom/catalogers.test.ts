// Which packages are found, kind by kind, in the order of docs/sbom.md. Real trees where this machine has them: its own packages, the
// modules of this checkout, programs that were built by Go.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { deflateSync } from "node:zlib";
import { needs } from "../../support/needs.ts";
import { projectDir } from "../../support/project.ts";
import { temporaryDir } from "../../support/store.ts";
import { elfOf, goBuildInfo, listOf, packageOf, scanDirectory, scanOf, writeTree, zipOf } from "./fixture.ts";

const DEBIAN = 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n';

describe("packages in a tree", function () {
  this.timeout(60_000);

  describe("Debian", () => {
    it("are what dpkg says of this machine: nothing is missing, nothing invented", async () => {
      using dir = temporaryDir();
      writeTree(dir.path, { "etc/os-release": readFileSync("/etc/os-release") });
      mkdirSync(dir.at("var/lib/dpkg"), { recursive: true });
      cpSync("/var/lib/dpkg/status", dir.at("var/lib/dpkg/status"));
      const scan = await scanDirectory(dir.path);
      const format = "${db:Status-Status}\t${Package}\t${Version}\t${Architecture}\n"; // oxlint-disable-line no-template-curly-in-string
      const said = execFileSync("dpkg-query", ["-W", "-f", format], { encoding: "utf8" })
        .split("\n")
        .map((line) => line.split("\t"))
        .filter(([state]) => state === "installed")
        .map(([, name, version, architecture]) => `${name} ${version} ${architecture}`);
      const found = scan.packages.map(
        ({ name, version, purl }) => `${name} ${version} ${/arch=([^&]+)/.exec(purl ?? "")?.[1]}`,
      );
      assert.ok(said.length > 100);
      assert.deepEqual(found.toSorted(), said.toSorted());
      assert.deepEqual(scan.unread, []);
    });

    it("have their source, maintainer, licences and package URL; removed ones are not there", async () => {
      const scan = await scanOf({
        "etc/os-release": DEBIAN,
        "var/lib/dpkg/status": [
          "Package: libc6\nStatus: install ok installed\nMaintainer: GNU Libc <libc@example.org>\nArchitecture: amd64\nSource: glibc\nVersion: 2.36-9+deb12u10\nDescription: library\n Package: not-a-field",
          "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all",
          "Package: libgcc-s1\nStatus: install ok installed\nArchitecture: amd64\nSource: gcc-12 (12.2.0-14)\nVersion: 1:12.2.0-14\n",
        ].join("\n\n"),
        "usr/share/doc/libc6/copyright":
          "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: LGPL-2.1+\n\nFiles: x\nLicense: GPL-2+ or Expat\n\nLicense: LGPL-2.1+\n text\n",
        "usr/share/doc/libgcc-s1/copyright": "On Debian systems: /usr/share/common-licenses/GPL-3.\n",
      });
      assert.deepEqual(listOf(scan, "deb"), ["libc6@2.36-9+deb12u10", "libgcc-s1@1:12.2.0-14"]);
      assert.deepEqual(packageOf(scan, "libc6"), {
        type: "deb",
        name: "libc6",
        version: "2.36-9+deb12u10",
        purl: "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12",
        licenses: ["GPL-2+ or Expat", "LGPL-2.1+"],
        supplier: "GNU Libc <libc@example.org>",
        source: "glibc 2.36-9+deb12u10",
        declared: false,
        locations: [{ path: "/var/lib/dpkg/status", layer: null }],
      });
      assert.equal(packageOf(scan, "libgcc-s1").source, "gcc-12 12.2.0-14");
      assert.deepEqual(packageOf(scan, "libgcc-s1").licenses, ["GPL-3"]);
    });

    it("are found in images without dpkg, and their documentation through links within the tree only", async () => {
      using dir = temporaryDir();
      using outside = temporaryDir();
      writeTree(outside.path, { copyright: "/usr/share/common-licenses/GPL-1" });
      writeTree(dir.path, {
        "usr/lib/os-release": DEBIAN,
        "var/lib/dpkg/status.d/base": "Package: base-files\nVersion: 12\nArchitecture: amd64\n",
        "var/lib/dpkg/status.d/tzdata": "Package: tzdata\nVersion: 2024a\nArchitecture: all\n",
        "var/lib/dpkg/status.d/base.md5sums": "0123  etc/x\n",
        "usr/share/doc/real/copyright": "/usr/share/common-licenses/LGPL-3",
      });
      mkdirSync(dir.at("etc"));
      symlinkSync("../usr/lib/os-release", dir.at("etc/os-release"));
      symlinkSync("real", dir.at("usr/share/doc/base-files"));
      symlinkSync(outside.path, dir.at("usr/share/doc/tzdata"));
      const scan = await scanDirectory(dir.path);
      assert.equal(scan.distro?.versionId, "12");
      assert.deepEqual(listOf(scan, "deb"), ["base-files@12", "tzdata@2024a"]);
      assert.deepEqual(packageOf(scan, "base-files").licenses, ["LGPL-3"]);
      assert.deepEqual(packageOf(scan, "tzdata").licenses, []);
    });
  });

  it("Alpine: by the installed database of apk", async () => {
    const scan = await scanOf({
      "etc/os-release": "ID=alpine\nVERSION_ID=3.19.1\n",
      "lib/apk/db/installed":
        "C:Q1abc=\nP:musl\nV:1.2.4_git20230717-r4\nA:x86_64\nL:MIT\no:musl\nm:Timo <timo@example.org>\nF:lib\nR:ld-musl.so\na:0:0:755\n\nC:Q1def=\nP:ssl_client\nV:1.36.1-r15\nA:x86_64\nL:GPL-2.0-only\no:busybox\n\n",
    });
    assert.deepEqual(listOf(scan, "apk"), ["musl@1.2.4_git20230717-r4", "ssl_client@1.36.1-r15"]);
    const musl = packageOf(scan, "musl");
    assert.equal(musl.purl, "pkg:apk/alpine/musl@1.2.4_git20230717-r4?arch=x86_64&distro=alpine-3.19.1");
    assert.deepEqual([musl.licenses, musl.supplier], [["MIT"], "Timo <timo@example.org>"]);
    assert.equal(packageOf(scan, "ssl_client").source, "busybox 1.36.1-r15");
  });

  describe("npm", () => {
    it("are what npm says of this checkout's own modules", async () => {
      using dir = temporaryDir();
      // Without what has no part in it, and without the checkout's other projects, which are for tests.
      mkdirSync(dir.at("app"));
      cpSync(join(projectDir, "node_modules"), dir.at("app/node_modules"), {
        recursive: true,
        verbatimSymlinks: true,
        filter: (path) => !(/\.(?:js|cjs|mjs|ts|map|wasm|node|zip)$/.test(path) && lstatSync(path).isFile()),
      });
      const copied = await scanDirectory(dir.at("app"));
      const listed = execFileSync("npm", ["ls", "--all", "--parseable", "--long"], {
        cwd: projectDir,
        encoding: "utf8",
      });
      const said = listed.trim().split("\n").slice(1);
      const names = new Set(said.map((line) => line.split(":")[1]));
      assert.ok(names.size > 200);
      assert.deepEqual(listOf(copied, "npm").toSorted(), [...names].toSorted());
      // A copy beside modules that are installed says nothing new.
      cpSync(join(projectDir, "package-lock.json"), dir.at("app/package-lock.json"));
      assert.deepEqual((await scanDirectory(dir.at("app"))).packages, copied.packages);
    });

    it("have licences and authors in all forms, scopes, and several places", async () => {
      const manifest = (fields: object): string => JSON.stringify({ version: "1.0.0", ...fields });
      const scan = await scanOf({
        "srv/node_modules/@scope/one/package.json": manifest({
          name: "@scope/one",
          license: "MIT",
          author: { name: "Jane", email: "jane@example.org" },
        }),
        "srv/node_modules/two/package.json": manifest({
          name: "two",
          licenses: [{ type: "MIT" }, { type: "Apache-2.0" }],
        }),
        "srv/node_modules/two/node_modules/three/package.json": manifest({ name: "three" }),
        "srv/node_modules/.pnpm/three@1.0.0/node_modules/three/package.json": manifest({ name: "three" }),
        "srv/node_modules/two/dist/esm/package.json": manifest({ name: "not-a-package" }),
        "srv/node_modules/two/package-lock.json": JSON.stringify({
          packages: { "node_modules/of-developers": { version: "1.0.0" } },
        }),
        "srv/package.json": manifest({ name: "the-project-itself" }),
      });
      assert.deepEqual(listOf(scan, "npm"), ["@scope/one@1.0.0", "three@1.0.0", "two@1.0.0"]);
      const one = packageOf(scan, "@scope/one");
      assert.deepEqual([one.purl, one.supplier], ["pkg:npm/%40scope/one@1.0.0", "Jane <jane@example.org>"]);
      assert.deepEqual(packageOf(scan, "two").licenses, ["MIT OR Apache-2.0"]);
      assert.deepEqual(
        packageOf(scan, "three").locations.map(({ path }) => path),
        [
          "/srv/node_modules/.pnpm/three@1.0.0/node_modules/three/package.json",
          "/srv/node_modules/two/node_modules/three/package.json",
        ],
      );
    });

    it("are declared by a lock file where nothing is installed: npm, pnpm and yarn, of all versions", async () => {
      const scan = await scanOf({
        "one/package-lock.json": JSON.stringify({
          lockfileVersion: 3,
          packages: {
            "": { name: "app", version: "0.0.0" },
            "packages/inner": { version: "0.0.0" },
            "node_modules/a": { version: "1.0.0", license: "MIT" },
            "node_modules/a/node_modules/@s/b": { version: "2.0.0" },
            "node_modules/alias": { name: "real", version: "3.0.0" },
            "node_modules/tool": { version: "9.0.0", dev: true },
            "node_modules/inner": { link: true },
          },
        }),
        "two/npm-shrinkwrap.json": JSON.stringify({
          lockfileVersion: 1,
          dependencies: { c: { version: "4.0.0", dependencies: { d: { version: "5.0.0" } } } },
        }),
        "three/pnpm-lock.yaml":
          "lockfileVersion: '6.0'\n\npackages:\n\n  /e@6.0.0(react@18.0.0):\n    resolution: {integrity: x}\n    dev: false\n\n  /tool@9.0.0:\n    dev: true\n\n  /@s/f@7.0.0:\n    dev: false\n",
        "four/pnpm-lock.yaml":
          "lockfileVersion: '9.0'\n\npackages:\n\n  '@s/g@8.0.0':\n    resolution: {}\n\n  h@9.0.0:\n    resolution: {}\n\nsnapshots:\n\n  i@1.0.0: {}\n",
        "five/pnpm-lock.yaml":
          "lockfileVersion: 5.4\n\npackages:\n\n  /j/10.0.0_react@18.0.0:\n    dev: false\n\n  /@s/k/11.0.0:\n    dev: false\n",
        "six/yarn.lock":
          '# yarn lockfile v1\n\n\n"@s/l@^12.0.0", "@s/l@^12.1.0":\n  version "12.1.0"\n  dependencies:\n    m "^1"\n\nm@^13.0.0:\n  version "13.0.0"\n\nn@npm:o@^14.0.0:\n  version "14.0.0"\n',
        "seven/yarn.lock":
          '__metadata:\n  version: 8\n\n"app@workspace:.":\n  version: 0.0.0-use.local\n  resolution: "app@workspace:."\n\n"p@npm:^15.0.0":\n  version: 15.0.0\n  resolution: "p@npm:15.0.0"\n',
      });
      assert.deepEqual(listOf(scan, "npm"), [
        "@s/b@2.0.0",
        "@s/f@7.0.0",
        "@s/g@8.0.0",
        "@s/k@11.0.0",
        "@s/l@12.1.0",
        "a@1.0.0",
        "c@4.0.0",
        "d@5.0.0",
        "e@6.0.0",
        "h@9.0.0",
        "j@10.0.0",
        "m@13.0.0",
        "o@14.0.0",
        "p@15.0.0",
        "real@3.0.0",
      ]);
      assert.ok(scan.packages.every(({ declared }) => declared));
      assert.deepEqual(scan.unread, []);
    });
  });

  it("Python: dist-info and egg-info, with licences by expression, classifier or name", async () => {
    const scan = await scanOf({
      "usr/lib/python3/site-packages/requests-2.32.3.dist-info/METADATA":
        "Metadata-Version: 2.1\nName: requests\nVersion: 2.32.3\nAuthor: Kenneth\nAuthor-email: me@example.org\nLicense: Apache-2.0\nClassifier: License :: OSI Approved :: Apache Software License\n\nName: in-the-description\n",
      "usr/lib/python3/site-packages/Zope.Event-5.0.egg-info/PKG-INFO":
        "Name: Zope.Event\nVersion: 5.0\nLicense: ZPL 2.1\n",
      "usr/lib/python3/dist-packages/six-1.16.0.egg-info": "Name: six\nVersion: 1.16.0\nLicense: MIT\n",
      "usr/lib/python3/site-packages/new-1.dist-info/METADATA":
        "Name: new\r\nVersion: 1\r\nLicense-Expression: MIT OR Apache-2.0\r\n\r\ntext",
    });
    assert.deepEqual(listOf(scan, "pypi"), ["Zope.Event@5.0", "new@1", "requests@2.32.3", "six@1.16.0"]);
    assert.equal(packageOf(scan, "Zope.Event").purl, "pkg:pypi/zope.event@5.0");
    assert.deepEqual(packageOf(scan, "requests").licenses, ["Apache Software License"]);
    assert.deepEqual(packageOf(scan, "new").licenses, ["MIT OR Apache-2.0"]);
    assert.equal(packageOf(scan, "requests").supplier, "Kenneth <me@example.org>");
  });

  it("Python: what its own reader of metadata says", async () => {
    using dir = temporaryDir();
    const site = dir.at("lib/site-packages");
    writeTree(site, {
      "one-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: One\nVersion: 1.0\n",
      "two_three-2.0.dist-info/METADATA":
        "Metadata-Version: 2.1\nName: two-three\nVersion: 2.0\n\nVersion: 3.0\n",
      "four-4.0.egg-info/PKG-INFO":
        "Metadata-Version: 1.1\nName: four\nVersion: 4.0\nDescription: a\n        Name: no\n",
    });
    // Those of this machine, where there are any.
    const system = "/usr/lib/python3/dist-packages";
    for (const name of existsSync(system) ? readdirSync(system) : [])
      if (/\.(?:dist|egg)-info$/.test(name))
        cpSync(join(system, name), join(site, name), { recursive: true });
    const program =
      "import importlib.metadata as m, sys\nfor d in m.distributions(path=[sys.argv[1]]): print(d.metadata['Name'] + '@' + d.version)";
    const said = execFileSync(needs("python3"), ["-c", program, site], { encoding: "utf8" });
    const names = new Set(said.trim().split("\n"));
    assert.ok(names.size >= 3);
    assert.deepEqual(listOf(await scanDirectory(dir.path), "pypi").toSorted(), [...names].toSorted());
  });

  describe("programs", () => {
    it("say which Go modules they were built from: one that Go built", async () => {
      const file = join(projectDir, `node_modules/@oxlint-tsgolint/linux-${process.arch}/tsgolint`);
      const scan = await scanOf({ "usr/bin/tsgolint": readFileSync(file) });
      assert.match(packageOf(scan, "stdlib").version ?? "", /^1\.\d+/);
      assert.match(packageOf(scan, "golang.org/x/sys").purl ?? "", /^pkg:golang\/golang\.org\/x\/sys@v0\./);
      assert.ok(scan.packages.length > 5);
      assert.deepEqual(
        scan.packages.filter(({ type }) => type !== "golang"),
        [],
      );
    });

    it("replaced modules count, directories in their place do not", async () => {
      const modules =
        "path\texample.org/app\nmod\texample.org/app\tv1.2.3\th1:x=\ndep\tgithub.com/a/b\tv1.0.0\n=>\tgithub.com/fork/b\tv1.0.1\th1:y=\ndep\tgithub.com/c/d/v2\tv2.0.0+incompatible\n=>\t./vendored\t(devel)\t\nbuild\t-compiler=gc\n";
      const scan = await scanOf({ "usr/bin/app": elfOf(".go.buildinfo", goBuildInfo("go1.22.1", modules)) });
      assert.deepEqual(
        scan.packages.map(({ purl }) => purl),
        [
          "pkg:golang/example.org/app@v1.2.3",
          "pkg:golang/github.com/c/d/v2@v2.0.0%2Bincompatible",
          "pkg:golang/github.com/fork/b@v1.0.1",
          "pkg:golang/stdlib@1.22.1",
        ],
      );
    });

    it("say which crates, without those of build scripts; files that cannot be executed are not opened", async () => {
      const list = {
        packages: [
          { name: "app", version: "0.1.0", source: "local", root: true },
          { name: "serde", version: "1.0.200", source: "crates.io" },
          { name: "cc", version: "1.0.90", source: "crates.io", kind: "build" },
        ],
      };
      const program = elfOf(".dep-v0", deflateSync(JSON.stringify(list)));
      const scan = await scanOf({ "usr/bin/app": program, "usr/share/app.data": program });
      assert.deepEqual(listOf(scan, "cargo"), ["app@0.1.0", "serde@1.0.200"]);
      assert.equal(packageOf(scan, "serde").purl, "pkg:cargo/serde@1.0.200");
      assert.deepEqual(
        scan.files.map(({ path }) => path),
        ["/usr/bin/app"],
      );
    });
  });

  it("Java: Maven's properties, else the manifest, and archives within archives", async () => {
    const pom = "groupId=org.example\nartifactId=core\nversion=1.5.0\n";
    const core = zipOf({ "META-INF/maven/org.example/core/pom.properties": pom });
    const plain = zipOf({
      "META-INF/MANIFEST.MF":
        "Manifest-Version: 1.0\r\nImplementation-Vendor-Id: com.example\r\nImplementation-Version: 2.0\r\nBundle-License: https://www.apache.org/licen\r\n ses/LICENSE-2.0.txt\r\n\r\nName: other\r\n",
    });
    const scan = await scanOf({
      "opt/app.war": zipOf({ "WEB-INF/lib/core-1.5.0.jar": core, "WEB-INF/web.xml": "<web-app/>" }),
      "opt/lib/plain-2.0.jar": plain,
      "opt/lib/bare-3.1.jar": zipOf({ "A.class": "x" }),
      // A start script before the archive moves its offsets.
      "opt/runner.jar": Buffer.concat([Buffer.from("#!/bin/sh\nexec java -jar $0\n"), core]),
    });
    assert.deepEqual(listOf(scan, "maven"), ["bare@3.1", "core@1.5.0", "plain@2.0"]);
    assert.deepEqual(
      packageOf(scan, "core").locations.map(({ path }) => path),
      ["/opt/app.war", "/opt/runner.jar"],
    );
    assert.equal(packageOf(scan, "core").purl, "pkg:maven/org.example/core@1.5.0");
    assert.equal(packageOf(scan, "bare").purl, null, "its group is not known");
    assert.equal(packageOf(scan, "plain").purl, "pkg:maven/com.example/plain@2.0");
    assert.deepEqual(packageOf(scan, "plain").licenses, ["https://www.apache.org/licenses/LICENSE-2.0.txt"]);
  });

  it("Ruby and PHP: gems by their specification, composer's packages by what is installed", async () => {
    const scan = await scanOf({
      "usr/lib/ruby/gems/3.1.0/specifications/rake-13.0.6.gemspec":
        'Gem::Specification.new do |s|\n  s.name = "rake".freeze\n  s.version = "13.0.6"\n  s.licenses = ["MIT".freeze, "Ruby".freeze]\n  s.authors = ["Hiroshi".freeze, "Eric".freeze]\nend\n',
      "usr/lib/ruby/gems/3.1.0/specifications/default/json-2.6.1.gemspec":
        'Gem::Specification.new do |s|\n  s.name = "json"\n  s.version = Gem::Version.new("2.6.1")\n  s.platform = "x86_64-linux"\nend\n',
      "app/vendor/composer/installed.json": JSON.stringify({
        packages: [{ name: "monolog/monolog", version: "3.5.0", license: ["MIT"] }],
      }),
      "app/composer.lock": JSON.stringify({ packages: [{ name: "not/installed", version: "1.0.0" }] }),
      // Go's and others' directories of this name say nothing of PHP.
      "other/vendor/modules.txt": "# example.org/a v1.0.0\n",
      "other/composer.lock": JSON.stringify({
        packages: [{ name: "psr/log", version: "v3.0.0", license: ["MIT", "Apache-2.0"] }],
      }),
    });
    assert.deepEqual(listOf(scan, "gem"), ["json@2.6.1", "rake@13.0.6"]);
    assert.deepEqual(packageOf(scan, "rake").licenses, ["MIT", "Ruby"]);
    assert.equal(packageOf(scan, "rake").supplier, "Hiroshi, Eric");
    assert.equal(packageOf(scan, "json").purl, "pkg:gem/json@2.6.1?platform=x86_64-linux");
    assert.deepEqual(listOf(scan, "composer"), ["monolog/monolog@3.5.0", "psr/log@v3.0.0"]);
    assert.equal(packageOf(scan, "monolog/monolog").purl, "pkg:composer/monolog/monolog@3.5.0");
    assert.deepEqual(packageOf(scan, "psr/log").licenses, ["MIT OR Apache-2.0"]);
  });
});
