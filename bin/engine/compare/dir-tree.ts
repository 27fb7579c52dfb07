// The files of a directory on this machine: walked without following links, read where they are.

import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  readlinkSync,
  readSync,
} from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { namesIn, openDirectory, openDirectoryIn, openIn, pathIn } from "../../../cache/outside.ts";
import { BuildError } from "../../../solver/graph/error.ts";
import type { Content, FileTree, Member, MemberType } from "./contract.ts";
import { MEMBERS_MAX } from "./tar-tree.ts";

/** As deep as a walk goes: a path of single letters has some 2,000 directories. */
const DEPTH_MAX = 2_048;

/** Opens a directory as a tree. Extended attributes are not read: they need native code and rights that differ between the two. */
export async function openDirTree(
  path: string,
  { signal }: { readonly signal: AbortSignal },
): Promise<FileTree> {
  const root = openDirectory(path);
  const members = new Map<string, Member>();
  const waiting: Buffer[][] = [[]];
  try {
    for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
      signal.throwIfAborted();
      await turn();
      const fd = openDirectoryIn(root, at);
      try {
        for (const name of namesIn(fd)) {
          const parts = [...at, name];
          const stat = lstatSync(pathIn(fd, name), { bigint: true, throwIfNoEntry: false });
          if (stat === undefined) continue; // gone meanwhile
          const shown = parts.map((part) => part.toString("latin1")).join("/");
          if (members.size >= MEMBERS_MAX || parts.length > DEPTH_MAX)
            throw new BuildError("LIMIT_EXCEEDED", `${path} has too many files to be compared`);
          const type = typeOf(stat);
          const link = type === "symlink" ? readlinkSync(pathIn(fd, name), { encoding: "latin1" }) : "";
          members.set(shown, memberOf(stat, type, link, fileContent(root, parts, Number(stat.size))));
          if (type === "dir") waiting.push(parts);
        }
      } finally {
        closeSync(fd);
      }
    }
  } catch (error) {
    closeSync(root);
    throw error;
  }
  return { members, [Symbol.dispose]: () => closeSync(root) };
}

function memberOf(stat: BigIntStats, type: MemberType, link: string, content: Content): Member {
  return {
    type,
    mode: Number(stat.mode) & 0o7777,
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    mtimeNs: stat.mtimeNs,
    link,
    device: type === "char" || type === "block" ? `${stat.rdev >> 8n}:${stat.rdev & 0xffn}` : "",
    xattrs: NO_XATTRS,
    content: type === "file" ? content : null,
  };
}
const NO_XATTRS: ReadonlyMap<string, Buffer> = new Map();

/** Opened for each read: a tree has more files than a process may have open. */
function fileContent(root: number, parts: readonly Buffer[], size: number): Content {
  return {
    size,
    read(into, position) {
      const directory = openDirectoryIn(root, parts.slice(0, -1));
      try {
        const fd = openIn(directory, parts.at(-1) as Buffer);
        try {
          if (!fstatSync(fd).isFile())
            throw new BuildError("CONTEXT_CHANGED", "a file was replaced while it was compared");
          return readSync(fd, into, 0, into.length, position);
        } finally {
          closeSync(fd);
        }
      } finally {
        closeSync(directory);
      }
    },
  };
}

function typeOf({ mode }: BigIntStats): MemberType {
  switch (Number(mode) & constants.S_IFMT) {
    case constants.S_IFDIR:
      return "dir";
    case constants.S_IFLNK:
      return "symlink";
    case constants.S_IFCHR:
      return "char";
    case constants.S_IFBLK:
      return "block";
    case constants.S_IFIFO:
      return "fifo";
    case constants.S_IFSOCK:
      return "socket";
    default:
      return "file";
  }
}
