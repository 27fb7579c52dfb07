// npm run fuzz -- [--minutes 10] [--seed N] [--only PART]: the properties of properties.ts in turn until the time is up.
// Fails with the smallest text that breaks one, and the seed to see it again.

import { parseArgs } from "node:util";
import fc from "fast-check";
import { DISK_PROPERTIES } from "./on-disk.ts";
import { PARSER_PROPERTIES } from "./outside.ts";
import { PROPERTIES } from "./properties.ts";
import { TAR_PROPERTIES } from "./tars.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "10" },
    seed: { type: "string" },
    only: { type: "string", default: "" },
  },
});
const end = Date.now() + Number(values.minutes) * 60_000;
const chosen = Object.entries({
  ...PROPERTIES,
  ...PARSER_PROPERTIES,
  ...TAR_PROPERTIES,
  ...DISK_PROPERTIES,
}).filter(([name]) => name.includes(values.only));
if (chosen.length === 0) throw new Error(`no property has ${values.only} in its name`);
let seed = values.seed === undefined ? Date.now() & 0x7fffffff : Number(values.seed);
const counts = new Map<string, number>();

while (Date.now() < end) {
  for (const [name, property] of chosen) {
    const details = await fc.check(property, {
      seed,
      numRuns: 2000,
      interruptAfterTimeLimit: Math.max(end - Date.now(), 1000),
    });
    counts.set(name, (counts.get(name) ?? 0) + details.numRuns);
    if (details.failed && !details.interrupted) {
      process.stdout.write(`${name}, --seed ${seed}:\n${fc.defaultReportMessage(details)}\n`);
      process.exit(1);
    }
  }
  seed = (seed + 1) & 0x7fffffff;
}
for (const [name, count] of counts) process.stdout.write(`${count} texts: ${name}\n`);
