// Trees for scans: real directories, read as the front reads a build context.

import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { deflateRawSync } from "node:zlib";
import { liveTree } from "../../../cache/tree-live.ts";
import type { FoundPackage, PackageType, Scan } from "../../../worker/sbom/contract.ts";
import { scanTree } from "../../../worker/sbom/scan.ts";
import { temporaryDir } from "../../support/store.ts";

export type Files = Readonly<Record<string, string | Buffer>>;

/** Writes files; those below a directory `bin` can be executed. */
export function writeTree(root: string, files: Files): void {
  for (const [name, content] of Object.entries(files)) {
    const path = join(root, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content, { mode: /(?:^|\/)bin\/[^/]+$/.test(name) ? 0o755 : 0o644 });
  }
}

export async function scanDirectory(root: string): Promise<Scan> {
  const tree = liveTree(root, () => null);
  try {
    return await scanTree({ tree });
  } finally {
    tree.close();
  }
}

/** What is found in a tree of these files. */
export async function scanOf(files: Files): Promise<Scan> {
  using dir = temporaryDir();
  writeTree(dir.path, files);
  return await scanDirectory(dir.path);
}

/** "name@version" of one type, in order. */
export function listOf(scan: Scan, type: PackageType): readonly string[] {
  return scan.packages.filter((one) => one.type === type).map(({ name, version }) => `${name}@${version}`);
}

export function packageOf(scan: Scan, name: string): FoundPackage {
  const found = scan.packages.find((one) => one.name === name);
  if (found === undefined) throw new Error(`${name} was not found`);
  return found;
}

/** A zip archive. APPNOTE.TXT; `lies`: sizes that the directory states. */
export function zipOf(
  members: Readonly<Record<string, string | Buffer>>,
  lies: Readonly<Record<string, number>> = {},
): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [name, content] of Object.entries(members)) {
    const data = Buffer.from(content);
    const packed = deflateRawSync(data);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(8, 8);
    local.writeUInt32LE(packed.length, 18);
    local.writeUInt32LE(data.length, 22);
    local.writeUInt16LE(name.length, 26);
    const entry = Buffer.alloc(46);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(8, 10);
    entry.writeUInt32LE(packed.length, 20);
    entry.writeUInt32LE(lies[name] ?? data.length, 24);
    entry.writeUInt16LE(name.length, 28);
    entry.writeUInt32LE(offset, 42);
    parts.push(local, Buffer.from(name), packed);
    directory.push(entry, Buffer.from(name));
    offset += 30 + name.length + packed.length;
  }
  const table = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(Object.keys(members).length, 10);
  end.writeUInt32LE(table.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, table, end]);
}

/** A 64-bit ELF file with one section of this name, elf(5). */
export function elfOf(section: string, content: Buffer): Buffer {
  const names = Buffer.from(`\0${section}\0.shstrtab\0`);
  const contentAt = 64;
  const namesAt = contentAt + content.length;
  const table = namesAt + names.length;
  const header = Buffer.alloc(64);
  header.write("\x7fELF\x02\x01\x01", "latin1");
  header.writeBigUInt64LE(BigInt(table), 40);
  header.writeUInt16LE(64, 58);
  header.writeUInt16LE(3, 60);
  header.writeUInt16LE(2, 62);
  const sectionOf = (name: number, offset: number, size: number): Buffer => {
    const bytes = Buffer.alloc(64);
    bytes.writeUInt32LE(name, 0);
    bytes.writeUInt32LE(1, 4);
    bytes.writeBigUInt64LE(BigInt(offset), 24);
    bytes.writeBigUInt64LE(BigInt(size), 32);
    return bytes;
  };
  const sections = Buffer.concat([
    Buffer.alloc(64),
    sectionOf(1, contentAt, content.length),
    sectionOf(section.length + 2, namesAt, names.length),
  ]);
  // As large as the smallest file that is taken for a program.
  return Buffer.concat([header, content, names, sections, Buffer.alloc(4096)]);
}

/** Go's build info as Go 1.18 and later write it: debug/buildinfo. */
export function goBuildInfo(version: string, modules: string): Buffer {
  const text = (value: Buffer): Buffer => {
    const length: number[] = [];
    let left = value.length;
    for (; left >= 0x80; left = Math.floor(left / 0x80)) length.push((left & 0x7f) | 0x80);
    return Buffer.concat([Buffer.from([...length, left]), value]);
  };
  const header = Buffer.alloc(32);
  header.write("\xff Go buildinf:", "latin1");
  header[14] = 8;
  header[15] = 2;
  const mark = Buffer.alloc(16, 0xf9);
  return Buffer.concat([
    header,
    text(Buffer.from(version)),
    text(Buffer.concat([mark, Buffer.from(modules), mark])),
  ]);
}
