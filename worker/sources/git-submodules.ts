// Inspects a commit before git checks it out: number of files, and submodules. Submodules are fetched by git level
// by level, so that the names of each level are checked before git uses them.

import { closeSync } from "node:fs";
import { openDirectoryIn, openIn } from "../../cache/outside.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import { textOf } from "../../cache/tree.ts";
import type { Sink } from "./git-run.ts";

/** git in a directory. */
export type GitIn = (args: readonly string[], sink?: Sink) => Promise<string>;

/** Directories can stand for one another in git, so a small repository may be one of endless files (threat model T6). Their sizes
 *  are not asked: that takes 75 µs for each file of a small repository. */
const ENTRIES_MAX = 2_000_000;
/** A name and what stands before it; PATH_MAX and more. */
const LINE_MAX = 8192;
const DEPTH_MAX = 32;

/** Paths of a commit's submodules. Throws LIMIT_EXCEEDED when its files are more than are taken. */
export async function readTree(run: GitIn, commit: string): Promise<string[]> {
  const submodules: string[] = [];
  let entries = 0;
  let rest = "";
  // -t: a few trees that stand for one another may be endless and hold no file.
  await run(["ls-tree", "-r", "-t", "-z", commit], (piece) => {
    const lines = (rest + piece.toString("latin1")).split("\0");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      // MODE TYPE OBJECT<tab>PATH, git-ls-tree(1)
      if (line.startsWith("160000 ")) submodules.push(textOf(line.slice(line.indexOf("\t") + 1)));
    }
    entries += lines.length;
    return entries <= ENTRIES_MAX && rest.length <= LINE_MAX;
  });
  if (entries > ENTRIES_MAX || rest.length > LINE_MAX) {
    throw new BuildError("LIMIT_EXCEEDED", `the repository has more than ${ENTRIES_MAX} files`);
  }
  return submodules;
}

/** Fetches the submodules at `paths` of the checkout that `directory` is open at, and theirs; `done` is called in each. Throws
 *  SOURCE_FAILED. */
export async function updateSubmodules(
  directory: number,
  paths: readonly string[],
  inside: (directory: number) => GitIn,
  done: (run: GitIn) => Promise<void>,
  depth = 1,
): Promise<void> {
  if (paths.length === 0) return;
  if (depth > DEPTH_MAX) {
    throw new BuildError("LIMIT_EXCEEDED", `submodules are nested more than ${DEPTH_MAX} levels deep`);
  }
  const run = inside(directory);
  checkNames(await settingsOf(directory, run));
  const update = ["submodule", "update", "-q", "--init"];
  try {
    await run([...update, "--depth=1"]);
  } catch (error) {
    // Behind plain files there is no part of a history.
    if (!(error instanceof BuildError && /does not support shallow/.test(error.message))) throw error;
    await run(update);
  }
  for (const path of paths) {
    const submodule = openDirectoryIn(directory, path);
    try {
      if (!isCheckedOut(submodule)) continue;
      const within = inside(submodule);
      await updateSubmodules(submodule, await readTree(within, "HEAD"), inside, done, depth + 1);
      await done(within);
    } finally {
      closeSync(submodule);
    }
  }
}

/** The entries of .gitmodules, each a name, a newline and a value; none when there is no such file. */
async function settingsOf(directory: number, run: GitIn): Promise<string[]> {
  try {
    closeSync(openIn(directory, ".gitmodules"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return []; // git will say what it misses
    throw error;
  }
  return (await run(["config", "--file", ".gitmodules", "-z", "--list"])).split("\0");
}

/** git has read names with control characters in two ways, and then left its directory (CVE-2025-48384). */
function checkNames(settings: readonly string[]): void {
  for (const setting of settings) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
    if (!/[\u0000-\u001f\u007f]/.test(setting.replace("\n", ""))) continue; // oxlint-disable-line no-control-regex
    throw new BuildError(
      "SOURCE_FAILED",
      `.gitmodules of the repository contains control characters: ${JSON.stringify(printable(setting))}`,
    );
  }
}

/** A submodule with "update = none" is an empty directory. */
function isCheckedOut(submodule: number): boolean {
  try {
    closeSync(openIn(submodule, ".git"));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}
