// Disk space reserved for deleting when the disk is full. Deleting needs some: a lock is a link (its target takes a block), a process
// registers with a socket and a file, a new name in a directory may take a block. Commands that delete free the reserve,
// use that space, and recreate it at the end. Many files instead of one, because inodes run out as well.

import { randomBytes, randomFillSync } from "node:crypto";
import { mkdirSync, readdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { errnoOf } from "./disk-fault.ts";
import { isDirectory } from "./set-aside.ts";

const FILES = 16;
const FILE_BYTES = 2 ** 16;
/** A build makes what is missing while so much is free. */
const PLENTY_BYTES = 2 ** 23;
const PLENTY_INODES = 4 * FILES;

/** With so much free nothing was refused. */
const FULL_MAX_BYTES = 2 ** 20;

const FULL: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT"]);
const placeIn = (root: string): string => join(root, "spare");

/** Makes what is missing of the spare of a store. `force`: even if the disk is nearly full. A full one is no error. */
export function keepSpare(root: string, { force }: { readonly force: boolean }): void {
  const place = placeIn(root);
  const there = new Set(filesIn(place));
  if (there.size >= FILES) return;
  const { bavail, bsize, files, ffree } = statfsSync(root);
  if (!force && (bavail * bsize < PLENTY_BYTES || (files > 0 && ffree < PLENTY_INODES))) return;
  const bytes = randomFillSync(Buffer.alloc(FILE_BYTES)); // zeros would take nothing where the file system compresses
  try {
    if (!isDirectory(place)) mkdirSync(place, { mode: 0o700 });
    for (let n = 0; n < FILES; n++) if (!there.has(`${n}`)) make(join(place, `${n}`), bytes);
  } catch (error) {
    // EEXIST: another process makes it, too. ENOENT: somebody gives it up.
    if (!FULL.has(errnoOf(error) ?? "") && !["EEXIST", "ENOENT"].includes(errnoOf(error) ?? "")) throw error;
  }
}

function make(path: string, bytes: Uint8Array): void {
  try {
    writeFileSync(path, bytes, { mode: 0o600, flag: "wx" });
  } catch (error) {
    if (FULL.has(errnoOf(error) ?? "")) rmSync(path, { force: true });
    throw error;
  }
}

function filesIn(place: string): string[] {
  return isDirectory(place) ? readdirSync(place) : [];
}

/** Gives the spare up if the disk has not even as much as that. */
export function useSpare(root: string): void {
  if (hasRoom(root)) return;
  const place = placeIn(root);
  for (const name of filesIn(place)) rmSync(join(place, name), { recursive: true, force: true });
}

/** Has the disk not a block or an inode left? What was written last may then be cut short, whoever wrote it. */
export function isFull(root: string): boolean {
  const { bavail, bsize, files, ffree } = statfsSync(root);
  if (bavail * bsize > FULL_MAX_BYTES && (files === 0 || ffree > 0)) return false;
  return !canWrite(root, FILE_BYTES / FILES); // root may use what statfs(2) does not count
}

/** Found out by writing: quotas, and blocks kept for root, are in no statfs(2). */
function hasRoom(root: string): boolean {
  const { files, ffree } = statfsSync(root);
  if (files > 0 && ffree < 2 * FILES) return false;
  return canWrite(root, FILES * FILE_BYTES);
}

function canWrite(root: string, bytes: number): boolean {
  const probe = join(root, "tmp", `room-${process.pid}-${randomBytes(4).toString("hex")}`);
  try {
    writeFileSync(probe, randomFillSync(Buffer.alloc(bytes)), { mode: 0o600, flag: "wx" });
    return true;
  } catch (error) {
    if (FULL.has(errnoOf(error) ?? "")) return false;
    throw error;
  } finally {
    rmSync(probe, { force: true });
  }
}
