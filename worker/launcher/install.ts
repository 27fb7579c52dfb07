// The launcher as a file on disk, for the front that starts the keeper with it.

import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
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
      hint: "choose a store elsewhere with --root, or set TMPDIR to a directory that allows it",
    },
  );
}

function install(dir: string): string {
  const arch = launcherArch();
  const file = join(dir, `launcher-2-${arch}`);
  if (!existsSync(file)) {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const temporary = `${file}.${process.pid}`;
    writeFileSync(temporary, launcherElf(arch), { mode: 0o700 });
    renameSync(temporary, file);
  }
  return file;
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
