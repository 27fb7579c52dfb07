// Listings of directories that the other side of a connection sends: checked before anything is touched. Order, names and kinds may be
// anything (threat model P1, C6).

import { setImmediate as turn } from "node:timers/promises";
import { BuildError, printable } from "../solver/graph/error.ts";
import type { FileEntry, FileTransfer } from "../solver/graph/session.ts";
import { KEPT_PATHS_MAX_BYTES } from "./layers/entry.ts";
import { baseOf, bytesOf, parentOf, PATH_MAX_BYTES } from "./tree.ts";

/** Entries of one directory, which takes 0.5 KB of memory each. */
const FILES_MAX = 2_000_000;
const NAME_MAX_BYTES = 255;

/** An entry as it was checked. Paths are byte strings. */
export interface Listed extends Omit<FileEntry, "path" | "linkName"> {
  readonly index: number; // in the client's listing
  readonly path: string;
  readonly linkName: string;
  /** Of a file: how many names the listing has for it. */
  names: number;
}

/** Reads and checks the listing; what is neither file, directory, link nor FIFO is left out. */
export async function readListing(
  transfer: FileTransfer,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, Listed>> {
  const listed = new Map<string, Listed>();
  const leftOut = new Set<string>();
  /** The directories on the way to the last entry, with the last name seen in each. */
  const open: { readonly path: string; last: string }[] = [{ path: "", last: "" }];
  let index = -1;
  let keptBytes = 0;
  const take = (entry: FileEntry): void => {
    index++;
    if (!isEntry(entry)) throw invalid("its listing is malformed");
    const path = bytesOf(entry.path);
    const linkName = bytesOf(entry.linkName);
    const name = baseOf(path);
    keptBytes += path.length + linkName.length;
    if (index >= FILES_MAX || keptBytes > KEPT_PATHS_MAX_BYTES)
      throw new BuildError("LIMIT_EXCEEDED", `the client's directory has more than ${index} files`, {
        hint: "exclude what the build does not need in .dockerignore",
      });
    if (["", ".", ".."].includes(name) || name.includes("\0") || name.length > NAME_MAX_BYTES)
      throw invalid(`${shown(entry)} has a name that no file can have`);
    if (path.length > PATH_MAX_BYTES || linkName.length > PATH_MAX_BYTES)
      throw invalid(`${shown(entry)} is longer than a path can be`);
    while (open.length > 0 && open.at(-1)?.path !== parentOf(path)) open.pop();
    const parent = open.at(-1);
    if (parent === undefined || path.startsWith("/") || name <= parent.last)
      throw invalid(`${shown(entry)} is out of order`);
    parent.last = name;
    if (entry.type === "directory") open.push({ path, last: "" });
    if (entry.type === "other" || (entry.type === "hardlink" && leftOut.has(linkName))) {
      leftOut.add(path);
      return;
    }
    if (entry.type === "symlink" && (linkName === "" || linkName.includes("\0")))
      throw invalid(`${shown(entry)} is a link to nothing`);
    if (entry.type === "hardlink") {
      const target = listed.get(linkName);
      if (target?.type !== "file" && target?.type !== "fifo")
        throw invalid(`${shown(entry)} is a hard link to no earlier file`);
      target.names++;
    }
    const mtimeNs = entry.mtimeNs < 0n || entry.mtimeNs > MAX_TIME_NS ? 0n : entry.mtimeNs;
    const mode = entry.mode & 0o7777;
    const { type, size } = entry;
    listed.set(path, { index, path, type, size, mode, mtimeNs, linkName, names: 1 });
  };
  for await (const entries of unlessStopped(transfer.listing(), signal))
    for (const entry of entries) take(entry);
  return listed;
}

/** Messages of other programs become entries somewhere: what is used of them here is looked at once. */
function isEntry({ path, type, linkName, mode, mtimeNs }: FileEntry): boolean {
  return (
    typeof path === "string" &&
    typeof linkName === "string" &&
    typeof mode === "number" &&
    typeof mtimeNs === "bigint" &&
    (type === "other" || KINDS.includes(type))
  );
}
const KINDS: readonly string[] = ["file", "directory", "symlink", "hardlink", "fifo"];
const MAX_TIME_NS = (1n << 63n) - 1n;

/** Items of a client that may stop sending without a word. */
export async function* unlessStopped<T>(
  items: AsyncIterable<T>,
  signal: AbortSignal,
): AsyncGenerator<T, void, undefined> {
  const iterator = items[Symbol.asyncIterator]();
  // One listener for all items: there may be millions.
  let stop: (() => void) | null = null;
  const onAbort = (): void => stop?.();
  signal.addEventListener("abort", onAbort);
  try {
    for (;;) {
      signal.throwIfAborted();
      const { done, value } = await new Promise<IteratorResult<T>>((resolve, reject) => {
        stop = () => reject(signal.reason as Error);
        iterator.next().then(resolve, reject);
      });
      if (done === true) return;
      yield value;
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    iterator.return?.().catch(() => {}); // not waited for: it may be stuck where it is
  }
}

/** Lets others have a turn now and then: a directory may have millions of files, or thousands of levels, where a single entry takes long.
 *  Throws signal.reason. */
export function pauses(signal: AbortSignal): () => Promise<void> | undefined {
  let turnMs = performance.now();
  return () => {
    if (performance.now() - turnMs < TURN_MS) return undefined;
    signal.throwIfAborted();
    return turn().then(() => {
      turnMs = performance.now();
    });
  };
}
const TURN_MS = 20;

function shown({ path }: FileEntry): string {
  return JSON.stringify(printable(path, 200));
}

export function invalid(why: string): BuildError {
  return new BuildError("SOURCE_FAILED", `the client sent an invalid directory: ${why}`);
}
