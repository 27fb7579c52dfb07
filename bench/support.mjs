// Shared by the benchmarks.

import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The checkout. */
export const project = dirname(dirname(fileURLToPath(import.meta.url)));
/** PATH, with the places of programs for root. */
export const searchPath = `${process.env.PATH}:/usr/sbin:/sbin`;

/** Absolute path of a program; ends the process with what to install when there is none. */
export function programPath(name, installHint) {
  const found = spawnSync("sh", ["-c", `command -v ${name}`], { encoding: "utf8", env: { PATH: searchPath } });
  if (found.status === 0) return found.stdout.trim();
  console.error(`${name} is not installed, and is needed here: apt-get install ${installHint} (as root)`);
  process.exit(1);
}

/** A temporary directory in `parent` that goes with the process, also where a store in it holds files of subordinate ids. */
export function workDirectory(parent = tmpdir()) {
  const work = mkdtempSync(join(parent, "tsbuild-bench-"));
  chmodSync(work, 0o755);
  process.on("exit", () => {
    const removed = spawnSync("rm", ["-rf", work], { stdio: "ignore" });
    if (removed.status !== 0) spawnSync("unshare", ["--user", "--map-root-user", "--map-auto", "rm", "-rf", work]);
  });
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(130));
  return work;
}

export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Median of the wall clock of samples, in milliseconds. */
export function wall(samples) {
  return median(samples.map(({ ms }) => ms));
}
