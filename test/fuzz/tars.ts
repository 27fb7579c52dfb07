// Tars whose headers are right as far as their checksums go and have anything in their fields: wounds of bytes alone hardly come
// past the checksum. What the reader tells must not depend on where its input is cut, and must be within the bounds that its
// users rely on.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { TAR_SPECIAL_MAX_BYTES, type TarEntry, tarReader } from "../../cache/layers/tar.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { makeTar, type Member } from "../cache/layers/support.ts";

const BLOCK = 512;

/** A number field: mostly what programs write, in octal and in base 256, and at times what is none. */
const numberField = fc.oneof(
  { weight: 80, arbitrary: fc.nat({ max: 5000 }).map((value) => value.toString(8).padStart(7, "0")) },
  { weight: 10, arbitrary: fc.nat({ max: 5000 }).map(base256) },
  { weight: 2, arbitrary: fc.constantFrom("", " 12 ", "77777777777", "37777777777") },
  { weight: 1, arbitrary: fc.constantFrom("-1", "9", "1 1", "12x") },
  {
    weight: 1,
    arbitrary: fc.uint8Array({ minLength: 12, maxLength: 12 }).map((bytes) => Buffer.from(bytes)),
  },
);
function base256(value: number): Buffer {
  const bytes = Buffer.alloc(12);
  bytes[0] = 0x80;
  bytes.writeUInt32BE(value, 8);
  return bytes;
}
const nameField = fc.oneof(
  fc.constantFrom("f", "d/", "d/f", "/etc/passwd", "../x", "a/../../b", ".wh.f", "d/.wh..wh..opq", "", ".", "/", "l"),
  fc.string({ maxLength: 12 }),
  fc.constant("n".repeat(120)),
); // biome-ignore format: a list
const NUMBERS = [
  "size",
  "uid",
  "gid",
  "mtime",
  "GNU.sparse.realsize",
  "GNU.sparse.size",
  "GNU.sparse.numblocks",
];
const TEXTS = [
  "path",
  "linkpath",
  "GNU.sparse.name",
  "GNU.sparse.map",
  "SCHILY.xattr.user.a",
  "SCHILY.xattr.",
];
const ODD_KEYS = [
  "GNU.sparse.major",
  "GNU.sparse.minor",
  "GNU.sparse.offset",
  "GNU.sparse.numbytes",
  "__proto__",
];
type Pair = readonly [key: string, value: string];
const record: fc.Arbitrary<Pair> = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(fc.constantFrom(...NUMBERS.slice(1)), fc.nat(5000).map(String)) },
  { weight: 6, arbitrary: fc.tuple(fc.constantFrom(...TEXTS), nameField) },
  {
    weight: 1,
    arbitrary: fc.tuple(
      fc.constantFrom(...NUMBERS, ...TEXTS, ...ODD_KEYS),
      fc.constantFrom("0", "1", "0,1", "0,1,512,1", "1,0,0", "-1", "1.5", "1e3", "", "x\0y", "9".repeat(17)),
    ),
  },
);

/** "length key=value\n", at times with a length that is wrong. */
const paxText = (pairs: readonly Pair[], by = 0): Buffer =>
  Buffer.from(
    pairs
      .map(([key, value]) => {
        const rest = ` ${key}=${value}\n`;
        const bytes = Buffer.byteLength(rest);
        let length = bytes + String(bytes).length;
        length = bytes + String(length).length;
        return `${length + by}${rest}`;
      })
      .join(""),
  );

/** A header block before it has its checksum, and what follows it, filled up to whole blocks. */
interface RawMember {
  readonly header: Buffer;
  readonly body: Buffer;
}

interface Fields {
  readonly name: string;
  readonly link: string;
  readonly magic: string;
  /** mode, uid, gid, mtime, two of a device */
  readonly numbers: readonly (string | Buffer)[];
}
const fields: fc.Arbitrary<Fields> = fc.record({
  name: nameField,
  link: nameField,
  magic: fc.constantFrom("ustar\x0000", "ustar\x0000", "ustar  \0", ""),
  numbers: fc.array(numberField, { minLength: 6, maxLength: 6 }),
});
const NUMBER_PLACES = [[100, 8], [108, 8], [116, 8], [136, 12], [329, 8], [337, 8]] as const; // biome-ignore format: pairs

