// Digests of all files of a tree, for statements about them. [thread of the keeper]

import { createHash } from "node:crypto";
import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { close, openat } from "../../worker/sys/file.ts";
import { AT, O, S } from "../../worker/sys/constants.ts";
import { walkTree } from "./walk.ts";

const READ_BYTES = 1 << 20;
const WRITE_CHARS = 1 << 20;

/** Writes a line for each regular file below `rootDir` to `outFile`, which does not exist yet: its sha256 in hexadecimal, a space, and its path below the
 *  root as JSON, sorted by bytes within each directory. Returns their number. Throws SysError, LIMIT_EXCEEDED for a path that is too long. */
export function writeFileDigests(rootDir: string, outFile: string): number {
  const buffer = Buffer.allocUnsafe(READ_BYTES);
  let files = 0;
  const root = openat(AT.FDCWD, rootDir, O.RDONLY | O.DIRECTORY);
  try {
    const file = openSync(outFile, "wx", 0o600);
    try {
      let lines = "";
      for (const { phase, dirfd, name, path, stat } of walkTree(root)) {
        if (phase === "leave" || (stat.mode & S.IFMT) !== S.IFREG) continue;
        lines += `${sha256(dirfd, name, buffer)} ${JSON.stringify(path.toString("utf8"))}\n`;
        files++;
        if (lines.length < WRITE_CHARS) continue;
        writeAll(file, lines);
        lines = "";
      }
      writeAll(file, lines);
    } finally {
      closeSync(file);
    }
  } finally {
    close(root);
  }
  return files;
}

function sha256(dirfd: number, name: Buffer, buffer: Buffer): string {
  const fd = openat(dirfd, name, O.RDONLY | O.NOFOLLOW);
  try {
    const hash = createHash("sha256");
    for (;;) {
      const count = readSync(fd, buffer, 0, buffer.length, null);
      if (count === 0) return hash.digest("hex");
      hash.update(buffer.subarray(0, count));
    }
  } finally {
    close(fd);
  }
}

function writeAll(fd: number, text: string): void {
  const data = Buffer.from(text);
  for (let at = 0; at < data.length; ) at += writeSync(fd, data, at);
}
