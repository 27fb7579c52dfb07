// Content keys: the digest of the paths that selectors match in a tree. It covers names, types, modes, owners, sizes, content,
// link targets, hard links and attributes; no times, so that a fresh checkout keeps its keys.
//
// The same digest is computed while files are copied, so that what was actually copied can be compared with the key.

import { createHash, hash } from "node:crypto";
import { closeSync, readSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { type Digest, digestFromHex, digestOf, hexOf } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import { hashOnThreads } from "./path-hash-pool.ts";
import { type SelectedFile, shortContent } from "./selection-files.ts";
import { bytesOf, pathTooLong, resolvePath, type TreeReader, type TreeStat } from "./tree.ts";
import type { Fingerprint, SelectionMemory } from "./selection-memory.ts";
import {
  type Entry,
  findMatches,
  type Match,
  missing,
  type SelectionVisitor,
  type Selector,
  walkMatchInTurns,
} from "./tree-select.ts";

/** What the content of an entry is: of a file its sha256 and the bytes that were hashed, of a link its target. */
export type Content =
  | { readonly kind: "file"; readonly digest: Digest; readonly size: number }
  | { readonly kind: "link"; readonly target: string }
  | { readonly kind: "none" };

/** Takes the matches of one selector with their entries in walking order. */
export interface SelectionFold {
  match(match: Match): void;
  entry(entry: Entry, content: Content, xattrs: readonly (readonly [string, Buffer])[]): void;
  digest(): Digest;
}

/** Starts the digest of one selector. */
export function foldSelection(selector: Selector): SelectionFold {
  const sha = createHash("sha256").update("tsbuild.selection.v1\0");
  const ignoreMode = selector.kind === "copy" && selector.ignoreMode;
  const ignoreOwner = selector.kind === "copy" && selector.ignoreOwner;
  // Copies keep hard links within one source, so links are part of the content within one source.
  let links = new Map<string, string>();
  // One update for many lines: a call costs as much as hashing 1000 bytes.
  let pending = "";
  const add = (text: string): void => {
    pending += text;
    if (pending.length >= FOLD_BYTES) flush();
  };
  const flush = (): void => {
    sha.update(pending, "latin1");
    pending = "";
  };
  return {
    match: (match) => {
      links = new Map();
      add(`match\0${match.name}\0`);
    },
    // Every field ends with NUL, which no name and no link target can hold; each type has a fixed number of fields.
    entry: ({ relative, stat, isWay }, content, xattrs) => {
      let line = `${relative}\0${stat.type}${isWay ? "?" : ""}\0`;
      line += stat.type === "symlink" || ignoreMode ? "\0" : `${stat.mode.toString(8)}\0`;
      line += ignoreOwner ? "\0" : `${stat.uid}:${stat.gid}\0`;
      if (content.kind === "link") line += `${content.target}\0`;
      else if (content.kind === "file")
        line += `${content.size}\0${hexOf(content.digest)}\0${linkedTo(links, relative, stat)}\0`;
      else if (stat.type === "character" || stat.type === "block")
        line += `${stat.rdevMajor}:${stat.rdevMinor}\0`;
      for (const [name, value] of xattrs) line += `${name}=${value.toString("hex")}\0`;
      add(`${line}\0`);
    },
    digest: () => {
      flush();
      return digestFromHex(sha.digest("hex"));
    },
  };
}

const FOLD_BYTES = 16 * 1024;

/** Where the same inode was met before, or "". */
function linkedTo(links: Map<string, string>, relative: string, stat: TreeStat): string {
  if (stat.nlink < 2) return "";
  const inode = `${stat.dev}:${stat.ino}`;
  const first = links.get(inode);
  if (first === undefined) links.set(inode, relative);
  return first === undefined ? "" : `=${first}`;
}

/** The digest over several selectors, in their order. */
export function combineSelections(parts: readonly Digest[]): Digest {
  return digestOf(`tsbuild.selections.v1\0${parts.join("\0")}`);
}

/** Content of an empty file. */
export const EMPTY: Digest = digestOf("");

interface Planned {
  readonly entry: Entry;
  content: Content | null; // null: a file still to be hashed
}
type Plan = readonly {
  readonly selector: Selector;
  readonly matches: readonly { match: Match; entries: Planned[] }[];
}[];

/** Digest of what the selectors pick out of the tree; reads what is not known. Throws CONTEXT_PATH_MISSING for a source
 *  that is not there, COPY_FAILED for a loop of links. */
export function selectDigest(
  tree: TreeReader,
  selectors: readonly Selector[],
  options: { readonly onHashed?: (path: string, stat: TreeStat, digest: Digest) => void } = {},
): Digest {
  const plan = atOnce(planSelection(tree, selectors));
  for (const planned of pendingFiles(plan)) {
    const { path, stat } = planned.entry;
    const content = hashFile(tree.open(path));
    planned.content = { kind: "file", ...content };
    if (content.size === stat.size) options.onHashed?.(path, stat, content.digest);
  }
  return atOnce(foldPlan(tree, plan));
}

function atOnce<T>(work: Generator<void, T, undefined>): T {
  for (;;) {
    const { done, value } = work.next();
    if (done === true) return value;
  }
}

/** Lets others have their turns meanwhile: a signal is heard. Throws signal.reason. */
async function inTurns<T>(work: Generator<void, T, undefined>, signal: AbortSignal): Promise<T> {
  for (;;) {
    const { done, value } = readable(() => work.next());
    if (done === true) return value;
    await turn();
    signal.throwIfAborted();
  }
}

/** Hashing less than this is quicker than starting threads (40 ms each); a file counts as 16 KiB more than it holds. */
const THREADS_MIN_BYTES = 48 * 1024 * 1024;
const FILE_COST_BYTES = 16 * 1024;
/** Less is hashed, and a digest made of fewer entries, before another process could have been started. */
const NEW_MIN_BYTES = 8 * 1024 * 1024;
const NEW_MIN_ENTRIES = 5000;

/** Like selectDigest for a live directory at `root`; much unknown content is hashed on threads. Paths given to
 *  `onHashed` are byte strings relative to the root. */
export async function selectDigestLive(
  tree: TreeReader,
  root: string,
  selectors: readonly Selector[],
  options: {
    readonly signal: AbortSignal;
    readonly onHashed?: (path: string, stat: TreeStat, digest: Digest) => void;
    /** Told the bytes of all files that were picked as soon as they are known, and of those that were read when they were. */
    readonly onBytes?: (picked: number, read: number) => void;
    /** Called before it is read, when much is unknown or what was remembered is no longer so. */
    readonly onNew?: () => void;
    /** Called with the digest, if it was not remembered; `files` lists what it covers. */
    readonly onSelected?: (digest: Digest, files: () => readonly SelectedFile[]) => void;
    /** Of the directory and these selectors; omitted: nothing is remembered. */
    readonly memory?: SelectionMemory;
  },
): Promise<Digest> {
  const { memory } = options;
  const seen = memory?.start();
  const isLookedUp = seen !== undefined && memory?.hasOne === true;
  if (isLookedUp) {
    await inTurns(walkSelection(tree, selectors, seen), options.signal);
    const known = memory.find(seen);
    if (known !== null) {
      options.onBytes?.(seen.size, 0);
      return known;
    }
    options.onNew?.();
  }
  const plan = await inTurns(planSelection(tree, selectors, isLookedUp ? undefined : seen), options.signal);
  const pending = pendingFiles(plan);
  const cost = pending.reduce((sum, { entry }) => sum + entry.stat.size + FILE_COST_BYTES, 0);
  options.signal.throwIfAborted();
  options.onBytes?.(pickedBytes(plan), 0);
  if (cost >= NEW_MIN_BYTES || (pending.length > 0 && entryCount(plan) >= NEW_MIN_ENTRIES)) options.onNew?.();
  const contents =
    cost < THREADS_MIN_BYTES
      ? readable(() => pending.map(({ entry }) => hashFile(tree.open(entry.path))))
      : await hashOnThreads(
          root,
          pending.map(({ entry }) => ({ path: entry.path, size: entry.stat.size })),
          options.signal,
        );
  let read = 0;
  for (const [index, planned] of pending.entries()) {
    const content = contents[index] as { digest: Digest; size: number };
    read += content.size;
    planned.content = { kind: "file", ...content };
    const { path, stat } = planned.entry;
    if (content.size === stat.size) options.onHashed?.(path, stat, content.digest);
  }
  options.onBytes?.(0, read);
  const digest = await inTurns(foldPlan(tree, plan), options.signal);
  options.onSelected?.(digest, () => listPlan(plan));
  if (seen !== undefined) memory?.put(seen, digest);
  return digest;
}

function entryCount(plan: Plan): number {
  return plan.reduce(
    (sum, { matches }) => matches.reduce((all, { entries }) => all + entries.length, sum),
    0,
  );
}

function pickedBytes(plan: Plan): number {
  let bytes = 0;
  for (const { matches } of plan)
    for (const { entries } of matches)
      for (const { entry } of entries) if (entry.stat.type === "file") bytes += entry.stat.size;
  return bytes;
}

/** What a plan has found, as it counts. */
function listPlan(plan: Plan): readonly SelectedFile[] {
  const files: SelectedFile[] = [];
  for (const { selector, matches } of plan) {
    const ignoreMode = selector.kind === "copy" && selector.ignoreMode;
    for (const { entries } of matches) {
      for (const { entry, content } of entries) {
        const { type, mode } = entry.stat;
        files.push({
          path: entry.path,
          type: type === "fifo" ? "p" : type.slice(0, 1),
          mode: ignoreMode || type === "symlink" ? "" : mode.toString(8),
          content:
            content?.kind === "file"
              ? shortContent(content.digest)
              : content?.kind === "link"
                ? content.target
                : "",
        });
      }
    }
  }
  return files;
}

/** Failures of reading a live directory as errors of the user. */
function readable<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw readFailure(error);
  }
}