function rawMember(
  flag: string,
  { name, link, magic, numbers }: Fields,
  size: number,
  body: Buffer,
): RawMember {
  const header = Buffer.alloc(BLOCK);
  const put = (value: string | Buffer, at: number, length: number): void => {
    Buffer.from(value as string).copy(header, at, 0, length);
  };
  put(name, 0, 100);
  put(link, 157, 100);
  for (const [index, [at, length]] of NUMBER_PLACES.entries()) {
    const value = numbers[index] as string | Buffer;
    put(typeof value === "string" ? value : value.subarray(12 - length), at, length);
    if (typeof value !== "string" && length < 12) header[at] = value[0] as number;
  }
  put(octal(size), 124, 12);
  header[156] = flag.charCodeAt(0);
  put(magic, 257, 8);
  return { header, body };
}
const octal = (value: number): string => `${value.toString(8).padStart(11, "0")}\0`;

function seal(raw: Buffer): void {
  raw.fill(0x20, 148, 156);
  const sum = raw.reduce((total, byte) => total + byte, 0);
  raw.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
}

const content = fc.oneof(
  fc.string({ maxLength: 30 }).map((text) => Buffer.from(text)),
  fc.nat({ max: 1500 }).map((length) => Buffer.alloc(length, 0x61)),
);
const plain = fc
  .tuple(fc.constantFrom(..."0 0 0 0 L K 1 2 3 4 5 6 7 \0 g Z".split(" ")), fields, content)
  .map(([flag, of, body]) => [rawMember(flag, of, body.length, body)]);
const extended = fc
  .tuple(fields, fc.array(record, { maxLength: 5 }), fc.constantFrom(0, 0, 0, 0, 0, 0, 0, 1, -1, 1000))
  .map(([of, records, by]) => {
    const body = paxText(records, by);
    return [rawMember("x", of, body.length, body)];
  });

/** Pieces of a sparse file, in order: bytes of hole and of data. */
const pieces = fc.array(fc.tuple(fc.nat(600), fc.nat(300)), { maxLength: 60 });
/** GNU's old form: four pieces in the header, 21 in each block that follows. */
const oldSparse = fc.tuple(fields, pieces).map(([of, holes]) => {
  const { map, data, size } = laidOut(holes);
  const member = rawMember("S", of, data.length, data);
  const write = (into: Buffer, at: number, part: readonly (readonly number[])[]): void => {
    for (const [index, pair] of part.entries())
      into.write(pair.map(octal).join(""), at + index * 24, "latin1");
  };
  write(member.header, 386, map.slice(0, 4));
  member.header.write(octal(size), 483, "latin1");
  member.header[482] = map.length > 4 ? 1 : 0;
  const more: Buffer[] = [];
  for (let from = 4; from < map.length; from += 21) {
    const block = Buffer.alloc(BLOCK);
    write(block, 0, map.slice(from, from + 21));
    block[504] = from + 21 < map.length ? 1 : 0;
    more.push(block);
  }
  return [{ header: member.header, body: Buffer.concat([...more, data]) }];
});
/** GNU's form 1.0: records before, the map before the data. */
const newSparse = fc.tuple(fields, pieces).map(([of, holes]) => {
  const { map, data, size } = laidOut(holes);
  const lines = Buffer.from(`${[map.length, ...map.flat()].join("\n")}\n`);
  const body = Buffer.concat([lines, filling(lines.length), data]);
  const records = paxText([
    ["GNU.sparse.major", "1"],
    ["GNU.sparse.minor", "0"],
    ["GNU.sparse.name", "sparse"],
    ["GNU.sparse.realsize", String(size)],
  ]);
  return [rawMember("x", of, records.length, records), rawMember("0", of, body.length, body)];
});

function laidOut(holes: readonly (readonly [number, number])[]) {
  let at = 0;
  const map = holes.map(([hole, length]) => {
    const offset = at + hole;
    at = offset + length;
    return [offset, length] as const;
  });
  const bytes = holes.reduce((sum, [, length]) => sum + length, 0);
  return { map, data: Buffer.alloc(bytes, "data"), size: at };
}
const filling = (length: number): Buffer => Buffer.alloc((BLOCK - (length % BLOCK)) % BLOCK);

/** A byte of some header or body that is changed before the checksum is made. */
const dent = fc.record({
  member: fc.nat(20),
  isBody: fc.constantFrom(false, false, true),
  at: fc.oneof(fc.integer({ min: 100, max: 160 }), fc.integer({ min: 257, max: 265 }), fc.nat(511)),
  byte: fc.oneof(fc.constantFrom(0, 0x20, 0x2d, 0x30, 0x31, 0x37, 0x0a, 0x80, 0xff), fc.nat(255)),
});

