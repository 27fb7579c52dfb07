// Programs that say what they were built from: Go's build info, and Rust's of cargo-auditable. Executables are opened for this and only
// their headers read.
//
// Go: debug/buildinfo of the standard library; the strings are in the section since Go 1.18, before that behind pointers, which are not
// followed. Rust: cargo-auditable's PARSING.md, a section ".dep-v0" of zlib-compressed JSON.

import { inflateSync } from "node:zlib";
import { type Cataloger, type Shown, shown, type TreeContext } from "../cataloger.ts";
import { elfSections, type Section } from "../elf.ts";
import {
  bytesAt,
  field,
  isRecord,
  jsonObject,
  type SourceFile,
  isUnreadable,
  Unreadable,
} from "../source-file.ts";

const GO_SECTION = ".go.buildinfo";
const RUST_SECTION = ".dep-v0";
const WANTED: ReadonlySet<string> = new Set([GO_SECTION, RUST_SECTION]);
const GO_INFO_MAX_BYTES = 16 << 20;
const RUST_INFO_MAX_BYTES = 8 << 20;

export const binaries: Cataloger = {
  name: "binary",
  *packages(file, path, context) {
    const sections = elfSections(file, WANTED);
    const [go, rust] = [sections?.get(GO_SECTION), sections?.get(RUST_SECTION)];
    if (go !== undefined) yield* goModules(file, go, path, context);
    if (rust !== undefined) yield* crates(file, rust);
  },
};

/** Magic, then the size of a pointer and flags; 2: two strings with their lengths follow at 32. */
const GO_MAGIC = Buffer.from("\xff Go buildinf:", "latin1");
const GO_HEADER_BYTES = 32;

function* goModules(
  file: SourceFile,
  section: Section,
  path: string,
  context: TreeContext,
): Generator<Shown> {
  if (section.size > GO_INFO_MAX_BYTES) throw new Unreadable("its Go build info is too large");
  const bytes = bytesAt(file, section.offset, section.size);
  // It is aligned to 16 bytes in its section.
  const start = bytes.indexOf(GO_MAGIC);
  if (start < 0 || bytes.length < start + GO_HEADER_BYTES)
    throw new Unreadable("its Go build info is not valid");
  if (((bytes[start + 15] as number) & 2) === 0) {
    context.unread(path, "it was built by Go before 1.18, whose build info is not read");
    return;
  }
  const [version, after] = stringAt(bytes, start + GO_HEADER_BYTES);
  const [info] = stringAt(bytes, after);
  const compiler = /^go(\d[^\s]*)/.exec(version)?.[1];
  if (compiler !== undefined) yield goModule("stdlib", compiler);
  // Between two marks of 16 bytes; without modules it is empty.
  const lines = info.length < 33 ? [] : info.slice(16, -16).split("\n");
  let last: Shown | null = null;
  for (const line of lines) {
    const [kind, name, moduleVersion] = line.split("\t").map(field);
    if (kind === "=>" && name !== null && name !== undefined) {
      // Replaced by another module, or by a directory, which says nothing of it.
      if (!/^[./]/.test(name)) last = goModule(name, moduleVersion ?? null);
      continue;
    }
    if (last !== null) yield last;
    last = null;
    if ((kind === "dep" || kind === "mod") && name !== null && name !== undefined)
      last = goModule(name, moduleVersion ?? null);
  }
  if (last !== null) yield last;
}

function goModule(path: string, version: string | null): Shown {
  const slash = path.lastIndexOf("/");
  return shown({
    type: "golang",
    name: path,
    // What is built from a working tree has no version.
    version: version === "(devel)" ? null : version,
    namespace: slash < 0 ? null : path.slice(0, slash),
  });
}

/** A string behind its length, a varint. */
function stringAt(bytes: Buffer, at: number): [text: string, after: number] {
  let length = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++];
    if (byte === undefined || shift > 28) throw new Unreadable("its Go build info ends too early");
    length += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) break;
  }
  if (at + length > bytes.length) throw new Unreadable("its Go build info ends too early");
  // The marks around the modules are bytes, not UTF-8: one char each.
  return [bytes.toString("latin1", at, at + length), at + length];
}

function* crates(file: SourceFile, section: Section): Generator<Shown> {
  if (section.size > RUST_INFO_MAX_BYTES) throw new Unreadable("its list of crates is too large");
  let json: Buffer;
  try {
    json = inflateSync(bytesAt(file, section.offset, section.size), { maxOutputLength: RUST_INFO_MAX_BYTES });
  } catch (error) {
    throw isUnreadable(error) ? error : new Unreadable("its list of crates cannot be decompressed");
  }
  const { packages } = jsonObject(json);
  if (!Array.isArray(packages)) throw new Unreadable("its list of crates has no packages");
  for (const entry of packages) {
    if (!isRecord(entry) || entry.kind === "build") continue; // not part of the program
    const [name, version] = [field(entry.name), field(entry.version)];
    if (name !== null && version !== null) yield shown({ type: "cargo", name, version });
  }
}

const NOT_PROGRAMS =
  /\.(?:[cm]?[jt]sx?|py|pyc|pl|pm|rb|sh|bash|lua|php|tcl|json|ya?ml|xml|html?|css|md|txt|conf|h|hpp|c|cc|cpp|la|a|o|jar|gz|xz|png|svg|gif|jpe?g|ttf|woff2?)$/;
/** Go's smallest programs have over a million bytes, libraries in Rust some ten thousand. */
const PROGRAM_MIN_BYTES = 4096;

/** May it be a program or a library? Then its first bytes are read. */
export function mayBeBinary(name: string, mode: number, size: number): boolean {
  return (mode & 0o111) !== 0 && size >= PROGRAM_MIN_BYTES && !NOT_PROGRAMS.test(name);
}
