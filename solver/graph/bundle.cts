// Starts a process or thread from one file, or a few, instead of from a hundred modules, with code that V8 compiled before.
//
// Node spends about 0.7 ms on each ES module (resolve, read, compile, link): 130 of them are most of a fully cached build.
// `npm run build` bundles the modules of an entry point into dist/bundle/NAME.cjs (bin/bundle.mjs); the package contains only these. In a
// checkout the same command saves the compiled code next to the bundle; for an installed package its first builds save it in a directory
// of the user (code-cache.cts says where, and when it is trusted). Both are optional: without a bundle the modules are
// loaded; without compiled code, or with that of another Node, the bundle is compiled as usual. The command's bundle is in parts
// (bin/bundle-parts.mjs): main.cjs loads the others when a chunk of theirs is needed. Deserializing compiled code takes 6 ms a megabyte.
//
// Run as a script or a thread (`node bundle.cjs NAME MODULE ARGUMENT…`) it starts NAME, or MODULE if there is no bundle.

const fs: typeof import("node:fs") = require("node:fs");
const nodeModule: typeof import("node:module") = require("node:module");
const path: typeof import("node:path") = require("node:path");
const vm: typeof import("node:vm") = require("node:vm");

/** Compiled code of one bundle on disk. */
interface CompiledCode {
  /** What V8 is given. */
  readonly data: Buffer;
  /** How many processes have added their compiled code to it. */
  readonly round: number;
}

/** Where the code of one bundle is stored, and how it is identified. */
interface CodeFile {
  readonly directory: string;
  /** By bundle, Node, machine and flags: each combination has its own code. */
  readonly name: string;
  /** First line of the bundle: a digest of the rest (bin/bundle.mjs). V8 compares lengths of sources only. */
  readonly id: string;
  readonly mode: number;
  /** Written by bin/bundle.mjs, by as many processes as it starts. */
  readonly isBuild: boolean;
}

/** Prefix of compiled code. */
const HEAD_BYTES = 128;
function headOf(round: number, bytes: number, id: string): string {
  return `tsbuild-code 1 ${round} ${bytes} ${id}`.padEnd(HEAD_BYTES);
}

/** Where and how code is written. */
interface CodeTarget {
  readonly file: string;
  readonly head: (bytes: number) => string;
  /** Of the existing code. */
  readonly beforeBytes: number;
  readonly mode: number;
}

/** code-cache.cts, which most starts do not load. */
interface CodeCache {
  writeCode(script: import("node:vm").Script, target: CodeTarget): void;
  writeWhileRunning(script: import("node:vm").Script, target: CodeTarget): void;
  makeDirectory(directory: string, own: (directory: string) => string | null): void;
}

const ID_BYTES = 67;
/** How many processes add to the code of a bundle. The first is likely to build everything, the second to be fully cached. */
const ROUNDS = 3;
/** Less is compiled as fast as read: 0.2 ms. */
const WORTH_BYTES = 32 * 1024;
const CODE_MAX_BYTES = 16 << 20;

/** Runs dist/bundle/NAME.cjs. Returns false if there is none. `keep`: code compiled by this process may be saved for later ones. */
function runBundle(name: string, { keep }: { readonly keep: boolean }): boolean {
  const directory = path.resolve(__dirname, "../../bundle");
  const run = process.env["TSBUILD_NO_BUNDLE"] === "1" ? null : loadScript(directory, name, keep);
  if (run === null) return false;
  const file = path.join(directory, `${name}.cjs`);
  const require = nodeModule.createRequire(file);
  run(require, file, (part) => {
    const runPart = loadScript(directory, part, keep);
    if (runPart === null) throw new Error(`${path.join(directory, part)}.cjs is missing: this installation is incomplete`);
    return runPart(require, file, () => ({}));
  });
  return true;
}

/** A bundle, or a part of one, which returns its chunks. */
type Run = (require: NodeJS.Require, filename: string, loadPart: (part: string) => unknown) => unknown;

