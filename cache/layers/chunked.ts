// Layers that can be pulled lazily: every file, or chunk of one, is compressed on its own, and a table at the end of the blob says where.
//
// zstd:chunked (github.com/containers/storage, pkg/chunked): frames of zstd, then the table and tar-split's data in skippable frames,
// which decompressors pass over. So the tar in it is the layer's own, and the diffId stays. eStargz (stargz-snapshotter,
// docs/estargz.md): members of gzip, and the table is a file in one more tar behind the layer's end, which readers of tar do not look at.
// The diffId is that of all these bytes, as with BuildKit (util/compression/estargz.go), which also has no landmark files: it adds nothing
// to the tar itself.

import { availableParallelism } from "node:os";
import { digestOf } from "../../solver/graph/digest.ts";
import { ESTARGZ, ZSTD_CHUNKED } from "../table-annotations.ts";
import { CHUNK_BYTES, openCutter, place, type Unit } from "./chunk-cutter.ts";
import { type ChunkTable, ESTARGZ_TABLE, openTable, type TableForm } from "./chunk-table.ts";
import { compressFrames, type FrameCodec, type Frames } from "./compress-frames.ts";
import { openThreads } from "./compress-pool.ts";
import { TAR_HEADER_MAX_BYTES, writeHeader } from "./tar-write.ts";

export interface ChunkedOptions {
  readonly form: TableForm;
  readonly level: number;
  /** See CompressOptions. */
  readonly pinned: boolean;
  /** Units in work at once; undefined: as many as there are processors. */
  readonly threads?: number;
}

/** What was written at the end of a blob. */
export type Tail =
  | {
      readonly kind: "table";
      /** Of the layer's descriptor, without which readers do not look for the table. */
      readonly annotations: Readonly<Record<string, string>>;
      /** Bytes behind the layer's tar that decompressing the blob also yields; zstd:chunked: none. */
      readonly behind: Buffer;
    }
  /** The blob is a good one of plain gzip or zstd; why it has no table, in words that follow "a layer: ". */
  | { readonly kind: "none"; readonly why: string };

/** Compresses a tar; returns what came last. The same tar gives the same bytes, however it is cut into blocks, and for any number of
 *  threads. A block may be overwritten when the next one is asked for. */
export async function* chunkedBlob(
  blocks: Iterable<Buffer>,
  { form, level, pinned, threads }: ChunkedOptions,
): AsyncGenerator<Uint8Array, Tail> {
  const codec: FrameCodec = { kind: form === "estargz" ? "gzip" : "zstd", level, pinned };
  const table = openTable(form);
  const split = splitData(codec);
  let at = 0;
  for await (const [unit, frames] of inThreads(unitsOf(blocks, form, table), codec, threads)) {
    place(unit, frames, at);
    at += frames.data.length;
    yield frames.data;
    table.settle();
    await split.add(table.takeLines());
  }
  if (at === 0) {
    const empty = await frameOf(Buffer.alloc(0), codec);
    at = empty.length;
    yield empty;
  }
  table.settle();
  if (table.unlistable !== null) return { kind: "none", why: table.unlistable };
  const entries = table.entries();
  if (form === "estargz") {
    const { bytes, ...tail } = await stargzTail(entries, codec, at);
    yield bytes;
    return tail;
  }
  await split.add(table.takeLines());
  const { bytes, ...tail } = await zstdTail(entries, await split.finish(), codec, at);
  yield bytes;
  return tail;
}

function* unitsOf(blocks: Iterable<Buffer>, form: TableForm, table: ChunkTable): Generator<Unit> {
  const cutter = openCutter({
    form,
    member: (member) => table.member(member),
    rest: (bytes) => table.rest(bytes),
    unlistable: (why) => table.giveUp(why),
  });
  for (const block of blocks) {
    cutter.push(block);
    yield* cutter.take();
  }
  cutter.finish();
  yield* cutter.take();
}

/** Units with their frames, in order. Threads are started when a second unit appears: most layers have one. */
async function* inThreads(
  units: Iterator<Unit>,
  codec: FrameCodec,
  threads = availableParallelism(),
): AsyncGenerator<readonly [Unit, Frames]> {
  const take = (): Unit | null => {
    const next = units.next();
    return next.done === true ? null : next.value;
  };
  const [first, second] = [take(), take()];
  if (first === null) return;
  if (second === null) {
    yield [first, await compressFrames({ codec, ...first })];
    return;
  }
  const pool = openThreads(threads);
  const running: Promise<readonly [Unit, Frames]>[] = [];
  const start = (unit: Unit): void => {
    const result = pool.frames({ codec, data: unit.data, pieces: unit.pieces });
    const both = result.then((frames) => [unit, frames] as const);
    // It may fail before its turn to be awaited: a rejection that nobody handles ends the process.
    both.catch(() => {});
    running.push(both);
  };
  try {
    start(first);
    for (let unit: Unit | null = second; unit !== null; unit = take()) {
      start(unit);
      // One more than can run, so that no thread waits for the reader.
      if (running.length > threads + 1) yield await (running.shift() as (typeof running)[number]);
    }
    while (running.length > 0) yield await (running.shift() as (typeof running)[number]);
  } finally {
    await pool.close();
  }
}

