// Two trees, file by file and field by field.

import { createHash } from "node:crypto";
import { printable } from "../../../solver/graph/error.ts";
import { compareBytes, type Delta, excerpt, lineAt, readFully } from "./bytes.ts";
import { classifyFile, type ClassifyContext } from "./classify.ts";
import { causeOfCommand, causeOfPath } from "./supposed.ts";
import { classifyLine, short } from "./classify-text.ts";
import type {
  Cause,
  Content,
  ContentDifference,
  FieldDifference,
  FileDifference,
  FileTree,
  Member,
} from "./contract.ts";

/** Differences of one layer that are listed; the others are counted. */
const LISTED_MAX = 10_000;

export interface TreeDifference {
  readonly files: readonly FileDifference[];
  /** Those that are not listed. */
  readonly more: number;
  readonly causes: readonly Cause[];
}

export interface TreeOptions extends ClassifyContext {
  /** Owners and times count: not so of directories, which are this user's. */
  readonly ownership: boolean;
  /** A difference that was met in an earlier step: the same bytes. */
  readonly seen: SeenBytes;
}

/** Pairs of contents that differ, by their digests: later steps that copy them follow from the first. */
export type SeenBytes = (path: string, digests: string) => FileDifference["follows"];

/** Compares two trees; names that are in both, then those in one alone. */
export async function compareTrees(a: FileTree, b: FileTree, options: TreeOptions): Promise<TreeDifference> {
  const found: FileDifference[] = [];
  let more = 0;
  const add = (difference: FileDifference): void => {
    if (found.length < LISTED_MAX) found.push(difference);
    else more++;
  };
  const [onlyA, onlyB]: [string[], string[]] = [[], []];
  for (const [name, one] of a.members) {
    options.signal.throwIfAborted();
    const other = b.members.get(name);
    if (other === undefined) onlyA.push(name);
    else {
      const difference = await compareMembers(name, one, other, found.length < LISTED_MAX, options);
      if (difference !== null) add(difference);
    }
  }
  for (const name of b.members.keys()) if (!a.members.has(name)) onlyB.push(name);
  for (const difference of unpaired(onlyA, onlyB, { a, b }, options)) add(difference);
  const causes: Cause[] = [];
  if (found.length === 0 && more === 0) {
    const order = orderOf(a, b);
    if (order !== null) causes.push(order);
  }
  return { files: found.toSorted((one, other) => (one.path < other.path ? -1 : 1)), more, causes };
}

function orderOf(a: FileTree, b: FileTree): Cause | null {
  const others = b.members.keys();
  for (const name of a.members.keys()) {
    const other = others.next().value;
    if (other !== name)
      return {
        class: "member-order",
        detail: `files of the layer are in another order, from ${short(shownPath(name))} and ${short(shownPath(other ?? ""))} on`,
      };
  }
  return null;
}

/** A name as text. */
export function shownPath(name: string): string {
  return printable(Buffer.from(name, "latin1").toString("utf8"), 4_096);
}

async function compareMembers(
  name: string,
  a: Member,
  b: Member,
  isListed: boolean,
  options: TreeOptions,
): Promise<FileDifference | null> {
  const fields: FieldDifference[] = [];
  const causes: Cause[] = [];
  const differs = (field: string, one: string, other: string, cause: Cause | null): void => {
    if (one === other) return;
    fields.push({ field, a: one, b: other });
    if (cause !== null) causes.push(cause);
  };
  differs("type", a.type, b.type, { class: "unknown", detail: `a ${a.type} and a ${b.type}` });
  const [modeA, modeB] = [octal(a.mode), octal(b.mode)];
  // A link has no mode of its own: what archives say of it counts only between them.
  if (options.ownership || a.type !== "symlink" || b.type !== "symlink")
    differs("mode", modeA, modeB, { class: "mode", detail: `mode ${modeA} and ${modeB}` });
  if (options.ownership) {
    const [ownerA, ownerB] = [`${a.uid}:${a.gid}`, `${b.uid}:${b.gid}`];
    differs("owner", ownerA, ownerB, { class: "owner", detail: `owner ${ownerA} and ${ownerB}` });
  }
  const [timeA, timeB] = [time(a.mtimeNs), time(b.mtimeNs)];
  if (options.ownership)
    differs("mtime", timeA, timeB, { class: "file-times", detail: `${timeA} and ${timeB}` });
  const [linkA, linkB] = [shownPath(a.link), shownPath(b.link)];
  if (a.link !== b.link) {
    const found = classifyLine(linkA, linkB, options.known) ?? [
      causeOfCommand(options.command) ?? {
        class: "unknown" as const,
        detail: `link to ${short(linkA)} and ${short(linkB)}`,
      },
    ];
    differs("link target", linkA, linkB, found[0] ?? null);
  }
  differs("device", a.device, b.device, { class: "unknown", detail: `device ${a.device} and ${b.device}` });
  for (const key of new Set([...a.xattrs.keys(), ...b.xattrs.keys()])) {
    const [one, other] = [attribute(a.xattrs.get(key)), attribute(b.xattrs.get(key))];
    differs(`xattr ${printable(key, 100)}`, one, other, {
      class: "unknown",
      detail: `extended attribute ${printable(key, 100)}`,
    });
  }
  let content: ContentDifference | null = null;
  let follows: FileDifference["follows"] = null;
  if (a.content !== null && b.content !== null) {
    const delta = await compareBytes(a.content, b.content, options);
    if (delta !== null) {
      differs("size", String(a.content.size), String(b.content.size), null);
      const digests = isListed ? `${digestOf(a.content)} ${digestOf(b.content)}` : "";
      content = { ...contentDifference(a.content, b.content, delta), digests };
      follows = options.seen(shownPath(name), digests);
      if (isListed)
        causes.unshift(
          ...(await classifyFile({ path: shownPath(name), a: a.content, b: b.content, delta }, options)),
        );
    }
  }
  if (fields.length === 0 && content === null) return null;
  if (content !== null) {
    // A file that was written anew has a new time: that is no cause of its own.
    const at = causes.findIndex(
      (cause) => cause.class === "file-times" && cause.detail === `${timeA} and ${timeB}`,
    );
    if (at >= 0) causes.splice(at, 1);
  }
  return { path: shownPath(name), change: "changed", fields, content, causes, follows };
}

