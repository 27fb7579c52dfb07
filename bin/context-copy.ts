// A copy of a build context at another path, made in the opposite order.

import {
  closeSync,
  constants,
  copyFileSync,
  fchmodSync,
  futimesSync,
  mkdirSync,
  readlinkSync,
  symlinkSync,
} from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import {
  makeDirectories,
  namesIn,
  openDirectory,
  openDirectoryIn,
  openIn,
  pathIn,
  statIn,
} from "../cache/outside.ts";

/** Copies files, directories and links with their modes and times, last names first. Returns false, with what was copied left there, if it
 *  holds anything else (a socket, a FIFO), which a copy would not have. Links are not followed. Throws the system's errors. */
export async function copyContext(
  from: string,
  to: string,
  { signal }: { readonly signal: AbortSignal },
): Promise<boolean> {
  makeDirectories(to);
  const [source, target] = [openDirectory(from), openDirectory(to)];
  try {
    return await copyDirectory(source, target, signal);
  } finally {
    closeSync(source);
    closeSync(target);
  }
}

async function copyDirectory(from: number, to: number, signal: AbortSignal): Promise<boolean> {
  const names = namesIn(from).toSorted((a, b) => Buffer.compare(b, a));
  for (const [at, name] of names.entries()) {
    signal.throwIfAborted();
    if (at % 64 === 0) await turn();
    const stat = statIn(from, name);
    if (stat === null) continue;
    if (stat.isSymbolicLink())
      symlinkSync(readlinkSync(pathIn(from, name), { encoding: "buffer" }), pathIn(to, name));
    else if (stat.isFile()) {
      const file = openIn(from, name);
      try {
        copyFileSync(
          `/proc/self/fd/${file}`,
          pathIn(to, name),
          constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE,
        );
      } finally {
        closeSync(file);
      }
      likewise(openIn(to, name), stat);
    } else if (stat.isDirectory()) {
      mkdirSync(pathIn(to, name), 0o700);
      const [source, target] = [openDirectoryIn(from, [name]), openDirectoryIn(to, [name])];
      try {
        if (!(await copyDirectory(source, target, signal))) return false;
      } finally {
        closeSync(source);
        likewise(target, stat);
      }
    } else return false;
  }
  return true;
}

/** Mode and times of the original; closes the copy. */
function likewise(
  fd: number,
  { mode, atime, mtime }: { readonly mode: number; readonly atime: Date; readonly mtime: Date },
): void {
  try {
    fchmodSync(fd, mode & 0o7777);
    futimesSync(fd, atime, mtime);
  } finally {
    closeSync(fd);
  }
}
