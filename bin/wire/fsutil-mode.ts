// Modes of files as fsutil sends them: Go's os.FileMode, not st_mode (go.dev, io/fs, "FileMode").

import type { FileEntry } from "../../solver/graph/session.ts";

const DIRECTORY = 2 ** 31;
const SYMLINK = 1 << 27;
const FIFO = 1 << 25;
const OTHER = 0x0528_0000; // device, socket, character device, irregular
const BITS: readonly (readonly [go: number, unix: number])[] = [
  [1 << 23, 0o4000],
  [1 << 22, 0o2000],
  [1 << 20, 0o1000],
];

export function typeOf(mode: number, linkName: string): FileEntry["type"] {
  if (mode >= DIRECTORY) return "directory";
  if ((mode & SYMLINK) !== 0) return "symlink";
  if ((mode & FIFO) !== 0) return linkName === "" ? "fifo" : "hardlink";
  if ((mode & OTHER) !== 0) return "other";
  return linkName === "" ? "file" : "hardlink";
}

export function permissionsOf(mode: number): number {
  let unix = mode & 0o777;
  for (const [go, bit] of BITS) if ((mode & go) !== 0) unix |= bit;
  return unix;
}

type FileType = "file" | "directory" | "symlink" | "fifo" | "socket" | "block" | "character";

/** Types in Go's words; those of files that can be sent, and the rest. */
const TYPE_BITS: Readonly<Record<FileType, number>> = {
  file: 0,
  directory: DIRECTORY,
  symlink: SYMLINK,
  fifo: FIFO,
  socket: 1 << 24,
  block: 1 << 26,
  character: (1 << 26) | (1 << 21),
};

export function goMode(type: FileType, permissions: number): number {
  let mode = permissions & 0o777;
  for (const [go, bit] of BITS) if ((permissions & bit) !== 0) mode |= go;
  return mode + TYPE_BITS[type];
}
