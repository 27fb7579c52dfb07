// The command line: one table of flags per command, used for parsing and for the help.
// node:util parseArgs does the splitting (0.7 ms to load; commander takes 14), the rest follows pflag, which
// docker's commands use: --flag=value, --flag value, -f value, -fvalue, -f=value, --bool=false, -it, "--".

import { parseArgs } from "node:util";
import { BuildError } from "../solver/graph/error.ts";
import { nearest } from "../solver/graph/nearest.ts";

/** One flag. bool: takes no value but may be given one (--push=false). list: may be repeated. optional: a list whose values stand behind
 *  "=" only, and may be left out ("" then). */
export interface FlagSpec {
  readonly name: string;
  readonly short?: string;
  readonly kind: "bool" | "string" | "list" | "optional";
  /** One line for the help. Empty: not listed. */
  readonly help: string;
  /** What the value is called in the help. */
  readonly value?: string;
  /** Shown in the help. */
  readonly initial?: string;
}

export interface CommandSpec extends CommandFlags {
  /** Default "tsbuild". */
  readonly program?: string;
  /** "": the program itself. */
  readonly name: string;
  readonly summary: string;
}

/** What a command's own file says of it; name and summary stand in commands.ts. */
export interface CommandFlags {
  readonly usage: string; // "[OPTIONS] PATH | URL | -"
  /** Lines of the help behind the summary. */
  readonly details?: readonly string[];
  readonly flags: readonly FlagSpec[];
  /** How many positional arguments there may be; max null: any number. */
  readonly positionals: { readonly min: number; readonly max: number | null };
  /** Flags end at the first positional (run: the rest belongs to the command in the image). */
  readonly stopsAtPositional?: boolean;
  /** Flags that similar tools have and this command has not, by name or single letter, with what to do instead: hints of errors. */
  readonly elsewhere?: Readonly<Record<string, string>>;
  /** Exit code for a wrong command line: docker run has 125, all others 1. */
  readonly usageExitCode?: number;
}

/** Understood by every command, before or after its name. */
export const GLOBAL_FLAGS: readonly FlagSpec[] = [
  { name: "root", kind: "string", value: "dir", help: "Directory of the local store (TSBUILD_ROOT)" },
  { name: "debug", short: "D", kind: "bool", help: "Show details of warnings and stack traces of errors" },
  { name: "verbose", kind: "bool", help: "Show which sandbox, network and cache are used, and why" },
  { name: "help", short: "h", kind: "bool", help: "Print usage" },
];

/** The global flags, without a short form that the command uses for itself (run: -h is the host name). */
function globalFlags(spec: CommandSpec): FlagSpec[] {
  const taken = new Set(spec.flags.map((flag) => flag.short));
  return GLOBAL_FLAGS.map(({ short, ...flag }) =>
    short === undefined || taken.has(short) ? flag : { ...flag, short },
  );
}

export interface ParsedFlags {
  /** Was the flag given (and not as =false)? */
  bool(name: string): boolean;
  /** Last value given, or null. */
  one(name: string): string | null;
  /** All values in order. */
  all(name: string): readonly string[];
  /** Given at all, whatever its value? */
  has(name: string): boolean;
  readonly positionals: readonly string[];
}

/** Splits a command line by the table. Throws USAGE; counts positionals unless --help is among the flags. */
export function parseFlags(spec: CommandSpec, args: readonly string[]): ParsedFlags {
  const flags = [...spec.flags, ...globalFlags(spec)];
  const byName = new Map(flags.map((flag) => [flag.name, flag]));
  const options = Object.fromEntries(
    flags.map((flag) => [
      flag.name,
      {
        type: flag.kind === "bool" || flag.kind === "optional" ? ("boolean" as const) : ("string" as const),
        multiple: true,
        ...(flag.short === undefined ? {} : { short: flag.short }),
      },
    ]),
  );
  const split = (words: readonly string[]) =>
    parseArgs({ args: [...words], options, strict: false, allowPositionals: true, tokens: true }).tokens;

  let tokens = split(args);
  let rest: readonly string[] = [];
  if (spec.stopsAtPositional) {
    const first = tokens.find((token) => token.kind !== "option");
    if (first !== undefined) {
      rest = args.slice(first.kind === "option-terminator" ? first.index + 1 : first.index);
      tokens = split(args.slice(0, first.index));
    }
  }

  const values = new Map<string, string[]>();
  const positionals: string[] = [];
  for (const token of tokens) {
    if (token.kind === "positional") positionals.push(token.value);
    if (token.kind !== "option") continue;
    const flag = byName.get(token.name);
    if (flag === undefined) throw unknownFlag(token.rawName, flags, spec);
    const value = flagValue(flag, token.rawName, token.value, spec);
    const known = values.get(flag.name);
    if (known === undefined) values.set(flag.name, [value]);
    else known.push(value);
  }
  positionals.push(...rest);

  const parsed: ParsedFlags = {
    bool: (name) => values.get(name)?.at(-1) === "true",
    one: (name) => values.get(name)?.at(-1) ?? null,
    all: (name) => values.get(name) ?? [],
    has: (name) => values.has(name),
    positionals,
  };
  if (!parsed.bool("help")) checkCount(spec, positionals.length, separated(tokens, byName));
  return parsed;
}

