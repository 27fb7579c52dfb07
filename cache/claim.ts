// Checks a directory before it is opened as a store: its type, its owner, and each of its parts. Nothing is created, changed or
// followed before the check succeeds; a directory that is not a store keeps its mode and stays unchanged.
//
// Ownership matters for root as well: programs of a store are executed, its layers mounted and its names deleted. Anyone who could
// write to it could have root run arbitrary code (threat model S5, and CVE-2026-33747 for a tool's own state).

import { randomBytes } from "node:crypto";
import {
  chmodSync,
  closeSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative } from "node:path";
import { getSystemErrorMap } from "node:util";
import { BuildError } from "../solver/graph/error.ts";
import { syncDirectory } from "./content.ts";
import { errnoOf, isRefusal } from "./disk-fault.ts";
import { idMapKind } from "./layers/ids.ts";
import { makeDirectories, openDirectory, openDirectoryIn, readIn } from "./outside.ts";
import { isDirectory, kindOf, lookAt, setAside } from "./set-aside.ts";

/** Version of the layout described in README.md. A store of a newer one is not touched. */
const VERSION = 1;
const VERSION_MAX_BYTES = 64;

/** Parents first, and the quarantine before what may have to go there. */
const PARTS = [
  "tmp",
  "tmp/quarantine",
  "blobs",
  "blobs/sha256",
  "ingest",
  "layers",
  "active",
  "db",
  "mounts",
  "names",
  "locks",
  "owners",
];
/** Made when they are needed: the worker's (worker/launcher, worker/sandbox), copies of clients' files (synced-files.ts), builds of a
 *  daemon (history-files.ts), and what a full disk must not be asked for (spare.ts). */
const LATER_PARTS = ["bin", "bin/net", "bin/root", "synced", "history", "spare"];
const FILES = ["owner-key"];
/** Every store has these; what has not is none whose version file was lost. */
const MARKS = ["blobs", "layers", "db", "locks", "owners"];

export interface ClaimOptions {
  /** Also repairs what may be on purpose or cannot be known for certain: links in place of parts, a lost version file. */
  readonly repair: boolean;
}

/** Makes sure that `root` is a store of this version, ours, closed to others and whole in its parts; makes it of a new or empty
 *  directory. Returns what had to be repaired, in words. Throws STORE_UNUSABLE, STORE_CORRUPT. */
export function claim(root: string, { repair }: ClaimOptions): string[] {
  const isNew = makeRoot(root);
  const stat = statSync(root);
  if (!stat.isDirectory()) throw new BuildError("STORE_UNUSABLE", `${root} is not a directory`);
  checkOwner(root, stat.uid);
  const version = readVersion(root);
  if (typeof version === "number" && version !== VERSION) {
    throw new BuildError(
      "STORE_UNUSABLE",
      `the store ${root} has layout version ${version}, this tsbuild supports ${VERSION}`,
      { hint: version > VERSION ? "use a newer tsbuild or another store directory" : null },
    );
  }
  const isEmpty = version === "missing" && checkBeginning(root, repair);
  if (version === "damaged" && !(repair && looksLikeStore(root))) {
    throw new BuildError("STORE_UNUSABLE", `the version file of the store ${root} is damaged`, {
      hint: looksLikeStore(root) ? `${MEND} rewrites it` : `remove ${root} and build again`,
    });
  }
  if ((stat.mode & 0o022) !== 0 && !isEmpty) {
    throw new BuildError("STORE_UNUSABLE", `other users can write to the store ${root}`, {
      hint: `if nobody else has written to it: chmod 700 ${root}`,
    });
  }
  // From here on it is ours to change.
  if ((stat.mode & 0o777) !== 0o700) chmodSync(root, 0o700);
  if (isEmpty) begin(root);
  const mended = checkParts(root, repair);
  if (version === "damaged") setAside(join(root, "version"), join(root, "tmp/quarantine"));
  if (version !== VERSION && !isEmpty) {
    begin(root);
    mended.push("version: rewritten");
  }
  if (isNew || isEmpty) for (const part of ["tmp", "blobs", ""]) syncDirectory(join(root, part));
  return mended;
}

/**
 * Where a store is or will be, without links on the way. Throws STORE_UNUSABLE where another user could put something else in its
 * place, which all that is done by its path would then meet: whoever owns a directory above it renames what is in it. (Directories that
 * all may write to are left to their owner's judgement: build machines have them, with one user.)
 */
export function placeOf(root: string): string {
  let there = root;
  while (statSync(there, { throwIfNoEntry: false }) === undefined && dirname(there) !== there)
    there = dirname(there);
  const place = join(realpathSync(there), relative(there, root));
  const own = process.geteuid?.() ?? 0;
  for (let above = dirname(place); ; above = dirname(above)) {
    const uid = statSync(above, { throwIfNoEntry: false })?.uid ?? own;
    if (uid !== 0 && uid !== own && !isUnmapped(uid)) {
      throw new BuildError(
        "STORE_UNUSABLE",
        `the store ${place} is in a directory of another user: ${above} (uid ${uid}, this is uid ${own})`,
        { hint: "its owner could replace the store: use a directory of your own, with --root" },
      );
    }
    if (above === dirname(above)) return place;
  }
}

/** In a user namespace the owners it does not have look like this one, the machine's root among them. */
function isUnmapped(uid: number): boolean {
  return idMapKind() !== "host" && uid === Number(readFileSync("/proc/sys/kernel/overflowuid", "latin1"));
}

const MEND = "`tsbuild fsck --repair`";

