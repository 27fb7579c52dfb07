// Formats whose headers hold times, names and order: where the fields lie, so that a difference in them is told from one in what they
// hold. All of it is untrusted: offsets are checked, counts bounded, and what makes no sense is "no such file".

import type { Range } from "./bytes.ts";

/** A stretch of a file and what it is. */
export interface Field {
  readonly start: number;
  readonly end: number;
  readonly what: string;
}

/** A member of an archive in memory. */
export interface Part {
  readonly name: string;
  readonly fields: readonly Field[];
  /** Of its bytes. */
  readonly start: number;
  readonly end: number;
}

/** Members of an archive that are read. */
const PARTS_MAX = 100_000;

/** Header of a gzip file, RFC 1952 2.3; null: it is none. `end`: where compressed data begin. */
export function gzipHeader(
  bytes: Buffer,
): { readonly fields: readonly Field[]; readonly end: number } | null {
  if (bytes.length < 18 || bytes.readUInt16BE(0) !== 0x1f8b) return null;
  const flags = bytes[3] as number;
  const fields: Field[] = [
    { start: 4, end: 8, what: "time" },
    { start: 8, end: 9, what: "compression level" },
    { start: 9, end: 10, what: "operating system" },
  ];
  let at = 10;
  if ((flags & 4) !== 0) at += 2 + (at + 2 <= bytes.length ? bytes.readUInt16LE(at) : 0);
  for (const [bit, what] of [
    [8, "name"],
    [16, "comment"],
  ] as const) {
    if ((flags & bit) === 0) continue;
    const end = bytes.indexOf(0, at);
    if (end < 0) return null;
    fields.push({ start: at, end: end + 1, what });
    at = end + 1;
  }
  if ((flags & 2) !== 0) at += 2;
  return at <= bytes.length ? { fields, end: at } : null;
}

/** Header of Python bytecode, PEP 552: magic number ending in CR LF, flags, and a time and size or a hash; null: it is none. */
export function pycHeader(bytes: Buffer): readonly Field[] | null {
  if (bytes.length < 16 || bytes[2] !== 0x0d || bytes[3] !== 0x0a) return null;
  const flags = bytes.readUInt32LE(4);
  if (flags > 3) {
    // Before Python 3.7: time and size follow the magic number.
    return [
      { start: 4, end: 8, what: "time of the source" },
      { start: 8, end: 12, what: "size of the source" },
    ];
  }
  if ((flags & 1) !== 0) return [{ start: 8, end: 16, what: "hash of the source" }];
  return [
    { start: 8, end: 12, what: "time of the source" },
    { start: 12, end: 16, what: "size of the source" },
  ];
}

/** Members of a static archive, ar(5); null: it is none. */
export function arParts(bytes: Buffer): readonly Part[] | null {
  if (bytes.toString("latin1", 0, 8) !== "!<arch>\n") return null;
  const parts: Part[] = [];
  for (let at = 8; at + 60 <= bytes.length && parts.length < PARTS_MAX; ) {
    if (bytes.toString("latin1", at + 58, at + 60) !== "`\n") return null;
    const size = Number.parseInt(bytes.toString("latin1", at + 48, at + 58), 10);
    if (!(size >= 0)) return null;
    const end = Math.min(bytes.length, at + 60 + size);
    parts.push({
      name: bytes.toString("latin1", at, at + 16).trimEnd(),
      fields: [
        { start: at + 16, end: at + 28, what: "time" },
        { start: at + 28, end: at + 40, what: "owner" },
        { start: at + 40, end: at + 48, what: "mode" },
      ],
      start: at + 60,
      end,
    });
    at = end + (size % 2);
  }
  return parts;
}

