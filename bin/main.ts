// The command line entry: finds the command, runs it, converts the outcome to an exit code. Expensive modules load later.

import { refusalOf } from "../cache/disk-fault.ts";
import { BuildError } from "../solver/graph/error.ts";
import { nearest } from "../solver/graph/nearest.ts";
import {
  commandHelp,
  flagLines,
  GLOBAL_FLAGS,
  parseFlags,
  type CommandSpec,
  type ParsedFlags,
} from "./args.ts";
import type { CommandEntry } from "./command.ts";
import { COMMANDS, resolveAlias } from "./commands.ts";
import { IMAGE_COMMANDS } from "./image-commands.ts";
import { readConfig } from "./config.ts";
import { registryFlags } from "./flags-registry.ts";
import { Interrupted, listenForSignals, type Signals } from "./signals.ts";

/** `tsbuild` itself, before the name of a command. */
const TOP: CommandSpec = {
  name: "",
  usage: "COMMAND",
  summary: "",
  flags: [{ name: "version", short: "v", kind: "bool", help: "Print the version" }],
  positionals: { min: 0, max: null },
  stopsAtPositional: true,
};

/** Commands of docker, skopeo and cosign, with those that do the same here. */
const OF_OTHER_TOOLS: readonly (readonly [string, string])[] = [
  ["attest", "'tsbuild build --attest …', and 'tsbuild sign --attest' to sign it"],
  ["copy", "'tsbuild image copy'"],
  ["delete", "'tsbuild image rm-remote'"],
  ["list-tags", "'tsbuild image ls-remote'"],
  ["ls", "'tsbuild images'"],
  ["manifest", "'tsbuild imagetools create' or 'tsbuild imagetools inspect'"],
  ["tree", "'tsbuild image tree'"],
  ["triangulate", "'tsbuild image ls-remote': signatures have the tag sha256-DIGEST.sig"],
  ["verify-attestation", "'tsbuild verify-signature --type TYPE'"],
];

/** Streams that took no more of what we have to say. */
const broken = new Set<NodeJS.WriteStream>();
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") return; // who reads our output may leave early: `tsbuild images | head -1`
    broken.add(stream);
    const refusal = refusalOf(error, "output", `/proc/self/fd/${stream.fd}`);
    if (refusal === null) throw error;
    const { words, hint } = refusal;
    throw new BuildError("OUTPUT_FAILED", `cannot write the output: ${words}`, {
      cause: error,
      hint,
    });
  });
}

// A bug of ours outside of any await is still told in one line, and leaves with an error.
process.on("uncaughtException", (error) => {
  void printFailure(error, process.argv.includes("--debug") || process.argv.includes("-D")).finally(() =>
    process.exit(1),
  );
});

// No await at the top level: a bundle is one script. Whatever still holds the event loop at the end (an idle connection,
// the keeper's channel) holds nothing anybody waits for.
// Until then the loop is held: what is waited for may be something that by itself holds nothing (an idle keeper, a lock).
setInterval(() => {}, 2 ** 30);
const signals = listenForSignals();
void main(process.argv.slice(2), signals).then(async (code) => {
  await written(process.stdout);
  await written(process.stderr);
  signals.leave(code);
});

/** Errors that may have an exit code of their own: of the usage, and of what `verify-signature` did not find. */
const OWN_EXIT_CODES: readonly string[] = ["USAGE", "SIGNATURE_INVALID", "IMAGE_UNKNOWN"];

/** Resolves when the other side of a pipe has taken what was written, or is gone: process.exit() drops what it has not. */
async function written(stream: NodeJS.WriteStream): Promise<void> {
  if (stream.errored !== null) await new Promise(setImmediate); // its event is on the way
  if (broken.has(stream)) await new Promise(() => {}); // that is being told, and leaves
  if (stream.writableLength > 0) await new Promise<void>((resolve) => stream.write("", () => resolve()));
}

