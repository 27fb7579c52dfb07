// Writes tar headers, byte for byte like Go's archive/tar with Format PAX: ustar where the values fit, otherwise with a pax
// header. Other builders write layers with that package, so equal trees give equal layers.

import { BuildError } from "../../solver/graph/error.ts";
import type { TarType } from "./tar.ts";

const BLOCK = 512;

/** A member to be written. Times in whole seconds: layers hold no fractions. */
export interface TarMember {
  readonly name: Buffer; // directories end in a slash
  readonly linkName: Buffer | null;
  readonly type: TarType;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtimeSeconds: number;
  readonly devMajor: number;
  readonly devMinor: number;
  readonly xattrs: ReadonlyMap<string, Buffer> | null;
}

const FLAGS: Readonly<Record<TarType, number>> = {
  file: 0x30,
  link: 0x31,
  symlink: 0x32,
  char: 0x33,
  block: 0x34,
  dir: 0x35,
  fifo: 0x36,
};

/** What a member's header takes at most besides its records: used to size buffers. */
export const TAR_HEADER_MAX_BYTES: number = 2 << 20;

/** Writes the header of a member into `into` at `at`, pax header included; returns the position behind it.
 *  Needs TAR_HEADER_MAX_BYTES of room. */
export function writeHeader(into: Buffer, at: number, member: TarMember): number {
  const records = paxRecords(member);
  if (records !== null) return writePaxMember(into, at, member, records);
  const name = member.name;
  const split = name.length > 100 ? splitName(name) : null;
  const shortName = split === null ? name : name.subarray(split + 1);
  writeBlock(into, at, member, shortName, split === null ? null : name.subarray(0, split));
  return at + BLOCK;
}

/** The pax records a member needs, or null when ustar holds all of it. Go: Header.allowedFormats. */
function paxRecords(member: TarMember): Map<string, Buffer> | null {
  let needed = false;
  const records = new Map<string, Buffer>();
  const { name, linkName, xattrs } = member;
  if (name.length > 100 || !isAscii(name)) {
    records.set("path", name);
    // A long name may still be split between ustar's two fields.
    needed ||= splitName(name) === null;
  }
  if (linkName !== null && (linkName.length > 100 || !isAscii(linkName))) {
    records.set("linkpath", linkName);
    needed = true;
  }
  for (const [key, value, limit] of [
    ["uid", member.uid, OCTAL_7],
    ["gid", member.gid, OCTAL_7],
    ["size", member.size, OCTAL_11],
    ["mtime", member.mtimeSeconds, OCTAL_11],
  ] as const) {
    if (value >= 0 && value <= limit) continue;
    records.set(key, Buffer.from(String(value)));
    needed = true;
  }
  if (xattrs !== null) {
    for (const [key, value] of xattrs) {
      records.set(`SCHILY.xattr.${key}`, value);
      needed = true;
    }
  }
  return needed ? records : null;
}
const OCTAL_7 = 0o7777777;
const OCTAL_11 = 0o77777777777;

function writePaxMember(
  into: Buffer,
  at: number,
  member: TarMember,
  records: ReadonlyMap<string, Buffer>,
): number {
  // Records in the order of their keys; keys of ours are ASCII.
  const body = Buffer.concat(
    [...records].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => paxRecord(key, value)),
  );
  if (body.length > 1 << 20) {
    throw new BuildError(
      "LIMIT_EXCEEDED",
      `the attributes of ${JSON.stringify(member.name.toString())} are too long`,
    );
  }
  into.fill(0, at, at + BLOCK);
  trimSlashes(ascii(paxName(member.name)).subarray(0, 100)).copy(into, at);
  for (const [offset, length] of [
    [100, 8],
    [108, 8],
    [116, 8],
    [136, 12],
  ] as const) {
    octal(into, at + offset, length, 0);
  }
  octal(into, at + 124, 12, body.length);
  into[at + 156] = 0x78; // "x"
  seal(into, at);
  body.copy(into, at + BLOCK);
  const end = at + BLOCK + Math.ceil(body.length / BLOCK) * BLOCK;
  into.fill(0, at + BLOCK + body.length, end);
  // The fields of the member itself get what fits of the names, for readers without pax.
  writeBlock(into, end, member, ascii(member.name), null);
  return end + BLOCK;
}

