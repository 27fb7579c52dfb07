// Finds members of an uncompressed tar by name, to read them in place: layouts and archives of images. Only regular files matter, and
// links to them, which docker has written for duplicate layers. POSIX pax, "ustar Interchange Format".

import { fstatSync, readSync } from "node:fs";
import { posix } from "node:path";
import { BuildError } from "../../solver/graph/error.ts";
import { decimal, isTarHeader, isZero, numeric, parsePax, text, untilNul } from "../layers/tar-fields.ts";

export interface Extent {
  readonly offset: number;
  readonly size: number;
}

export interface Members {
  /** The regular file of a name ("blobs/sha256/…"), also through links inside the archive; null: there is none. */
  find(name: string): Extent | null;
}

const ENTRIES_MAX = 100_000;
/** One long name or pax header, and all of them; a name of a layout's blob has 77 bytes. */
const RECORD_MAX_BYTES = 1 << 20;
const RECORDS_MAX_BYTES = 16 << 20;
const LINKS_MAX = 8;

/** Reads the headers of the tar behind a descriptor of a regular file. Throws ARCHIVE_INVALID. */
export function tarMembers(fd: number): Members {
  const extents = new Map<string, Extent>();
  const links = new Map<string, string>();
  const fileSize = fstatSync(fd).size;
  let nextName: Buffer | null = null; // of GNU tar's long name member
  let nextLink: Buffer | null = null;
  let nextRecords: ReadonlyMap<string, Buffer> = new Map();
  let recordBytes = 0;
  for (let at = 0, entries = 0; at + 512 <= fileSize; entries++) {
    if (entries > ENTRIES_MAX) throw invalid("the tar has too many entries");
    const header = readExactly(fd, { offset: at, size: 512 });
    if (isZero(header)) break;
    if (!isTarHeader(header)) throw invalid(entries === 0 ? "not an uncompressed tar" : "the tar is damaged");
    const type = String.fromCharCode(header[156] as number);
    const isRecord = type === "x" || type === "L" || type === "K";
    const isLink = type === "1" || type === "2";
    const stated = (isRecord ? null : decimal(nextRecords, "size")) ?? numeric(header, 124, 12);
    const size = isLink ? 0 : stated; // some writers give links the size of their target
    if (size < 0 || at + 512 + size > fileSize) throw invalid("the tar is truncated");
    const data = { offset: at + 512, size };
    at += 512 + Math.ceil(size / 512) * 512;
    if (isRecord) {
      recordBytes += size;
      if (size > RECORD_MAX_BYTES || recordBytes > RECORDS_MAX_BYTES)
        throw invalid("the tar has an oversized header");
      const body = readExactly(fd, data);
      if (type === "x") nextRecords = parsePax(body).records;
      else if (type === "L") nextName = untilNul(body);
      else nextLink = untilNul(body);
      continue;
    }
    const name = plain((text(nextRecords, "path") ?? nextName ?? ustarName(header)).toString("utf8"));
    if (type === "0" || type === "\0") {
      extents.set(name, data);
      links.delete(name);
    } else if (isLink) {
      const to = (
        text(nextRecords, "linkpath") ??
        nextLink ??
        untilNul(header.subarray(157, 257))
      ).toString();
      links.set(name, plain(type === "1" ? to : posix.join(posix.dirname(name), to)));
      extents.delete(name);
    }
    if (type === "g") continue;
    nextName = nextLink = null;
    nextRecords = new Map();
  }
  return {
    find(wanted) {
      let name = plain(wanted);
      for (let hops = 0; hops <= LINKS_MAX; hops++) {
        const extent = extents.get(name);
        if (extent !== undefined) return extent;
        const target = links.get(name);
        if (target === undefined) return null;
        name = target;
      }
      return null;
    },
  };
}

/** Bytes of an extent. Throws ARCHIVE_INVALID when the file ends before. */
export function readExactly(fd: number, { offset, size }: Extent): Buffer {
  const buffer = Buffer.allocUnsafe(size);
  for (let done = 0; done < size; ) {
    const count = readSync(fd, buffer, done, size - done, offset + done);
    if (count === 0) throw invalid("the tar is truncated");
    done += count;
  }
  return buffer;
}

function plain(name: string): string {
  return name.replace(/^(?:\.?\/)+/, "");
}

function ustarName(header: Buffer): Buffer {
  const field = (start: number, end: number) => untilNul(header.subarray(start, end));
  const prefix = header.toString("latin1", 257, 262) === "ustar" ? field(345, 500) : header.subarray(0, 0);
  return prefix.length === 0 ? field(0, 100) : Buffer.concat([prefix, Buffer.from("/"), field(0, 100)]);
}

function invalid(problem: string): BuildError {
  return new BuildError("ARCHIVE_INVALID", problem);
}
