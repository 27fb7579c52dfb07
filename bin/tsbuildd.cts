#!/usr/bin/env node
// The entry point of the daemon, started as tsbuild.cts is.

const bundle: {
  runBundle(name: string, options: { readonly keep: boolean }): boolean;
} = require("../solver/graph/bundle.cjs");

if (!bundle.runBundle("daemon", { keep: false })) void import("./daemon/main.ts");