/** The script NAME.cjs, with its compiled code. null: there is none. */
function loadScript(directory: string, name: string, keep: boolean): Run | null {
  const file = path.join(directory, `${name}.cjs`);
  const source = read(file);
  if (source === null) return null;
  const place = source.length < WORTH_BYTES ? null : codePlace(name, directory, source, keep);
  const script = new vm.Script(`(function (require, __filename, loadPart) {${source.toString("latin1")}\n})`, {
    filename: file,
    ...(place === null || place.code === null ? {} : { cachedData: place.code.data }),
  });
  if (place !== null && place.file !== null && (keep || place.file.isBuild)) {
    const code = script.cachedDataRejected === true ? null : place.code;
    keepLater(script, code, place.file, FRONTS.some((front) => name === front || name.startsWith(`${front}-`)));
  }
  return script.runInThisContext() as Run;
}

/** Saves the code this process compiles: the front's after a successful build, that of other processes while they run.
 *  After its rounds a front only adds code if its keeper still has some to add: after an update the first
 *  builds may be fully cached, and the first one that runs steps comes later. */
function keepLater(
  script: import("node:vm").Script,
  code: CompiledCode | null,
  { directory, name, id, mode, isBuild }: CodeFile,
  isFront: boolean,
): void {
  const hasRounds = isBuild || code === null || code.round < ROUNDS;
  const load = (): CodeCache => require("./code-cache.cjs");
  const target = {
    file: path.join(directory, name),
    head: (bytes: number) => headOf((code?.round ?? 0) + 1, bytes, id),
    beforeBytes: code?.data.length ?? 0,
    mode,
  };
  if (isFront) {
    process.once("exit", (status) => {
      if (status === 0 && (hasRounds || wasChanged(directory))) load().writeCode(script, target);
    });
  } else if (hasRounds) load().writeWhileRunning(script, target);
}

/** Was anything added to a directory since this process started? Only our own processes write there. */
function wasChanged(directory: string): boolean {
  try {
    return fs.statSync(directory).mtimeMs > performance.timeOrigin;
  } catch {
    return false; // removed meanwhile
  }
}

/** The processes that start all others, and decide for them where code is stored. */
const FRONTS: readonly string[] = ["main", "daemon"];

/** The saved code for a bundle, and the file it may be written to (null: none). TSBUILD_CODE_CACHE is the directory; empty: none.
 *  Child processes get the front's directory in the same variable. */
function codePlace(
  name: string,
  beside: string,
  source: Buffer,
  keep: boolean,
): { readonly code: CompiledCode | null; readonly file: CodeFile | null } {
  const id = source.toString("latin1", 0, ID_BYTES);
  const label = `${name}-${id.slice(3, 15)}-${process.version}-${process.arch}-${flagsHash()}.code`;
  const given = process.env["TSBUILD_CODE_CACHE"];
  // Anyone who can write there can write the bundle itself.
  const own = { directory: beside, name: label, id, mode: 0o644, isBuild: given === beside };
  const code = readCode(own, null);
  if (given === beside) return { code, file: own }; // bin/bundle.mjs
  if (code !== null || given === "") {
    // The given directory has not been checked, so it is not passed to other processes.
    if (FRONTS.includes(name)) delete process.env["TSBUILD_CODE_CACHE"];
    return { code, file: null };
  }
  let directory: string | null = given ?? null;
  if (FRONTS.includes(name)) {
    directory = userDirectory(keep);
    process.env["TSBUILD_CODE_CACHE"] = directory ?? "";
  }
  if (directory === null) return { code: null, file: null };
  const file = { directory, name: label, id, mode: 0o600, isBuild: false };
  return { code: readCode(file, process.geteuid?.() ?? -1), file };
}

/** TSBUILD_CODE_CACHE, or tsbuild in the user's cache directory (XDG Base Directory Specification): a real path that only root and this
 *  user can change. null: none. `make`: creates it if missing. */
