// Reads tar, chunk by chunk and synchronously: the same members as Go's archive/tar, which other image tools
// use. Formats: v7, ustar, GNU (long names, base-256 numbers, sparse files) and PAX.
//
// A parser of our own because of its interface: push() accepts any chunk and calls back synchronously, so a layer of 30,000 files costs no
// promise and no stream object per file. Long because it is one state machine; values are in tar-fields.ts.
// Names stay bytes (threat model T7). Memory does not grow with the archive: what is buffered has the limits below (T6).

import {
  checkName,
  decimal,
  id,
  invalid,
  isZero,
  modulo,
  NS,
  numeric,
  parsePax,
  paxTime,
  TAR_SPARSE_MAX_PIECES,
  text,
  untilNul,
  verifyChecksum,
  wholeNumber,
  xattrsOf,
} from "./tar-fields.ts";

const BLOCK = 512;
/** A line of a sparse map: what wholeNumber() takes, and its end. */
const SPARSE_LINE_MAX_BYTES = 17;
/** Longest pax record block or GNU long name; Go's archive/tar has the same limit (maxSpecialFileSize). */
export const TAR_SPECIAL_MAX_BYTES: number = 1 << 20;

export type TarType = "file" | "link" | "symlink" | "char" | "block" | "dir" | "fifo";

/** One member. Times in nanoseconds since the epoch; mode holds the twelve permission bits. */
export interface TarEntry {
  readonly name: Buffer;
  readonly linkName: Buffer;
  readonly type: TarType;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of the file; holes of sparse files count. */
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly devMajor: number;
  readonly devMinor: number;
  /** Extended attributes by full name (SCHILY.xattr records), in the archive's order. */
  readonly xattrs: ReadonlyMap<string, Buffer>;
}

/** How a member is written down; only valid during the call. */
export interface TarHeader {
  /** Its block of 512 bytes. */
  readonly block: Buffer;
  /** What pax says besides. */
  readonly records: ReadonlyMap<string, Buffer>;
}

export interface TarHandler {
  /** `header`: null for sparse files. */
  entry(entry: TarEntry, header: TarHeader | null): void;
  /** Bytes of the current file that belong at `offset`; only valid during the call. */
  data(chunk: Buffer, offset: number): void;
  /** All data of the current member was given. */
  end(): void;
  /** A header for all members that follow was read over. */
  global?(): void;
}

export interface TarReader {
  /** Takes the next bytes; throws ARCHIVE_INVALID or what the handler throws. */
  push(chunk: Uint8Array): void;
  /** No more bytes: throws ARCHIVE_INVALID when the archive stops inside a member. */
  finish(): void;
  /** Two zero blocks were seen: the rest of the input is padding. */
  readonly ended: boolean;
  /** Bytes read so far of what was pushed last; in entry(), up to the end of the member's header. */
  readonly position: number;
}

interface Piece {
  readonly offset: number;
  readonly length: number;
}

type Special = "pax" | "global" | "long-name" | "long-link" | "sparse-v1";

/** What the reader is in the middle of. */
type Phase =
  | { readonly kind: "header" }
  | {
      readonly kind: "data";
      readonly stored: number;
      remaining: number;
      readonly pieces: readonly Piece[] | null;
      piece: number; // the one being filled
      before: number; // stored bytes of the pieces before it
    }
  | { readonly kind: "special"; readonly what: Special; readonly into: Buffer; filled: number }
  | {
      readonly kind: "sparse-extension";
      readonly entry: TarEntry;
      readonly size: number;
      readonly pieces: Piece[];
    }
  | {
      readonly kind: "sparse-map";
      readonly entry: TarEntry;
      remaining: number;
      readonly blocks: string[];
      lines: number;
      linesNeeded: number | null; // null: the first line, which says it, is not complete
    }
  | { readonly kind: "padding"; remaining: number; readonly after: "member" | "header" }
  | { readonly kind: "ended" };

