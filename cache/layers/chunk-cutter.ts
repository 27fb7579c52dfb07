// Cuts a tar into pieces that can be compressed on their own: the content of each file, or chunks of a large one, and what is between.
//
// zstd:chunked has frames for content alone. In eStargz a member of gzip also holds what follows the content, up to the next one.

import { createHash, type Hash } from "node:crypto";
import { BuildError } from "../../solver/graph/error.ts";
import { Crc64 } from "./crc64.ts";
import type { Frames, Piece } from "./compress-frames.ts";
import { type TarEntry, tarReader } from "./tar.ts";

/** Bytes of a chunk at most, counted from the start of its file, so that chunks stay the same when something else in the layer
 *  changes. What stargz-snapshotter and BuildKit use. */
export const CHUNK_BYTES: number = 4 << 20;
/** Headers before a member: more is no layer that tools write. */
const HEADERS_MAX_BYTES = 4 << 20;

/** Of what is behind the last member, given at once. */
const REST_BYTES = 1 << 20;

/** Part of a file's content, and where it is in the blob once that is known. */
export interface Chunk {
  readonly offset: number;
  readonly size: number;
  frame: {
    readonly at: number;
    readonly end: number;
    readonly sha256: string;
    readonly crc: string | null;
  } | null;
}

/** One member of the tar. */
export interface Member {
  readonly entry: TarEntry;
  /** What pax says of it. */
  readonly records: ReadonlyMap<string, Buffer>;
  /** The bytes from the content of the member before to that of this one, whose header block is the last of them. */
  readonly before: Buffer;
  readonly chunks: Chunk[];
  /** Of content in several chunks; null: it is one, or none. */
  readonly whole: { readonly sha256: Hash; readonly crc: Crc64 } | null;
}

/** Pieces that are compressed in one go. */
export interface Unit {
  readonly data: Buffer;
  readonly pieces: readonly Piece[];
  /** By piece; null: no content of a file. */
  readonly chunks: readonly (Chunk | null)[];
}

export interface Cutter {
  push(block: Buffer): void;
  /** No more blocks. */
  finish(): void;
  /** Units that are complete, oldest first; each is given once. */
  take(): Unit[];
}

export interface CutterOptions {
  readonly form: "estargz" | "zstd:chunked";
  /** Gets the members in order, before their content. */
  readonly member: (member: Member) => void;
  /** Gets bytes after the last member, in parts. */
  readonly rest: (bytes: Buffer) => void;
  /** The tar cannot be listed: from here on it is only cut. */
  readonly unlistable: (why: string) => void;
}

