// Walks a tree by descriptors: no link is followed, names stay bytes, any depth works with few open descriptors and in
// time and memory proportional to the number of entries: a path is kept only as long as it may be needed.

import { PATH_MAX_BYTES, pathTooLong } from "../tree.ts";
import { close, fstat, openat, readdir, type Stat, statx } from "../../worker/sys/file.ts";
import { AT, O, S } from "../../worker/sys/constants.ts";

/** Flags that open a directory by a name that is not a link. */
export const DIRECTORY: number = O.RDONLY | O.DIRECTORY | O.NOFOLLOW;

/** Descriptors a walk keeps open. The way back from deeper levels goes by "..". */
const OPEN_LEVELS = 64;

export interface Visit {
  /** Directories are met twice: before and after what is in them. */
  readonly phase: "enter" | "leave";
  /** The directory the name is in; valid until the walk goes on. */
  readonly dirfd: number;
  readonly name: Buffer;
  /** Path below the root, without a slash at either end. */
  readonly path: Buffer;
  readonly stat: Stat;
}

/** What is met at any depth. */
export interface DeepVisit extends Omit<Visit, "path"> {
  /** null: longer than PATH_MAX_BYTES. */
  readonly path: Buffer | null;
  /** Directories between the root and the name. */
  readonly depth: number;
}

interface Level {
  fd: number | null;
  readonly names: readonly Buffer[];
  at: number;
  readonly visit: Omit<DeepVisit, "phase" | "dirfd"> | null; // of the directory itself; null for the root
  readonly ino: bigint;
  readonly dev: number;
}

/** Entries below `root` (a descriptor that stays the caller's), in the order of their bytes within each directory, each with
 *  its path. The tree must not change but by the caller, who may remove what was visited. Throws LIMIT_EXCEEDED for a path
 *  that is too long to be used (PATH_MAX_BYTES), SysError. */
export function walkTree(root: number): Generator<Visit> {
  return walk(root, openDirectory, (above, name) => {
    throw pathTooLong(Buffer.concat([above, SLASH, name]).toString("latin1"));
  }) as Generator<Visit>;
}

/** The same at any depth. `open` opens a directory to be walked. Throws SysError. */
export function walkDeepTree(
  root: number,
  open: (dirfd: number, name: Buffer) => number = openDirectory,
): Generator<DeepVisit> {
  return walk(root, open, () => null);
}

function openDirectory(dirfd: number, name: Buffer): number {
  return openat(dirfd, name, DIRECTORY);
}

function* walk(
  root: number,
  open: (dirfd: number, name: Buffer) => number,
  tooLong: (above: Buffer, name: Buffer) => null,
): Generator<DeepVisit> {
  const levels: Level[] = [level(openat(root, ".", DIRECTORY), null)];
  try {
    for (;;) {
      const top = levels.at(-1) as Level;
      const dirfd = top.fd as number;
      const name = top.names[top.at++];
      if (name !== undefined) {
        const stat = statx(dirfd, name, AT.SYMLINK_NOFOLLOW);
        const path = top.visit === null ? name : pathBelow(top.visit.path, name, tooLong);
        const depth = levels.length - 1;
        yield { phase: "enter", dirfd, name, path, depth, stat };
        if ((stat.mode & S.IFMT) !== S.IFDIR) continue;
        levels.push(level(open(dirfd, name), { name, path, depth, stat }));
        const far = levels[levels.length - 1 - OPEN_LEVELS];
        if (far !== undefined && far.fd !== null) {
          close(far.fd);
          far.fd = null;
        }
        continue;
      }
      const up = levels.at(-2);
      if (up === undefined) return;
      up.fd ??= openParent(dirfd, up);
      close(dirfd);
      levels.pop();
      if (top.visit !== null) yield { phase: "leave", dirfd: up.fd, ...top.visit };
    }
  } finally {
    for (const { fd } of levels) if (fd !== null) close(fd);
  }
}
const SLASH = Buffer.from("/");

function pathBelow(
  above: Buffer | null,
  name: Buffer,
  tooLong: (above: Buffer, name: Buffer) => null,
): Buffer | null {
  if (above === null) return null;
  if (above.length + 1 + name.length > PATH_MAX_BYTES) return tooLong(above, name);
  return Buffer.concat([above, SLASH, name]);
}

function level(fd: number, visit: Level["visit"]): Level {
  try {
    const names = readdir(fd)
      .map((entry) => entry.name)
      .sort(Buffer.compare);
    const { ino, dev } = visit?.stat ?? fstat(fd);
    return { fd, names, at: 0, visit, ino, dev };
  } catch (error) {
    close(fd);
    throw error;
  }
}

function openParent(fd: number, expected: Level): number {
  const parent = openat(fd, "..", DIRECTORY);
  const { ino, dev } = fstat(parent);
  if (ino === expected.ino && dev === expected.dev) return parent;
  close(parent);
  throw new Error("a directory was moved while its tree was walked");
}
