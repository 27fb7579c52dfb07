#!/usr/bin/env node
// The entry point of the daemon, started as tsbuild.cts is.

const bundle: {
  runBundle(name: string, options: { readonly keep: boolean }): boolean;
} = require("../solver/graph/bundle.cjs");

// A link to this file called buildctl is the part of that program which buildx's drivers start beside the daemon.
const isClient = process.argv[1]?.replace(/^.*\//, "") === "buildctl";
if (!bundle.runBundle(isClient ? "buildctl" : "daemon", { keep: false }))
  void (isClient ? import("./daemon/buildctl.ts") : import("./daemon/main.ts"));