function contentDifference(a: Content, b: Content, delta: Delta): Omit<ContentDifference, "digests"> {
  return {
    offset: delta.offset,
    line: lineAt(a, delta.offset),
    a: printable(excerpt(a, delta.offset), 200),
    b: printable(excerpt(b, delta.offset), 200),
    bytes: delta.isSameSize ? delta.bytes : null,
  };
}

function digestOf(content: Content): string {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(1 << 20);
  for (let at = 0; at < content.size; ) {
    const count = readFully(content, buffer, at);
    if (count === 0) break;
    hash.update(buffer.subarray(0, count));
    at += count;
  }
  return hash.digest("hex");
}

/** Files of one side, with those of the other that have the same name but for a date or a random part. */
function unpaired(
  onlyA: readonly string[],
  onlyB: readonly string[],
  { a, b }: { readonly a: FileTree; readonly b: FileTree },
  options: TreeOptions,
): FileDifference[] {
  const directory = (name: string): string => name.slice(0, name.lastIndexOf("/") + 1);
  const byDirectory = new Map<string, string[]>();
  for (const name of onlyB)
    byDirectory.set(directory(name), [...(byDirectory.get(directory(name)) ?? []), name]);
  const causes = new Map<string, readonly Cause[]>();
  for (const name of onlyA) {
    const others = byDirectory.get(directory(name)) ?? [];
    const at = others.findIndex((other) => a.members.get(name)?.type === b.members.get(other)?.type);
    const other = others[at];
    if (other === undefined) continue;
    others.splice(at, 1);
    const found = classifyLine(baseOf(name), baseOf(other), options.known);
    if (found === null) continue;
    for (const one of [name, other])
      causes.set(
        one,
        found.map((cause) => ({ ...cause, detail: `in the name: ${cause.detail}` })),
      );
  }
  const side = (name: string, change: "only-a" | "only-b"): FileDifference => {
    const path = shownPath(name);
    const above =
      [...causes.keys()].length < 1_000
        ? [...causes].find(([one]) => name.startsWith(`${one}/`))?.[1]
        : undefined;
    const own: Cause | null = /\.pyc$|(?:^|\/)__pycache__$/.test(path)
      ? { class: "python-bytecode", detail: "bytecode is there on one side alone" }
      : causeOfPath(path);
    const last: Cause = causeOfCommand(options.command) ?? {
      class: "unknown",
      detail: "it is there on one side alone",
    };
    return {
      path,
      change,
      fields: [],
      content: null,
      causes: causes.get(name) ?? above ?? [own ?? last],
      follows: options.seen(path, ""),
    };
  };
  return [...onlyA.map((name) => side(name, "only-a")), ...onlyB.map((name) => side(name, "only-b"))];
}

function baseOf(name: string): string {
  return shownPath(name.slice(name.lastIndexOf("/") + 1));
}

function octal(mode: number): string {
  return mode.toString(8).padStart(4, "0");
}

/** 2026-01-31T12:00:00.000000001Z */
function time(ns: bigint): string {
  const seconds = ns >= 0n ? ns / 1_000_000_000n : (ns - 999_999_999n) / 1_000_000_000n;
  const date = new Date(Number(seconds) * 1000);
  if (Number.isNaN(date.getTime())) return `${ns} ns`;
  const rest = ns - seconds * 1_000_000_000n;
  const fraction = rest === 0n ? "" : `.${String(rest).padStart(9, "0")}`;
  return date.toISOString().replace(".000Z", `${fraction}Z`);
}

function attribute(value: Buffer | undefined): string {
  if (value === undefined) return "(none)";
  return value.length > 64 ? `${value.toString("hex", 0, 64)}…` : value.toString("hex");
}