async function main(args: readonly string[], signals: Signals): Promise<number> {
  let debug = false;
  let prefixCode = 1;
  try {
    const top = parseFlags(TOP, args);
    debug = top.bool("debug");
    const words = resolveAlias(top.positionals);
    const [name] = words;
    if (top.bool("version")) return await runCommand(entryOf("version"), [], signals.signal);
    if (name === undefined || (name === "help" && (words[1] ?? "-").startsWith("-"))) {
      process.stdout.write(topHelp());
      return name === undefined && !top.bool("help") && args.length > 0 ? 1 : 0;
    }
    const leading = args.slice(0, args.length - top.positionals.length);
    if (name === "help")
      return await runCommand(entryOf(resolveAlias(words.slice(1))[0] ?? ""), ["--help"], signals.signal);
    const entry = entryOf(name);
    if (name === "run") prefixCode = 125;
    else if (name === "diff" || name === "verify") prefixCode = 2; // 1: there are differences
    return await runCommand(entry, [...leading, ...words.slice(1)], signals.signal, (flags) => {
      debug = flags.bool("debug");
    });
  } catch (error) {
    const code = signals.exitCode();
    if (code !== null && (error instanceof Interrupted || signals.signal.aborted)) {
      process.stderr.write("canceled\n");
      return code;
    }
    await printFailure(error, debug);
    // `run` ends as docker run does with a command that is not there (127) or cannot be executed (126).
    const ownCodes = prefixCode === 1 ? OWN_EXIT_CODES : prefixCode === 125 ? ["USAGE", "EXEC_FAILED"] : [];
    return error instanceof BuildError && ownCodes.includes(error.code)
      ? (error.exitCode ?? prefixCode)
      : prefixCode;
  }
}

async function runCommand(
  entry: CommandEntry,
  args: readonly string[],
  signal: AbortSignal,
  onFlags: (flags: ParsedFlags) => void = () => {},
): Promise<number> {
  const { command } = await entry.load();
  const spec: CommandSpec = { ...command.flags, name: entry.name, summary: entry.summary };
  const flags = parseFlags(spec, args);
  onFlags(flags);
  if (flags.bool("help")) {
    process.stdout.write(commandHelp(spec));
    return 0;
  }
  const cwd = process.cwd();
  const notices = new Set<string>();
  const given = {
    root: flags.one("root"),
    debug: flags.bool("debug"),
    verbose: flags.bool("verbose"),
    registries: registryFlags(flags),
    notice: (text: string) => void notices.add(text),
  };
  try {
    return await command.run(flags, {
      config: readConfig(given, process.env, cwd),
      cwd,
      signal,
      print: (text) => void process.stdout.write(text),
      complain: (text) => void process.stderr.write(text),
    });
  } finally {
    for (const text of notices) process.stderr.write(`WARNING: ${text}\n`);
  }
}

function entryOf(name: string): CommandEntry {
  const entry = [...COMMANDS, ...IMAGE_COMMANDS].find((candidate) => candidate.name === name);
  if (entry !== undefined) return entry;
  const near = nearest(
    name,
    COMMANDS.map((candidate) => candidate.name),
  );
  const elsewhere = new Map(OF_OTHER_TOOLS).get(name);
  throw new BuildError("USAGE", `unknown command: tsbuild ${name}`, {
    hint:
      elsewhere !== undefined
        ? `use ${elsewhere}`
        : near === null
          ? "see 'tsbuild --help'"
          : `did you mean 'tsbuild ${near}'?`,
  });
}

async function printFailure(error: unknown, debug: boolean): Promise<void> {
  const [{ renderFailure }, { colourTable }] = await Promise.all([
    import("./excerpt.ts"),
    import("./colours.ts"),
  ]);
  const colours = process.stderr.isTTY ? colourTable(process.env) : null;
  process.stderr.write(renderFailure(error, { sources: new Map(), state: null, colours, prefix: "", debug }));
}

function topHelp(): string {
  const width = Math.max(...COMMANDS.map((entry) => entry.name.length)) + 3;
  return [
    "Usage:  tsbuild [OPTIONS] COMMAND",
    "",
    "Build OCI images from Dockerfiles: rootless, no daemon",
    "",
    "Commands:",
    ...COMMANDS.map((entry) => `  ${entry.name.padEnd(width)}${entry.summary}`),
    "",
    "Global options:",
    ...flagLines([...GLOBAL_FLAGS, ...TOP.flags]),
    "",
    "Run 'tsbuild COMMAND --help' for more information on a command.",
    "",
  ].join("\n");
}
