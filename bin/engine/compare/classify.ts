// Why a file differs: by what it is (formats.ts), by what it says (classify-text.ts), by its name, and at last by what its step runs.

import { gunzipSync } from "node:zlib";
import { compareBytes, contentOfBytes, type Delta, isText, readPart, readWhole } from "./bytes.ts";
import { classifyLine, classifyText, short } from "./classify-text.ts";
import { causeOfCommand, causeOfPath, inOrderOf } from "./supposed.ts";
import type { CauseClass } from "./classes.ts";
import type { Cause, Content, KnownValue } from "./contract.ts";
import {
  arParts,
  buildIds,
  type Field,
  gzipHeader,
  type Part,
  pycHeader,
  tarParts,
  withinFields,
  zipParts,
} from "./formats.ts";

/** What is looked into of one file; longer ones are judged by their beginning and by what is around the differences. */
const WHOLE_MAX_BYTES = 32 << 20;
const TEXT_MAX_BYTES = 4 << 20;
/** Archives in archives. */
const DEPTH_MAX = 3;
/** Differences of a binary file that are looked at. */
const RANGES_LOOKED_AT = 64;
const AROUND_BYTES = 128;

/** One file that differs. */
export interface Suspect {
  readonly path: string;
  readonly a: Content;
  readonly b: Content;
  readonly delta: Delta;
}

export interface ClassifyContext {
  readonly signal: AbortSignal;
  readonly known: readonly KnownValue[];
  /** What the step runs; "": not known. */
  readonly command: string;
}

/** Causes of a file's different bytes, at least one. */
export async function classifyFile(suspect: Suspect, context: ClassifyContext): Promise<readonly Cause[]> {
  const byName = causeOfPath(suspect.path);
  if (byName !== null) return [await withVersions(suspect, byName)];
  const found = await causesOf(suspect, context, 0);
  if (found.length > 0) return found.map((cause) => inOrderOf(cause, context.command));
  return [causeOfCommand(context.command) ?? { class: "unknown", detail: "nothing in its bytes says why" }];
}

/** A package manager's state with other versions of packages: what was fetched has moved. */
async function withVersions({ path, a, b }: Suspect, cause: Cause): Promise<Cause> {
  if (cause.class !== "package-state") return cause;
  const [one, other] = [readPart(a, 0, TEXT_MAX_BYTES), readPart(b, 0, TEXT_MAX_BYTES)];
  const versions = (bytes: Buffer): readonly string[] =>
    bytes
      .toString("latin1")
      .match(/^(?:Version: |V:)\S+$/gm)
      ?.toSorted() ?? [];
  const [inA, inB] = [versions(one), versions(other)];
  const at = inA.findIndex((version, index) => version !== inB[index]);
  if (at < 0 && inA.length === inB.length) return cause;
  const values = `${short(inA[Math.max(0, at)] ?? "")} and ${short(inB[Math.max(0, at)] ?? "")}`;
  return { class: "network-content", detail: `/${path} names other versions of packages: ${values}` };
}

async function causesOf(
  suspect: Suspect,
  context: ClassifyContext,
  depth: number,
): Promise<readonly Cause[]> {
  const { a, b, delta } = suspect;
  const [headA, headB] = [readPart(a, 0, 512), readPart(b, 0, 512)];
  const pyc = suspect.path.endsWith(".pyc") ? pycHeader(headA) : null;
  if (pyc !== null) {
    const fields = delta.isComplete && delta.isSameSize ? withinFields(delta.ranges, pyc) : null;
    const detail =
      fields === null
        ? "compiled code differs, often the order of a set"
        : `the header has another ${fields.join(" and ")}`;
    return [{ class: "python-bytecode", detail }];
  }
  const [wholeA, wholeB] = [readWhole(a, WHOLE_MAX_BYTES), readWhole(b, WHOLE_MAX_BYTES)];
  if (wholeA !== null && wholeB !== null) {
    const inFormat = await causesInFormat(wholeA, wholeB, suspect, context, depth);
    if (inFormat !== null) return inFormat;
    if (
      wholeA.length <= TEXT_MAX_BYTES &&
      wholeB.length <= TEXT_MAX_BYTES &&
      isText(wholeA) &&
      isText(wholeB)
    )
      return classifyText(wholeA.toString("utf8"), wholeB.toString("utf8"), context.known);
    if (isNoise(wholeA) && isNoise(wholeB) && delta.bytes * 2 > Math.min(a.size, b.size))
      return [{ class: "random", detail: "all of its bytes look random" }];
  } else if (headA.readUInt16BE(0) === 0x1f8b && headB.readUInt16BE(0) === 0x1f8b) {
    const fields = gzipFields(headA, headB, delta);
    if (fields !== null) return [fields];
  }
  return causesInBinary(suspect, context);
}