function flagValue(flag: FlagSpec, rawName: string, value: string | undefined, spec: CommandSpec): string {
  if (flag.kind === "optional") return value ?? "";
  if (flag.kind !== "bool") {
    if (value === undefined) throw usage(spec, `flag needs an argument: ${quoteFlag(rawName)}`);
    // pflag takes "=" after a short flag for a separator
    return !rawName.startsWith("--") && value.startsWith("=") ? value.slice(1) : value;
  }
  if (value === undefined) return "true";
  const known = BOOLEANS.get(value.toLowerCase());
  if (known === undefined) {
    throw usage(
      spec,
      `invalid argument ${JSON.stringify(value)} for ${JSON.stringify(rawName)} flag: not a boolean`,
    );
  }
  return String(known);
}

/** The words Go's strconv.ParseBool takes. */
const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ["1", true],
  ["t", true],
  ["true", true],
  ["0", false],
  ["f", false],
  ["false", false],
]);

/** A flag that takes its value behind "=" alone, with a word behind it that may be meant as one: what to write instead. */
function separated(
  tokens: ReturnType<typeof parseArgs>["tokens"] & object,
  byName: ReadonlyMap<string, FlagSpec>,
): string | null {
  for (const [at, token] of tokens.entries()) {
    const next = tokens[at + 1];
    if (token.kind !== "option" || next?.kind !== "positional" || token.value !== undefined) continue;
    const flag = byName.get(token.name);
    if (flag?.kind === "optional")
      return `if ${next.value} belongs to the flag, write ${token.rawName}=${next.value}`;
  }
  return null;
}

function checkCount(spec: CommandSpec, count: number, hint: string | null): void {
  const { min, max } = spec.positionals;
  if (count >= min && (max === null || count <= max)) return;
  const bound = count < min ? min : (max ?? min);
  const words = `${bound} argument${bound === 1 ? "" : "s"}`;
  const how =
    max === 0
      ? "accepts no arguments" // as docker has it
      : min === max
        ? `requires ${words}`
        : count < min
          ? `requires at least ${words}`
          : `accepts at most ${words}`;
  throw usage(spec, `'${calledAs(spec)}' ${how}`, count > min ? hint : null);
}

function unknownFlag(rawName: string, flags: readonly FlagSpec[], spec: CommandSpec): BuildError {
  const message = rawName.startsWith("--")
    ? `unknown flag: ${rawName}`
    : `unknown shorthand flag: '${rawName.slice(1)}' in ${rawName}`;
  const name = rawName.replace(/^-+/, "");
  if (spec.elsewhere !== undefined && Object.hasOwn(spec.elsewhere, name))
    return usage(spec, message, spec.elsewhere[name]);
  const near = rawName.startsWith("--")
    ? nearest(
        rawName.slice(2),
        flags.filter((flag) => flag.help !== "").map((flag) => flag.name),
      )
    : null;
  return usage(spec, message, near === null ? null : `did you mean --${near}?`);
}

function quoteFlag(rawName: string): string {
  return rawName.startsWith("--") ? rawName : `'${rawName.slice(1)}' in ${rawName}`;
}

function usage(spec: CommandSpec, message: string, hint: string | null = null): BuildError {
  return new BuildError("USAGE", message, {
    hint: hint ?? `see '${calledAs(spec)} --help'`,
    exitCode: spec.usageExitCode ?? 1,
  });
}

function calledAs({ program = "tsbuild", name }: CommandSpec): string {
  return name === "" ? program : `${program} ${name}`;
}

/** Help of one command, out of its table. */
export function commandHelp(spec: CommandSpec): string {
  return [
    `Usage:  ${calledAs(spec)}${spec.usage === "" ? "" : ` ${spec.usage}`}`,
    "",
    spec.summary,
    ...(spec.details === undefined ? [] : ["", ...spec.details]),
    ...(spec.flags.length === 0 ? [] : ["", "Options:", ...flagLines(spec.flags)]),
    "",
    "Global options:",
    ...flagLines(globalFlags(spec)),
    "",
  ].join("\n");
}

/** Help lines of flags, sorted by name, descriptions in one column. */
export function flagLines(flags: readonly FlagSpec[]): string[] {
  const shown = flags.filter((flag) => flag.help !== "").toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const left = shown.map((flag) => {
    const short = flag.short === undefined ? "    " : `-${flag.short}, `;
    const value =
      flag.kind === "bool"
        ? ""
        : flag.kind === "optional"
          ? `[=${flag.value ?? "string"}]`
          : ` ${flag.value ?? (flag.kind === "list" ? "stringArray" : "string")}`;
    return `  ${short}--${flag.name}${value}`;
  });
  const width = Math.max(...left.map((text) => text.length)) + 3;
  return shown.map((flag, index) => {
    const initial = flag.initial === undefined ? "" : ` (default ${flag.initial})`;
    return `${(left[index] as string).padEnd(width)}${flag.help}${initial}`;
  });
}
