// [process] Writes the number of the round into every file of a directory, round after round, until it is killed: in place, by rename,
// and with the times the file had before.
//
// Arguments: directory, number of files, file for the round that has begun, file for the last round that has ended.

import { closeSync, openSync, renameSync, statSync, utimesSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

const [dir = "", count = "0", begun = "", ended = ""] = process.argv.slice(2);

function publish(path: string, round: number): void {
  writeFileSync(`${path}.new`, String(round));
  renameSync(`${path}.new`, path);
}

for (let round = 1; ; round += 1) {
  publish(begun, round);
  const text = `${String(round).padStart(15, "0")}\n`;
  for (let i = 0; i < Number(count); i += 1) {
    const path = join(dir, `f${i}`);
    const { atime, mtime } = statSync(path);
    if (i % 3 === 0) {
      writeFileSync(join(dir, "..", "..", "next"), text);
      renameSync(join(dir, "..", "..", "next"), path);
    } else {
      const file = openSync(path, "r+");
      writeSync(file, text, 0);
      closeSync(file);
    }
    if (i % 2 === 0) utimesSync(path, atime, mtime);
  }
  publish(ended, round);
  await delay(round % 7);
}
