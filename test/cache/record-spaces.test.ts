import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { RECORD_SPACES } from "../../cache/record-spaces.ts";
import { projectDir } from "../support/project.ts";

describe("spaces of records", () => {
  const files = ["bin", "cache", "exporters", "frontend", "solver", "worker"].flatMap((room) =>
    readdirSync(join(projectDir, room), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts"))
      .map((name) => `${room}/${name}`),
  );
  const read = (file: string): string => readFileSync(join(projectDir, file), "utf8");

  it("are all in one table", () => {
    const used = files.flatMap((file) =>
      [
        ...read(file).matchAll(
          /\brecords\.(?:put|get|remove|merge|entries|committed)(?:<[^(]*>)?\(\s*"([^"]+)"/g,
        ),
        ...read(file).matchAll(/\b(?:\w*SPACE|RESULTS|DURATIONS|OUTPUTS) = "([^"]+)"/g),
        ...read(file).matchAll(/\bspace: "([^"]+)"/g),
      ].map(([, space]) => space),
    );
    assert.deepEqual([...new Set(used)].sort(), Object.keys(RECORD_SPACES).sort());
  });

  it("have owners that are there", () => {
    const owners = Object.values(RECORD_SPACES).map(({ owner }) => owner);
    assert.deepEqual(
      owners.filter((owner) => !files.includes(owner)),
      [],
    );
  });
});
