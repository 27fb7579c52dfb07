// The benchmark runs and prints a row for each sample; what it measures is for quiet machines.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { projectDir } from "./support/project.ts";

describe("npm run bench", () => {
  it("measures every sample of a workload, cold and cached", () => {
    const text = execFileSync(
      process.execPath,
      [
        join(projectDir, "bench/bench.mjs"),
        "--only",
        "tiny",
        "--rounds",
        "2",
        "--scale",
        "0.01",
        "--peers",
        "",
      ],
      { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] },
    );
    const rows = text.split("\n").filter((line) => line.startsWith("| two stages"));
    assert.equal(rows.length, 4, text);
    for (const row of rows) assert.match(row, /\*\*\d+\.\d{3}\*\* \(\d+\.\d{3} to \d+\.\d{3}\)/);
  });
});
