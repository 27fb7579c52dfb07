// Tables of contents of layers: the JSON in which a reader finds each file's attributes, digest and place in the blob.
//
// zstd:chunked: github.com/containers/storage, pkg/chunked/internal/minimal (TOC, FileMetadata). eStargz: stargz-snapshotter's
// docs/estargz.md. Entries have nearly the same fields. The first also has what tar-split needs to make the tar again, byte for byte, from
// the files: github.com/vbatts/tar-split, tar/storage (Entry).

import { isUtf8 } from "node:buffer";
import { posix } from "node:path";
import { type Chunk, CHUNK_BYTES, type Member } from "./chunk-cutter.ts";
import { NS, numeric, paxTime, text, untilNul } from "./tar-fields.ts";
import type { TarType } from "./tar.ts";

export type TableForm = "estargz" | "zstd:chunked";

/** Name of eStargz' table in its layer. */
export const ESTARGZ_TABLE = "stargz.index.json";
/** JSON of a table, about 200,000 files. It is in memory when it is made and when it is read: readers refuse 150 MiB. */
export const TABLE_MAX_BYTES: number = 64 << 20;

const TYPES: Readonly<Record<TarType, string>> = {
  file: "reg",
  link: "hardlink",
  symlink: "symlink",
  char: "char",
  block: "block",
  dir: "dir",
  fifo: "fifo",
};
const EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

export interface ChunkTable {
  /** Takes the next member, whose chunks need not be placed yet. */
  member(member: Member): void;
  /** Takes bytes after the last member. */
  rest(bytes: Buffer): void;
  /** There will be no table, because of this. */
  giveUp(why: string): void;
  readonly unlistable: string | null;
  /** Writes down members whose chunks are placed. */
  settle(): void;
  /** The entries, in parts of a JSON array without its brackets. */
  entries(): readonly string[];
  /** Lines of tar-split's JSON since the last call. */
  takeLines(): string[];
}

/** Opens an empty table. */
export function openTable(form: TableForm): ChunkTable {
  const isStargz = form === "estargz";
  const waiting: (Member | Buffer)[] = []; // members, and what is behind the last of them
  const names = new Set<string>();
  const users = new Map<string, string>();
  let entries: string[] = [];
  let lines: string[] = [];
  let position = 0;
  let bytes = 0;
  let unlistable: string | null = null;

  function giveUp(why: string): void {
    unlistable ??= why;
    waiting.length = 0;
    names.clear();
    [entries, lines] = [[], []];
  }

  function add(json: string): void {
    entries.push(entries.length === 0 ? json : `,${json}`);
    bytes += json.length + 1;
    if (bytes > TABLE_MAX_BYTES) giveUp("it has too many files");
  }

  function segment(payload: Buffer): void {
    lines.push(`{"type":2,"payload":"${payload.toString("base64")}","position":${position++}}\n`);
  }

  /** In eStargz a name of a user or group is said once. */
  function nameIfNew(kind: string, id: number, name: string): string | undefined {
    const key = `${kind} ${id}`;
    if (name === "" || users.get(key) === name) return undefined;
    users.set(key, name);
    return name;
  }

  function write(member: Member): void {
    const { entry, chunks, before, whole } = member;
    const isFile = entry.type === "file";
    const name = JSON.stringify(entry.name.toString("utf8"));
    const size = isFile && entry.size > 0 ? `"size":${entry.size},` : "";
    const [first] = chunks;
    const last = chunks.at(-1);
    const frame = first?.frame ?? null;
    const sha256 = whole?.sha256.digest("hex") ?? frame?.sha256 ?? EMPTY_SHA256;
    // Put together by hand: for layers of many small files it takes a third of what JSON.stringify() does.
    let json = `{"name":${name},"type":"${TYPES[entry.type]}",${size}${attributesOf(member, isStargz)}`;
    if (isStargz) {
      const [user, group] = ownersOf(member);
      json += textField("userName", nameIfNew("user", entry.uid, user));
      json += textField("groupName", nameIfNew("group", entry.gid, group));
      if (isFile) json += `"digest":"sha256:${sha256}",`;
      if (first !== undefined) json += chunkFields(first, first === last);
    } else if (first !== undefined) {
      json += `"digest":"sha256:${sha256}","endOffset":${last?.frame?.end},`;
      json += whole === null ? `"offset":${frame?.at},` : chunkFields(first, false);
    }
    add(`${json.slice(0, -1)}}`);
    for (const chunk of chunks.slice(1))
      add(`{"name":${name},"type":"chunk",${chunkFields(chunk, isStargz && chunk === last).slice(0, -1)}}`);
    if (isStargz || unlistable !== null) return;
    segment(before);
    const crc = whole?.crc.digest().toString("base64") ?? frame?.crc ?? null;
    const payload = crc === null ? "null" : `"${crc}"`;
    lines.push(`{"type":1,"name":${name},${size}"payload":${payload},"position":${position++}}\n`);
  }

  return {
    member(member) {
      if (unlistable !== null) return;
      const why = whyUnlistable(member, isStargz);
      if (why !== null) return giveUp(why);
      const path = cleaned(member.entry.name.toString("utf8"));
      if (names.has(path)) return giveUp(`${path} is in it twice`);
      if (isStargz && path === ESTARGZ_TABLE) return giveUp(`a file in it is named ${ESTARGZ_TABLE}`);
      names.add(path);
      waiting.push(member);
    },
    rest(payload) {
      if (unlistable === null && !isStargz) waiting.push(payload);
    },
    giveUp,
    get unlistable() {
      return unlistable;
    },
    settle,
    entries: () => entries,
    takeLines() {
      const taken = lines;
      lines = [];
      return taken;
    },
  };

  function settle(): void {
    let count = 0;
    for (const one of waiting) {
      if (Buffer.isBuffer(one)) segment(one);
      else if (isPlaced(one)) write(one);
      else break;
      if (unlistable !== null) return;
      count++;
    }
    waiting.splice(0, count);
  }
}

