// Members of a zip archive by its central directory: PKWARE's APPNOTE.TXT. Zip64 and encryption are not read.

import { inflateRawSync } from "node:zlib";
import { bytesAt, type SourceFile, Unreadable } from "./source-file.ts";

export interface Member {
  readonly name: string; // bytes as latin1
  readonly size: number; // bytes, as stated
  /** Its content. Throws Unreadable for more than `maxBytes`, whatever it states. */
  read(maxBytes: number): Buffer;
}

const DIRECTORY_MAX_BYTES = 64 << 20;
const MEMBERS_MAX = 200_000;
/** The end record and the longest comment behind it. */
const END_BYTES = 22;
const TAIL_BYTES = END_BYTES + 0xffff;

/** What `wants` picks of the members, in the order of the directory. Throws Unreadable. */
export function* zipMembers(file: SourceFile, wants: (name: string) => boolean): Generator<Member> {
  const tailAt = Math.max(0, file.size - TAIL_BYTES);
  const tail = file.at(tailAt, TAIL_BYTES);
  const end = tail.lastIndexOf(Buffer.from("PK\x05\x06", "latin1"));
  if (end < 0 || end + END_BYTES > tail.length) throw new Unreadable("it is not a zip archive");
  const [bytes, start] = [tail.readUInt32LE(end + 12), tail.readUInt32LE(end + 16)];
  if (start === 0xffffffff) throw new Unreadable("it is a zip64 archive, which is not read");
  if (bytes > DIRECTORY_MAX_BYTES) throw new Unreadable("its directory is too large");
  // Bytes before the archive (a start script) move everything.
  const shift = tailAt + end - bytes - start;
  if (shift < 0) throw new Unreadable("its directory is not valid");
  const directory = bytesAt(file, start + shift, bytes);
  let count = 0;
  for (let at = 0; at + 46 <= directory.length; ) {
    if (directory.readUInt32LE(at) !== 0x02014b50) throw new Unreadable("its directory is not valid");
    if (++count > MEMBERS_MAX) throw new Unreadable(`it has more than ${MEMBERS_MAX} members`);
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((offset) =>
      directory.readUInt16LE(at + offset),
    ) as [number, number, number];
    const name = directory.toString("latin1", at + 46, at + 46 + nameBytes);
    if (wants(name)) yield member(file, directory, at, { name, shift });
    at += 46 + nameBytes + extraBytes + commentBytes;
  }
}

function member(
  file: SourceFile,
  directory: Buffer,
  at: number,
  { name, shift }: { name: string; shift: number },
): Member {
  const [flags, method] = [directory.readUInt16LE(at + 8), directory.readUInt16LE(at + 10)];
  const [packed, size, header] = [20, 24, 42].map((offset) => directory.readUInt32LE(at + offset)) as [
    number,
    number,
    number,
  ];
  return {
    name,
    size,
    read(maxBytes) {
      if ((flags & 1) !== 0) throw new Unreadable("a member is encrypted");
      if (size > maxBytes || packed > maxBytes)
        throw new Unreadable(`a member is larger than ${maxBytes} bytes`);
      const local = bytesAt(file, header + shift, 30);
      const data = bytesAt(
        file,
        header + shift + 30 + local.readUInt16LE(26) + local.readUInt16LE(28),
        packed,
      );
      if (method === 0) return data;
      if (method !== 8) throw new Unreadable("a member has a compression that is not read");
      try {
        return inflateRawSync(data, { maxOutputLength: Math.max(1, maxBytes) });
      } catch {
        throw new Unreadable("a member cannot be decompressed, or is larger than it states");
      }
    },
  };
}
