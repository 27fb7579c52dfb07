// Parses a Dockerfile into instructions: lines, comments, continuations, here documents, directives. BuildKit parses line
// by line with some quirks that a grammar would not have, so the line handling is ours. dockerfile-ast finds error
// columns (see locate.ts): parsing every file with it would cost 45 ms to load and 50 µs per instruction.

import { BuildError, type SourceRange } from "../solver/graph/error.ts";
import { emptyContinuation } from "./check-texts.ts";
import { openDirectives, readEscape } from "./directives.ts";
import { trimLeft, trimNewline, trimSpace } from "./go-strings.ts";
import type { Directive, Flag, Heredoc, Instruction, ParsedDockerfile, ParseWarning } from "./instruction.ts";
import {
  endOf,
  isComment,
  type JoinedLine,
  joinLines,
  type Lines,
  openLines,
  placeOf,
  wholeLine,
} from "./lines.ts";
import { narrow } from "./locate.ts";
import { chompHeredoc, endsHeredoc, findHeredocs } from "./parse-heredoc.ts";
import { readArguments, takesHeredocs } from "./parse-arguments.ts";
import { checkInstruction, type RawInstruction } from "./parse-instruction.ts";
import { definitionWarnings } from "./parse-warnings.ts";
import { type RawFlag, splitCommand } from "./split-command.ts";

/** As BuildKit reads at most. */
const DOCKERFILE_MAX_BYTES = 16 * 1024 * 1024;

/** Instructions of one file; more are refused. The longest known to be written by a program have some thousands. */
export const INSTRUCTIONS_MAX = 100_000;

/** A Dockerfile as far as it could be read: with an error, `parsed` holds what came before it (for the build checks). */
export interface Reading {
  readonly parsed: ParsedDockerfile;
  readonly error: BuildError | null;
}

/** Parses a Dockerfile. Throws DOCKERFILE_SYNTAX with place and hint, LIMIT_EXCEEDED. `file` is for messages. */
export async function parseDockerfile(file: string, data: Uint8Array): Promise<ParsedDockerfile> {
  const { parsed, error } = await readDockerfile(file, data);
  if (error !== null) throw error;
  return parsed;
}

/** Parses a Dockerfile; an error in it is returned with what could be read. */
export async function readDockerfile(file: string, data: Uint8Array): Promise<Reading> {
  if (data.byteLength > DOCKERFILE_MAX_BYTES) {
    throw new BuildError("LIMIT_EXCEEDED", `${file} is larger than ${DOCKERFILE_MAX_BYTES} bytes`);
  }
  const source = new TextDecoder("utf-8", { ignoreBOM: true }).decode(data);
  const reading = read(file, source);
  if (reading.error === null) return reading;
  return { parsed: reading.parsed, error: await narrow(reading.error, source, reading.parsed.escape) };
}

/** Parses the text of an ONBUILD trigger out of a base image; `at` is the FROM that brought it in. Throws DOCKERFILE_SYNTAX. */
export function parseTrigger(text: string, at: SourceRange): Instruction {
  try {
    // A trigger is a file of its own: it knows nothing of the escape directive of the one it came from.
    const [raw, ...more] = lex(at.file, text).instructions;
    if (raw === undefined || more.length > 0) throw syntax("onbuild trigger should be a single expression");
    const instruction = checkInstruction({ ...raw, at, flags: raw.flags.map((flag) => ({ ...flag, at })) });
    if (instruction.kind === "from") throw syntax("FROM isn't allowed as an ONBUILD trigger");
    return instruction;
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    throw new BuildError(error.code, `ONBUILD ${text}: ${error.message}`, {
      at,
      hint: error.hint,
      cause: error,
    });
  }
}

function read(file: string, source: string): Reading {
  let lexed: Lexed;
  try {
    if (source === "") throw syntax("the Dockerfile cannot be empty", { at: wholeLine(file, 1, "") });
    lexed = lex(file, source);
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    const directives = readDirectives(file, source);
    const escape = directives.some(({ name, value }) => name === "escape" && value === "`") ? "`" : "\\";
    return { parsed: { file, source, escape, directives, instructions: [], warnings: [] }, error };
  }
  const instructions: Instruction[] = [];
  const warnings: ParseWarning[] = [...lexed.warnings];
  let error: BuildError | null = null;
  try {
    checkAll(lexed, instructions, warnings);
  } catch (cause) {
    if (!(cause instanceof BuildError)) throw cause;
    error = cause;
  }
  return {
    parsed: { file, source, escape: lexed.escape, directives: lexed.directives, instructions, warnings },
    error,
  };
}

/** Instructions that belong to no stage: of an image that comes without a Dockerfile. Throws DOCKERFILE_SYNTAX without a place. */
export function parseLoose(text: string): {
  readonly escape: "\\" | "`";
  readonly instructions: readonly Instruction[];
} {
  if (text.trim() === "") throw syntax("there is no instruction");
  const { escape, instructions } = lex("", text);
  return { escape, instructions: instructions.map(checkInstruction) };
}

/** Fills `instructions` and `warnings` up to the first instruction that is wrong, and throws for that. */
function checkAll(lexed: Lexed, instructions: Instruction[], warnings: ParseWarning[]): void {
  let stages = 0;
  for (const raw of lexed.instructions) {
    let instruction: Instruction;
    try {
      for (const warning of definitionWarnings(raw)) warnings.push(warning);
      instruction = checkInstruction(raw);
    } catch (error) {
      if (!(error instanceof BuildError)) throw error;
      throw new BuildError(
        error.code,
        `dockerfile parse error on line ${raw.at.start.line}: ${error.message}`,
        { at: error.at ?? raw.at, hint: error.hint, cause: error.cause },
      );
    }
    if (instruction.kind === "from") stages++;
    else if (stages === 0 && instruction.kind !== "arg") {
      throw syntax("no build stage in current context", {
        at: raw.at,
        hint: "only ARG is allowed before the first FROM",
      });
    }
    instructions.push(instruction);
  }
  if (stages === 0) {
    const at = lexed.instructions.at(-1)?.at ?? null;
    throw syntax("dockerfile contains no stages to build", { at, hint: "add a FROM" });
  }
}