function isPlaced({ entry, chunks }: Member): boolean {
  const count = entry.type === "file" ? Math.ceil(entry.size / CHUNK_BYTES) : 0;
  return chunks.length === count && chunks.at(-1)?.frame !== null;
}

/** Without a slash at its end, and without parts that lead nowhere. */
function cleaned(name: string): string {
  const path = name.endsWith("/") ? name.slice(0, -1) : name;
  return /(?:^|\/)\.{0,2}(?:\/|$)/.test(path) ? posix.normalize(`/${path}`).slice(1) : path;
}

// Fields of a JSON object, each with a comma behind it.

/** Where a chunk is. The last one of a file in eStargz says no size. */
function chunkFields({ offset, size, frame }: Chunk, isOpen: boolean): string {
  const from = offset === 0 ? "" : `"chunkOffset":${offset},`;
  const length = isOpen ? "" : `"chunkSize":${size},`;
  return `"offset":${frame?.at},${from}${length}"chunkDigest":"sha256:${frame?.sha256}",`;
}

function textField(name: string, value: string | undefined): string {
  return value === undefined ? "" : `"${name}":${JSON.stringify(value)},`;
}

function numberField(name: string, value: number): string {
  return value === 0 ? "" : `"${name}":${value},`;
}

/** As Go's archive/tar reads them from the header: readers compare them with it. */
function attributesOf({ entry, records, before }: Member, isStargz: boolean): string {
  const { linkName, type, mtimeNs, devMajor, devMinor, xattrs } = entry;
  let json = numberField("mode", numeric(headerOf(before), 100, 8));
  json += numberField("uid", entry.uid) + numberField("gid", entry.gid);
  json += textField("modtime", isStargz ? stargzTime(mtimeNs) : goTime(mtimeNs));
  if (!isStargz && records.size > 0) {
    json += textField("accesstime", goTime(paxTime(records, "atime")));
    json += textField("changetime", goTime(paxTime(records, "ctime")));
  }
  const isLink = type === "link" || type === "symlink";
  if ((isLink || !isStargz) && linkName.length > 0) json += textField("linkName", linkName.toString("utf8"));
  if (type === "char" || type === "block" || !isStargz)
    json += numberField("devMajor", devMajor) + numberField("devMinor", devMinor);
  if (xattrs.size === 0) return json;
  const values = [...xattrs].map(([key, value]) => [key, value.toString("base64")]);
  return `${json}"xattrs":${JSON.stringify(Object.fromEntries(values))},`;
}

function headerOf(before: Buffer): Buffer {
  return before.subarray(-512);
}

/** Names of user and group, as text. */
function ownersOf({ records, before }: Member): readonly [string, string] {
  const block = headerOf(before);
  const hasNames = block.toString("latin1", 257, 262) === "ustar";
  const field = (key: string, at: number): string =>
    (text(records, key) ?? (hasNames ? untilNul(block.subarray(at, at + 32)) : NOTHING)).toString("utf8");
  return [field("uname", 265), field("gname", 297)];
}
const NOTHING = Buffer.alloc(0);

/** Why no table can hold the member, or readers would take it for something else; null: one can. */
function whyUnlistable({ entry, records, before }: Member, isStargz: boolean): string | null {
  const name = entry.name.toString("utf8");
  if (!isUtf8(entry.name) || !isUtf8(entry.linkName)) return `the name ${JSON.stringify(name)} is not UTF-8`;
  const block = headerOf(before);
  if (block[156] === CONTIGUOUS || [...records.keys()].some((key) => /^GNU\.sparse|\ufffd/.test(key)))
    return `${name} is written in a form that tables do not know`;
  const isGnu = block.toString("latin1", 257, 265) === "ustar  \0";
  const hasGnuTimes = isGnu && (block[345] !== 0 || block[357] !== 0);
  const hasSize = entry.type !== "file" && numeric(block, 124, 12) !== 0;
  if (hasSize || (hasGnuTimes && !isStargz) || numeric(block, 100, 8) < 0)
    return `${name} has a header that tables do not know`;
  const times = [entry.mtimeNs, ...["atime", "ctime"].map((key) => paxTime(records, key) ?? 0n)];
  if (times.some((time) => time < TIME_MIN_NS || time > TIME_MAX_NS))
    return `${name} has a time that tables cannot say`;
  return null;
}
/** "7": a file in one piece on the disk; Go's archive/tar gives it another type. */
const CONTIGUOUS = 0x37;
/** Years 0 to 9999: RFC 3339. */
const TIME_MIN_NS = -62_135_596_800n * NS;
const TIME_MAX_NS = 253_402_300_799n * NS;

/** RFC 3339 with the fraction that it has, as Go's time.Time in JSON. */
function goTime(ns: bigint | null): string | undefined {
  if (ns === null) return undefined;
  const fraction = ((ns % NS) + NS) % NS;
  const seconds = Number((ns - fraction) / NS);
  const digits = fraction === 0n ? "" : `.${String(fraction).padStart(9, "0").replace(/0+$/, "")}`;
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}${digits}Z`;
}

/** Whole seconds; nothing stands for none. */
function stargzTime(ns: bigint): string | undefined {
  const rounded = ns + NS / 2n;
  const whole = rounded - (((rounded % NS) + NS) % NS);
  return ns === 0n || ns / NS === 0n ? undefined : goTime(whole);
}
