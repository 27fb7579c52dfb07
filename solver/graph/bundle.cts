// Starts a process from one file instead of from a hundred modules, with the code V8 compiled for it before.
//
// Node spends about 0.7 ms on each ES module (resolve, read, compile, link): 130 of them are most of a fully cached build.
// `npm run build` puts the modules of an entry into dist/bundle/NAME.cjs (bin/bundle.mjs) and the compiled code beside it.
// Nothing depends on it: without bundle, or with that of another Node, the modules are loaded or compiled as usual.
//
// Run as a script or a thread (`node bundle.cjs NAME MODULE ARGUMENT…`) it starts NAME, or MODULE where there is no bundle.

const fs: typeof import("node:fs") = require("node:fs");
const nodeModule: typeof import("node:module") = require("node:module");
const path: typeof import("node:path") = require("node:path");
const threads: typeof import("node:worker_threads") = require("node:worker_threads");
const url: typeof import("node:url") = require("node:url");
const vm: typeof import("node:vm") = require("node:vm");

/** The keeper and its threads end by being killed, so what they have compiled is written while they run. */
const WRITE_EVERY_MS = 20;

/** Runs dist/bundle/NAME.cjs. Returns false when there is none. TSBUILD_WRITE_CODE_CACHE=1 (used by bin/bundle.mjs) writes the
 *  compiled code. */
function runBundle(name: string): boolean {
  const file = path.resolve(__dirname, `../../bundle/${name}.cjs`);
  const source = process.env["TSBUILD_NO_BUNDLE"] === "1" ? null : read(file);
  if (source === null) return false;
  const cacheFile = `${file}.${process.version}-${process.arch}`;
  const cachedData = read(cacheFile);
  const script = new vm.Script(`(function (require, __filename) {${source.toString("latin1")}\n})`, {
    filename: file,
    ...(cachedData === null ? {} : { cachedData }),
  });
  if (process.env["TSBUILD_WRITE_CODE_CACHE"] === "1") {
    const write = (): void => {
      const draft = `${cacheFile}.${process.pid}-${threads.threadId}`;
      fs.writeFileSync(draft, script.createCachedData());
      fs.renameSync(draft, cacheFile);
    };
    process.once("exit", write);
    setInterval(write, WRITE_EVERY_MS).unref();
  }
  const run = script.runInThisContext() as (require: NodeJS.Require, filename: string) => void;
  run(nodeModule.createRequire(file), file);
  return true;
}

function read(file: string): Buffer | null {
  try {
    return fs.readFileSync(file);
  } catch {
    return null; // not built, or not ours to read: the modules do the same
  }
}

if (require.main === module || !threads.isMainThread) {
  const [name = "", fallback = ""] = process.argv.splice(2, 2);
  if (!runBundle(name)) void import(url.pathToFileURL(fallback).href);
}

module.exports = { runBundle };