interface Lexed {
  readonly escape: "\\" | "`";
  readonly directives: readonly Directive[];
  readonly instructions: readonly RawInstruction[];
  readonly warnings: readonly ParseWarning[];
}

/** No comments, flags or here documents, as with most instructions. */
const NONE: readonly never[] = [];

function lex(file: string, source: string): Lexed {
  const lines = openLines(file, source);
  const reader = openDirectives();
  const instructions: RawInstruction[] = [];
  const warnings: ParseWarning[] = [];
  let escape: "\\" | "`" = "\\";
  let comments: string[] | null = null;
  let areDirectives = true; // up to the first line that is none

  for (let line = lines.next(); line !== null; line = lines.next()) {
    const text = trimLeft(trimNewline(line.text));
    if (areDirectives) {
      const directive = reader.read(text, wholeLine(file, line.number, line.text));
      if (directive?.name === "escape") escape = readEscape(directive);
      areDirectives = directive !== null;
    }
    if (isComment(line.text)) {
      // An empty comment parts the comments above it from the instruction below.
      const comment = trimSpace(line.text.slice(1));
      if (comment === "") comments = null;
      else if (!areDirectives) (comments ??= []).push(comment);
      continue;
    }
    if (text === "") continue;

    const start = { line: line.number, column: 1 + line.text.length - trimLeft(line.text).length };
    const joined = joinLines(lines, text, start, escape);
    if (joined.hasEmptyLine) {
      const at = wholeLine(file, joined.lastLine, joined.lastText);
      warnings.push({ rule: "NoEmptyContinuation", detail: emptyContinuation(), at });
    }
    if (instructions.length === INSTRUCTIONS_MAX) {
      throw new BuildError("LIMIT_EXCEEDED", `${file} has more than ${INSTRUCTIONS_MAX} instructions`, {
        at: wholeLine(file, line.number, line.text),
      });
    }
    instructions.push(readInstruction(file, lines, joined, escape, comments ?? NONE));
    comments = null;
  }
  if (instructions.length === 0) {
    throw syntax("file with no instructions", { at: wholeLine(file, 1, ""), hint: "add a FROM" });
  }
  return { escape, directives: readDirectives(file, source), instructions, warnings };
}

function readInstruction(
  file: string,
  lines: Lines,
  joined: JoinedLine,
  escape: string,
  comments: readonly string[],
): RawInstruction {
  const start = joined.parts[0]?.at ?? { line: 1, column: 1 };
  const head: SourceRange = { file, start, end: endOf(joined.lastLine, joined.lastText) };
  let heredocs: Heredoc[] | null = null;
  try {
    const split = splitCommand(joined.text);
    const args = readArguments(split, escape);
    if (takesHeredocs(split, args)) {
      for (const { isSpaced, ...heredoc } of findHeredocs(joined.text)) {
        if (isSpaced && !lines.isBelow(heredoc.name)) continue;
        const raw = lines.takeUntil((line) => endsHeredoc(heredoc, line));
        if (raw === null) {
          throw syntax("unterminated heredoc", {
            hint: `it must end with a line that contains only ${heredoc.name}`,
          });
        }
        (heredocs ??= []).push({ ...heredoc, content: heredoc.chomp ? chompHeredoc(raw) : raw, raw });
      }
    }
    const flags = split.flags.length === 0 ? NONE : split.flags.map((flag) => readFlag(flag, file, joined));
    const last = lines.last();
    const at = heredocs === null ? head : { file, start, end: endOf(last.number, last.text) };
    return { at, line: joined.text, split, flags, arguments: args, heredocs: heredocs ?? NONE, comments };
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    throw new BuildError(error.code, error.message, {
      at: error.at ?? head,
      hint: error.hint,
      cause: error.cause,
    });
  }
}

function readFlag({ text, start, end }: RawFlag, file: string, joined: JoinedLine): Flag {
  const equals = text.indexOf("=");
  return {
    name: equals < 0 ? text.slice(2) : text.slice(2, equals),
    value: equals < 0 ? null : text.slice(equals + 1),
    at: { file, start: placeOf(joined, start), end: placeOf(joined, end) },
  };
}

/** The directives of the file; unlike for `escape`, a first line "#!…" is passed over and lines must not be indented. */
function readDirectives(file: string, source: string): readonly Directive[] {
  const reader = openDirectives();
  const lines = openLines(file, source);
  const directives: Directive[] = [];
  try {
    for (let line = lines.next(); line !== null; line = lines.next()) {
      if (line.number === 1 && line.text.startsWith("#!")) continue;
      const text = trimNewline(line.text);
      const directive = reader.read(text, wholeLine(file, line.number, line.text));
      if (directive === null) break;
      directives.push(directive);
    }
  } catch (error) {
    if (!(error instanceof BuildError)) throw error; // a doubled directive ends the list; the main pass reports it
  }
  return directives;
}

function syntax(
  message: string,
  detail: { readonly at?: SourceRange | null; readonly hint?: string } = {},
): BuildError {
  return new BuildError("DOCKERFILE_SYNTAX", message, detail);
}