/** Opens a cutter. The units are the same for the same tar, however it is cut into blocks. */
export function openCutter({ form, member, rest, unlistable }: CutterOptions): Cutter {
  const ready: Unit[] = [];
  const isApart = form === "zstd:chunked";
  let data = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  let filled = 0;
  let pieces: { length: number; payload: number; crc: boolean }[] = [];
  let chunks: (Chunk | null)[] = [];
  let isListed = true;
  /** Bytes since the last content: a part of the next member's header. */
  let before: Buffer[] = [];
  let beforeBytes = 0;
  let current: Member | null = null;
  let block: Buffer = Buffer.alloc(0);
  let done = 0; // bytes of the block that are in pieces

  function flush(): void {
    if (filled > 0) ready.push({ data: data.subarray(0, filled), pieces, chunks });
    data = Buffer.allocUnsafeSlow(CHUNK_BYTES);
    [filled, pieces, chunks] = [0, [], []];
  }

  /** Bytes of the block up to `end` that are no content. */
  function between(end: number): void {
    const bytes = block.subarray(done, end);
    done = end;
    if (isListed && bytes.length > 0) {
      before.push(Buffer.from(bytes));
      beforeBytes += bytes.length;
      if (beforeBytes > HEADERS_MAX_BYTES && !reader.ended) giveUp("the header of a member is too long");
    }
    for (let at = 0; at < bytes.length; ) {
      if (filled === CHUNK_BYTES) flush();
      const last = pieces.at(-1);
      const count = bytes.copy(data, filled, at);
      if (last === undefined || (isApart && last.payload > 0)) {
        pieces.push({ length: count, payload: 0, crc: false });
        chunks.push(null);
      } else last.length += count;
      filled += count;
      at += count;
    }
  }

  function content(bytes: Buffer, offset: number): void {
    const size = current?.entry.size ?? 0;
    current?.whole?.sha256.update(bytes);
    if (isApart) current?.whole?.crc.update(bytes);
    for (let at = 0; at < bytes.length; ) {
      const inChunk = (offset + at) % CHUNK_BYTES;
      if (inChunk === 0) {
        const chunk = { offset: offset + at, size: Math.min(CHUNK_BYTES, size - offset - at), frame: null };
        if (chunk.size > CHUNK_BYTES - filled) flush();
        current?.chunks.push(chunk);
        pieces.push({ length: 0, payload: 0, crc: isApart && current?.whole === null });
        chunks.push(chunk);
      }
      const piece = pieces.at(-1) as (typeof pieces)[number];
      const count = bytes.copy(data, filled, at, at + CHUNK_BYTES - inChunk);
      piece.length += count;
      piece.payload += count;
      filled += count;
      at += count;
    }
  }

  /** Passes on what is behind the last member, in parts that do not depend on the blocks; the last part may be smaller. */
  function behind(least: number): void {
    if (beforeBytes < least) return;
    let all = Buffer.concat(before);
    for (; all.length >= REST_BYTES; all = all.subarray(REST_BYTES)) rest(all.subarray(0, REST_BYTES));
    if (least < REST_BYTES && all.length > 0) {
      rest(all);
      all = all.subarray(all.length);
    }
    [before, beforeBytes] = all.length === 0 ? [[], 0] : [[all], all.length];
  }

  function giveUp(why: string): void {
    if (!isListed) return;
    isListed = false;
    [before, beforeBytes] = [[], 0];
    unlistable(why);
  }

  const reader = tarReader({
    entry(entry, header) {
      between(reader.position);
      const isLarge = entry.size > CHUNK_BYTES;
      current = {
        entry,
        records: header?.records ?? NO_RECORDS,
        before: before.length === 1 ? (before[0] as Buffer) : Buffer.concat(before),
        chunks: [],
        whole: isLarge ? { sha256: createHash("sha256"), crc: new Crc64() } : null,
      };
      [before, beforeBytes] = [[], 0];
      // Content of sparse files is in parts, which nothing can point to.
      if (header === null) giveUp("it has sparse files");
      if (isListed) member(current);
    },
    data(bytes, offset) {
      if (!isListed) return; // as what is between
      const at = bytes.byteOffset - block.byteOffset;
      between(at);
      content(bytes, offset);
      done = at + bytes.length;
    },
    end() {},
    global() {
      giveUp("it has headers for all members");
    },
  });

  return {
    push(next) {
      [block, done] = [next, 0];
      try {
        if (isListed) reader.push(block);
      } catch (error) {
        if (!(error instanceof BuildError)) throw error;
        giveUp(error.message); // a blob that somebody else made
      }
      between(block.length);
      if (reader.ended) behind(REST_BYTES);
    },
    finish() {
      try {
        if (isListed) reader.finish();
        // Readers of tar-split want the padding of the last file to be whole.
        if (!reader.ended) giveUp("it has no end");
      } catch (error) {
        if (!(error instanceof BuildError)) throw error;
        giveUp(error.message);
      }
      behind(1);
      flush();
    },
    take: () => ready.splice(0),
  };
}

const NO_RECORDS: ReadonlyMap<string, Buffer> = new Map();

/** Says where the frames of a unit are. `at`: of the first one, in the blob. */
export function place({ chunks }: Unit, { lengths, digests, crcs }: Frames, at: number): void {
  let start = at;
  chunks.forEach((chunk, index) => {
    const end = start + (lengths[index] as number);
    if (chunk !== null)
      chunk.frame = { at: start, end, sha256: digests[index] as string, crc: crcs[index] as string | null };
    start = end;
  });
}
