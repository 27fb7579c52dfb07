// Classes of causes, from bytes made for each.

import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { compareBytes, contentOfBytes } from "../../../../bin/engine/compare/bytes.ts";
import { classifyFile } from "../../../../bin/engine/compare/classify.ts";
import type { Cause, KnownValue } from "../../../../bin/engine/compare/contract.ts";

const signal = new AbortController().signal;

async function causesOf(
  path: string,
  a: Buffer | string,
  b: Buffer | string,
  { command = "", known = [] }: { readonly command?: string; readonly known?: readonly KnownValue[] } = {},
): Promise<readonly Cause[]> {
  const [one, other] = [contentOfBytes(Buffer.from(a)), contentOfBytes(Buffer.from(b))];
  const delta = await compareBytes(one, other, { signal });
  assert.ok(delta !== null, "they are equal");
  return await classifyFile({ path, a: one, b: other, delta }, { signal, known, command });
}

async function classesOf(...args: Parameters<typeof causesOf>): Promise<string[]> {
  return (await causesOf(...args)).map((cause) => cause.class);
}

const le32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

/** A pyc of Python 3.11: magic, flags, time, size, code. */
const pyc = (seconds: number, code = "code"): Buffer =>
  Buffer.concat([Buffer.from("a70d0d0a", "hex"), le32(0), le32(seconds), le32(10), Buffer.from(code)]);

const gzipAt = (seconds: number, data: string | Buffer): Buffer => {
  const bytes = gzipSync(data);
  bytes.writeUInt32LE(seconds, 4);
  return bytes;
};

const arMember = (name: string, seconds: number, data: string, uid = 0): string =>
  `${`${name}/`.padEnd(16)}${String(seconds).padEnd(12)}${String(uid).padEnd(6)}${"0".padEnd(6)}${"100644".padEnd(8)}${String(data.length).padEnd(10)}\`\n${data}${data.length % 2 === 1 ? "\n" : ""}`;
const ar = (...members: string[]): string => `!<arch>\n${members.join("")}`;

function tarMember(name: string, data: string, seconds: number, mode = "0000644"): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write(`${mode}\0`, 100);
  header.write("0000000\0", 108);
  header.write("0000000\0", 116);
  header.write(`${data.length.toString(8).padStart(11, "0")}\0`, 124);
  header.write(`${seconds.toString(8).padStart(11, "0")}\0`, 136);
  header.write("        ", 148);
  header.write("0", 156);
  header.write("ustar\0" + "00", 257);
  header.write(
    `${header
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, "0")}\0 `,
    148,
  );
  const body = Buffer.alloc(Math.ceil(data.length / 512) * 512);
  body.write(data);
  return Buffer.concat([header, body]);
}
const tar = (...members: Buffer[]): Buffer => Buffer.concat([...members, Buffer.alloc(1024)]);

function zip(name: string, time: number, data: string): Buffer {
  const local = Buffer.alloc(30);
  local.writeUInt32LE(0x0403_4b50, 0);
  local.writeUInt32LE(time, 10);
  local.writeUInt32LE(data.length, 18);
  local.writeUInt32LE(data.length, 22);
  local.writeUInt16LE(name.length, 26);
  const central = Buffer.alloc(46);
  central.writeUInt32LE(0x0201_4b50, 0);
  central.writeUInt32LE(time, 12);
  central.writeUInt32LE(data.length, 20);
  central.writeUInt16LE(name.length, 28);
  const body = Buffer.concat([local, Buffer.from(name + data)]);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x0605_4b50, 0);
  end.writeUInt32LE(body.length, 16);
  return Buffer.concat([body, central, Buffer.from(name), end]);
}

