#!/usr/bin/env node
// The command's entry. CommonJS, because a start through Node's ES module loader costs 10 ms more.

const bundle: { runBundle(name: string): boolean } = require("../solver/graph/bundle.cjs");

if (!bundle.runBundle("main")) void import("./main.ts");
