// A short run of `npm run fuzz`, and what is tried with long inputs only.

import fc from "fast-check";
import { PARSER_NAMES, PARSER_PROPERTIES, stress } from "./outside.ts";
import { DISK_PROPERTIES } from "./on-disk.ts";
import { PROPERTIES } from "./properties.ts";
import { ENDLESS_NAMES, keepsLittle, TAR_PROPERTIES } from "./tars.ts";

for (const [what, properties, numRuns] of [
  ["the Dockerfile language", PROPERTIES, 400],
  ["parsers of bytes from outside", PARSER_PROPERTIES, 300],
  ["tars", TAR_PROPERTIES, 600],
  ["what becomes files", DISK_PROPERTIES, 150],
] as const) {
  describe(`fuzzing ${what}`, () => {
    for (const [name, property] of Object.entries(properties)) {
      it(name, () => fc.assert(property, { numRuns }));
    }
  });
}

describe("long inputs to parsers of bytes from outside", function () {
  this.timeout(180_000);
  for (const name of PARSER_NAMES) it(`${name} takes no longer than its length`, () => stress(name));
});

describe("a tar reader keeps little of", () => {
  for (const name of ENDLESS_NAMES) it(`${name}, however long`, () => keepsLittle(name));
});
