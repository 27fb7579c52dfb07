// Contents of two files, compared in pieces: memory does not grow with them.

import { setImmediate as turn } from "node:timers/promises";
import type { Content } from "./contract.ts";

const PIECE_BYTES = 256 * 1024;
const PIECES_PER_TURN = 32;
/** Stretches of differing bytes that are told apart; behind them only counting goes on. */
const RANGES_MAX = 2_000;
/** Equal bytes between two stretches that make them one: fields of a header have equal bytes by chance. */
const GAP_BYTES = 4;

export interface Range {
  readonly start: number;
  /** Behind the last byte. */
  end: number;
}

/** How two contents differ. */
export interface Delta {
  /** Of the first byte that differs, or the shorter one's size. */
  readonly offset: number;
  /** Stretches that differ, as far as both go. */
  readonly ranges: readonly Range[];
  /** False: there are more. */
  readonly isComplete: boolean;
  /** Bytes that differ at the same offset. */
  readonly bytes: number;
  readonly isSameSize: boolean;
}

/** Compares two contents; null: they are equal. */
export async function compareBytes(
  a: Content,
  b: Content,
  { signal }: { readonly signal: AbortSignal },
): Promise<Delta | null> {
  const ranges: Range[] = [];
  let isComplete = true;
  let bytes = 0;
  const [inA, inB] = [Buffer.allocUnsafe(PIECE_BYTES), Buffer.allocUnsafe(PIECE_BYTES)];
  const common = Math.min(a.size, b.size);
  let pieces = 0;
  for (let at = 0; at < common; ) {
    const length = Math.min(PIECE_BYTES, common - at);
    const [fromA, fromB] = [
      inA.subarray(0, readFully(a, inA.subarray(0, length), at)),
      inB.subarray(0, readFully(b, inB.subarray(0, length), at)),
    ];
    const count = Math.min(fromA.length, fromB.length);
    if (count === 0) break; // shorter than it said: it changes
    if (!fromA.subarray(0, count).equals(fromB.subarray(0, count))) {
      for (let i = 0; i < count; i++) {
        if (fromA[i] === fromB[i]) continue;
        bytes++;
        const last = ranges.at(-1);
        if (last !== undefined && at + i - last.end <= GAP_BYTES) last.end = at + i + 1;
        else if (ranges.length < RANGES_MAX) ranges.push({ start: at + i, end: at + i + 1 });
        else isComplete = false;
      }
    }
    at += count;
    if (++pieces % PIECES_PER_TURN === 0) await turn();
    signal.throwIfAborted();
  }
  if (bytes === 0 && a.size === b.size) return null;
  return { offset: ranges[0]?.start ?? common, ranges, isComplete, bytes, isSameSize: a.size === b.size };
}

/** Fills as much of the buffer as there is. */
export function readFully(content: Content, into: Buffer, position: number): number {
  let done = 0;
  while (done < into.length) {
    const count = content.read(into.subarray(done), position + done);
    if (count === 0) break;
    done += count;
  }
  return done;
}

/** At most `max` bytes from `position` on. */
export function readPart(content: Content, position: number, max: number): Buffer {
  const length = Math.max(0, Math.min(max, content.size - position));
  const bytes = Buffer.alloc(length);
  return bytes.subarray(0, readFully(content, bytes, position));
}

/** All of it if it is not longer than `max`, else null. */
export function readWhole(content: Content, max: number): Buffer | null {
  return content.size > max ? null : readPart(content, 0, max);
}

/** Bytes in memory as a content. */
export function contentOfBytes(bytes: Buffer): Content {
  return {
    size: bytes.length,
    read: (into, position) => bytes.copy(into, 0, Math.min(position, bytes.length)),
  };
}

const BEFORE_BYTES = 16;
const SHOWN_BYTES = 64;

/** Are these bytes of a text? */
export function isText(bytes: Buffer): boolean {
  for (const byte of bytes)
    if (byte < 9 || (byte > 13 && byte < 32 && byte !== 27) || byte === 127) return false;
  return true;
}

/** What is at an offset, short: of text the line it is in, else bytes as hexadecimal with their characters. */
export function excerpt(content: Content, offset: number): string {
  const start = Math.max(0, offset - BEFORE_BYTES * 4);
  const around = readPart(content, start, BEFORE_BYTES * 4 + SHOWN_BYTES * 2);
  const rest = around.subarray(offset - start);
  if (isText(around)) {
    const from = around.lastIndexOf(0x0a, Math.max(0, offset - start - 1)) + 1;
    const line = around.subarray(offset - start > 0 ? from : 0);
    const end = line.indexOf(0x0a, Math.max(0, offset - start - from));
    return line.subarray(0, end < 0 ? line.length : end).toString("utf8");
  }
  const shown = rest.subarray(0, BEFORE_BYTES);
  if (shown.length === 0) return "";
  const characters = [...shown]
    .map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : "."))
    .join("");
  return `${shown.toString("hex").replace(/../g, "$& ").trim()}  ${characters}`;
}

/** Looked through for the number of a line. */
const LINES_MAX_BYTES = 8 << 20;

/** The line an offset is in, from 1; null: what is before it is no text, or too long. */
export function lineAt(content: Content, offset: number): number | null {
  if (offset > LINES_MAX_BYTES) return null;
  const before = readPart(content, 0, Math.min(offset + BEFORE_BYTES, content.size));
  if (!isText(before)) return null;
  let line = 1;
  for (let at = before.indexOf(0x0a); at >= 0 && at < offset; at = before.indexOf(0x0a, at + 1)) line++;
  return line;
}
