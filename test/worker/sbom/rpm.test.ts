// RPM databases, made by rpm itself from packages that are built here, and broken ones. Debian's rpm writes SQLite only: the ndb form has the
// same headers, put together here, and so has that of Berkeley DB, by its own tool.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import initSqlJs from "sql.js";
import { needs } from "../../support/needs.ts";
import { temporaryDir, type TemporaryDir } from "../../support/store.ts";
import { listOf, packageOf, scanOf } from "./fixture.ts";

const SPECS = [
  { name: "one", epoch: "", license: "GPLv2+ and MIT" },
  { name: "two", epoch: "Epoch: 3\n", license: "Apache-2.0" },
];
const FEDORA = "ID=fedora\nVERSION_ID=40\n";

describe("RPM databases", function () {
  this.timeout(60_000);
  let dir: TemporaryDir;
  let sqlite: Buffer;
  let ndb: Buffer;
  let berkeley: Buffer;
  /** What `rpm -qa` says. */
  let said: readonly string[];
  before(async () => {
    dir = temporaryDir();
    const packages = SPECS.map(({ name, epoch, license }) => {
      const spec = dir.at(`${name}.spec`);
      const head = `Name: ${name}\nVersion: 1.0\nRelease: 2\n${epoch}License: ${license}\nVendor: Example Project\n`;
      writeFileSync(spec, `${head}Summary: x\nBuildArch: noarch\n%description\nx\n%files\n`);
      const args = ["-bb", "--quiet", "--define", `_topdir ${dir.path}`, spec];
      execFileSync(needs("rpmbuild"), args, { stdio: "pipe" });
      return dir.at("RPMS/noarch", `${name}-1.0-2.noarch.rpm`);
    });
    mkdirSync(dir.at("db"));
    const place = ["--define", "_db_backend sqlite", "--dbpath", dir.at("db")];
    execFileSync(needs("rpm"), [...place, "-i", "--justdb", "--nodeps", "--ignorearch", ...packages], {
      stdio: "pipe",
    });
    const format = "%{NAME}@%{VERSION}-%{RELEASE}\\n";
    said = execFileSync(needs("rpm"), [...place, "-qa", "--qf", format], { encoding: "utf8" })
      .trim()
      .split("\n");
    sqlite = readFileSync(dir.at("db/rpmdb.sqlite"));
    const { Database } = await initSqlJs();
    const bytes = Buffer.from(sqlite);
    bytes[18] = bytes[19] = 1; // without a write-ahead log
    const database = new Database(bytes);
    const rows = database.exec("SELECT blob FROM Packages")[0]?.values ?? [];
    const headers = rows.map(([blob]) => Buffer.from(blob as Uint8Array));
    ndb = ndbOf(headers);
    berkeley = berkeleyOf(headers, dir.at("Packages"));
    database.close();
  });
  after(() => dir[Symbol.dispose]());

  for (const [what, path, bytes] of [
    ["SQLite, of Fedora", "usr/lib/sysimage/rpm/rpmdb.sqlite", () => sqlite],
    ["SQLite, of RHEL", "var/lib/rpm/rpmdb.sqlite", () => sqlite],
    ["ndb, of SUSE", "usr/lib/sysimage/rpm/Packages.db", () => ndb],
    ["Berkeley DB, of RHEL 8 and earlier", "var/lib/rpm/Packages", () => berkeley],
  ] as const) {
    it(`are read: ${what}`, async () => {
      const scan = await scanOf({ [path]: bytes(), "etc/os-release": FEDORA });
      assert.deepEqual(listOf(scan, "rpm"), said.toSorted());
      assert.deepEqual(listOf(scan, "rpm"), ["one@1.0-2", "two@1.0-2"]);
      const two = packageOf(scan, "two");
      assert.equal(two.purl, "pkg:rpm/fedora/two@1.0-2?arch=noarch&distro=fedora-40&epoch=3");
      assert.deepEqual(
        [two.licenses, two.supplier, two.source],
        [["Apache-2.0"], "Example Project", "two-1.0-2.src.rpm"],
      );
      assert.deepEqual(packageOf(scan, "one").licenses, ["GPLv2+ and MIT"]);
      assert.deepEqual(scan.unread, []);
    });
  }

  it("that are cut off or damaged at any place are named, and nothing is thrown", async () => {
    for (const [file, whole] of [
      ["rpmdb.sqlite", sqlite],
      ["Packages.db", ndb],
      ["Packages", berkeley],
    ] as const) {
      for (let round = 1; round < 40; round++) {
        const length = round % 2 === 0 ? Math.floor((whole.length * round) / 40) : whole.length;
        const bytes = Buffer.from(whole.subarray(0, length));
        // The same damage in each run.
        if (round % 2 === 1)
          for (let at = round; at < bytes.length; at += 97 * round) bytes[at] = ~(bytes[at] as number) & 0xff;
        const scan = await scanOf({ [`var/lib/rpm/${file}`]: bytes });
        assert.ok(scan.unread.every(({ path }) => path === `/var/lib/rpm/${file}`));
        if (scan.packages.length === 0) assert.ok(scan.unread.length > 0, `${file}, round ${round}`);
      }
    }
  });

  it("whose table is a program, that are none, or with a log of changes are named", async () => {
    const { Database } = await initSqlJs();
    const database = new Database();
    database.run(
      "CREATE VIEW Packages AS WITH RECURSIVE n(hnum, blob) AS (SELECT 1, x'00' UNION ALL SELECT hnum + 1, blob FROM n) SELECT * FROM n",
    );
    const view = Buffer.from(database.export());
    database.close();
    const scan = await scanOf({
      "var/lib/rpm/rpmdb.sqlite": view,
      "var/lib/rpm/Packages": Buffer.alloc(4096, 1),
      "usr/lib/sysimage/rpm/rpmdb.sqlite-wal": Buffer.alloc(4152, 1),
      "usr/share/rpm/rpmdb.sqlite": "no database at all",
    });
    assert.deepEqual(scan.packages, []);
    assert.deepEqual(scan.unread, [
      {
        path: "/usr/lib/sysimage/rpm/rpmdb.sqlite-wal",
        reason: "it holds changes of an RPM database that are not read",
      },
      { path: "/usr/share/rpm/rpmdb.sqlite", reason: "it is not an SQLite database" },
      { path: "/var/lib/rpm/Packages", reason: "it is not an RPM database" },
      { path: "/var/lib/rpm/rpmdb.sqlite", reason: "it has no table of packages as rpm makes it" },
    ]);
  });
});

