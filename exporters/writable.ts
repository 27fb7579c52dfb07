// Checks before the first step whether the requested outputs can be written, by creating and removing a file:
// only this detects read-only mounts, quotas, full disks and special file systems such as /proc. Existing files stay unchanged;
// missing parents are created when there is something to write.

import { randomBytes } from "node:crypto";
import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  rmdirSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { basename, dirname } from "node:path";
import { openDirectory, openIn, pathIn, statIn, unlinkIn } from "../cache/outside.ts";
import { BuildError } from "../solver/graph/error.ts";
import { isSpecialFile, openTarget, outputError, type Target } from "./file-output.ts";
import type { Output } from "./output-grammar.ts";

/** Throws OUTPUT_INVALID or OUTPUT_FAILED, as writing would, for the first output that cannot be written. */
export function checkDestinations(outputs: readonly Output[]): void {
  for (const output of outputs) {
    if ((output.kind !== "archive" && output.kind !== "files") || output.dest?.kind !== "path") continue;
    const isDirectory = output.kind === "files" ? output.form === "directory" : !output.tar;
    if (isDirectory) checkDirectory(output.dest.path);
    else checkFile(output.dest.path, { toSpecial: output.kind === "archive" });
  }
}

/** A directory that is to be written into, made when it is not there. */
export function checkDirectory(path: string): void {
  inWords(path, () => {
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === false)
      throw new BuildError("OUTPUT_INVALID", `destination directory ${path} is a file`);
    tryIn(path);
  });
}

/** A file that is to be replaced as a whole; `toSpecial`: a device or pipe is written to. Throws OUTPUT_INVALID, OUTPUT_FAILED. */
export function checkFile(path: string, { toSpecial = false }: { readonly toSpecial?: boolean } = {}): void {
  inWords(path, () => {
    if (toSpecial && isSpecialFile(path)) return accessSync(path, constants.W_OK);
    if (statSync(dirname(path), { throwIfNoEntry: false }) === undefined) return tryIn(dirname(path));
    const target: Target = openTarget(path);
    try {
      tryFile(target.directory);
    } finally {
      closeSync(target.directory);
    }
  });
}

/** A file of results (writeResultFile), whose parents must be there. */
export function checkResultFile(path: string): void {
  inWords(path, () => {
    if (isSpecialFile(path) || /^\/(?:dev|proc)\//.test(path)) return accessSync(path, constants.W_OK);
    const directory = openDirectory(dirname(path));
    try {
      if (statIn(directory, basename(path))?.isDirectory() === true)
        throw new BuildError("OUTPUT_FAILED", `cannot write ${path}: it is a directory`);
      tryFile(directory);
    } finally {
      closeSync(directory);
    }
  });
}

/** Removes a file of earlier results, or a link. Never a device or a pipe: `--iidfile /dev/null` by root would take it from everybody. */
export function dropResultFile(path: string): void {
  inWords(path, () => {
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat?.isFile() === true || stat?.isSymbolicLink() === true) rmSync(path, { force: true });
  });
}

function inWords(path: string, work: () => void): void {
  try {
    work();
  } catch (error) {
    throw outputError(error, path, null);
  }
}

/** In the directory itself, or where the first of those that are missing would be made. */
function tryIn(path: string): void {
  let there = path;
  while (statSync(there, { throwIfNoEntry: false }) === undefined && dirname(there) !== there)
    there = dirname(there);
  const directory = openDirectory(there);
  try {
    if (there === path) tryFile(directory);
    else tryDirectory(directory);
  } finally {
    closeSync(directory);
  }
}

const draftName = (): string => `.tsbuild.${randomBytes(8).toString("hex")}.part`;

function tryFile(directory: number): void {
  const { O_WRONLY, O_CREAT, O_EXCL } = constants;
  const name = draftName();
  const fd = openIn(directory, name, O_WRONLY | O_CREAT | O_EXCL);
  try {
    // A byte: some file systems refuse a file only when there is something in it.
    if (fstatSync(fd).isFile()) writeSync(fd, "\n");
  } finally {
    closeSync(fd);
    unlinkIn(directory, name);
  }
}

function tryDirectory(directory: number): void {
  const path = pathIn(directory, draftName());
  mkdirSync(path);
  rmdirSync(path);
}
