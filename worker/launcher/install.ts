// Writes the launcher to disk, for the front, which starts the keeper with it.

import { randomBytes } from "node:crypto";
import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onDisk } from "../../cache/disk-fault.ts";
import { makeDirectories, openRegularIn, readAll } from "../../cache/outside.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { type LauncherArch, launcherElf } from "./elf.ts";

/** The architecture the launcher exists for; throws SANDBOX_UNAVAILABLE on others. */
export function launcherArch(): LauncherArch {
  if (process.arch === "x64" || process.arch === "arm64") return process.arch;
  throw new BuildError(
    "SANDBOX_UNAVAILABLE",
    `RUN is not supported on ${process.arch} machines (x64 and arm64 are)`,
  );
}

/** Calls `start` with the path of the launcher: in `dir`, or, where that is mounted noexec, in a directory that is gone
 *  again when `start` returns (a started process needs its file no longer). Throws SANDBOX_UNAVAILABLE. */
export function withLauncher<T>(dir: string, start: (file: string) => T): T {
  const file = install(dir);
  if (isExecutable(file)) return start(file);
  for (const parent of new Set([tmpdir(), "/var/tmp", "/dev/shm"])) {
    let temporary: string;
    try {
      temporary = mkdtempSync(join(parent, "tsbuild-launcher-"));
    } catch {
      continue; // not there, full or not ours: the next one may do
    }
    try {
      const copy = install(temporary);
      if (isExecutable(copy)) return start(copy);
    } finally {
      rmSync(temporary, { recursive: true, force: true });
    }
  }
  throw new BuildError(
    "SANDBOX_UNAVAILABLE",
    `programs cannot be started from ${dir}: it is mounted noexec`,
    {
      hint: "use another store with --root, or set TMPDIR to a directory that is not mounted noexec",
    },
  );
}

/** The launcher in `dir`. One that is there is trusted for its bytes, owner and mode, never for being there: it is not flushed
 *  when it is written, so a power cut may leave an empty one, and what it says runs with all rights of who builds (threat model R2). */
function install(dir: string): string {
  const arch = launcherArch();
  const name = `launcher-2-${arch}`;
  const file = join(dir, name);
  const bytes = launcherElf(arch);
  makeDirectories(dir, 0o700);
  if (isInstalled(dir, name, bytes)) return file;
  const draft = `${file}.${process.pid}.${randomBytes(4).toString("hex")}`;
  try {
    onDisk("writing the launcher", dir, () => writeFileSync(draft, bytes, { mode: 0o700, flag: "wx" }));
    rename(draft, file);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
  return file;
}

/** rename(2) puts it in the place of a file, a FIFO or a link; only a directory must go before. */
function rename(draft: string, file: string): void {
  try {
    renameSync(draft, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EISDIR") throw error;
    rmSync(file, { recursive: true });
    renameSync(draft, file);
  }
}

function isInstalled(dir: string, name: string, bytes: Uint8Array): boolean {
  const directory = openSync(dir, constants.O_RDONLY | constants.O_DIRECTORY);
  let file: number | null = null;
  try {
    file = openRegularIn(directory, name);
    if (file === null) return false;
    const { uid, mode } = fstatSync(file);
    if (uid !== process.geteuid?.() || (mode & 0o777) !== 0o700) return false;
    return readAll(file, bytes.length, name).equals(bytes);
  } catch {
    return false; // a link, a FIFO, too long, not to be read: another is put in its place
  } finally {
    if (file !== null) closeSync(file);
    closeSync(directory);
  }
}

/** access(2) says EACCES for files of a noexec mount too. */
function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
