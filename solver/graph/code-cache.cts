// Saves V8's compiled code of a bundle for the next process that starts from it; bundle.cts reads it. Loaded only by the first few builds
// after an installation: three, and those whose keeper still has code to add.
//
// The code is written to a temporary file and renamed, so a reader finds all or nothing, even after kill -9; damage by a power cut is
// detected by its length and blocks. It may be removed at any time.

const fs: typeof import("node:fs") = require("node:fs");
const path: typeof import("node:path") = require("node:path");

/** The keeper and its threads are killed at their end, so their compiled code is written while they run, at first every 20 ms,
 *  then less often. Each write takes about 3 ms. */
const WRITE_EVERY_MS = 20;
const WRITE_UNTIL_MS = 10_000;

/** Maximum number of code files in a directory: two bundles and five parts of one for four versions of tsbuild, Node or its flags, 1.5 MB
 *  a version. */
const KEPT_FILES = 28;
const DRAFT_MAX_AGE_MS = 3_600_000;

interface CodeTarget {
  readonly file: string;
  readonly head: (bytes: number) => string;
  /** Of the code that is there. */
  readonly beforeBytes: number;
  readonly mode: number;
}

/** Writes the code of `script` compiled so far, and cleans up its directory. */
function writeCode(script: import("node:vm").Script, target: CodeTarget): void {
  write(script, target);
  sweep(path.dirname(target.file));
}

/** Writes it repeatedly, until this process ends or has compiled most of what it uses. */
function writeWhileRunning(script: import("node:vm").Script, target: CodeTarget): void {
  process.once("exit", (status) => {
    if (status === 0) write(script, target);
  });
  const began = performance.now();
  const again = (): void => {
    const ran = performance.now() - began;
    if (ran > WRITE_UNTIL_MS) return;
    setTimeout(
      () => {
        write(script, target);
        again();
      },
      Math.max(WRITE_EVERY_MS, ran / 2),
    ).unref();
  };
  again();
}

function write(
  script: import("node:vm").Script,
  { file, head, beforeBytes, mode }: CodeTarget,
): void {
  // No process id in the name: all keepers have the same few ids in their namespaces.
  const draft = `${file}.${Math.random().toString(36).slice(2)}`;
  try {
    const data = script.createCachedData();
    // V8 drops code that was not used for long: a long build may have less code at its end than a short one.
    if (data.length < beforeBytes * 0.9) return;
    const bytes = Buffer.concat([Buffer.from(head(data.length), "latin1"), data]);
    fs.writeFileSync(draft, bytes, { mode, flag: "wx" });
    fs.renameSync(draft, file);
  } catch {
    // Full, read-only or gone: the next start compiles again, and nothing else is lost.
    fs.rmSync(draft, { force: true });
  }
}

/** Creates a directory and its parent, closed to others, if `own` confirms that the directory above is this user's. */
function makeDirectory(directory: string, own: (directory: string) => string | null): void {
  for (const at of [path.dirname(directory), directory]) {
    if (fs.statSync(at, { throwIfNoEntry: false }) !== undefined) continue;
    if (own(path.dirname(at)) === null) throw new Error(`${path.dirname(at)} is not this user's`);
    fs.mkdirSync(at, { mode: 0o700 });
  }
}

/** Removes the oldest code, and temporary files of killed processes. Other processes may do the same. */
function sweep(directory: string): void {
  try {
    const kept: { readonly at: string; readonly time: number }[] = [];
    for (const name of fs.readdirSync(directory)) {
      if (!/^[a-z-]+-[0-9a-f]{12}-.*\.code(?:\.[0-9a-z]+)?$/.test(name)) continue;
      const at = path.join(directory, name);
      const time = fs.lstatSync(at).mtimeMs;
      if (name.endsWith(".code")) kept.push({ at, time });
      else if (Date.now() - time > DRAFT_MAX_AGE_MS) fs.rmSync(at, { force: true });
    }
    kept.sort((a, b) => b.time - a.time);
    for (const { at } of kept.slice(KEPT_FILES)) fs.rmSync(at, { force: true });
  } catch {
    // Another process was faster, or the disk does not let us.
  }
}

module.exports = { writeCode, writeWhileRunning, makeDirectory };