/** null: it is in no format that is known here. */
async function causesInFormat(
  a: Buffer,
  b: Buffer,
  suspect: Suspect,
  context: ClassifyContext,
  depth: number,
): Promise<readonly Cause[] | null> {
  const { delta } = suspect;
  const [headerA, headerB] = [gzipHeader(a), gzipHeader(b)];
  if (headerA !== null && headerB !== null) {
    const header = gzipFields(a, b, delta);
    const isSameData = a.subarray(headerA.end).equals(b.subarray(headerB.end));
    if (isSameData) return [header ?? { class: "gzip-header", detail: "its header differs" }];
    const inner = depth < DEPTH_MAX ? await within(gunzip(a), gunzip(b), suspect.path, context, depth) : null;
    if (inner === "equal")
      return [{ class: "gzip-header", detail: "the same data, compressed differently (level or program)" }];
    return [...(header === null ? [] : [header]), ...(inner ?? [])];
  }
  const [arA, arB] = [arParts(a), arParts(b)];
  if (arA !== null && arB !== null)
    return await causesInArchive(
      [a, b],
      [arA, arB],
      { kind: "ar-times", what: "static archive" },
      { suspect, context, depth },
    );
  const [tarA, tarB] = [tarParts(a), tarParts(b)];
  if (tarA !== null && tarB !== null)
    return await causesInArchive(
      [a, b],
      [tarA, tarB],
      { kind: "file-times", what: "tar" },
      { suspect, context, depth },
    );
  const [zipA, zipB] = [zipParts(a), zipParts(b)];
  if (zipA !== null && zipB !== null)
    return await causesInArchive(
      [a, b],
      [zipA, zipB],
      { kind: "file-times", what: "zip" },
      { suspect, context, depth },
    );
  const ids = buildIds(a);
  if (ids !== null && buildIds(b) !== null) {
    if (delta.isSameSize && delta.isComplete && withinFields(delta.ranges, ids) !== null)
      return [{ class: "elf-build-id", detail: "only the build id differs" }];
    const rest = { ...delta, ranges: delta.ranges.filter((range) => withinFields([range], ids) === null) };
    const others = causesInBinary({ ...suspect, delta: rest }, context);
    return others.length > 0 ? others : null;
  }
  return null;
}

function gzipFields(a: Buffer, b: Buffer, delta: Delta): Cause | null {
  const [headerA, headerB] = [gzipHeader(a), gzipHeader(b)];
  if (headerA === null || headerB === null) return null;
  const names = headerA.fields
    .filter(({ start, end, what }) => {
      const other = headerB.fields.find((field) => field.what === what);
      return other === undefined || !a.subarray(start, end).equals(b.subarray(other.start, other.end));
    })
    .map(({ what }) => what);
  if (names.length === 0 || (delta.isSameSize && (delta.ranges[0]?.start ?? 0) >= headerA.end)) return null;
  return { class: "gzip-header", detail: `the gzip header has another ${names.join(" and ")}` };
}

function gunzip(bytes: Buffer): Buffer | null {
  try {
    return gunzipSync(bytes, { maxOutputLength: WHOLE_MAX_BYTES });
  } catch {
    return null; // damaged, or too long: judged from outside
  }
}

/** Causes of what is in a file. */
async function within(
  a: Buffer | null,
  b: Buffer | null,
  path: string,
  context: ClassifyContext,
  depth: number,
): Promise<readonly Cause[] | "equal"> {
  if (a === null || b === null) return [];
  const [one, other] = [contentOfBytes(a), contentOfBytes(b)];
  const delta = await compareBytes(one, other, context);
  if (delta === null) return "equal";
  return await causesOf(
    { path: path.replace(/\.(?:gz|tgz)$/, ""), a: one, b: other, delta },
    context,
    depth + 1,
  );
}

interface ArchiveKind {
  /** Of fields of its headers. */
  readonly kind: CauseClass;
  readonly what: string;
}