/** Archives of such members, some dented, some without an end. */
export const anyTar: fc.Arbitrary<Buffer> = fc
  .record({
    groups: fc.array(fc.oneof(plain, extended, oldSparse, newSparse), { minLength: 1, maxLength: 4 }),
    dents: fc.oneof(fc.constant([]), fc.array(dent, { minLength: 1, maxLength: 3 })),
    endBytes: fc.constantFrom(0, 512, 1024, 1024, 1024),
  })
  .map(({ groups, dents, endBytes }) => {
    const members = groups
      .flat()
      .map(({ header, body }) => ({ header: Buffer.from(header), body: Buffer.from(body) }));
    for (const { member, isBody, at, byte } of dents) {
      const { header, body } = members[member % members.length] as RawMember;
      const hit = isBody ? body : header;
      if (at < hit.length) hit[at] = byte;
    }
    const parts = members.flatMap(({ header, body }) => {
      seal(header);
      return [header, body, filling(body.length)];
    });
    return Buffer.concat([...parts, Buffer.alloc(endBytes)]);
  });

interface Reading {
  readonly told: readonly string[];
  readonly error: string | null;
}

function read(archive: Buffer, chunkBytes: number): Reading {
  const told: string[] = [];
  let current: TarEntry | null = null;
  let hash = createHash("sha256");
  let at = 0;
  const reader = tarReader({
    entry(entry) {
      assert.equal(current, null, "a member begins inside another");
      checkEntry(entry);
      current = entry;
      hash = createHash("sha256");
      at = 0;
      const { name, linkName, xattrs, ...rest } = entry;
      const shown = { ...rest, mtimeNs: String(rest.mtimeNs), xattrs: [...xattrs] };
      told.push(`${name.toString("latin1")} -> ${linkName.toString("latin1")} ${JSON.stringify(shown)}`);
    },
    data(chunk, offset) {
      assert.ok(current !== null && current.type === "file", "data of no file");
      assert.ok(offset >= at && offset + chunk.length <= current.size, `${offset} of ${current.size}`);
      hash.update(`${offset === at ? "" : offset}`);
      hash.update(chunk);
      at = offset + chunk.length;
    },
    end() {
      assert.ok(current !== null, "an end of no member");
      current = null;
      told.push(hash.digest("hex"));
    },
  });
  try {
    for (let from = 0; from < archive.length; from += chunkBytes)
      reader.push(archive.subarray(from, from + chunkBytes));
    reader.finish();
    assert.equal(current, null, "a member without an end");
    return { told, error: null };
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    return { told, error: error.message };
  }
}

/** What those who make files of it need not ask again. */
function checkEntry({ name, linkName, mode, uid, gid, size }: TarEntry): void {
  assert.ok(name.length <= 4096 && linkName.length <= 4096 && !name.includes(0) && !linkName.includes(0));
  assert.ok(Number.isInteger(mode) && mode >= 0 && mode <= 0o7777, `mode ${mode}`);
  for (const id of [uid, gid]) assert.ok(Number.isInteger(id) && id >= 0 && id < 0xffffffff, `id ${id}`);
  assert.ok(Number.isSafeInteger(size) && size >= 0, `size ${size}`);
}

/** Members as the writer takes them. */
const member: fc.Arbitrary<Member> = fc
  .record({
    type: fc.constantFrom("file", "dir", "symlink", "link", "char", "fifo"),
    name: fc
      .uint8Array({ minLength: 1, maxLength: 220 })
      .map((bytes) => Buffer.from(bytes.map((byte) => (byte === 0 || byte === 0x2f ? 0x61 : byte))))
      .chain((text) => fc.constantFrom(text, Buffer.concat([Buffer.from("dir/"), text]))),
    link: fc
      .string({ unit: "grapheme", minLength: 1, maxLength: 130 })
      .filter((text) => !text.includes("\0")),
    content: fc.uint8Array({ maxLength: 1300 }),
    mode: fc.nat(0o7777),
    uid: fc.nat(0xfffffffe),
    gid: fc.nat(0xfffffffe),
    mtimeSeconds: fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
    devMajor: fc.nat(4095),
    devMinor: fc.nat(0o7777777),
    xattrs: fc.option(
      fc.dictionary(fc.stringMatching(/^user\.[a-z.]{1,20}$/), fc.uint8Array({ maxLength: 300 }), {
        maxKeys: 3,
      }),
    ),
  })
  .map(
    ({ type, name, link, content, xattrs, devMajor, devMinor, ...rest }): Member => ({
      ...rest,
      type: type as NonNullable<Member["type"]>,
      name: type === "dir" ? Buffer.concat([name, Buffer.from("/")]) : name,
      ...(type === "symlink" || type === "link" ? { link } : {}),
      ...(type === "file" ? { content: Buffer.from(content) } : {}),
      ...(type === "char" ? { devMajor, devMinor } : {}),
      xattrs:
        xattrs === null
          ? null
          : new Map(Object.entries(xattrs).map(([key, value]) => [key, Buffer.from(value)])),
    }),
  );

