// Disk errors as user errors: those of the store's disk, and of any disk that is full or not writable.

import { constants, realpathSync, statfsSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { BuildError } from "../solver/graph/error.ts";

/** errno name ("ENOENT") of a system error, or null. */
export function errnoOf(error: unknown): string | null {
  if (!(error instanceof Error)) return null;
  const { code, errno } = error as { readonly code?: unknown; readonly errno?: unknown };
  if (typeof code === "string") return code;
  // A SysError (worker/sys/libc.ts) has the name there, where Node's errors have a number. Not asked by its class: that file loads koffi.
  if (typeof errno === "string") return errno;
  // lmdb puts the number or only strerror's text there.
  if (/no space left on device/i.test(error.message)) return "ENOSPC";
  if (/disk quota exceeded/i.test(error.message)) return "EDQUOT";
  return null;
}

/** What a file system says that takes no more. */
const REFUSALS: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT", "EFBIG", "EROFS"]);

/** Does a file system say that it takes no more? */
export function isRefusal(error: unknown): boolean {
  return REFUSALS.has(errnoOf(error) ?? "");
}

/** A refusal met where only the work is known ("copy a to b"), not what the disk is to the user. `code`: errno name. */
export class DiskRefused extends Error {
  override readonly name = "DiskRefused";
  readonly code: string;
  readonly doing: string;
  constructor(code: string, doing: string, cause: unknown) {
    super(`${code}: ${doing}`, { cause });
    this.code = code;
    this.doing = doing;
  }

  /** The error for the user, once it is known what disk it was. */
  of(use: "store" | "output", path: string): BuildError {
    const { words = this.code, hint = null } = refusalOf(this, use, path) ?? {};
    return use === "output"
      ? new BuildError("OUTPUT_FAILED", `cannot write ${path}: ${words}`, { hint, cause: this })
      : new BuildError("STORE_FULL", this.doing === "" ? words : `${this.doing}: ${words}`, {
          hint,
          cause: this,
        });
  }
}

/** What a disk is to the user: only what helps there is hinted. */
export type DiskUse = "store" | "output" | "temporary";

const HELP: Readonly<Record<DiskUse, string>> = {
  store: "free some space, for example with `tsbuild prune`, or use a store on another disk with --root",
  output: "free some space, or use another destination",
  temporary: "free some space, or set TMPDIR to a directory on another disk",
};
const READONLY_HELP: Readonly<Record<DiskUse, string>> = {
  store: "use a store on another file system with --root or TSBUILD_ROOT",
  output: "use another destination",
  temporary: "set TMPDIR to a directory on another file system",
};

/** The one set of words for a disk that takes no more: which file system, and what helps. null: the error is another. `path`: what was
 *  written, or its directory; it need not be there. */
export function refusalOf(
  error: unknown,
  use: DiskUse,
  path: string,
): { readonly words: string; readonly hint: string | null } | null {
  const errno = errnoOf(error);
  if (errno === null || !REFUSALS.has(errno)) return null;
  const { place, isDevice, lacksInodes } = lookAtDisk(path);
  if (isDevice) {
    const words =
      errno === "ENOSPC"
        ? `no space left on the device ${place}`
        : `the device ${place} refuses the write (${errno})`;
    return { words, hint: null };
  }
  const disk = use === "store" ? `${place} (the disk of the store)` : place;
  switch (errno) {
    case "EDQUOT":
      return { words: `the disk quota on ${disk} is exceeded`, hint: HELP[use] };
    case "EFBIG":
      return {
        words: `a file on ${disk} would exceed the size limit`,
        hint: "`ulimit -f` shows the limit of this process; the file system may have one too",
      };
    case "EROFS":
      return { words: `${disk} is a read-only file system`, hint: READONLY_HELP[use] };
    default:
      return { words: `no ${lacksInodes ? "inodes (files)" : "space"} left on ${disk}`, hint: HELP[use] };
  }
}

/** The mount point of what a path is on, or the device it is. */
function lookAtDisk(path: string): { place: string; isDevice: boolean; lacksInodes: boolean } {
  try {
    let here = path;
    while (statSync(here, { throwIfNoEntry: false }) === undefined) here = dirname(here);
    here = realpathSync(here);
    const { dev, mode } = statSync(here);
    const kind = mode & constants.S_IFMT;
    if (kind === constants.S_IFCHR || kind === constants.S_IFBLK)
      return { place: here, isDevice: true, lacksInodes: false };
    const { files, ffree, bavail } = statfsSync(here);
    while (dirname(here) !== here && statSync(dirname(here)).dev === dev) here = dirname(here);
    return { place: here, isDevice: false, lacksInodes: files > 0 && ffree === 0 && bavail > 0 };
  } catch {
    return { place: path, isDevice: false, lacksInodes: false }; // gone, or not ours to look at: the path says enough
  }
}

/** The error to throw for a failed call on the store: STORE_FULL, STORE_UNUSABLE, or the error itself. `place`: a path in the store. */
export function diskFault(error: unknown, doing: string, place: string): unknown {
  if (error instanceof BuildError) return error;
  const refusal = refusalOf(error, "store", place);
  if (refusal !== null) {
    const code = errnoOf(error) === "EROFS" ? "STORE_UNUSABLE" : "STORE_FULL";
    return new BuildError(code, `${refusal.words} while ${doing}`, { cause: error, hint: refusal.hint });
  }
  switch (errnoOf(error)) {
    case "EACCES":
    case "EPERM":
      return new BuildError("STORE_UNUSABLE", `the store is not writable: ${doing}`, {
        cause: error,
        hint: "the store must be on a writable file system and owned by the user who builds",
      });
    case "EIO":
      return new BuildError("STORE_UNUSABLE", `I/O error on the disk of the store while ${doing}`, {
        cause: error,
        hint: "see the kernel's log (dmesg); `tsbuild fsck` lists what is damaged in the store",
      });
    case "EISDIR":
    case "ENOTDIR":
    case "ELOOP":
    case "ENXIO": {
      const { path } = error as NodeJS.ErrnoException;
      return new BuildError(
        "STORE_CORRUPT",
        `${path ?? "a file of the store"} has the wrong type: ${doing}`,
        {
          cause: error,
          hint: "`tsbuild fsck --repair` sets it aside",
        },
      );
    }
    default:
      return error;
  }
}

/** Runs a piece of synchronous disk work; failures leave as diskFault() words them. */
export function onDisk<T>(doing: string, place: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw diskFault(error, doing, place);
  }
}
