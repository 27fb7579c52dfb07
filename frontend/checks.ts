// Build checks: which run, what they found, whether findings fail the build. Rules that need only the text are here; those
// that need values (variables, base images, .dockerignore) run during conversion and report through `warn`.

import { BuildError, type SourceRange } from "../solver/graph/error.ts";
import { type RuleName, ruleOf, ruleUrl } from "./check-rules.ts";
import {
  duplicateStageName,
  instructionCasing,
  jsonArgsRecommended,
  legacyKeyValue,
  multipleInstructions,
  reservedStageName,
  secretInArgOrEnv,
} from "./check-texts.ts";
import { parseBool, trimSpace } from "./go-strings.ts";
import type { Directive, Instruction, ParsedDockerfile } from "./instruction.ts";
import { quote } from "../solver/graph/go-quote.ts";
import type { CheckWarning } from "./contract.ts";

export interface Checks {
  /** Reports a finding, unless its rule is switched off for the file or by a comment above the instruction: the one at `at`, or
   *  another one at `of`. */
  warn(rule: RuleName, detail: string, at: SourceRange, of?: SourceRange): void;
  /** By line, within a line in the order found. The same finding twice (two variables of one name) is listed twice. */
  list(): readonly CheckWarning[];
  /** Findings are to fail the build (`error=true`). */
  readonly failOnWarning: boolean;
  /** CHECKS_FAILED when findings fail the build and there are some; else null. */
  failure(): BuildError | null;
}

interface CheckOptions {
  readonly skipAll: boolean;
  readonly skip: ReadonlySet<string>;
  readonly experimentalAll: boolean;
  readonly experimental: ReadonlySet<string>;
  readonly fail: boolean;
}

const NOTHING: CheckOptions = {
  skipAll: false,
  skip: new Set(),
  experimentalAll: false,
  experimental: new Set(),
  fail: false,
};

/** Comments above an instruction do not count for these, as in BuildKit. */
const OF_THE_FILE: ReadonlySet<RuleName> = new Set([
  "ConsistentInstructionCasing",
  "DuplicateStageName",
  "ReservedStageName",
  "NoEmptyContinuation",
  "InvalidDefaultArgInFrom",
  "InvalidBaseImagePlatform",
]);

/** Opens the checks of a build. `directive`: the file's `# check=`; `buildArg`: BUILDKIT_DOCKERFILE_CHECK, which takes
 *  its place; `instructions`: for the comments above them. Throws DOCKERFILE_SYNTAX or USAGE for unknown options. */
export function openChecks(
  directive: Directive | null,
  buildArg: string | null = null,
  instructions: readonly Instruction[] = [],
): Checks {
  const options = buildArg !== null ? readBuildArg(buildArg) : readDirective(directive);
  const byLine = optionsByLine(instructions);
  const found: CheckWarning[] = [];
  return {
    failOnWarning: options.fail,
    warn(name, detail, at, of = at) {
      const rule = ruleOf(name);
      const here = OF_THE_FILE.has(name) ? NOTHING : (byLine.get(of.start.line) ?? NOTHING);
      const [isFor, isForAll] = rule.experimental
        ? (["experimental", "experimentalAll"] as const)
        : (["skip", "skipAll"] as const);
      const isNamed = [options, here].some((said) => said[isForAll] || said[isFor].has(name));
      if (isNamed !== rule.experimental) return;
      found.push({ rule: name, description: rule.description, url: ruleUrl(name), detail, at });
    },
    list: () => found.toSorted((a, b) => a.at.start.line - b.at.start.line),
    failure() {
      if (!options.fail || found.length === 0) return null;
      const rules = [...new Set(found.map((warning) => warning.rule))].sort();
      return new BuildError("CHECKS_FAILED", `lint violation found for rules: ${rules.join(", ")}`, {
        at: found[0]?.at ?? null,
        hint: `fix them, or disable the checks with "# check=skip=${rules.join(",")}"`,
      });
    },
  };
}

/** The check directive of a parsed file. */
export function checkDirective(parsed: ParsedDockerfile): Directive | null {
  return parsed.directives.find((directive) => directive.name === "check") ?? null;
}

/** Findings of the whole file, whether its stages are reached or not: what the parser saw, and, if all of it could be read
 *  (`isWhole`), stage names and casing. */
export function staticChecks(parsed: ParsedDockerfile, checks: Checks, isWhole = true): void {
  for (const { rule, detail, at } of parsed.warnings) checks.warn(rule, detail, at);
  if (!isWhole) return;
  checkStageNames(parsed.instructions, checks);
  checkCasing(parsed.instructions, checks);
}

/** Findings within one reached stage. `commands`: the instructions behind its FROM (with triggers of the base image);
 *  `hasShell`: the base image, or a stage it is built on, has a SHELL of its own. */
export function stageChecks(commands: readonly Instruction[], hasShell: boolean, checks: Checks): void {
  let shellIsSet = hasShell;
  const last = new Map<string, Instruction>();
  for (const command of commands) {
    switch (command.kind) {
      case "shell":
        shellIsSet = true;
        break;
      case "cmd":
      case "entrypoint":
        if (command.command.form === "shell" && !shellIsSet) {
          checks.warn("JSONArgsRecommended", jsonArgsRecommended(command.keyword), command.at);
        }
        useOnce(command, last, checks);
        break;
      case "healthcheck":
        useOnce(command, last, checks);
        break;
      case "env":
      case "label":
        for (const pair of command.pairs) {
          if (command.kind === "env") checkSecret("ENV", pair.key, command.at, checks);
          if (pair.legacy) {
            checks.warn("LegacyKeyValueFormat", legacyKeyValue(command.keyword), command.at);
          }
        }
        break;
      case "arg":
        for (const { key } of command.args) checkSecret("ARG", key, command.at, checks);
        break;
      default:
        break;
    }
  }
}

