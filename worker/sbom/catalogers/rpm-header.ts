// One header of an RPM database: "RPM Header Format" of rpm's documentation (docs/manual/format_header.md), without the leading magic, as
// databases have it: counts of entries and of data bytes, an index of 16 byte entries, then the data.

import { type Shown, shown } from "../cataloger.ts";
import { field, Unreadable } from "../source-file.ts";

const TAG = {
  name: 1000,
  version: 1001,
  release: 1002,
  epoch: 1003,
  vendor: 1011,
  license: 1014,
  architecture: 1022,
  sourceRpm: 1044,
} as const;
const INDEX_ENTRY_BYTES = 16;
const ENTRIES_MAX = 65_536;
const STRING_MAX_BYTES = 1024;
const INT32 = 4;
const STRING = 6;
const I18N_STRING = 9;

/** The package of a header; null: it is none, as a public key. Throws Unreadable. */
export function rpmPackage(header: Buffer): Shown | null {
  if (header.length < 8) throw new Unreadable("a header of a package is too short");
  const [entries, bytes] = [header.readUInt32BE(0), header.readUInt32BE(4)];
  const data = 8 + entries * INDEX_ENTRY_BYTES;
  if (entries > ENTRIES_MAX || data + bytes > header.length)
    throw new Unreadable("a header of a package is not valid");
  const values = new Map<number, string | number>();
  for (let index = 0; index < entries; index++) {
    const at = 8 + index * INDEX_ENTRY_BYTES;
    const [tag, type, offset] = [0, 4, 8].map((part) => header.readUInt32BE(at + part)) as [
      number,
      number,
      number,
    ];
    if (offset >= bytes || values.has(tag)) continue;
    const start = data + offset;
    if (type === INT32 && start + 4 <= header.length) values.set(tag, header.readUInt32BE(start));
    else if (type === STRING || type === I18N_STRING) {
      const end = header.indexOf(0, start);
      if (end >= 0 && end - start <= STRING_MAX_BYTES) values.set(tag, header.toString("utf8", start, end));
    }
  }
  const text = (tag: number): string | null => field(values.get(tag));
  const [name, version, release] = [text(TAG.name), text(TAG.version), text(TAG.release)];
  if (name === null || version === null) throw new Unreadable("a header has no name and version");
  if (name === "gpg-pubkey") return null;
  const [epoch, architecture, license] = [values.get(TAG.epoch), text(TAG.architecture), text(TAG.license)];
  const qualifiers = {
    ...(architecture === null ? {} : { arch: architecture }),
    ...(typeof epoch === "number" ? { epoch: String(epoch) } : {}),
  };
  return shown({
    type: "rpm",
    name,
    version: release === null ? version : `${version}-${release}`,
    licenses: license === null ? [] : [license],
    supplier: text(TAG.vendor),
    source: text(TAG.sourceRpm),
    qualifiers,
  });
}