/** Makes a reader that calls the handler for each member in order. */
export function tarReader(handler: TarHandler): TarReader {
  let phase: Phase = { kind: "header" };
  const block = Buffer.alloc(BLOCK);
  let blockFilled = 0;
  let zeroBlocks = 0;
  let pax: Map<string, Buffer> | null = null;
  let paxPieces: Buffer[] = [];
  let longName: Buffer | null = null;
  let longLink: Buffer | null = null;
  let at = 0;

  /** A whole block from the input or from the scratch block; null when more bytes are needed. */
  function takeBlock(chunk: Buffer, at: number): { block: Buffer; next: number } | null {
    if (blockFilled === 0 && chunk.length - at >= BLOCK) {
      return { block: chunk.subarray(at, at + BLOCK), next: at + BLOCK };
    }
    const count = Math.min(BLOCK - blockFilled, chunk.length - at);
    chunk.copy(block, blockFilled, at, at + count);
    blockFilled += count;
    if (blockFilled < BLOCK) return null;
    blockFilled = 0;
    return { block, next: at + count };
  }

  function push(input: Uint8Array): void {
    const chunk = Buffer.from(input.buffer, input.byteOffset, input.byteLength);
    at = 0;
    while (at < chunk.length) {
      switch (phase.kind) {
        case "header": {
          const taken = takeBlock(chunk, at);
          if (taken === null) return;
          at = taken.next;
          phase = header(taken.block);
          break;
        }
        case "data": {
          const end = Math.min(chunk.length, at + phase.remaining);
          deliver(phase, chunk.subarray(at, end));
          phase.remaining -= end - at;
          at = end;
          if (phase.remaining === 0) phase = afterData(phase.stored);
          break;
        }
        case "special": {
          const count = chunk.copy(phase.into, phase.filled, at);
          phase.filled += count;
          at += count;
          if (phase.filled === phase.into.length) {
            special(phase.what, phase.into);
            phase = padding(phase.into.length, "header");
          }
          break;
        }
        case "sparse-extension": {
          const taken = takeBlock(chunk, at);
          if (taken === null) return;
          at = taken.next;
          readGnuPieces(taken.block, 0, 21, phase.pieces);
          if (taken.block[504] === 0) phase = startSparse(phase.entry, phase.size, phase.pieces);
          break;
        }
        case "sparse-map": {
          const taken = takeBlock(chunk, at);
          if (taken === null) return;
          at = taken.next;
          phase = sparseMap(phase, taken.block);
          break;
        }
        case "padding": {
          const count = Math.min(phase.remaining, chunk.length - at);
          at += count;
          phase.remaining -= count;
          if (phase.remaining === 0) {
            if (phase.after === "member") handler.end();
            phase = { kind: "header" };
          }
          break;
        }
        case "ended":
          return;
      }
    }
  }

  function finish(): void {
    // Go takes an end without, or with only one, zero block for a good one, and one in what fills up the last member's block.
    const isFilling = phase.kind === "padding" && phase.after === "member";
    if (isFilling) handler.end();
    if (isFilling || (phase.kind === "header" && blockFilled === 0) || phase.kind === "ended") {
      if (pax !== null || longName !== null || longLink !== null)
        throw invalid("it ends after a header extension");
      return;
    }
    throw invalid("it is truncated");
  }

  function header(raw: Buffer): Phase {
    if (isZero(raw)) {
      zeroBlocks++;
      return zeroBlocks === 2 ? { kind: "ended" } : phase;
    }
    if (zeroBlocks > 0) throw invalid("a zero block is between members");
    verifyChecksum(raw);
    const flag = String.fromCharCode(raw[156] as number);
    const size = numeric(raw, 124, 12);
    if (size < 0) throw invalid("a member has a negative size");
    switch (flag) {
      case "x":
        return startSpecial("pax", size);
      case "g":
        return startSpecial("global", size);
      case "L":
        return startSpecial("long-name", size);
      case "K":
        return startSpecial("long-link", size);
      default:
        return member(raw, flag, size);
    }
  }

  function startSpecial(what: Special, size: number): Phase {
    if (size > TAR_SPECIAL_MAX_BYTES) throw invalid(`a header extension has ${size} bytes`);
    if (size === 0) {
      special(what, Buffer.alloc(0));
      return { kind: "header" };
    }
    return { kind: "special", what, into: Buffer.alloc(size), filled: 0 };
  }

  function special(what: Special, body: Buffer): void {
    if (what === "pax") {
      ({ records: pax, pieces: paxPieces } = parsePax(body));
    } else if (what === "long-name") {
      longName = untilNul(body);
    } else if (what === "long-link") {
      longLink = untilNul(body);
    } else if (what === "global") {
      handler.global?.(); // read over, as by Go and so by every container tool
    }
  }

  function member(raw: Buffer, flag: string, headerSize: number): Phase {
    const records = pax ?? NO_RECORDS;
    const pieces = paxPieces;
    const isGnu = raw.toString("latin1", 257, 265) === "ustar  \0";
    const isUstar = raw.toString("latin1", 257, 263) === "ustar\0";
    let name: Buffer = untilNul(raw.subarray(0, 100));
    if (isUstar) {
      const isStar = raw.toString("latin1", 508, 512) === "tar\0";
      const prefix = untilNul(raw.subarray(345, isStar ? 476 : 500));
      if (prefix.length > 0) name = Buffer.concat([prefix, SLASH, name]);
    }
    const device = isUstar || isGnu;
    name = longName ?? text(records, "path") ?? Buffer.from(name);
    const linkName = longLink ?? text(records, "linkpath") ?? Buffer.from(untilNul(raw.subarray(157, 257)));
    pax = null;
    paxPieces = [];
    longName = null;
    longLink = null;

    const type = typeOf(flag, name);
    const stored = type === "file" ? (decimal(records, "size") ?? headerSize) : 0;
    const sparseName = text(records, "GNU.sparse.name");
    const entry: TarEntry = {
      name: checkName(sparseName ?? name, "name"),
      linkName: checkName(linkName, "link text"),
      type,
      mode: modulo(numeric(raw, 100, 8), 0o10000),
      uid: id(decimal(records, "uid") ?? numeric(raw, 108, 8)),
      gid: id(decimal(records, "gid") ?? numeric(raw, 116, 8)),
      size: stored,
      mtimeNs: paxTime(records, "mtime") ?? BigInt(numeric(raw, 136, 12)) * NS,
      devMajor: device ? numeric(raw, 329, 8) : 0,
      devMinor: device ? numeric(raw, 337, 8) : 0,
      xattrs: xattrsOf(records),
    };
    const header = { block: raw, records };
    if (type !== "file") return start(entry, stored, null, header);

    if (flag === "S") {
      // Old GNU sparse: four pieces here, then blocks of 21 while the flag says so. tar(5), struct header_gnu_tar.
      const map: Piece[] = [];
      readGnuPieces(raw, 386, 4, map);
      const sparse = { ...entry, size: numeric(raw, 483, 12) };
      return raw[482] === 0
        ? startSparse(sparse, stored, map)
        : { kind: "sparse-extension", entry: sparse, size: stored, pieces: map };
    }
    const realSize = decimal(records, "GNU.sparse.realsize") ?? decimal(records, "GNU.sparse.size");
    if (realSize === null) return start(entry, stored, null, header);
    const sparse = { ...entry, size: realSize };
    const version = `${text(records, "GNU.sparse.major") ?? ""}.${text(records, "GNU.sparse.minor") ?? ""}`;
    if (version === "1.0") {
      return {
        kind: "sparse-map",
        entry: sparse,
        remaining: stored,
        blocks: [],
        lines: 0,
        linesNeeded: null,
      };
    }
    const listed = text(records, "GNU.sparse.map")?.toString("latin1").split(",") ?? [];
    const numbers = (listed.length > 0 ? listed : pieces.map((piece) => piece.toString("latin1"))).map(
      wholeNumber,
    );
    return startSparse(sparse, stored, pairs(numbers));
  }

  function start(
    entry: TarEntry,
    stored: number,
    pieces: readonly Piece[] | null,
    header: TarHeader | null = null,
  ): Phase {
    handler.entry(entry, header);
    if (stored === 0) {
      handler.end();
      return { kind: "header" };
    }
    return { kind: "data", remaining: stored, stored, pieces, piece: 0, before: 0 };
  }

  function startSparse(entry: TarEntry, stored: number, pieces: readonly Piece[]): Phase {
    let end = 0;
    let sum = 0;
    for (const { offset, length } of pieces) {
      if (offset < end || offset + length > entry.size) throw invalid("the map of a sparse file is invalid");
      end = offset + length;
      sum += length;
    }
    if (sum !== stored) throw invalid("the map of a sparse file does not match its data");
    return start(entry, stored, pieces);
  }

  /** GNU sparse 1.0: "count\n" then "offset\nlength\n" for each piece, padded to a block, before the data. */
  function sparseMap(state: Extract<Phase, { kind: "sparse-map" }>, block: Buffer): Phase {
    state.remaining -= BLOCK;
    if (state.remaining < 0) throw invalid("the map of a sparse file is invalid");
    for (let i = block.indexOf(0x0a); i >= 0; i = block.indexOf(0x0a, i + 1)) state.lines++;
    state.blocks.push(block.toString("latin1"));
    if (state.linesNeeded === null) {
      if (state.lines === 0) throw invalid("the map of a sparse file is invalid");
      const count = wholeNumber((state.blocks[0] as string).split("\n", 1)[0] as string);
      if (count > TAR_SPARSE_MAX_PIECES) throw invalid("a sparse file has too many segments");
      state.linesNeeded = 1 + count * 2;
    }
    if (state.lines < state.linesNeeded) {
      // A line without an end would be kept for as long as the archive goes on.
      if (state.blocks.length * BLOCK > state.linesNeeded * SPARSE_LINE_MAX_BYTES)
        throw invalid("the map of a sparse file is wrong");
      return state;
    }
    const lines = state.blocks.join("").split("\n", state.linesNeeded);
    return startSparse(state.entry, state.remaining, pairs(lines.slice(1).map(wholeNumber)));
  }

  function deliver(state: Extract<Phase, { kind: "data" }>, bytes: Buffer): void {
    if (state.pieces === null) {
      handler.data(bytes, state.stored - state.remaining);
      return;
    }
    // Position inside the stored data, mapped to the file piece by piece.
    let position = state.stored - state.remaining;
    let rest = bytes;
    while (rest.length > 0) {
      const piece = state.pieces[state.piece] as Piece;
      const inPiece = position - state.before;
      const count = Math.min(rest.length, piece.length - inPiece);
      if (count > 0) handler.data(rest.subarray(0, count), piece.offset + inPiece);
      rest = rest.subarray(count);
      position += count;
      if (inPiece + count === piece.length) {
        state.before += piece.length;
        state.piece++;
      }
    }
  }

  function afterData(stored: number): Phase {
    const next = padding(stored, "member");
    if (next.kind === "header") handler.end();
    return next;
  }

  return {
    push,
    finish,
    get ended() {
      return phase.kind === "ended";
    },
    get position() {
      return at;
    },
  };
}