function userDirectory(make: boolean): string | null {
  const { TSBUILD_CODE_CACHE: given, XDG_CACHE_HOME: xdg, HOME: home } = process.env;
  const isPath = (text: string | undefined): text is string => text !== undefined && path.isAbsolute(text);
  const caches = isPath(xdg) ? xdg : isPath(home) ? path.join(home, ".cache") : null;
  const wanted = isPath(given) ? given : caches === null ? null : path.join(caches, "tsbuild");
  if (wanted === null) return null;
  try {
    return ownPath(wanted);
  } catch {
    // Missing or not accessible. Root may have the home of another user (sudo -E) and creates nothing in it.
    if (!make) return null;
  }
  try {
    const { makeDirectory }: CodeCache = require("./code-cache.cjs");
    makeDirectory(wanted, ownPath);
    return ownPath(wanted);
  } catch {
    return null; // read-only, full, not ours: each start compiles
  }
}

/** The real path of a directory; null if anyone besides root and this user can write to it or replace a part of its path, because code
 *  found there is run (threat model S5). The user's own programs are not a threat. Throws if it does not exist. */
function ownPath(directory: string): string | null {
  const uid = process.geteuid?.() ?? -1;
  const real = fs.realpathSync.native(directory);
  for (let at = real; ; at = path.dirname(at)) {
    const stat = fs.lstatSync(at);
    const isOwn = stat.uid === uid || (at !== real && stat.uid === 0);
    // In a sticky directory (/tmp) names belong to the owners of what they name, inode(7).
    const isClosed = (stat.mode & 0o022) === 0 || (at !== real && (stat.mode & 0o1000) !== 0);
    if (!stat.isDirectory() || !isOwn || !isClosed) return null;
    if (at === path.dirname(at)) return real;
  }
}

/** The code of `file`, or null: missing, incomplete, of another bundle, or not owned by `owner` (null: any). */
function readCode(file: CodeFile, owner: number | null): CompiledCode | null {
  let fd: number;
  try {
    fd = fs.openSync(
      path.join(file.directory, file.name),
      fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK,
    );
  } catch {
    return null; // not made yet, a link, not to be read
  }
  try {
    const stat = fs.fstatSync(fd);
    if (!stat.isFile() || stat.size > CODE_MAX_BYTES) return null;
    if (owner !== null && (stat.uid !== owner || (stat.mode & 0o022) !== 0)) return null;
    const bytes = fs.readFileSync(fd);
    const head = bytes.toString("latin1", 0, HEAD_BYTES);
    const round = Number(head.split(" ", 3)[2]);
    if (head !== headOf(round, bytes.length - HEAD_BYTES, file.id) || isTorn(bytes)) return null;
    return { data: bytes.subarray(HEAD_BYTES), round };
  } catch {
    return null; // a disk error: the bundle itself is still there
  } finally {
    fs.closeSync(fd);
  }
}

/** Detects a file damaged by a power cut: of the right length, with zeros in unwritten blocks. V8 checks only the head and the
 *  length of compiled code, and crashes with SIGSEGV in the rest (Node 20). 0.1 ms for 1 MB; a checksum would first
 *  have to load node:zlib or node:crypto. */
function isTorn(compiled: Buffer): boolean {
  const nothing = Buffer.alloc(BLOCK_BYTES);
  for (let at = 0; at + BLOCK_BYTES <= compiled.length; at += BLOCK_BYTES) {
    if (nothing.equals(compiled.subarray(at, at + BLOCK_BYTES))) return true;
  }
  return false;
}
/** The smallest block of the usual file systems. */
const BLOCK_BYTES = 4096;

/** V8 rejects code compiled with other flags; they come from the command line and NODE_OPTIONS. FNV-1a. */
function flagsHash(): string {
  let hash = 0x811c9dc5;
  for (const char of [...process.execArgv, process.env["NODE_OPTIONS"] ?? ""].join(" "))
    hash = Math.imul(hash ^ (char.codePointAt(0) ?? 0), 0x01000193) >>> 0;
  return hash.toString(16);
}

function read(file: string): Buffer | null {
  try {
    return fs.readFileSync(file);
  } catch {
    return null; // not built, or not ours to read: the modules do the same
  }
}

// Also in a thread, where the script it was started with is the main module as well.
if (require.main === module) {
  const [name = "", fallback = ""] = process.argv.splice(2, 2);
  if (!runBundle(name, { keep: true }))
    void import(process.getBuiltinModule("node:url").pathToFileURL(fallback).href);
}

module.exports = { runBundle };
