// Digests of all files of a tree, for statements about them. [thread of the keeper]

import { closeSync, openSync, writeSync } from "node:fs";
import { close, openat } from "../../worker/sys/file.ts";
import { AT, O, S } from "../../worker/sys/constants.ts";
import { hexOf } from "../../solver/graph/digest.ts";
import { hashFile } from "../path-hash.ts";
import { walkTree } from "./walk.ts";

const WRITE_CHARS = 1 << 20;

/** Writes a line for each regular file below `rootDir` to `outFile`, which does not exist yet: its sha256 in hexadecimal, a space, and its path below the
 *  root as JSON, sorted by bytes within each directory. Returns their number. Throws SysError, LIMIT_EXCEEDED for a path that is too long. */
export function writeFileDigests(rootDir: string, outFile: string): number {
  let files = 0;
  const root = openat(AT.FDCWD, rootDir, O.RDONLY | O.DIRECTORY);
  try {
    const file = openSync(outFile, "wx", 0o600);
    try {
      let lines = "";
      for (const { phase, dirfd, name, path, stat } of walkTree(root)) {
        if (phase === "leave" || (stat.mode & S.IFMT) !== S.IFREG) continue;
        lines += `${hexOf(hashFile(openat(dirfd, name, O.RDONLY | O.NOFOLLOW)).digest)} ${JSON.stringify(path.toString("utf8"))}\n`;
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

function writeAll(fd: number, text: string): void {
  const data = Buffer.from(text);
  for (let at = 0; at < data.length; ) at += writeSync(fd, data, at);
}
