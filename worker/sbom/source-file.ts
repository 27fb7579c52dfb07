// Bounded reading of one file of a tree that others made. What cannot be read is an `Unreadable` with the reason; whoever
// scans reports it and goes on.

import { closeSync, fstatSync, readSync } from "node:fs";

/** The file is broken, too large or of a kind that is not read. The message is shown to people, after the path. */
export class Unreadable extends Error {
  override readonly name = "Unreadable";
}

/** By name: rpm-sqlite.ts is bundled on its own, with another class of that name. */
export function isUnreadable(error: unknown): error is Unreadable {
  return error instanceof Error && error.name === "Unreadable";
}

/** Random access to a file's bytes. */
export interface SourceFile {
  readonly size: number; // bytes
  /** At most `length` bytes from `offset`; fewer at the end of the file. */
  at(offset: number, length: number): Buffer;
  /** All of it. Throws Unreadable for more than `maxBytes`. */
  whole(maxBytes: number): Buffer;
}

export interface OpenFile extends SourceFile {
  close(): void;
}

/** An open descriptor, which is closed with it. */
export function descriptorFile(fd: number): OpenFile {
  const { size } = fstatSync(fd);
  const at = (offset: number, length: number): Buffer => {
    const wanted = Math.min(length, Math.max(0, size - offset));
    const buffer = Buffer.allocUnsafe(wanted);
    let done = 0;
    while (done < wanted) {
      const count = readSync(fd, buffer, done, wanted - done, offset + done);
      if (count === 0) break;
      done += count;
    }
    return buffer.subarray(0, done);
  };
  return { size, at, whole: (maxBytes) => at(0, checkedSize(size, maxBytes)), close: () => closeSync(fd) };
}

/** Bytes that are in memory: a member of an archive. */
export function memoryFile(bytes: Buffer): SourceFile {
  return {
    size: bytes.length,
    at: (offset, length) => bytes.subarray(offset, offset + length),
    whole: (maxBytes) => bytes.subarray(0, checkedSize(bytes.length, maxBytes)),
  };
}

function checkedSize(size: number, maxBytes: number): number {
  if (size > maxBytes) throw new Unreadable(`${size} bytes are more than the ${maxBytes} that are read`);
  return size;
}

/** Exactly `length` bytes from `offset`. Throws Unreadable. */
export function bytesAt(file: SourceFile, offset: number, length: number): Buffer {
  const bytes = file.at(offset, length);
  if (bytes.length < length) throw new Unreadable("it ends too early");
  return bytes;
}

/** A JSON document that is an object. Throws Unreadable. */
export function jsonObject(bytes: Buffer): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    // A byte order mark is not JSON, but some editors write one.
    value = JSON.parse(bytes.toString("utf8").replace(/^\uFEFF/, ""));
  } catch {
    throw new Unreadable("it is not JSON");
  }
  if (!isRecord(value)) throw new Unreadable("it is JSON, but not an object");
  return value;
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Characters of a name, version or licence that are kept. */
const FIELD_MAX_CHARS = 512;
// Control characters of C0 and C1, and lone surrogates, which have no UTF-8.
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is meant
const UNPRINTABLE = /[\x00-\x1f\x7f-\x9f]|\p{Cs}/gu; // oxlint-disable-line no-control-regex

/** Text of a package as one short line; null: not a text, or empty. */
export function field(value: unknown): string | null {
  if (typeof value !== "string") return null;
  const text = value.slice(0, FIELD_MAX_CHARS).replaceAll(UNPRINTABLE, " ").trim();
  return text === "" ? null : text;
}
