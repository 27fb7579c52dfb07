// Owners the kernel cannot set. Without subordinate ids every file on disk is ours, and with them an image may still use ids
// outside the range. Such a file is owned by a stand-in id (the only id there is, else the last one of the range, which nobody
// uses), and an owner note, an extended attribute, has its owner in the image.
//
// Everyone who can write a file can set its user.* attributes, steps first of all, and a step may copy any note it sees: with
// `cp -a`, and through overlayfs, which copies notes along with files that are changed or renamed (that is intended). So a note
// is trusted only where forging it gains nothing (threat model T8, I3):
//  - it is signed with a key of the store, which no step sees. A note that a step makes up is invalid, and is removed when
//    its layer is committed, if notes matter for steps at all;
//  - each half is valid only on a file that the kernel shows as the stand-in's, and only for an id the kernel cannot set. With
//    several ids no step starts as the stand-in (sandbox/step.ts), so its users own no such file; with a single one, a step has
//    no user but root, who could give away its files as well. Real root has all ids, so no note is valid at all.
// A note never makes a file owned by root, nor by any user that a step can be.
//
// Alternatives: attributes user.overlay.*, which a mount hides from steps, get lost when a file is copied up; a list
// next to the layer only knows paths, and steps rename files.
//
// Layers created with one id cannot be used with several (the kernel would show root as the owner of everything, set-id bits
// included), so a layer records the ids it was created with: layer-store.ts.

import { createHmac, randomBytes } from "node:crypto";
import { workerData } from "node:worker_threads";
import {
  close,
  fchownat,
  fremovexattr,
  fsetxattr,
  lgetxattr,
  llistxattr,
  lremovexattr,
  lsetxattr,
  openat,
  procPath,
} from "../../worker/sys/file.ts";
import { isSysError } from "../../worker/sys/libc.ts";
import { noteKey } from "../note-key.ts";
import { GIDS, NO_ID, UIDS } from "./ids.ts";
import { DIRECTORY, walkTree } from "./walk.ts";
import { AT, S } from "../../worker/sys/constants.ts";

/** "1 uid:gid seal" on a regular file or a directory: form 1 of the note. Left out of images, applied when they are written. */
export const OWNER_XATTR = "user.tsbuild.owner";

export interface FileOwner {
  readonly uid: number;
  readonly gid: number;
}

/** The key of the notes of the store that this keeper, or this thread of it, works for; in any other process notes are its own. Read when
 *  the first note is: most builds have none. */
function keyOfNotes(): Uint8Array {
  return (knownKey ??= noteStore === undefined ? randomBytes(32) : noteKey(noteStore));
}
let knownKey: Uint8Array | null = null;
let noteStore = (workerData as { readonly storeDir?: string } | null)?.storeDir;

/** The notes are those of this store; threads are told when they start (workerData). */
export function useNotesOf(storeDir: string): void {
  noteStore = storeDir;
}

/** 128 bits: nobody guesses them, and nothing tells a step whether it has guessed right. */
const SEAL_HEX_CHARS = 32;

function noteOf(uid: number, gid: number): Buffer {
  const owner = `${uid}:${gid}`;
  const seal = createHmac("sha256", keyOfNotes()).update(owner).digest("hex").slice(0, SEAL_HEX_CHARS);
  return Buffer.from(`1 ${owner} ${seal}`);
}

/** What a note says; null: it is not one of ours. */
function readNote(note: Buffer | null): FileOwner | null {
  const match = note === null ? null : NOTE.exec(note.toString("latin1"));
  if (note === null || match === null) return null;
  const owner = { uid: Number(match[1]), gid: Number(match[2]) };
  return owner.uid < NO_ID && owner.gid < NO_ID && note.equals(noteOf(owner.uid, owner.gid)) ? owner : null;
}
const NOTE = /^1 (\d{1,10}):(\d{1,10}) [0-9a-f]{32}$/;

/** The owner a file has in the image, from what the kernel says. `note` reads the file's OWNER_XATTR and is asked only where
 *  that could count. `oneId`: the file is of a layer made with one id, which is root here. */
export function ownerOf({ uid, gid }: FileOwner, note: () => Buffer | null, oneId = false): FileOwner {
  if (oneId) return readNote(note()) ?? { uid, gid };
  if (UIDS.count === NO_ID || (uid !== UIDS.standIn && gid !== GIDS.standIn)) return { uid, gid };
  const noted = readNote(note());
  if (noted === null) return { uid, gid };
  return {
    uid: uid === UIDS.standIn && !UIDS.takes(noted.uid) ? noted.uid : uid,
    gid: gid === GIDS.standIn && !GIDS.takes(noted.gid) ? noted.gid : gid,
  };
}

/** Gives `name` in the directory (or, with an empty name, the open file itself) an owner, never through a link. Where the kernel
 *  cannot (single-id mode, or an id that has no mapping: EINVAL of chown(2)) it is noted; links and special files hold no such
 *  attribute and stay ours. chown(2) clears set-id bits and capabilities: set those afterwards. Throws SysError. */
export function setOwner(
  dirfd: number,
  name: Buffer | string,
  uid: number,
  gid: number,
  options: { readonly singleId: boolean },
): void {
  const flags = name.length === 0 ? AT.EMPTY_PATH : AT.SYMLINK_NOFOLLOW;
  if (!options.singleId) {
    try {
      fchownat(dirfd, name, uid, gid, flags);
      return;
    } catch (error) {
      if (!isSysError(error, "EINVAL")) throw error;
    }
  } else if (uid === 0 && gid === 0) {
    removeNote(dirfd, name);
    return;
  }
  const note = noteOf(uid, gid);
  try {
    if (name.length === 0) fsetxattr(dirfd, OWNER_XATTR, note);
    else lsetxattr(procPath(dirfd, name), OWNER_XATTR, note);
  } catch (error) {
    // EPERM: user.* is for regular files and directories, xattr(7).
    if (!isSysError(error, "EPERM", "EOPNOTSUPP")) throw error;
    return;
  }
  if (options.singleId) return;
  const standIn = { uid: UIDS.takes(uid) ? uid : UIDS.standIn, gid: GIDS.takes(gid) ? gid : GIDS.standIn };
  fchownat(dirfd, name, standIn.uid, standIn.gid, flags);
}

function removeNote(dirfd: number, name: Buffer | string): void {
  try {
    if (name.length === 0) fremovexattr(dirfd, OWNER_XATTR);
    else lremovexattr(procPath(dirfd, name), OWNER_XATTR);
  } catch (error) {
    // ENODATA: there was none. EPERM: it is nothing that could have one.
    if (!isSysError(error, "ENODATA", "EPERM", "EOPNOTSUPP")) throw error;
  }
}

/** Takes away what looks like an attribute of ours and is not, in a tree nobody changes meanwhile. 20,000 files: 0.25 s. */
export function stripForged(dir: string): void {
  const root = openat(AT.FDCWD, dir, DIRECTORY);
  try {
    strip(procPath(root, "."));
    for (const { phase, dirfd, name, stat } of walkTree(root)) {
      const type = stat.mode & S.IFMT;
      if (phase === "enter" && (type === S.IFREG || type === S.IFDIR)) strip(procPath(dirfd, name));
    }
  } finally {
    close(root);
  }
}

function strip(path: Buffer): void {
  for (const name of llistxattr(path)) {
    if (!name.startsWith("user.tsbuild.")) continue;
    if (name === OWNER_XATTR && readNote(lgetxattr(path, name)) !== null) continue;
    lremovexattr(path, name);
  }
}