/** Of two CMD, the first is the one nobody will see: it is the one reported. */
function useOnce(command: Instruction, last: Map<string, Instruction>, checks: Checks): void {
  const before = last.get(command.kind);
  if (before !== undefined) {
    const detail = multipleInstructions(command.keyword);
    checks.warn("MultipleInstructionsDisallowed", detail, before.at, command.at);
  }
  last.set(command.kind, command);
}

const SECRET = /(?:_|^)(?:apikey|auth|credential|credentials|key|password|pword|passwd|secret|token)(?:_|$)/i;
const NO_SECRET = /(?:_|^)(?:public|file|version)(?:_|$)/i;

function checkSecret(instruction: "ARG" | "ENV", key: string, at: SourceRange, checks: Checks): void {
  if (!SECRET.test(key) || NO_SECRET.test(key)) return;
  checks.warn("SecretsUsedInArgOrEnv", secretInArgOrEnv(instruction, key), at);
}

function checkStageNames(instructions: readonly Instruction[], checks: Checks): void {
  const seen = new Set<string>();
  for (const instruction of instructions) {
    if (instruction.kind !== "from" || instruction.as === null) continue;
    const { as: name, at } = instruction;
    if (name === "context" || name === "scratch") {
      checks.warn("ReservedStageName", reservedStageName(name), at);
    }
    if (seen.has(name)) checks.warn("DuplicateStageName", duplicateStageName(name), at);
    seen.add(name);
  }
}

/** All keywords should be written like most are. ARGs before the first FROM belong to no stage and do not count. */
function checkCasing(instructions: readonly Instruction[], checks: Checks): void {
  const first = instructions.findIndex((instruction) => instruction.kind === "from");
  const counted = first < 0 ? [] : instructions.slice(first);
  const counts = new Map<string, number>();
  for (const { keyword } of counted) counts.set(keyword, (counts.get(keyword) ?? 0) + 1);
  let lower = 0;
  let upper = 0;
  for (const [keyword, count] of counts) {
    if (keyword === keyword.toLowerCase()) lower += count;
    else if (keyword === keyword.toUpperCase()) upper += count;
  }
  const isLower = lower > upper;
  if ((isLower ? lower : upper) === counted.length) return;
  for (const { keyword, at } of counted) {
    if (keyword === (isLower ? keyword.toLowerCase() : keyword.toUpperCase())) continue;
    const detail = instructionCasing(keyword, isLower ? "lowercase" : "uppercase");
    checks.warn("ConsistentInstructionCasing", detail, at);
  }
}

function readBuildArg(text: string): CheckOptions {
  try {
    return readOptions(text);
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    throw new BuildError("USAGE", `BUILDKIT_DOCKERFILE_CHECK: ${error.message}`, { hint: error.hint });
  }
}

function readDirective(directive: Directive | null): CheckOptions {
  if (directive === null) return NOTHING;
  try {
    // What follows a blank is a remark.
    return readOptions(directive.value.split(" ", 1)[0] ?? "");
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    throw new BuildError(error.code, error.message, { at: directive.at, hint: error.hint });
  }
}

const COMMENT = /^check[\t ]*=(.*)$/is;

/** The first `# check=…` in the comments above an instruction counts for that instruction; a faulty one is a mere comment. */
function optionsByLine(instructions: readonly Instruction[]): ReadonlyMap<number, CheckOptions> {
  const result = new Map<number, CheckOptions>();
  for (const { comments, at } of instructions) {
    const text = checkComment(comments);
    if (text === null) continue;
    let options: CheckOptions;
    try {
      options = readOptions(trimSpace(text).split(" ", 1)[0] ?? "");
    } catch (error) {
      if (!(error instanceof BuildError)) throw error;
      continue;
    }
    for (let line = at.start.line; line <= at.end.line; line++) result.set(line, options);
  }
  return result;
}

function checkComment(comments: readonly string[]): string | null {
  for (const comment of comments) {
    const text = COMMENT.exec(comment)?.[1];
    if (text !== undefined) return text;
  }
  return null;
}

/** skip=A,B;experimental=C;error=true */
function readOptions(text: string): CheckOptions {
  if (trimSpace(text) === "") return NOTHING;
  let { skipAll, skip, experimentalAll, experimental, fail } = NOTHING;
  for (const part of text.split(";")) {
    const equals = part.indexOf("=");
    if (equals < 0) throw wrong(part);
    const value = trimSpace(part.slice(equals + 1));
    switch (trimSpace(part.slice(0, equals))) {
      case "skip":
        if (value === "all") skipAll = true;
        else skip = new Set(value.split(",").map(trimSpace));
        break;
      case "experimental":
        if (value === "all") experimentalAll = true;
        else experimental = new Set(value.split(",").map(trimSpace));
        break;
      case "error":
        fail = readBool(value, part);
        break;
      default:
        throw wrong(trimSpace(part.slice(0, equals)));
    }
  }
  return { skipAll, skip, experimentalAll, experimental, fail };
}

function readBool(value: string, part: string): boolean {
  const found = parseBool(value);
  if (found !== null) return found;
  throw new BuildError("DOCKERFILE_SYNTAX", `failed to parse check option ${quote(part)}`, {
    hint: "error takes true or false",
  });
}

function wrong(option: string): BuildError {
  return new BuildError("DOCKERFILE_SYNTAX", `invalid check option ${quote(option)}`, {
    hint: "as in # check=skip=RULE,RULE;error=true",
  });
}