/** A failed call of node:fs on a live directory, as the user's error; anything else unchanged. */
export function readFailure(error: unknown): unknown {
  const { code, path } = (error ?? {}) as NodeJS.ErrnoException;
  if (error instanceof BuildError || code === undefined) return error;
  const shown = JSON.stringify(path === undefined ? "a file" : `${path}`);
  switch (code) {
    case "ENOENT":
    case "ENOTDIR":
    case "ELOOP":
      return new BuildError("CONTEXT_CHANGED", `${shown} changed while the build context was read`, {
        cause: error,
      });
    case "ENAMETOOLONG":
      return pathTooLong(bytesOf(`${path}`));
    case "EACCES":
    case "EPERM":
      return new BuildError(
        "COPY_FAILED",
        `${shown} in the build context cannot be read: permission denied`,
        {
          cause: error,
          hint: "make it readable, or exclude it with .dockerignore",
        },
      );
    default:
      return new BuildError("COPY_FAILED", `${shown} in the build context cannot be read: ${code}`, {
        cause: error,
      });
  }
}

/** Yields now and then, as foldPlan() does: a tree may have millions of names. */
function* planSelection(
  tree: TreeReader,
  selectors: readonly Selector[],
  seen?: Fingerprint,
): Generator<void, Plan, undefined> {
  const plan: { selector: Selector; matches: { match: Match; entries: Planned[] }[] }[] = [];
  yield* walkSelection(tree, selectors, {
    selector(selector) {
      seen?.selector(selector);
      plan.push({ selector, matches: [] });
    },
    match(match) {
      seen?.match(match);
      plan.at(-1)?.matches.push({ match, entries: [] });
    },
    entry(entry) {
      seen?.entry(entry);
      plan
        .at(-1)
        ?.matches.at(-1)
        ?.entries.push({ entry, content: contentWithoutReading(tree, entry) });
    },
  });
  return plan;
}