/** Members of a ustar or GNU tar; null: it is none. */
export function tarParts(bytes: Buffer): readonly Part[] | null {
  if (bytes.length < 512 || bytes.toString("latin1", 257, 262) !== "ustar") return null;
  const parts: Part[] = [];
  for (let at = 0; at + 512 <= bytes.length && parts.length < PARTS_MAX; ) {
    if (bytes.toString("latin1", at + 257, at + 262) !== "ustar") break;
    const size = Number.parseInt(bytes.toString("latin1", at + 124, at + 135).trim() || "0", 8);
    if (!(size >= 0)) return null;
    const name = bytes.toString("latin1", at, at + 100).replace(/\0[^]*$/, "");
    parts.push({
      name,
      fields: [
        { start: at + 100, end: at + 108, what: "mode" },
        { start: at + 108, end: at + 124, what: "owner" },
        { start: at + 136, end: at + 148, what: "time" },
        { start: at + 148, end: at + 156, what: "checksum" },
        { start: at + 265, end: at + 329, what: "owner" },
      ],
      start: at + 512,
      end: Math.min(bytes.length, at + 512 + size),
    });
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return parts;
}

/** Members of a zip or jar by its central directory, APPNOTE 4.3.12; null: it is none. */
export function zipParts(bytes: Buffer): readonly Part[] | null {
  if (bytes.length < 22 || bytes.readUInt32LE(0) !== 0x0403_4b50) return null;
  const tail = bytes.lastIndexOf(Buffer.from([0x50, 0x4b, 5, 6]));
  if (tail < 0 || tail + 22 > bytes.length) return null;
  const parts: Part[] = [];
  for (let at = bytes.readUInt32LE(tail + 16); at + 46 <= bytes.length && parts.length < PARTS_MAX; ) {
    if (bytes.readUInt32LE(at) !== 0x0201_4b50) break;
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((field) =>
      bytes.readUInt16LE(at + field),
    ) as [number, number, number];
    const local = bytes.readUInt32LE(at + 42);
    const name = bytes.toString("latin1", at + 46, at + 46 + nameBytes);
    if (local + 30 > bytes.length) return null;
    const start = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
    parts.push({
      name,
      fields: [
        { start: at + 12, end: at + 16, what: "time" },
        { start: at + 46 + nameBytes, end: at + 46 + nameBytes + extraBytes, what: "time" },
        { start: local + 10, end: local + 14, what: "time" },
        { start: local + 30 + nameBytes, end: start, what: "time" },
      ],
      start,
      end: Math.min(bytes.length, start + bytes.readUInt32LE(at + 20)),
    });
    at += 46 + nameBytes + extraBytes + commentBytes;
  }
  return parts;
}

/** Program headers and notes that are read. */
const HEADERS_MAX = 4_096;
const PT_NOTE = 4;
const NT_GNU_BUILD_ID = 3;

/** Where an ELF program keeps its build ids (GNU's and Go's note), elf(5), "Notes"; null: it is none. */
export function buildIds(bytes: Buffer): readonly Field[] | null {
  if (bytes.length < 64 || bytes.readUInt32BE(0) !== 0x7f45_4c46) return null;
  const is64 = bytes[4] === 2;
  const isLittle = bytes[5] !== 2;
  const u16 = (at: number): number => (isLittle ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at));
  const u32 = (at: number): number => (isLittle ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at));
  const word = (at: number): number =>
    is64 ? Number(isLittle ? bytes.readBigUInt64LE(at) : bytes.readBigUInt64BE(at)) : u32(at);
  const fields: Field[] = [];
  const note = (start: number, length: number): void => {
    for (
      let at = start, count = 0;
      at + 12 <= Math.min(bytes.length, start + length) && count < HEADERS_MAX;
      count++
    ) {
      const [nameBytes, descBytes, type] = [u32(at), u32(at + 4), u32(at + 8)];
      const desc = at + 12 + Math.ceil(nameBytes / 4) * 4;
      const name = bytes.toString("latin1", at + 12, at + 12 + Math.min(nameBytes, 8));
      if ((name.startsWith("GNU\0") && type === NT_GNU_BUILD_ID) || name.startsWith("Go\0\0"))
        fields.push({ start: desc, end: desc + descBytes, what: "build id" });
      at = desc + Math.ceil(descBytes / 4) * 4;
    }
  };
  const programs = word(is64 ? 32 : 28);
  const size = u16(is64 ? 54 : 42);
  const count = Math.min(HEADERS_MAX, u16(is64 ? 56 : 44));
  for (let index = 0; index < count; index++) {
    const at = programs + index * size;
    if (size < (is64 ? 56 : 32) || !(at + size <= bytes.length)) break;
    if (u32(at) === PT_NOTE) note(word(at + (is64 ? 8 : 4)), word(at + (is64 ? 32 : 16)));
  }
  const link = debugLink(bytes);
  return link === null ? fields : [...fields, link];
}

/** .gnu_debuglink names a file after the build id, with its checksum: found by its words, since sections may be stripped. */
function debugLink(bytes: Buffer): Field | null {
  const at = bytes.indexOf(".debug\0");
  const start = at < 0 ? -1 : bytes.lastIndexOf(0, at) + 1;
  return at < 0 || at - start > 255
    ? null
    : { start, end: Math.min(bytes.length, at + 7 + 8), what: "link to debug information" };
}

/** Are all stretches within the fields? Then their names, in order, each once; null: not all are. */
export function withinFields(ranges: readonly Range[], fields: readonly Field[]): string[] | null {
  const found = new Set<string>();
  for (const { start, end } of ranges) {
    // A stretch may reach over several fields that lie side by side.
    let at = start;
    while (at < end) {
      const field = fields.find((one) => one.start <= at && at < one.end);
      if (field === undefined) return null;
      found.add(field.what);
      at = field.end;
    }
  }
  return [...found];
}