/** "length key=value\n", where length counts itself. */
function paxRecord(key: string, value: Buffer): Buffer {
  const rest = 3 + Buffer.byteLength(key) + value.length; // space, equals sign, newline
  let length = rest + String(rest).length;
  length = rest + String(length).length;
  return Buffer.concat([Buffer.from(`${length} ${key}=`), value, NEWLINE]);
}
const NEWLINE = Buffer.from("\n");

/** dir/PaxHeaders.0/base, cleaned as Go's path.Join does. */
function paxName(name: Buffer): Buffer {
  const slash = name.lastIndexOf(0x2f) + 1;
  const [dir, base] = [trimSlashes(name.subarray(0, slash)), name.subarray(slash)];
  const parts = [dir, Buffer.from("PaxHeaders.0"), base].filter((part) => part.length > 0);
  return Buffer.concat(parts.flatMap((part, i) => (i === 0 ? [part] : [SLASH, part])));
}
const SLASH = Buffer.from("/");

function writeBlock(into: Buffer, at: number, member: TarMember, name: Buffer, prefix: Buffer | null): void {
  into.fill(0, at, at + BLOCK);
  name.copy(into, at, 0, 100);
  // A cut name must not end in a slash: old readers would take a file for a directory. Go: formatter.formatString.
  if (name.length > 100 && into[at + 99] === 0x2f) into[at + trimSlashes(name.subarray(0, 99)).length] = 0;
  octal(into, at + 100, 8, member.mode);
  octal(into, at + 108, 8, member.uid <= OCTAL_7 ? member.uid : 0);
  octal(into, at + 116, 8, member.gid <= OCTAL_7 ? member.gid : 0);
  octal(into, at + 124, 12, member.size <= OCTAL_11 ? member.size : 0);
  const { mtimeSeconds } = member;
  octal(into, at + 136, 12, mtimeSeconds >= 0 && mtimeSeconds <= OCTAL_11 ? mtimeSeconds : 0);
  into[at + 156] = FLAGS[member.type];
  if (member.linkName !== null) ascii(member.linkName).copy(into, at + 157, 0, 100);
  octal(into, at + 329, 8, member.devMajor);
  octal(into, at + 337, 8, member.devMinor);
  if (prefix !== null) prefix.copy(into, at + 345);
  seal(into, at);
}

/** Magic, version and checksum. */
function seal(into: Buffer, at: number): void {
  into.write("ustar\x0000", at + 257, "latin1");
  into.fill(0x20, at + 148, at + 156);
  let sum = 0;
  for (let i = at; i < at + BLOCK; i++) sum += into[i] as number;
  octal(into, at + 148, 7, sum);
}

/** Octal digits with leading zeros and a closing NUL. */
function octal(into: Buffer, at: number, length: number, value: number): void {
  let rest = value;
  for (let i = at + length - 2; i >= at; i--) {
    const high = Math.floor(rest / 8);
    into[i] = 0x30 + (rest - high * 8);
    rest = high;
  }
  into[at + length - 1] = 0;
}

/** Where ustar's prefix ends, or null when the name cannot be split. Go: splitUSTARPath. */
function splitName(name: Buffer): number | null {
  if (name.length <= 100 || !isAscii(name)) return null;
  let length = name.length;
  if (length > 156) length = 156;
  else if (name[length - 1] === 0x2f) length--;
  const at = name.subarray(0, length).lastIndexOf(0x2f);
  const suffix = name.length - at - 1;
  return at <= 0 || suffix > 100 || suffix === 0 || at > 155 ? null : at;
}

function isAscii(name: Buffer): boolean {
  for (let i = 0; i < name.length; i++) if ((name[i] as number) >= 0x80) return false;
  return true;
}

/** Without the bytes that are not ASCII, as Go's toASCII. */
function ascii(name: Buffer): Buffer {
  return isAscii(name) ? name : Buffer.from(name.filter((byte) => byte < 0x80));
}

function trimSlashes(name: Buffer): Buffer {
  let end = name.length;
  while (end > 0 && name[end - 1] === 0x2f) end--;
  return name.subarray(0, end);
}
