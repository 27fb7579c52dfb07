#!/usr/bin/env node
// The entry point of the daemon, started as tsbuild.cts is.

const bundle: {
  runBundle(name: string, options: { readonly keep: boolean }): boolean;
} = require("../solver/graph/bundle.cjs");

// The bundle is that of tsbuild: main.ts is told which of the two it is, for links to this file may have any name.
(globalThis as { tsbuildd?: boolean }).tsbuildd = true;
if (!bundle.runBundle("main", { keep: false })) void import("./main.ts");
