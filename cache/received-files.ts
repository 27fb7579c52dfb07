// Files that the other side of a connection sends into a directory of the user: results of a build that ran elsewhere.
//
// The directory stays and keeps what else it holds; files in the way are replaced, directories merged, as when the build runs here
// (layers/export-tree.ts). The sender decides on names, never on where they lead: each is made below a descriptor of the directory, no link
// that lies in it is followed, and what is made belongs to the user (threat model P1, P4).

import { closeSync, writeSync } from "node:fs";
import { BuildError } from "../solver/graph/error.ts";
import type { FileTransfer } from "../solver/graph/session.ts";
import { fchmod, mkdirat, statxOrNull, utimensat } from "../worker/sys/file.ts";
import { S } from "../worker/sys/constants.ts";
import { invalid, type Listed, pauses, readListing, unlessStopped } from "./listed-files.ts";
import { openDirectory } from "./outside.ts";
import {
  createFile,
  type Directories,
  makeLink,
  makeSpecial,
  nameOf,
  openDirectories,
} from "./received-file.ts";
import { parentOf, textOf } from "./tree.ts";

/** A set-id bit belongs to its owner: it must not become one of the user's. */
const MODE_BITS = 0o1777;

/** Receives all of a transfer, which the caller disposes. `dest`: an existing directory. Throws OUTPUT_FAILED where a directory would replace
 *  something else, SOURCE_FAILED for what is no listing, LIMIT_EXCEEDED, the system's errors. */
export async function receiveTree(
  transfer: FileTransfer,
  dest: string,
  { signal, onBytes }: { readonly signal: AbortSignal; readonly onBytes: (count: number) => void },
): Promise<void> {
  const listed = await readListing(transfer, signal);
  const root = openDirectory(dest);
  const directories = openDirectories(root);
  try {
    const pause = pauses(signal);
    const files: Listed[] = [];
    for (const entry of listed.values()) {
      await pause();
      if (entry.type === "file") files.push(entry);
      else if (entry.type === "directory") makeDirectory(entry, directories);
      else if (entry.type !== "hardlink") makeSpecial(entry, directories);
    }
    if (files.length > 0) await receiveContents(files, transfer, directories, { signal, onBytes });
    for (const entry of listed.values()) if (entry.type === "hardlink") makeLink(entry, directories);
    // Children first: what is made in a directory changes its time, and its mode may close it.
    for (const entry of [...listed.values()].reverse()) {
      if (entry.type !== "directory") continue;
      const fd = directories.open(entry.path);
      fchmod(fd, entry.mode & MODE_BITS);
      utimensat(fd, null, entry.mtimeNs, entry.mtimeNs);
    }
  } finally {
    directories.close();
    closeSync(root);
  }
}

function makeDirectory(entry: Listed, directories: Directories): void {
  const into = directories.open(parentOf(entry.path));
  const name = nameOf(entry.path);
  const there = statxOrNull(into, name);
  if (there === null) mkdirat(into, name, 0o700);
  else if ((there.mode & S.IFMT) !== S.IFDIR)
    throw new BuildError(
      "OUTPUT_FAILED",
      `${JSON.stringify(textOf(entry.path))} in the output directory is not a directory`,
    );
}

async function receiveContents(
  files: readonly Listed[],
  transfer: FileTransfer,
  directories: Directories,
  { signal, onBytes }: { readonly signal: AbortSignal; readonly onBytes: (count: number) => void },
): Promise<void> {
  let at = 0;
  let fd: number | null = null;
  const contents = transfer.contents(files.map(({ index }) => index));
  try {
    for await (const pieces of unlessStopped(contents, signal)) {
      for (const { index, data } of pieces) {
        const entry = files[at];
        if (entry?.index !== index) throw invalid("a file was sent that was not asked for");
        fd ??= createFile(entry.path, directories);
        if (data === null) {
          fchmod(fd, entry.mode & MODE_BITS);
          utimensat(fd, null, entry.mtimeNs, entry.mtimeNs);
          closeSync(fd);
          fd = null;
          at++;
          continue;
        }
        for (let done = 0; done < data.length; ) done += writeSync(fd, data, done);
        onBytes(data.length);
      }
    }
  } finally {
    if (fd !== null) closeSync(fd);
  }
  if (at < files.length) throw invalid("it stopped in the middle");
}