/** A 64-bit ELF with one PT_NOTE segment that holds a build id, and some text behind it. */
function elf(id: string, text: string): Buffer {
  const header = Buffer.alloc(64);
  header.write("\x7fELF\x02\x01\x01", 0, "latin1");
  header.writeBigUInt64LE(64n, 32); // e_phoff
  header.writeUInt16LE(56, 54);
  header.writeUInt16LE(1, 56);
  const program = Buffer.alloc(56);
  program.writeUInt32LE(4, 0);
  program.writeBigUInt64LE(120n, 8);
  program.writeBigUInt64LE(36n, 32);
  const note = Buffer.concat([le32(4), le32(20), le32(3), Buffer.from("GNU\0"), Buffer.from(id, "hex")]);
  return Buffer.concat([header, program, note, Buffer.alloc(16), Buffer.from(text), Buffer.alloc(16)]);
}
const ID_A = "11".repeat(20);
const ID_B = "a2".repeat(20);

describe("causes of different files", () => {
  it("are told for Python bytecode: the time in the header, or the code", async () => {
    const [cause] = await causesOf(
      "usr/lib/x/__pycache__/a.cpython-311.pyc",
      pyc(1_700_000_000),
      pyc(1_700_000_777),
    );
    assert.equal(cause?.class, "python-bytecode");
    assert.match(cause?.detail ?? "", /time of the source/);
    assert.deepEqual(await classesOf("a.pyc", pyc(1, "abcd"), pyc(1, "abdc")), ["python-bytecode"]);
  });

  it("are told for gzip: the header alone, the level, or what is inside", async () => {
    assert.deepEqual(await classesOf("f.gz", gzipAt(1, "same"), gzipAt(2, "same")), ["gzip-header"]);
    const text = "words of many kinds, words ".repeat(400);
    assert.deepEqual(await classesOf("f.gz", gzipSync(text, { level: 1 }), gzipSync(text, { level: 9 })), [
      "gzip-header",
    ]);
    assert.deepEqual(await classesOf("f.gz", gzipSync("built 2026-01-02"), gzipSync("built 2026-02-03")), [
      "date-text",
    ]);
    assert.deepEqual(await classesOf("f.gz", gzipAt(1, "built 2026-01-02"), gzipAt(9, "built 2026-02-03")), [
      "gzip-header",
      "date-text",
    ]);
  });

  it("are told for static archives: times, order, and what members hold", async () => {
    const a = arMember("a.o", 1_700_000_000, "aa");
    assert.deepEqual(await classesOf("libx.a", ar(a), ar(arMember("a.o", 1_700_000_009, "aa"))), [
      "ar-times",
    ]);
    assert.deepEqual(await classesOf("libx.a", ar(a), ar(arMember("a.o", 1_700_000_000, "aa", 1000))), [
      "ar-times",
    ]);
    const b = arMember("b.o", 0, "bb");
    assert.deepEqual(await classesOf("libx.a", ar(a, b), ar(b, a)), ["member-order"]);
    const dated = (day: string): string => ar(arMember("c.o", 0, `made 2026-01-${day}`));
    assert.deepEqual(await classesOf("libx.a", dated("01"), dated("02")), ["date-text"]);
  });

  it("are told for tars and zips: times, order, modes", async () => {
    const [x, y] = [tarMember("x", "1", 0), tarMember("y", "2", 0)];
    assert.deepEqual(await classesOf("f.tar", tar(x, y), tar(y, x)), ["member-order"]);
    assert.deepEqual(await classesOf("f.tar", tar(x), tar(tarMember("x", "1", 77))), ["file-times"]);
    assert.deepEqual(await classesOf("f.tar", tar(x), tar(tarMember("x", "1", 0, "0000600"))), ["mode"]);
    assert.deepEqual(await classesOf("f.tgz", gzipSync(tar(x, y)), gzipSync(tar(y, x))), ["member-order"]);
    assert.deepEqual(await classesOf("a.jar", zip("A.class", 1, "x"), zip("A.class", 2, "x")), [
      "file-times",
    ]);
  });

  it("are told for programs: the build id, or the path and date that it follows from", async () => {
    assert.deepEqual(await classesOf("bin/x", elf(ID_A, "text"), elf(ID_B, "text")), ["elf-build-id"]);
    const path = (name: string): string => `\0/build/${name}/src/main.c\0`;
    assert.deepEqual(await classesOf("bin/x", elf(ID_A, path("aaaa")), elf(ID_B, path("bbbb"))), [
      "build-path",
    ]);
    const date = (day: string): string => `\0Compiled Mar ${day} 2026 10:00:00\0`;
    assert.deepEqual(await classesOf("bin/x", elf(ID_A, date("14")), elf(ID_B, date("15"))), ["date-text"]);
  });

  it("are told by the places of package managers, logs, ldconfig and ids of machines", async () => {
    const status = (state: string, version = "1.0"): string =>
      `Package: x\nStatus: ${state}\nVersion: ${version}\n`;
    assert.deepEqual(
      await classesOf("var/lib/dpkg/status", status("install ok installed"), status("hold ok installed")),
      ["package-state"],
    );
    const [moved] = await causesOf("var/lib/dpkg/status", status("ok"), status("ok", "1.1"));
    assert.equal(moved?.class, "network-content");
    assert.match(moved?.detail ?? "", /1\.0.*1\.1/);
    assert.deepEqual(await classesOf("lib/apk/db/installed", "P:x\nV:1-r0\n", "P:x\nV:1-r1\n"), [
      "network-content",
    ]);
    assert.deepEqual(await classesOf("var/lib/apt/lists/x_InRelease", "1", "2"), ["package-state"]);
    assert.deepEqual(await classesOf("var/lib/rpm/rpmdb.sqlite", "1", "2"), ["package-state"]);
    assert.deepEqual(await classesOf("var/cache/ldconfig/aux-cache", "1", "2"), ["ldconfig-cache"]);
    assert.deepEqual(await classesOf("var/log/dpkg.log", "1", "2"), ["log-file"]);
    assert.deepEqual(await classesOf("etc/machine-id", "1", "2"), ["random"]);
    assert.deepEqual(await classesOf("etc/hostname", "1", "2"), ["host-name"]);
  });

  const texts: readonly (readonly [what: string, a: string, b: string, expected: string])[] = [
    ["date(1)", "Tue Dec  1 11:57:06 UTC 2026\n", "Wed Dec  2 11:57:09 UTC 2026\n", "date-text"],
    ["ISO 8601", "at 2026-12-01T11:57:06Z.", "at 2026-12-02T01:00:00Z.", "date-text"],
    ["ISO 8601 with zone", "2026-12-01 11:57:06 +0000", "2026-12-01 12:57:06 +0100", "date-text"],
    [
      "RFC 2822",
      "Date: Tue, 01 Dec 2026 11:57:06 +0000",
      "Date: Tue, 01 Dec 2026 11:58:06 +0000",
      "date-text",
    ],
    ["__DATE__", "built Dec  1 2026", "built Dec 12 2026", "date-text"],
    ["seconds since 1970", "stamp=1796126226", "stamp=1796126299", "date-text"],
    ["milliseconds", '{"t":1796126226123}', '{"t":1796126299456}', "date-text"],
    ["a time of day", "started 11:57:06", "started 11:59:59", "date-text"],
    ["a compact date", "build-20261201115706", "build-20261202115706", "date-text"],
    ["durations", "done in 0.53s", "done in 1.2s", "date-text"],
    [
      "a uuid",
      "id: e1c0d84e-4532-453e-a2cf-2c645030f15e",
      "id: 16770256-2915-4ed6-afef-64f75a035817",
      "random",
    ],
    ["hexadecimal", "key 9aE0adb69b96ac12a2506292", "key da1943b6308453fc9805f3be", "random"],
    ["mktemp", "in /tmp/tmp.aXb3Kd/x.c", "in /tmp/tmp.9KdLwQ/x.c", "build-path"],
    ["a path", "DW_AT_comp_dir /home/ann/src/app", "DW_AT_comp_dir /home/bob/work/app", "build-path"],
    ["the id of a container", "HOSTNAME=0123456789ab", "HOSTNAME=fedcba987654", "host-name"],
    ["a name", "hostname: alpha", "hostname: beta", "host-name"],
    ["a user", "built by user alice", "built by user bob", "user-name"],
    ["a locale", "LANG=C", "LANG=de_DE.UTF-8", "locale"],
    ["processors", "jobs: 2", "jobs: 16", "unordered-output"],
    ["names of files in another order", "a.c\nb.c\nc.c\n", "c.c\na.c\nb.c\n", "member-order"],
    ["lines in another order", "compiled x\nlinked y\n", "linked y\ncompiled x\n", "unordered-output"],
    ["keys in another order", '{"b": 1, "a": 2}', '{"a": 2, "b": 1}', "unordered-output"],
    ["another collation", "B\nC\na\nd\n", "a\nB\nC\nd\n", "locale"],
  ];
  for (const [what, a, b, expected] of texts)
    it(`are told for text: ${what}`, async () => {
      assert.equal((await classesOf("f", a, b))[0], expected);
    });

  it("are told for values that are known to differ, before anything else", async () => {
    const known: readonly KnownValue[] = [
      { class: "host-name", what: "host name", a: "alpha", b: "a-very-other" },
      { class: "locale", what: "TZ", a: "UTC", b: "Asia/Tokyo" },
    ];
    assert.deepEqual(await classesOf("f", "on alpha", "on a-very-other", { known }), ["host-name"]);
    assert.deepEqual(await classesOf("f", "alpha in UTC", "a-very-other in Asia/Tokyo", { known }), [
      "host-name",
      "locale",
    ]);
  });

  it("are told for bytes without structure, numbers that are times, and what the step runs", async () => {
    const noise = (seed: number): Buffer =>
      Buffer.from(Array.from({ length: 64 }, (_, at) => (at * 197 + seed * 91 + at * at * seed) % 256));
    assert.deepEqual(await classesOf("r", noise(3), noise(7)), ["random"]);
    const stamped = (seconds: number): Buffer =>
      Buffer.concat([Buffer.from("\0\x01HEAD\0\0"), le32(seconds), Buffer.alloc(64)]);
    assert.deepEqual(await classesOf("db", stamped(1_796_126_226), stamped(1_796_126_299)), ["date-text"]);
    assert.deepEqual(await classesOf("x", "one", "two"), ["unknown"]);
    assert.deepEqual(await classesOf("x", "one", "two", { command: "RUN curl -o x https://example.org/x" }), [
      "network-content",
    ]);
    assert.deepEqual(await classesOf("x", "x y z", "z x y", { command: "RUN ls -U > x" }), ["member-order"]);
  });

  it("read what is hostile without end or fault", async () => {
    const cut = elf(ID_A, "x").subarray(0, 70);
    const other = Buffer.from(cut);
    other[69] = 9;
    await causesOf("bin/x", cut, other);
    const wide = elf(ID_A, "x");
    wide.writeBigUInt64LE(0xffff_ffff_ffff_fff0n, 32);
    await causesOf("bin/x", wide, elf(ID_B, "x"));
    await causesOf(
      "x.a",
      ar(arMember("a.o", 1, "aa")).replace("2         `", "9999999999`"),
      ar(arMember("a.o", 2, "aa")),
    );
    await causesOf("x.zip", zip("a", 1, "x").subarray(0, 60), zip("a", 2, "x").subarray(0, 60));
    await causesOf("x", `${"a".repeat(3_000_000)}1`, `${"a".repeat(3_000_000)}2`);
    const bomb = gzipSync(Buffer.alloc(40 << 20));
    const changed = Buffer.from(bomb);
    changed[20] = (changed[20] as number) ^ 1;
    await causesOf("x.gz", bomb, changed);
  }).timeout(20_000);
});
