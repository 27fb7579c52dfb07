// RPM databases in Berkeley DB ("Packages": RHEL 8 and earlier, Amazon Linux 2): a hash database, of which all pages are read in their order.
//
// Layout: dbinc/db_page.h and dbinc/db_hash.h of Berkeley DB 5.3. Numbers have the byte order of the machine that made the file.

import { bytesAt, type SourceFile, Unreadable } from "../source-file.ts";

const HASH_MAGIC = 0x00061561;
const HASH_META = 8;
const META_BYTES = 72;
const CHECKSUMS = 1;
/** Pages of entries: sorted, and as before 4.6. */
const HASH_PAGES: readonly number[] = [13, 2];
const OVERFLOW_PAGE = 7;
const PAGE_HEADER_BYTES = 26;
const KEY_DATA = 1;
const OFF_PAGE = 3;
const OFF_PAGE_BYTES = 12;
const HEADER_MAX_BYTES = 64 << 20;
const PACKAGES_MAX = 200_000;
/** Not a header but a counter: the record of key 0. */
const COUNTER_BYTES = 4;

/** The headers of all packages, in the order of the pages. Throws Unreadable, after those before the damage. */
export function* berkeleyHeaders(file: SourceFile): Generator<Buffer> {
  const meta = file.at(0, META_BYTES);
  if (meta.length < META_BYTES) throw new Unreadable("it is not an RPM database");
  const isLittle = meta.readUInt32LE(12) === HASH_MAGIC;
  if ((!isLittle && meta.readUInt32BE(12) !== HASH_MAGIC) || meta[25] !== HASH_META)
    throw new Unreadable("it is not an RPM database");
  const u16 = (bytes: Buffer, at: number): number =>
    isLittle ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at);
  const u32 = (bytes: Buffer, at: number): number =>
    isLittle ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at);
  const pageBytes = u32(meta, 20);
  if (pageBytes < 512 || pageBytes > 65_536) throw new Unreadable("its pages have a size that is not valid");
  if (meta[24] !== 0 || ((meta[26] as number) & CHECKSUMS) !== 0)
    throw new Unreadable("it is encrypted or has checksums, which is not read");
  const pages = Math.floor(file.size / pageBytes);
  const pageAt = (number: number): Buffer => bytesAt(file, number * pageBytes, pageBytes);

  /** A value on pages of its own, which are linked. */
  const overflow = (first: number, bytes: number): Buffer => {
    if (bytes > HEADER_MAX_BYTES) throw new Unreadable("a header of a package is too large");
    const value = Buffer.alloc(bytes);
    let done = 0;
    for (let number = first; done < bytes; ) {
      const page = number === 0 ? null : pageAt(number);
      const length = page === null ? 0 : u16(page, 22);
      // Each page brings something, so a circle ends as well.
      if (
        page === null ||
        page[25] !== OVERFLOW_PAGE ||
        length === 0 ||
        PAGE_HEADER_BYTES + length > pageBytes
      )
        throw new Unreadable("a header of a package is not whole");
      done += page.copy(value, done, PAGE_HEADER_BYTES, PAGE_HEADER_BYTES + length);
      number = u32(page, 16);
    }
    return value;
  };

  let count = 0;
  for (let number = 1; number < pages; number++) {
    const page = pageAt(number);
    if (!HASH_PAGES.includes(page[25] as number)) continue;
    const entries = u16(page, 20);
    if (PAGE_HEADER_BYTES + 2 * entries > pageBytes) throw new Unreadable("a page of it is not valid");
    const offsetOf = (index: number): number =>
      index < 0 ? pageBytes : u16(page, PAGE_HEADER_BYTES + 2 * index);
    // Keys and values in turn, from the end of the page on.
    for (let index = 1; index < entries; index += 2) {
      const [at, end] = [offsetOf(index), offsetOf(index - 1)];
      if (at >= end || end > pageBytes) throw new Unreadable("a page of it is not valid");
      let value: Buffer | null = null;
      if (page[at] === OFF_PAGE && at + OFF_PAGE_BYTES <= end)
        value = overflow(u32(page, at + 4), u32(page, at + 8));
      else if (page[at] === KEY_DATA) value = page.subarray(at + 1, end);
      if (value === null || value.length <= COUNTER_BYTES) continue;
      if (++count > PACKAGES_MAX) throw new Unreadable(`it has more than ${PACKAGES_MAX} packages`);
      yield value;
    }
  }
  // Its last page is stated; what is there counts all the same.
  if (u32(meta, 32) >= pages) throw new Unreadable("it ends too early");
}