/** Walks what selectors pick, in their order, and keeps nothing. */
function* walkSelection(
  tree: TreeReader,
  selectors: readonly Selector[],
  visitor: SelectionVisitor,
): Generator<void, void, undefined> {
  for (const selector of selectors) {
    visitor.selector(selector);
    const patterns = selector.kind === "copy" ? selector : { includePatterns: [], excludePatterns: [] };
    for (const match of matchesOf(tree, selector)) {
      visitor.match(match);
      yield* walkMatchInTurns(tree, match, patterns, { enter: (entry) => visitor.entry(entry) });
    }
  }
}

/** The sources of a selector; a subtree is one nameless source. */
export function matchesOf(tree: TreeReader, selector: Selector): Match[] {
  if (selector.kind === "copy") return findMatches(tree, selector);
  const asked = bytesOf(selector.path);
  const path = resolvePath(tree, asked, true);
  const stat = tree.lstat(path);
  if (stat === null) throw missing(tree, asked, path);
  return [{ path, name: "", stat }];
}

/** null for a file that must be read. */
export function contentWithoutReading(tree: TreeReader, { path, stat }: Entry): Content | null {
  switch (stat.type) {
    case "file": {
      const known = stat.size === 0 ? EMPTY : tree.knownDigest(path, stat);
      return known === null ? null : { kind: "file", digest: known, size: stat.size };
    }
    case "symlink":
      return { kind: "link", target: tree.readlink(path) };
    case "socket":
      return tree.live ? { kind: "file", digest: EMPTY, size: 0 } : { kind: "none" };
    case "directory":
    case "fifo":
    case "character":
    case "block":
      return { kind: "none" };
  }
}

