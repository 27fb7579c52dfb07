#!/usr/bin/env node
// The entry point of the command. CommonJS, because starting through Node's ES module loader costs 10 ms more.

const bundle: {
  runBundle(name: string, options: { readonly keep: boolean }): boolean;
} = require("../solver/graph/bundle.cjs");

// Compiled code is kept of what matters: `--version` compiles next to nothing, and a build nearly everything.
const words = new Set(process.argv.slice(2));
const keep = ["build", "b", "run"].some((name) => words.has(name)) && !words.has("--help");
if (!bundle.runBundle("main", { keep })) void import("./main.ts");