async function frameOf(data: Buffer, codec: FrameCodec): Promise<Uint8Array> {
  const pieces = [{ length: data.length, payload: 0, crc: false }];
  return (await compressFrames({ codec, data, pieces })).data;
}

interface Split {
  readonly compressed: Buffer;
  readonly plainBytes: number;
}

/** tar-split's lines, compressed as they come: for many files they are several times the table. */
function splitData(codec: FrameCodec): {
  add(lines: readonly string[]): Promise<void>;
  finish(): Promise<Split>;
} {
  const frames: Uint8Array[] = [];
  let waiting: Buffer[] = [];
  let waitingBytes = 0;
  let plainBytes = 0;
  async function compress(): Promise<void> {
    frames.push(await frameOf(Buffer.concat(waiting), codec));
    [waiting, waitingBytes] = [[], 0];
  }
  return {
    async add(lines) {
      const bytes = Buffer.from(lines.join(""));
      waiting.push(bytes);
      waitingBytes += bytes.length;
      plainBytes += bytes.length;
      if (waitingBytes >= CHUNK_BYTES) await compress();
    },
    async finish() {
      if (waitingBytes > 0) await compress();
      return { compressed: Buffer.concat(frames), plainBytes };
    },
  };
}

type Written = Extract<Tail, { kind: "table" }> & { readonly bytes: Buffer };

/** RFC 8878, 3.1.2. */
const SKIPPABLE = 0x184d2a50;
/** The only one there is: a table like that of CRFS. */
const MANIFEST_TYPE = 1;
const ZSTD_FOOTER_BYTES = 64;
const ZSTD_FOOTER_MAGIC = "GNUlInUx";

async function zstdTail(
  entries: readonly string[],
  split: Split,
  codec: FrameCodec,
  at: number,
): Promise<Written> {
  const json = Buffer.from(
    `{"version":1,"entries":[${entries.join("")}],"tarSplitDigest":"${digestOf(split.compressed)}"}`,
  );
  const table = Buffer.from(await frameOf(json, codec));
  const head = 8; // of a skippable frame
  const tableAt = at + head;
  const splitAt = tableAt + table.length + head;
  const footer = Buffer.alloc(ZSTD_FOOTER_BYTES);
  const numbers = [
    ...[tableAt, table.length, json.length, MANIFEST_TYPE],
    ...[splitAt, split.compressed.length, split.plainBytes],
  ];
  for (const [index, number] of numbers.entries()) footer.writeBigUInt64LE(BigInt(number), index * 8);
  footer.write(ZSTD_FOOTER_MAGIC, 56, "latin1");
  return {
    kind: "table",
    bytes: Buffer.concat([table, split.compressed, footer].flatMap((data) => [skippableHead(data), data])),
    annotations: {
      [ZSTD_CHUNKED.manifestChecksum]: digestOf(table),
      [ZSTD_CHUNKED.manifestPosition]: [tableAt, table.length, json.length, MANIFEST_TYPE].join(":"),
      [ZSTD_CHUNKED.tarSplitPosition]: [splitAt, split.compressed.length, split.plainBytes].join(":"),
    },
    behind: Buffer.alloc(0),
  };
}

function skippableHead({ length }: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(SKIPPABLE, 0);
  head.writeUInt32LE(length, 4);
  return head;
}

async function stargzTail(entries: readonly string[], codec: FrameCodec, at: number): Promise<Written> {
  const json = Buffer.from(`{"version":1,"entries":[${entries.join("")}]}`);
  const header = Buffer.alloc(TAR_HEADER_MAX_BYTES);
  const end = writeHeader(header, 0, {
    name: Buffer.from(ESTARGZ_TABLE),
    linkName: null,
    type: "file",
    mode: 0,
    uid: 0,
    gid: 0,
    size: json.length,
    mtimeSeconds: 0,
    devMajor: 0,
    devMinor: 0,
    xattrs: null,
  });
  const padding = Buffer.alloc(((512 - (json.length % 512)) % 512) + 1024);
  const behind = Buffer.concat([header.subarray(0, end), json, padding]);
  return {
    kind: "table",
    bytes: Buffer.concat([await frameOf(behind, codec), stargzFooter(at)]),
    annotations: { [ESTARGZ.tableDigest]: digestOf(json) },
    behind,
  };
}

/** 51 bytes: an empty member of gzip whose extra field "SG" says where the table's member begins. */
function stargzFooter(tableAt: number): Buffer {
  const footer = Buffer.alloc(51);
  Buffer.of(0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255).copy(footer);
  footer.writeUInt16LE(26, 10);
  footer.write("SG", 12, "latin1");
  footer.writeUInt16LE(22, 14);
  footer.write(`${tableAt.toString(16).padStart(16, "0")}STARGZ`, 16, "latin1");
  Buffer.of(1, 0, 0, 0xff, 0xff).copy(footer, 38);
  return footer;
}
