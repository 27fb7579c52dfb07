// Moves unexpected file types in the store to quarantine: moved, never opened, followed or deleted.
// `tsbuild prune --all` removes them for good.

import { randomBytes } from "node:crypto";
import { type Stats, lstatSync, renameSync } from "node:fs";
import { basename, join } from "node:path";
import { errnoOf } from "./disk-fault.ts";

/** rename(2) of the last component, so a link moves and not what it leads to. Gone already: nothing to do. */
export function setAside(path: string, quarantine: string, as: string = basename(path)): void {
  try {
    renameSync(path, join(quarantine, `${as}-${Date.now()}-${randomBytes(3).toString("hex")}`));
  } catch (error) {
    // Another process has found it, too.
    if (errnoOf(error) !== "ENOENT") throw error;
  }
}

/** Stats of the name itself, or null when nothing is there. */
export function lookAt(path: string): Stats | null {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) ?? null;
  } catch (error) {
    if (errnoOf(error) === "ENOTDIR") return null; // a file where its directory should be
    throw error;
  }
}

/** A real directory, not a link to one. */
export function isDirectory(path: string): boolean {
  return lookAt(path)?.isDirectory() === true;
}

/** "a FIFO", for messages. */
export function kindOf(stat: Stats): string {
  if (stat.isFile()) return "a file";
  if (stat.isDirectory()) return "a directory";
  if (stat.isSymbolicLink()) return "a link";
  if (stat.isFIFO()) return "a FIFO";
  return stat.isSocket() ? "a socket" : "a device";
}