function pendingFiles(plan: Plan): Planned[] {
  return plan.flatMap(({ matches }) =>
    matches.flatMap(({ entries }) => entries.filter((p) => p.content === null)),
  );
}

/** Entries between two turns. */
const FOLDED_A_TURN = 5000;

function* foldPlan(tree: TreeReader, plan: Plan): Generator<void, Digest, undefined> {
  const parts: Digest[] = [];
  let folded = 0;
  for (const { selector, matches } of plan) {
    const fold = foldSelection(selector);
    for (const { match, entries } of matches) {
      fold.match(match);
      for (const { entry, content } of entries) {
        fold.entry(entry, content ?? { kind: "none" }, tree.xattrs(entry.path));
        if (++folded % FOLDED_A_TURN === 0) yield;
      }
    }
    parts.push(fold.digest());
  }
  return combineSelections(parts);
}

const BUFFER = Buffer.allocUnsafeSlow(1024 * 1024);

/** sha256 and size of what a descriptor still has to give; closes it. */
export function hashFile(fd: number): { digest: Digest; size: number } {
  try {
    const first = readFully(fd, BUFFER);
    // One call for files that fit: an incremental hash object costs more than reading a small file.
    if (first < BUFFER.length)
      return { digest: digestFromHex(hash("sha256", BUFFER.subarray(0, first), "hex")), size: first };
    const sha = createHash("sha256");
    let size = 0;
    for (let count = first; count > 0; count = readFully(fd, BUFFER)) {
      sha.update(BUFFER.subarray(0, count));
      size += count;
    }
    return { digest: digestFromHex(sha.digest("hex")), size };
  } finally {
    closeSync(fd);
  }
}

/** Fills the buffer unless the file ends before; returns the bytes read. */
export function readFully(fd: number, buffer: Buffer): number {
  let filled = 0;
  while (filled < buffer.length) {
    const count = readSync(fd, buffer, filled, buffer.length - filled, null);
    if (count === 0) break;
    filled += count;
  }
  return filled;
}
