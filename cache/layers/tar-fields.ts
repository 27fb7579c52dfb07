// The fields and records of tar headers as values. Formats: POSIX pax, GNU tar manual "Basic Tar Format".

import { BuildError } from "../../solver/graph/error.ts";

const BLOCK = 512;
/** Longest name or link text of a member: no Linux call takes more (PATH_MAX). */
export const TAR_NAME_MAX_BYTES = 4096;
/** Data pieces of one sparse file. */
export const TAR_SPARSE_MAX_PIECES: number = 1 << 16;

export const NS = 1_000_000_000n;
const NO_XATTRS: ReadonlyMap<string, Buffer> = new Map();
const XATTR_PREFIX = "SCHILY.xattr.";

export function invalid(why: string): BuildError {
  return new BuildError("ARCHIVE_INVALID", `the tar archive is not valid: ${why}`);
}

export function isZero(raw: Buffer): boolean {
  return raw[0] === 0 && raw.equals(ZERO);
}
const ZERO = Buffer.alloc(BLOCK);

/** Sum of all bytes with spaces for the field itself; old programs summed signed bytes. */
export function verifyChecksum(raw: Buffer): void {
  let unsigned = 256;
  let high = 0;
  for (let i = 0; i < BLOCK; i++) {
    if (i === 148) i = 156;
    const byte = raw[i] as number;
    unsigned += byte;
    if (byte > 127) high++;
  }
  const stated = numeric(raw, 148, 8);
  if (stated !== unsigned && stated !== unsigned - high * 256)
    throw invalid("a header has an invalid checksum");
}

/** Is this the header of a member? By its checksum: the oldest tars have no magic number. */
export function isTarHeader(raw: Buffer): boolean {
  if (raw.length < BLOCK || raw[0] === 0) return false;
  try {
    verifyChecksum(raw);
    return true;
  } catch (error) {
    if (error instanceof BuildError) return false;
    throw error;
  }
}

/** A numeric field: octal text or, with the top bit set, base-256 in two's complement. */
export function numeric(raw: Buffer, at: number, length: number): number {
  const first = raw[at] as number;
  if (first >= 0x80) return base256(raw.subarray(at, at + length));
  let i = at;
  let end = at + length;
  while (i < end && isBlank(raw[i] as number)) i++;
  const nul = raw.subarray(i, end).indexOf(0);
  if (nul >= 0) end = i + nul;
  while (end > i && isBlank(raw[end - 1] as number)) end--;
  let value = 0;
  for (; i < end; i++) {
    const digit = (raw[i] as number) - 0x30;
    if (digit < 0 || digit > 7) throw invalid("a header contains an invalid number");
    value = value * 8 + digit;
  }
  return safe(value);
}

export function isBlank(byte: number): boolean {
  return byte === 0x20 || byte === 0;
}

export function base256(field: Buffer): number {
  const negative = ((field[0] as number) & 0x40) !== 0;
  let value = BigInt((field[0] as number) & 0x7f);
  for (let i = 1; i < field.length; i++) value = value * 256n + BigInt(field[i] as number);
  if (negative) value -= 1n << BigInt(field.length * 8 - 1);
  return safe(Number(value));
}

export function safe(value: number): number {
  if (!Number.isSafeInteger(value)) throw invalid("a header contains a number that is too large");
  return value;
}

export function modulo(value: number, by: number): number {
  return ((value % by) + by) % by;
}

/** uid or gid: 32 bits, and -1 means "leave it" to chown(2). */
export function id(value: number): number {
  if (value < 0 || value >= 0xffffffff) throw invalid(`${value} is not a user or group id`);
  return value;
}

export function untilNul(field: Buffer): Buffer {
  const nul = field.indexOf(0);
  return nul < 0 ? field : field.subarray(0, nul);
}

export function checkName(name: Buffer, what: string): Buffer {
  if (name.length > TAR_NAME_MAX_BYTES) throw invalid(`a ${what} has ${name.length} bytes`);
  if (name.includes(0)) throw invalid(`a ${what} contains a NUL byte`);
  return name;
}

/** Records of a pax header: "length key=value\n". POSIX pax, "pax Header Block". */
export function parsePax(body: Buffer): { records: Map<string, Buffer>; pieces: Buffer[] } {
  const records = new Map<string, Buffer>();
  const pieces: Buffer[] = []; // GNU sparse 0.0 repeats its two keys
  let at = 0;
  while (at < body.length) {
    const space = body.indexOf(0x20, at);
    if (space < 0 || space - at > 8) throw invalid("a pax record has no length");
    const end = at + wholeNumber(body.toString("latin1", at, space));
    const equals = body.indexOf(0x3d, space);
    if (end > body.length || end <= space + 1 || equals < 0 || equals >= end || body[end - 1] !== 0x0a) {
      throw invalid("a pax record is invalid");
    }
    const key = body.toString("utf8", space + 1, equals);
    const value = body.subarray(equals + 1, end - 1);
    if (key === "" || key.includes("\0")) throw invalid("a pax record has an invalid key");
    if (PAX_TEXT.has(key) && value.includes(0)) throw invalid("a pax record contains a NUL byte");
    if (key === "GNU.sparse.offset" || key === "GNU.sparse.numbytes") {
      const expected = pieces.length % 2 === 0 ? "GNU.sparse.offset" : "GNU.sparse.numbytes";
      if (key !== expected || pieces.length >= TAR_SPARSE_MAX_PIECES * 2) {
        throw invalid("the map of a sparse file is invalid");
      }
      pieces.push(value);
    } else {
      records.set(key, value);
    }
    at = end;
  }
  return { records, pieces };
}
const PAX_TEXT: ReadonlySet<string> = new Set(["path", "linkpath", "uname", "gname"]);

/** A record's value; an empty one means the header's own field counts. */
export function text(records: ReadonlyMap<string, Buffer>, key: string): Buffer | null {
  const value = records.get(key);
  return value === undefined || value.length === 0 ? null : value;
}

export function decimal(records: ReadonlyMap<string, Buffer>, key: string): number | null {
  const value = text(records, key);
  return value === null ? null : wholeNumber(value.toString("latin1"));
}

export function wholeNumber(digits: string): number {
  if (!/^[0-9]{1,16}$/.test(digits)) throw invalid("a record contains an invalid number");
  return safe(Number(digits));
}

export function paxTime(records: ReadonlyMap<string, Buffer>, key: string): bigint | null {
  const value = text(records, key);
  if (value === null) return null;
  const match = /^(-?)([0-9]{1,16})(?:\.([0-9]*))?$/.exec(value.toString("latin1"));
  if (match === null) throw invalid("a time is invalid");
  const ns = BigInt(match[2] as string) * NS + BigInt((match[3] ?? "").slice(0, 9).padEnd(9, "0"));
  return match[1] === "-" ? -ns : ns;
}

export function xattrsOf(records: ReadonlyMap<string, Buffer>): ReadonlyMap<string, Buffer> {
  let xattrs: Map<string, Buffer> | null = null;
  for (const [key, value] of records) {
    if (key.startsWith(XATTR_PREFIX) && key.length > XATTR_PREFIX.length) {
      xattrs ??= new Map();
      xattrs.set(key.slice(XATTR_PREFIX.length), value);
    }
  }
  return xattrs ?? NO_XATTRS;
}
