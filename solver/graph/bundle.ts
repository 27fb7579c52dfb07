// Starts a process from one file instead of from a hundred modules, with the code V8 compiled for it before.
//
// Node spends about 0.7 ms on each ES module (resolve, read, compile, link): 130 of them are most of a fully cached build.
// `npm run build` puts the modules of an entry into dist/bundle/NAME.cjs (bin/bundle.mjs) and the compiled code beside it.
// Nothing depends on it: without bundle, or with that of another Node, the modules are loaded or compiled as usual.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { Script } from "node:vm";

/** Runs dist/bundle/NAME.cjs. Returns false when there is none. TSBUILD_WRITE_CODE_CACHE=1 (used by the build itself)
 *  writes the compiled code when the process exits. */
export function runBundle(name: string): boolean {
  const file = fileURLToPath(new URL(`../../bundle/${name}.cjs`, import.meta.url));
  const source = read(file);
  if (source === null || process.env["TSBUILD_NO_BUNDLE"] === "1") return false;
  const cacheFile = `${file}.${process.version}-${process.arch}`;
  const cachedData = read(cacheFile);
  const script = new Script(`(function (require, __filename) {${source.toString("latin1")}\n})`, {
    filename: file,
    ...(cachedData === null ? {} : { cachedData }),
  });
  if (process.env["TSBUILD_WRITE_CODE_CACHE"] === "1") {
    process.once("exit", () => writeFileSync(cacheFile, script.createCachedData()));
  }
  const run = script.runInThisContext() as (require: NodeJS.Require, filename: string) => void;
  run(createRequire(file), file);
  return true;
}

function read(file: string): Buffer | null {
  try {
    return readFileSync(file);
  } catch {
    return null; // not built, or not ours to read: the modules do the same
  }
}