async function causesInArchive(
  [a, b]: readonly [Buffer, Buffer],
  [partsA, partsB]: readonly [readonly Part[], readonly Part[]],
  { kind, what }: ArchiveKind,
  {
    suspect,
    context,
    depth,
  }: { readonly suspect: Suspect; readonly context: ClassifyContext; readonly depth: number },
): Promise<readonly Cause[] | null> {
  const causes: Cause[] = [];
  const add = (cause: Cause): void => {
    if (!causes.some((one) => one.class === cause.class)) causes.push(cause);
  };
  const byName = new Map(partsB.map((part) => [part.name, part]));
  const named = partsA.flatMap((part) => (byName.has(part.name) ? [part.name] : []));
  const order = partsB
    .flatMap(({ name }) => (partsA.some((part) => part.name === name) ? [name] : []))
    .slice(0, named.length);
  const moved =
    partsA.length < 5_000 && named.length === order.length
      ? named.findIndex((name, at) => name !== order[at])
      : -1;
  if (moved >= 0)
    add({
      class: "member-order",
      detail: `members of the ${what} are in another order, from ${short(named[moved] ?? "")} and ${short(order[moved] ?? "")} on`,
    });
  for (const part of partsA) {
    const other = byName.get(part.name);
    if (other === undefined) continue;
    const fields = differing(a, b, part.fields, other.fields).filter((field) => field !== "checksum");
    if (fields.includes("time") || (kind === "ar-times" && fields.length > 0))
      add({ class: kind, detail: `${short(part.name)} in the ${what} has another ${fields.join(" and ")}` });
    else if (fields.length > 0)
      add({
        class: fields.includes("mode") ? "mode" : "owner",
        detail: `${short(part.name)} in the ${what} has another ${fields.join(" and ")}`,
      });
    const [bytesA, bytesB] = [a.subarray(part.start, part.end), b.subarray(other.start, other.end)];
    if (depth >= DEPTH_MAX || bytesA.equals(bytesB) || causes.length > 6) continue;
    const inner = await within(bytesA, bytesB, `${suspect.path}!${part.name}`, context, depth);
    if (inner !== "equal")
      for (const cause of inner) add({ ...cause, detail: `in ${short(part.name)}: ${cause.detail}` });
  }
  const lacking = partsA.find(({ name }) => !byName.has(name));
  if (causes.length === 0 && lacking !== undefined) {
    const extra = partsB.find(({ name }) => !partsA.some((part) => part.name === name));
    const found = extra === undefined ? null : classifyLine(lacking.name, extra.name, context.known);
    for (const cause of found ?? []) add({ ...cause, detail: `names of members: ${cause.detail}` });
  }
  return causes.length === 0 ? null : causes;
}

function differing(a: Buffer, b: Buffer, fieldsA: readonly Field[], fieldsB: readonly Field[]): string[] {
  const names = fieldsA.flatMap(({ start, end, what }, at) => {
    const other = fieldsB[at];
    return other !== undefined && a.subarray(start, end).equals(b.subarray(other.start, other.end))
      ? []
      : [what];
  });
  return [...new Set(names)];
}

/** Of the texts around the differences, and of numbers that are times. */
function causesInBinary({ a, b, delta }: Suspect, { known }: ClassifyContext): readonly Cause[] {
  const causes: Cause[] = [];
  for (const { start, end } of delta.ranges.slice(0, RANGES_LOOKED_AT)) {
    const found =
      classifyLine(textAround(a, start, end), textAround(b, start, end), known) ?? timeAt(a, b, start, end);
    for (const cause of found ?? []) if (!causes.some((one) => one.class === cause.class)) causes.push(cause);
  }
  return causes;
}

/** The characters around a stretch, as far as they are printable. */
function textAround(content: Content, start: number, end: number): string {
  const from = Math.max(0, start - AROUND_BYTES);
  const bytes = readPart(content, from, start - from + Math.min(end - start, 512) + AROUND_BYTES);
  const isChar = (byte: number | undefined): boolean => byte !== undefined && byte >= 32 && byte < 127;
  let first = start - from;
  while (first > 0 && isChar(bytes[first - 1])) first--;
  let last = start - from;
  while (last < bytes.length && (isChar(bytes[last]) || last + from < end)) last++;
  return bytes.subarray(first, last).toString("latin1");
}

/** Two times within ten years of each other, and not long ago. */
const [EPOCH_MIN, EPOCH_MAX] = [1_500_000_000, 2_400_000_000];
function timeAt(a: Content, b: Content, start: number, end: number): Cause[] | null {
  if (end - start > 8) return null;
  for (let at = Math.max(0, start - 3); at <= start; at++) {
    const [one, other] = [readPart(a, at, 4), readPart(b, at, 4)];
    if (one.length < 4 || other.length < 4) continue;
    for (const read of ["readUInt32LE", "readUInt32BE"] as const) {
      const [valueA, valueB] = [one[read](), other[read]()];
      const isTime = (value: number): boolean => value > EPOCH_MIN && value < EPOCH_MAX;
      if (isTime(valueA) && isTime(valueB) && Math.abs(valueA - valueB) < 40_000_000)
        return [{ class: "date-text", detail: `a time as a number: ${iso(valueA)} and ${iso(valueB)}` }];
    }
  }
  return null;
}

function iso(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace(".000", "");
}

/** Bytes without any structure: 5 bits or more of entropy for each byte that there could be. */
function isNoise(bytes: Buffer): boolean {
  if (bytes.length < 8) return bytes.some((byte) => byte < 9 || byte > 126);
  const sample = bytes.subarray(0, 4_096);
  const counts = new Map<number, number>();
  for (const byte of sample) counts.set(byte, (counts.get(byte) ?? 0) + 1);
  let bits = 0;
  for (const count of counts.values()) bits -= (count / sample.length) * Math.log2(count / sample.length);
  return bits > 0.75 * Math.log2(Math.min(256, sample.length));
}
