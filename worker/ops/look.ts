// [keeper] What a client wants to know of a result: a part of a file, what a path is, what a directory holds.

import { readSync } from "node:fs";
import { bytesOf, resolvePath, textOf, type TreeReader, type TreeStat } from "../../cache/tree.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import { compileGlob } from "../../solver/graph/patterns.ts";
import type { LookAnswer, LookJob, TreeEntry } from "../keeper/messages.ts";
import { close, openat } from "../sys/file.ts";
import { O } from "../sys/constants.ts";
import { isSysError } from "../sys/libc.ts";
import { inWords } from "./failure.ts";
import { fdTree } from "./fd-tree.ts";
import { openTreeOf } from "./open-tree.ts";

/** Entries of one directory; more are refused. */
const ENTRIES_MAX = 100_000;

/** Answers the question; links are followed within the tree. Throws CONTEXT_PATH_MISSING, COPY_FAILED, LIMIT_EXCEEDED. */
export function look({ tree: asked, path, question }: LookJob): LookAnswer {
  const shown = printable(path);
  if (path.includes("\0")) throw new BuildError("COPY_FAILED", "a path cannot contain a NUL character");
  return inWords(`read ${shown}`, () => {
    const { tree, close: end } = treeOf(asked);
    try {
      const found = resolvePath(tree, bytesOf(path), true);
      const stat = tree.lstat(found);
      if (stat === null) throw new BuildError("CONTEXT_PATH_MISSING", `${shown}: no such file or directory`);
      switch (question.kind) {
        case "stat":
          return { kind: "stat", entry: entryOf(tree, found, stat) };
        case "file":
          if (stat.type !== "file") throw new BuildError("COPY_FAILED", `${shown} is not a regular file`);
          return { kind: "file", data: readPart(tree, found, shown, question) };
        case "list":
          if (stat.type !== "directory") throw new BuildError("COPY_FAILED", `${shown} is not a directory`);
          return { kind: "list", entries: list(tree, found, shown, question.pattern) };
      }
    } catch (error) {
      if (!isSysError(error, "EXDEV")) throw error;
      throw new BuildError("COPY_FAILED", `${shown} is in another mount`, { cause: error });
    } finally {
      end();
    }
  });
}

/** What is mounted inside of a file system is not entered: it has a place of its own among the mounts. */
function treeOf(asked: LookJob["tree"]): { readonly tree: TreeReader; readonly close: () => void } {
  if (asked.kind === "layers") return openTreeOf(asked);
  const tree = fdTree(openat(asked.root, ".", O.RDONLY | O.DIRECTORY), { live: false, crossing: false });
  return { tree, close: () => tree.close() };
}

function readPart(
  tree: TreeReader,
  path: string,
  shown: string,
  { offset, length, maxBytes }: Extract<LookJob["question"], { kind: "file" }>,
): Uint8Array {
  const file = tree.open(path);
  try {
    const wanted = Math.min(length ?? Number.POSITIVE_INFINITY, maxBytes + 1);
    const chunks: Buffer[] = [];
    let total = 0;
    while (total < wanted) {
      const chunk = Buffer.allocUnsafe(Math.min(64 * 1024, wanted - total));
      const count = readSync(file, chunk, 0, chunk.length, offset + total);
      if (count === 0) break;
      chunks.push(chunk.subarray(0, count));
      total += count;
    }
    if (total > maxBytes) throw new BuildError("LIMIT_EXCEEDED", `${shown} is larger than ${maxBytes} bytes`);
    return Buffer.concat(chunks);
  } finally {
    close(file);
  }
}

function list(tree: TreeReader, path: string, shown: string, pattern: string): TreeEntry[] {
  const matches = pattern === "" ? null : compileGlob(pattern);
  const children = tree.children(path).filter(({ name }) => matches === null || matches(textOf(name)));
  if (children.length > ENTRIES_MAX)
    throw new BuildError("LIMIT_EXCEEDED", `${shown} has more than ${ENTRIES_MAX} entries`);
  return children.map(({ name, stat }) => entryOf(tree, path === "" ? name : `${path}/${name}`, stat));
}

function entryOf(tree: TreeReader, path: string, stat: TreeStat): TreeEntry {
  return {
    name: textOf(path.slice(path.lastIndexOf("/") + 1)),
    type: stat.type,
    mode: stat.mode,
    uid: stat.uid,
    gid: stat.gid,
    size: stat.type === "file" || stat.type === "symlink" ? stat.size : 0,
    mtimeNs: stat.mtimeNs,
    linkName: stat.type === "symlink" ? textOf(tree.readlink(path)) : "",
    rdevMajor: stat.rdevMajor,
    rdevMinor: stat.rdevMinor,
  };
}
