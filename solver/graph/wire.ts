// Protobuf messages as tables. A table defines the field numbers once; reading, writing and the TypeScript type
// follow from it. Writing is deterministic: fields by number, maps sorted by key, zero values omitted (proto3),
// as in Go's deterministic marshalling. https://protobuf.dev/programming-guides/encoding/

import Pbf from "pbf";
import { BuildError } from "./error.ts";

const VARINT = 0;
const LENGTH_DELIMITED = 2;

/** Messages nested deeper than this are rejected: our messages nest only a few levels. */
const DEPTH_MAX = 16;

/** One field of a message. `empty` is the value when the bytes have none; `read` gets what was read so far. */
export interface Field<T> {
  readonly number: number;
  readonly wireType: typeof VARINT | typeof LENGTH_DELIMITED;
  empty(): T;
  write(pbf: Pbf, value: T): void;
  read(pbf: Pbf, before: T, depth: number): T;
}
/** Read and written by the same table entry, so the types agree. */
type AnyField = Field<unknown>;

export interface Message<T> {
  readonly fields: readonly (readonly [string, AnyField])[];
  /** The same by their numbers: made once, not for each message that is read. */
  readonly byNumber: ReadonlyMap<number, readonly [string, AnyField]>;
  readonly type?: T; // never there: carries T
}
/** The plain object a message table describes. */
export type Value<M> = M extends Message<infer T> ? T : never;
/** The same for writing: fields left out count as empty, at every depth. */
export type Sparse<T> = T extends Uint8Array | string | number | bigint | boolean | null
  ? T
  : T extends ReadonlyMap<string, infer V>
    ? ReadonlyMap<string, Sparse<V>>
    : T extends readonly (infer E)[]
      ? readonly Sparse<E>[]
      : { readonly [K in keyof T]?: Sparse<T[K]> };

/** A message from its fields; unknown fields in bytes are rejected, because they could change the meaning. */
export function message<F extends Record<string, AnyField>>(
  fields: F,
): Message<{ [K in keyof F]: F[K] extends Field<infer T> ? T : never }> {
  const table = Object.entries(fields).sort((a, b) => a[1].number - b[1].number);
  return { fields: table, byNumber: new Map(table.map((entry) => [entry[1].number, entry])) };
}

/** One buffer for all writing, which keeps its size: a new one for each message took a third of the time of creating
 *  a graph of 10,000 steps. Writing is synchronous, so it is never used twice at once. */
const WRITER = new Pbf();

/** Bytes of a value. */
export function encode<T>(type: Message<T>, value: Sparse<T>): Uint8Array {
  return withEncoded(type, value, (data) => data.slice());
}

/** Calls `use` with the bytes of a value, which are valid only during the call: nothing is copied. */
export function withEncoded<T, R>(type: Message<T>, value: Sparse<T>, use: (data: Uint8Array) => R): R {
  WRITER.pos = 0;
  writeMessage(WRITER, type, value);
  return use(WRITER.buf.subarray(0, WRITER.pos));
}

/** Decodes bytes. Throws USAGE if they are not this message, or have fields that are not in the table. */
export function decode<T>(type: Message<T>, data: Uint8Array, what: string): T {
  const pbf = new Pbf(data);
  try {
    return readMessage(pbf, type, data.length, 0);
  } catch (cause) {
    if (cause instanceof BuildError) throw cause;
    throw new BuildError("USAGE", `not a valid ${what}: ${(cause as Error).message}`, { cause });
  }
}

function writeMessage<T>(pbf: Pbf, type: Message<T>, value: Sparse<T>): void {
  const { fields } = type;
  // By index: destructuring each pair would create three objects per field until V8 has compiled this.
  for (let i = 0; i < fields.length; i++) {
    const entry = fields[i] as (typeof fields)[number];
    const part = (value as Record<string, unknown>)[entry[0]];
    if (part !== undefined) entry[1].write(pbf, part);
  }
}

function readMessage<T>(pbf: Pbf, type: Message<T>, end: number, depth: number): T {
  if (depth > DEPTH_MAX) throw new Error("messages nested too deeply");
  const value: Record<string, unknown> = {};
  const { fields, byNumber } = type;
  for (let i = 0; i < fields.length; i++) {
    const entry = fields[i] as (typeof fields)[number]; // by index: see writeMessage
    value[entry[0]] = entry[1].empty();
  }
  while (pbf.pos < end) {
    const tag = pbf.readVarint();
    const entry = byNumber.get(Math.floor(tag / 8));
    if (entry === undefined) throw new Error(`unknown field ${Math.floor(tag / 8)}`);
    const [name, field] = entry;
    if (tag % 8 !== field.wireType) throw new Error(`field ${field.number} has wire type ${tag % 8}`);
    value[name] = field.read(pbf, value[name], depth);
    if (pbf.pos > end) throw new Error("truncated");
  }
  return value as T;
}

