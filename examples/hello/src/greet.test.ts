import assert from "node:assert/strict";
import { test } from "node:test";
import { greet } from "./greet.js";

test("greets everybody by name", () => {
  assert.equal(greet("Hello", ["Ada", "Grace", "Barbara"]), "Hello, Ada, Grace, and Barbara!");
});

test("greets the world when nobody is there", () => {
  assert.equal(greet("Hello", []), "Hello, world!");
});