/** True: it was not there. */
function makeRoot(root: string): boolean {
  const isThere = (): boolean => statSync(root, { throwIfNoEntry: false }) !== undefined;
  if (isThere()) return false;
  // Another process may make it at any moment: only a link that still leads nowhere is one.
  if (lookAt(root)?.isSymbolicLink() === true && !isThere())
    throw new BuildError("STORE_UNUSABLE", `${root} is a broken symbolic link`);
  try {
    return makeDirectories(root, 0o700);
  } catch (cause) {
    if (isRefusal(cause)) throw cause;
    const { errno = 0, message } = cause as NodeJS.ErrnoException;
    const why = getSystemErrorMap().get(errno)?.[1] ?? message;
    throw new BuildError("STORE_UNUSABLE", `cannot create a store at ${root}: ${why}`, {
      cause,
      hint: "use another directory with --root or TSBUILD_ROOT",
    });
  }
}

function checkOwner(path: string, uid: number): void {
  const own = process.geteuid?.() ?? 0;
  if (uid === own) return;
  throw new BuildError("STORE_UNUSABLE", `${path} belongs to another user (uid ${uid}, this is uid ${own})`, {
    hint:
      own === 0
        ? "tsbuild executes programs from its store, so root only uses its own: use another --root, or chown -R it to root if you trust its content"
        : "each user needs a store of their own",
  });
}

function readVersion(root: string): number | "missing" | "damaged" {
  const directory = openDirectory(root);
  try {
    const bytes = readIn(directory, "version", VERSION_MAX_BYTES);
    if (bytes === null) return "missing";
    const text = bytes.toString("latin1");
    return /^[1-9]\d{0,8}\n?$/.test(text) ? Number.parseInt(text, 10) : "damaged";
  } catch (error) {
    // A FIFO, a directory, a link, something long: a damaged one as well.
    if (error instanceof BuildError || ["ELOOP", "ENXIO", "ENOTDIR"].includes(errnoOf(error) ?? ""))
      return "damaged";
    throw error;
  } finally {
    closeSync(directory);
  }
}

/** An empty directory for temporary files, which whoever starts a daemon may have made in its root. */
function isEmptyTmp(root: string, name: string): boolean {
  if (name !== "tmp") return false;
  const directory = openDirectory(root);
  try {
    const tmp = openDirectoryIn(directory, name);
    try {
      return readdirSync(`/proc/self/fd/${tmp}`).length === 0;
    } finally {
      closeSync(tmp);
    }
  } catch {
    return false; // no directory
  } finally {
    closeSync(directory);
  }
}

/** No version file: true when nothing is there that speaks against making a store; false when there is one to be repaired. */
function checkBeginning(root: string, repair: boolean): boolean {
  if (readdirSync(root).every((name) => name.startsWith("version.") || isEmptyTmp(root, name))) return true;
  // Another process may have been faster by all of this.
  if (readVersion(root) === VERSION) return true;
  if (!looksLikeStore(root)) {
    throw new BuildError("STORE_UNUSABLE", `${root} is neither empty nor a store`, {
      hint: "use an empty or a new directory",
    });
  }
  if (repair) return false;
  throw new BuildError("STORE_UNUSABLE", `the version file of the store ${root} is missing`, {
    hint: `${MEND} rewrites it`,
  });
}

function looksLikeStore(root: string): boolean {
  return MARKS.every((name) => lookAt(join(root, name)) !== null);
}

/** Writes the version file; several processes may do so at once. On disk before anything else is made: a directory with parts
 *  and without it is no store. */
function begin(root: string): void {
  const draft = join(root, `version.${process.pid}.${randomBytes(4).toString("hex")}`);
  writeFileSync(draft, `${VERSION}\n`, { mode: 0o600, flag: "wx", flush: true });
  try {
    // link(2), not rename(2): who comes second leaves the first one's file alone.
    linkSync(draft, join(root, "version"));
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error;
  } finally {
    rmSync(draft, { force: true });
  }
  syncDirectory(root);
}

function checkParts(root: string, repair: boolean): string[] {
  const mended: string[] = [];
  const aside: string[] = [];
  const isRight = (name: string): boolean => {
    const path = join(root, name);
    const stat = lookAt(path);
    if (stat === null) return false;
    if (stat.isDirectory()) {
      checkOwner(path, stat.uid);
      if ((stat.mode & 0o777) !== 0o700) chmodSync(path, 0o700);
      return true;
    }
    if (stat.isSymbolicLink() && !repair) {
      throw new BuildError("STORE_UNUSABLE", `${path} is a symbolic link, but must be a directory`, {
        hint: `remove the link, or ${MEND} sets it aside; to move the whole store, use --root`,
      });
    }
    const away = `${path}.${randomBytes(4).toString("hex")}`;
    renameSync(path, away);
    aside.push(away);
    mended.push(`${name}: was ${kindOf(stat)}, not a directory; set aside`);
    return false;
  };
  for (const name of PARTS) if (!isRight(name)) makePart(join(root, name));
  for (const name of LATER_PARTS) isRight(name);
  for (const name of FILES) {
    if (!isDirectory(join(root, name))) continue; // what else may be there, who writes the file replaces
    setAside(join(root, name), join(root, "tmp/quarantine"));
    mended.push(`${name}: was a directory, not a file; set aside`);
  }
  for (const away of aside) setAside(away, join(root, "tmp/quarantine"));
  return mended;
}

function makePart(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error; // another process
  }
  chmodSync(path, 0o700); // mkdir(2) takes the umask off
}