/** End of the length-delimited value that starts here. */
function readEnd(pbf: Pbf): number {
  const length = pbf.readVarint();
  const end = pbf.pos + length;
  if (end > pbf.length) throw new Error("truncated");
  return end;
}

export function text(number: number): Field<string> {
  return {
    number,
    wireType: LENGTH_DELIMITED,
    empty: () => "",
    write: (pbf, value) => {
      if (value !== "") putText(pbf, number, value);
    },
    read: (pbf) => readText(pbf),
  };
}

/** proto3 strings are UTF-8; others are rejected, as in Go. */
function readText(pbf: Pbf): string {
  return UTF8.decode(readBytes(pbf));
}
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function readBytes(pbf: Pbf): Uint8Array {
  const end = readEnd(pbf);
  const data = pbf.buf.subarray(pbf.pos, end);
  pbf.pos = end;
  return data;
}

export function bytes(number: number): Field<Uint8Array> {
  return {
    number,
    wireType: LENGTH_DELIMITED,
    empty: () => new Uint8Array(0),
    write: (pbf, value) => {
      if (value.length === 0) return;
      pbf.writeTag(number, LENGTH_DELIMITED);
      putBytes(pbf, value);
    },
    read: (pbf) => new Uint8Array(readBytes(pbf)), // a copy: slice() of a Buffer is none
  };
}

/** pbf's own writer encodes U+20000 like U+10000: two texts, one digest. */
function putText(pbf: Pbf, number: number, value: string): void {
  pbf.writeTag(number, LENGTH_DELIMITED);
  if (value.length > SHORT_TEXT || !putAscii(pbf, value)) putBytes(pbf, Buffer.from(value, "utf8"));
}

/** Up to this length writing the characters one by one is faster than creating a buffer. */
const SHORT_TEXT = 256;

/** Writes length and bytes, or nothing if there is more than ASCII. */
function putAscii(pbf: Pbf, value: string): boolean {
  const start = pbf.pos;
  const { length } = value;
  pbf.writeVarint(length);
  pbf.realloc(length);
  const { buf, pos } = pbf;
  for (let i = 0; i < length; i++) {
    const unit = value.charCodeAt(i);
    if (unit > 0x7f) {
      pbf.pos = start;
      return false;
    }
    buf[pos + i] = unit;
  }
  pbf.pos = pos + length;
  return true;
}

function putBytes(pbf: Pbf, value: Uint8Array): void {
  pbf.writeVarint(value.length);
  pbf.realloc(value.length);
  pbf.buf.set(value, pbf.pos);
  pbf.pos += value.length;
}

export function flag(number: number): Field<boolean> {
  return {
    number,
    wireType: VARINT,
    empty: () => false,
    write: (pbf, value) => {
      if (value) pbf.writeVarintField(number, 1);
    },
    read: (pbf) => pbf.readVarint() !== 0,
  };
}

/** int32, int64, uint32 and enums whose values stay below 2^53. */
export function int(number: number): Field<number> {
  return {
    number,
    wireType: VARINT,
    empty: () => 0,
    write: (pbf, value) => {
      if (value === -1) putMinusOne(pbf, number);
      else if (value !== 0) pbf.writeVarintField(number, value);
    },
    read: (pbf) => readInt(pbf),
  };
}

/** "None" in many fields of LLB. Like any negative number it takes ten bytes. */
function putMinusOne(pbf: Pbf, number: number): void {
  pbf.writeTag(number, VARINT);
  pbf.realloc(10);
  pbf.buf.fill(0xff, pbf.pos, pbf.pos + 9);
  pbf.buf[pbf.pos + 9] = 1;
  pbf.pos += 10;
}

function readInt(pbf: Pbf): number {
  const value = pbf.readVarint(true);
  if (!Number.isSafeInteger(value)) throw new Error("number out of range");
  return value;
}

/** A member of a oneof: zero is a value, null is absent. */
export function presentInt(number: number): Field<number | null> {
  return {
    number,
    wireType: VARINT,
    empty: () => null,
    write: (pbf, value) => {
      if (value !== null) pbf.writeVarintField(number, value);
    },
    read: (pbf) => readInt(pbf),
  };
}

/** int64 with all its bits. */
export function long(number: number): Field<bigint> {
  return {
    number,
    wireType: VARINT,
    empty: () => 0n,
    write: (pbf, value) => {
      if (value === 0n) return;
      if (value === -1n) {
        putMinusOne(pbf, number);
        return;
      }
      pbf.writeTag(number, VARINT);
      pbf.realloc(10);
      let rest = BigInt.asUintN(64, value);
      while (rest > 0x7fn) {
        pbf.buf[pbf.pos++] = Number(rest & 0x7fn) | 0x80;
        rest >>= 7n;
      }
      pbf.buf[pbf.pos++] = Number(rest);
    },
    read: (pbf) => {
      let value = 0n;
      for (let shift = 0n; shift < 70n; shift += 7n) {
        const byte = pbf.buf[pbf.pos++];
        if (byte === undefined) throw new Error("truncated");
        value |= BigInt(byte & 0x7f) << shift;
        if (byte < 0x80) return BigInt.asIntN(64, value);
      }
      throw new Error("varint longer than 10 bytes");
    },
  };
}

