// A short run of `npm run fuzz`.

import fc from "fast-check";
import { PROPERTIES } from "./properties.ts";

describe("fuzzing the Dockerfile language", () => {
  for (const [name, property] of Object.entries(PROPERTIES)) {
    it(name, () => fc.assert(property, { numRuns: 400 }));
  }
});