const SLASH = Buffer.from("/");
const NO_RECORDS: ReadonlyMap<string, Buffer> = new Map();

function padding(size: number, after: "member" | "header"): Phase {
  const remaining = (BLOCK - (size % BLOCK)) % BLOCK;
  return remaining === 0 ? { kind: "header" } : { kind: "padding", remaining, after };
}

function typeOf(flag: string, name: Buffer): TarType {
  switch (flag) {
    case "\0": // v7: a name that ends in a slash is a directory
      return name.at(-1) === 0x2f ? "dir" : "file";
    case "0":
    case "7":
    case "S":
      return "file";
    case "1":
      return "link";
    case "2":
      return "symlink";
    case "3":
      return "char";
    case "4":
      return "block";
    case "5":
      return "dir";
    case "6":
      return "fifo";
    default:
      throw invalid(`members of type ${JSON.stringify(flag)} are unknown`);
  }
}

function readGnuPieces(raw: Buffer, at: number, count: number, into: Piece[]): void {
  for (let i = 0; i < count; i++, at += 24) {
    if (raw[at] === 0) return; // unused slots are empty
    if (into.length >= TAR_SPARSE_MAX_PIECES) throw invalid("a sparse file has too many segments");
    const [offset, length] = [numeric(raw, at, 12), numeric(raw, at + 12, 12)];
    if (offset < 0 || length < 0) throw invalid("the map of a sparse file is invalid");
    into.push({ offset, length });
  }
}

function pairs(numbers: readonly number[]): Piece[] {
  if (numbers.length % 2 !== 0 || numbers.length > TAR_SPARSE_MAX_PIECES * 2) {
    throw invalid("the map of a sparse file is invalid");
  }
  const pieces: Piece[] = [];
  for (let i = 0; i < numbers.length; i += 2) {
    pieces.push({ offset: numbers[i] as number, length: numbers[i + 1] as number });
  }
  return pieces;
}
