// Sections of an ELF file by name: elf(5). Both word sizes and byte orders; every number in it is checked before it is used.

import { bytesAt, type SourceFile, Unreadable } from "./source-file.ts";

export interface Section {
  readonly offset: number;
  readonly size: number; // bytes
}

const SECTIONS_MAX = 8192;
const NAMES_MAX_BYTES = 1 << 20;
const HEADER_BYTES = 64;
/** A section without bytes in the file. */
const SHT_NOBITS = 8;

/** The sections that are asked for; null: it is no ELF file. Throws Unreadable. */
export function elfSections(
  file: SourceFile,
  wanted: ReadonlySet<string>,
): ReadonlyMap<string, Section> | null {
  const header = file.at(0, HEADER_BYTES);
  if (header.length < 52 || header.readUInt32BE(0) !== 0x7f454c46) return null;
  const [is64, isLittle] = [header[4] === 2, header[5] === 1];
  if (is64 && header.length < HEADER_BYTES) return null;
  const reader = (bytes: Buffer) => ({
    u16: (at: number) => (isLittle ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at)),
    u32: (at: number) => (isLittle ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at)),
    word: (at: number) =>
      is64
        ? Number(isLittle ? bytes.readBigUInt64LE(at) : bytes.readBigUInt64BE(at))
        : isLittle
          ? bytes.readUInt32LE(at)
          : bytes.readUInt32BE(at),
  });
  const top = reader(header);
  const table = top.word(is64 ? 40 : 32);
  const [entryBytes, count, namesIndex] = (is64 ? [58, 60, 62] : [46, 48, 50]).map(top.u16) as [
    number,
    number,
    number,
  ];
  const found = new Map<string, Section>();
  if (table === 0 || count === 0) return found; // stripped of them
  if (count > SECTIONS_MAX || entryBytes < (is64 ? 64 : 40) || namesIndex >= count)
    throw new Unreadable("its section headers are not valid");
  const headers = reader(bytesAt(file, table, entryBytes * count));
  const section = (index: number): Section & { readonly name: number; readonly type: number } => {
    const at = index * entryBytes;
    return {
      name: headers.u32(at),
      type: headers.u32(at + 4),
      offset: headers.word(at + (is64 ? 24 : 16)),
      size: headers.word(at + (is64 ? 32 : 20)),
    };
  };
  const names = section(namesIndex);
  if (names.size > NAMES_MAX_BYTES) throw new Unreadable("its section names are too large");
  const text = bytesAt(file, names.offset, names.size);
  for (let index = 0; index < count; index++) {
    const { name: at, type, offset, size } = section(index);
    const end = text.indexOf(0, at);
    if (at >= text.length || end < 0 || end - at > 64 || type === SHT_NOBITS) continue;
    const name = text.toString("latin1", at, end);
    if (wanted.has(name) && !found.has(name)) found.set(name, { offset, size });
  }
  return found;
}