/** Properties of the tar reader, each ready for fc.assert. */
export const TAR_PROPERTIES: Readonly<Record<string, fc.IAsyncProperty<unknown>>> = {
  "a tar is the same however its bytes come, and within its bounds": fc.asyncProperty(
    anyTar,
    fc.integer({ min: 1, max: 1100 }),
    async (archive, chunkBytes) => {
      assert.deepEqual(read(archive, chunkBytes), read(archive, archive.length));
    },
  ),
  "what the tar writer writes is read as what it was": fc.asyncProperty(
    fc.array(member, { minLength: 1, maxLength: 4 }),
    async (members) => {
      const found: TarEntry[] = [];
      const contents: Buffer[] = [];
      const reader = tarReader({
        entry: (entry) => {
          found.push(entry);
          contents.push(Buffer.alloc(0));
        },
        data: (chunk) => contents.push(Buffer.concat([contents.pop() as Buffer, chunk])),
        end: () => {},
      });
      reader.push(makeTar(members));
      reader.finish();
      assert.deepEqual(
        found.map(({ linkName, mtimeNs, xattrs, ...rest }, index) => ({
          ...rest,
          link: linkName.toString(),
          mtimeSeconds: Number(mtimeNs / 1_000_000_000n),
          xattrs: [...xattrs].sort(([a], [b]) => (a < b ? -1 : 1)),
          content: contents[index],
        })),
        members.map(({ link, xattrs, content, ...rest }) => ({
          devMajor: 0,
          devMinor: 0,
          ...rest,
          size: content?.length ?? 0,
          link: link ?? "",
          xattrs: [...(xattrs ?? [])].sort(([a], [b]) => (a < b ? -1 : 1)),
          content: content ?? Buffer.alloc(0),
        })),
      );
    },
  ),
};

/** Bytes that are given to a reader which is in the middle of something that may have no end. */
const ENDLESS_BYTES = 64 << 20;
const KEPT_MAX_BYTES = 16 << 20;

/** Beginnings of members, each with what is to be repeated behind it. */
const ENDLESS: Readonly<Record<string, () => readonly [head: Buffer, unit: string]>> = {
  "a map of a sparse file whose lines have no end": () => [sparseHead("65536\n"), "1"],
  "a map of a sparse file with short lines": () => [sparseHead("65536\n"), "1\n"],
  "a map of a sparse file of nothing": () => [sparseHead("65536\n"), "\0"],
  "a sparse file of the old form": () => [headOf("S", 2 ** 32, Buffer.alloc(0)), "1"],
  "records of the largest size": () => [headOf("x", TAR_SPECIAL_MAX_BYTES, Buffer.alloc(0)), "9 a=bcde\n"],
  "a name of the largest size": () => [headOf("L", TAR_SPECIAL_MAX_BYTES, Buffer.alloc(0)), "n"],
  "a file": () => [headOf("0", 2 ** 33 - 1, Buffer.alloc(0)), "n"],
};
export const ENDLESS_NAMES: readonly string[] = Object.keys(ENDLESS);

/** However long it goes on, the reader keeps little of it, or refuses it. */
export function keepsLittle(name: string): void {
  const [head, unit] = (ENDLESS[name] as (typeof ENDLESS)[string])();
  const chunk = Buffer.from(unit.repeat((1 << 20) / unit.length));
  const reader = tarReader({ entry: () => {}, data: () => {}, end: () => {} });
  reader.push(head);
  const before = usedBytes();
  try {
    for (let fed = 0; fed < ENDLESS_BYTES; fed += chunk.length) reader.push(chunk);
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
  }
  const kept = usedBytes() - before;
  assert.ok(kept < KEPT_MAX_BYTES, `${Math.round(kept / 2 ** 20)} MB are kept`);
  assert.equal(typeof reader.ended, "boolean"); // it lives until here
}

function sparseHead(firstLine: string): Buffer {
  const records = paxText([
    ["size", String(2 ** 40)],
    ["GNU.sparse.major", "1"],
    ["GNU.sparse.minor", "0"],
    ["GNU.sparse.realsize", String(2 ** 40)],
  ]);
  return Buffer.concat([headOf("x", records.length, records), headOf("0", 0, Buffer.from(firstLine))]);
}

/** A header, and a body as it is. */
function headOf(flag: string, size: number, body: Buffer): Buffer {
  const of = { name: "f", link: "", magic: "ustar\x0000", numbers: Array.from({ length: 6 }, () => "0") };
  const { header } = rawMember(flag, of, size, body);
  if (flag === "S") header[482] = 1; // the map goes on in the next block
  seal(header);
  return Buffer.concat([header, body, ...(flag === "x" ? [filling(body.length)] : [])]);
}

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

function usedBytes(): number {
  collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}
