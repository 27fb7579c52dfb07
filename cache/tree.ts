// A readable file tree: what path selection, hashing and copying have in common for live directories (the build
// context) and for mounted layers.
//
// Names are bytes, not text (threat model T7). Inside this room a path is a *byte string*: one char per byte. Such
// strings compare and sort as their bytes do, and are cheap for ASCII names.

import type { Digest } from "../solver/graph/digest.ts";
import { BuildError, printable } from "../solver/graph/error.ts";

export type FileType = "file" | "directory" | "symlink" | "fifo" | "socket" | "character" | "block";

export interface TreeStat {
  readonly type: FileType;
  readonly mode: number; // permission, set-id and sticky bits
  readonly uid: number;
  readonly gid: number;
  readonly size: number; // bytes
  readonly nlink: number;
  readonly dev: number; // only to be compared
  readonly ino: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
}

export interface Child {
  readonly name: string;
  readonly stat: TreeStat;
}

/** Read access to a tree. Paths are byte strings relative to the root ("" is the root) whose directories are real ones:
 *  resolve links first with resolvePath. Symbolic links are never followed, special files never opened. */
export interface TreeReader {
  /** Files of the user, read in place: owned by 0:0 for all that follows, sockets count as empty files. */
  readonly live: boolean;
  /** null: no such file. */
  lstat(path: string): TreeStat | null;
  /** Entries of a directory, sorted by bytes. */
  children(path: string): readonly Child[];
  readlink(path: string): string;
  /** Descriptor of a regular file, for the caller to close. */
  open(path: string): number;
  /** Extended attributes that belong to the content, sorted; null where they are not looked at. */
  xattrs(path: string): readonly (readonly [name: string, value: Buffer])[];
  /** The ignore rule that hides a path, as written, or null. */
  hiddenBy(path: string): string | null;
  /** Known sha256 of a regular file, or null. */
  knownDigest(path: string, stat: TreeStat): Digest | null;
}

/** Mode the root of a live tree is seen with: how a user's own directory is protected is no part of a build. */
export const LIVE_ROOT_MODE = 0o755;

// biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII is meant
const ASCII = /^[\x00-\x7f]*$/; // oxlint-disable-line no-control-regex

/** Byte string to text; bytes that are not UTF-8 become U+FFFD, as Go's matcher sees them. */
export function textOf(bytes: string): string {
  return ASCII.test(bytes) ? bytes : Buffer.from(bytes, "latin1").toString("utf8");
}

/** Text to byte string (UTF-8). */
export function bytesOf(text: string): string {
  return ASCII.test(text) ? text : Buffer.from(text, "utf8").toString("latin1");
}

/** A path for system calls: ASCII as it is, else the bytes. */
export function nativePath(bytes: string): string | Buffer {
  return ASCII.test(bytes) ? bytes : Buffer.from(bytes, "latin1");
}

/** Lexical form without "", "." and ".." (which stops at the root), relative: what Go's path.Join("/", p) gives, without
 *  its slash. Says where a path points when it has no links; it decides nothing about safety. */
export function cleanPath(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    if (part === "..") parts.pop();
    else parts.push(part);
  }
  return parts.join("/");
}

/** PATH_MAX of limits.h without its NUL: no tool could unpack, copy or even name what has a longer path, and BuildKit fails
 *  on it. Trees may be deeper (mkdirat(2), chdir(2)), so what walks one asks; only deleting goes to any depth. With a bound
 *  on each path, what is kept of a tree grows with its entries and not with the square of its depth (threat model T6). */
export const PATH_MAX_BYTES = 4095;

/** The refusal of a path that is longer than PATH_MAX_BYTES; it names the start and the end. */
export function pathTooLong(path: string): BuildError {
  const shown = (part: string): string => printable(textOf(part));
  return new BuildError(
    "LIMIT_EXCEEDED",
    `the path "${shown(path.slice(0, 40))}…${shown(path.slice(-40))}" is longer than ${PATH_MAX_BYTES} bytes`,
    {
      hint: "files with such paths cannot be copied or be in an image: remove it, or use shorter directory names",
    },
  );
}

/** The path of an entry of a directory. Throws LIMIT_EXCEEDED. */
export function childPath(directory: string, name: string): string {
  const path = joinPath(directory, name);
  if (path.length > PATH_MAX_BYTES) throw pathTooLong(path);
  return path;
}

export function joinPath(directory: string, name: string): string {
  if (directory === "") return name;
  return name === "" ? directory : `${directory}/${name}`;
}

export function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "" : path.slice(0, slash);
}

export function baseOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** As many links as BuildKit follows on one path. */
const LINKS_MAX = 255;

/** The path with all links resolved inside the tree; what does not exist is taken as it is written, as Go's
 *  continuity/fs.RootPath does. `followLast`: also a link in the last component. Throws COPY_FAILED on a loop,
 *  LIMIT_EXCEEDED. */
export function resolvePath(
  tree: Pick<TreeReader, "lstat" | "readlink">,
  path: string,
  followLast: boolean,
): string {
  let links = 0;
  const done: string[] = [];
  const todo = partsOf(path).reverse();
  while (todo.length > 0) {
    const part = todo.pop() as string;
    if (part === "..") {
      done.pop();
      continue;
    }
    done.push(part);
    const here = done.join("/");
    if (here.length > PATH_MAX_BYTES) throw pathTooLong(here);
    if (todo.length === 0 && !followLast) continue;
    const stat = tree.lstat(here);
    if (stat === null || stat.type !== "symlink") continue;
    if (++links > LINKS_MAX) {
      throw new BuildError("COPY_FAILED", `"/${textOf(cleanPath(path))}": too many links`);
    }
    const target = tree.readlink(here);
    if (target.startsWith("/")) done.length = 0;
    else done.pop();
    todo.push(...partsOf(target).reverse());
  }
  return done.join("/");
}

function partsOf(path: string): string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}