/** As rpm has it: the number of a header as its key, and under 0 the next number. Small headers are in the pages, others beside them. */
function berkeleyOf(headers: readonly Buffer[], path: string): Buffer {
  const line = (bytes: Buffer): string => ` ${bytes.toString("hex")}\n`;
  const number = (value: number): string => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    return line(bytes);
  };
  const records = headers.map((header, index) => number(index + 1) + line(header)).join("");
  const dump = `VERSION=3\nformat=bytevalue\ntype=hash\ndb_pagesize=4096\nHEADER=END\n${number(0)}${number(headers.length)}${records}DATA=END\n`;
  execFileSync(needs("db5.3_load"), [path], { input: dump });
  return readFileSync(path);
}

/** lib/backend/ndb/rpmpkg.c of rpm: one page of a header and slots, then blocks; the second slot was freed. */
function ndbOf(headers: readonly Buffer[]): Buffer {
  const page = Buffer.alloc(4096);
  page.write("RpmP", 0, "latin1");
  page.writeUInt32LE(1, 8); // generation
  page.writeUInt32LE(1, 12); // pages of slots
  for (let at = 32; at < page.length; at += 16) page.write("Slot", at, "latin1");
  const blobs: Buffer[] = [];
  let block = page.length / 16;
  headers.forEach((header, index) => {
    const slot = 32 + 16 * (index === 0 ? 0 : index + 1);
    const blob = Buffer.alloc(Math.ceil((16 + header.length + 12) / 16) * 16);
    blob.write("BlbS", 0, "latin1");
    blob.writeUInt32LE(index + 1, 4);
    blob.writeUInt32LE(1, 8);
    blob.writeUInt32LE(header.length, 12);
    header.copy(blob, 16);
    page.writeUInt32LE(index + 1, slot + 4);
    page.writeUInt32LE(block, slot + 8);
    page.writeUInt32LE(blob.length / 16, slot + 12);
    blobs.push(blob);
    block += blob.length / 16;
  });
  return Buffer.concat([page, ...blobs]);
}