/** Called by pbf to write a nested message. */
function writerOf<T>(type: Message<T>): (value: Sparse<T>, pbf: Pbf) => void {
  return (value, pbf) => writeMessage(pbf, type, value);
}

/** A message inside a message; null is absent, an empty one is written. */
export function sub<T>(number: number, type: Message<T>): Field<T | null> {
  return mapped<T, T>(
    number,
    type,
    (value) => value as Sparse<T>,
    (raw) => raw,
  );
}

/** A message with a different form on our side; `from` may throw a BuildError for invalid values. */
export function mapped<T, R>(
  number: number,
  type: Message<R>,
  to: (value: T) => Sparse<NoInfer<R>>,
  from: (raw: NoInfer<R>) => T,
): Field<T | null> {
  const write = writerOf(type);
  return {
    number,
    wireType: LENGTH_DELIMITED,
    empty: () => null,
    write: (pbf, value) => {
      if (value !== null) pbf.writeMessage(number, write, to(value));
    },
    read: (pbf, _before, depth) => from(readMessage(pbf, type, readEnd(pbf), depth + 1)),
  };
}

/** A repeated field. Elements that are zero are written too. */
export function list<T>(number: number, type: Message<T>): Field<readonly T[]> {
  const write = writerOf(type);
  return {
    number,
    wireType: LENGTH_DELIMITED,
    empty: () => [],
    write: (pbf, values) => {
      for (const value of values) pbf.writeMessage(number, write, value as Sparse<T>);
    },
    read: (pbf, before, depth) => push(before, readMessage(pbf, type, readEnd(pbf), depth + 1)),
  };
}

export function texts(number: number): Field<readonly string[]> {
  return {
    number,
    wireType: LENGTH_DELIMITED,
    empty: () => [],
    write: (pbf, values) => {
      for (const value of values) putText(pbf, number, value);
    },
    read: (pbf, before) => push(before, readText(pbf)),
  };
}

export function blobs(number: number): Field<readonly Uint8Array[]> {
  return {
    number,
    wireType: LENGTH_DELIMITED,
    empty: () => [],
    write: (pbf, values) => {
      for (const value of values) {
        pbf.writeTag(number, LENGTH_DELIMITED);
        putBytes(pbf, value);
      }
    },
    read: (pbf, before) => push(before, new Uint8Array(readBytes(pbf))),
  };
}

/** Repeated numbers: packed, as proto3 writes them. */
export function ints(number: number): Field<readonly number[]> {
  return {
    number,
    wireType: LENGTH_DELIMITED,
    empty: () => [],
    write: (pbf, values) => {
      if (values.length > 0) pbf.writePackedVarint(number, [...values]);
    },
    read: (pbf, before) => {
      const end = readEnd(pbf);
      let values = before;
      while (pbf.pos < end) values = push(values, readInt(pbf));
      return values;
    },
  };
}

/** map<string, T>: entries are messages of key = 1 and value = 2, both always written. */
export function map<T>(number: number, valueField: Field<T>): Field<ReadonlyMap<string, T>> {
  const entry = message({ key: text(1), value: valueField }) as Message<{ key: string; value: T }>;
  const writeEntry = ({ key, value }: { key: string; value: T }, pbf: Pbf): void => {
    putText(pbf, 1, key);
    writeMapValue(pbf, valueField, value);
  };
  return {
    number,
    wireType: LENGTH_DELIMITED,
    empty: () => new Map(),
    write: (pbf, values) => {
      const sorted = [...values.keys()].sort(byUtf8);
      for (const key of sorted) pbf.writeMessage(number, writeEntry, { key, value: values.get(key) as T });
    },
    read: (pbf, before, depth) => {
      const { key, value } = readMessage(pbf, entry, readEnd(pbf), depth + 1);
      return (before as Map<string, T>).set(key, value);
    },
  };
}

/** In a map entry Go writes key and value even when they are zero. */
function writeMapValue<T>(pbf: Pbf, field: Field<T>, value: T): void {
  const before = pbf.pos;
  field.write(pbf, value);
  if (pbf.pos > before) return;
  pbf.writeTag(2, field.wireType);
  pbf.writeVarint(0);
}

/** Go compares strings by bytes, JavaScript by UTF-16 units; they differ above U+FFFF. */
function byUtf8(a: string, b: string): number {
  if (!WIDE.test(a) && !WIDE.test(b)) return a < b ? -1 : a > b ? 1 : 0;
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** Where the two orders differ: surrogates, and what stands behind them among UTF-16 units. */
const WIDE = /[\ud800-\uffff]/;

function push<T>(before: readonly T[], value: T): readonly T[] {
  // Arrays here were made by empty() for this one message: growing in place keeps reading linear.
  (before as T[]).push(value);
  return before;
}
