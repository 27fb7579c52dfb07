// Converts one instruction to typed data and validates its arguments and flags. The grammar (parse-arguments.ts) was checked
// for the whole file before, so of two errors in a file the same one is reported as in BuildKit.

import { BuildError, type SourceRange } from "../solver/graph/error.ts";
import { checkFlags, flagValue } from "./flags.ts";
import { trimSpace } from "./go-strings.ts";
import type { CommandLine, Flag, Heredoc, Instruction, KeyValue } from "./instruction.ts";
import { checkHealthcheckFlags } from "./healthcheck.ts";
import { WordError } from "./locate.ts";
import { chompHeredoc, heredocWordOrNull } from "./parse-heredoc.ts";
import type { Arguments } from "./parse-arguments.ts";
import { checkRunFlags } from "./run-flags.ts";
import type { SplitCommand } from "./split-command.ts";
import { suggest } from "./suggest.ts";
import { quote } from "../solver/graph/go-quote.ts";

/** An instruction whose grammar has been read. `body` are the raw here documents, in order of their words. */
export interface RawInstruction {
  readonly at: SourceRange;
  readonly line: string; // joined text, with the blanks at its end
  readonly split: SplitCommand;
  readonly flags: readonly Flag[];
  readonly arguments: Arguments;
  readonly heredocs: readonly Heredoc[];
  readonly comments: readonly string[];
}

const KEYWORDS: readonly string[] = [
  "ADD",
  "ARG",
  "CMD",
  "COPY",
  "ENTRYPOINT",
  "ENV",
  "EXPOSE",
  "FROM",
  "HEALTHCHECK",
  "LABEL",
  "MAINTAINER",
  "ONBUILD",
  "RUN",
  "SHELL",
  "STOPSIGNAL",
  "USER",
  "VOLUME",
  "WORKDIR",
];

/** Turns a read instruction into data. Throws DOCKERFILE_SYNTAX, with a place only where it is narrower than the line. */
export function checkInstruction(raw: RawInstruction): Instruction {
  const { at, flags, comments } = raw;
  const { keyword, kind } = raw.split;
  const original = trimSpace(raw.line);
  // Every kind by its own literal: a spread of what they have in common takes ten times as long and as much memory.
  switch (kind) {
    case "from": {
      const { image, as, platform, comment } = readFrom(raw);
      return { kind, at, keyword, original, flags, comments, image, as, platform, comment };
    }
    case "arg":
      return { kind, at, keyword, original, flags, comments, args: readArg(raw) };
    case "env":
    case "label":
      checkFlags(kind, flags);
      return { kind, at, keyword, original, flags, comments, pairs: readPairs(raw) };
    case "maintainer":
    case "workdir":
    case "user":
    case "stopsignal": {
      const value = raw.arguments.kind === "text" ? raw.arguments.text : null;
      if (value === null) throw syntax(`${kind.toUpperCase()} requires exactly one argument`);
      checkFlags(kind, flags);
      return { kind, at, keyword, original, flags, comments, value };
    }
    case "expose":
    case "volume":
      return { kind, at, keyword, original, flags, comments, values: readValues(raw, kind) };
    case "add":
    case "copy": {
      const { sources, dest, heredocs } = readCopy(raw, kind);
      return { kind, at, keyword, original, flags, comments, sources, dest, heredocs };
    }
    case "run": {
      checkFlags(kind, flags);
      checkRunFlags(flags);
      const command = toCommand(raw.arguments);
      return { kind, at, keyword, original, flags, comments, command, heredocs: raw.heredocs };
    }
    case "cmd":
    case "entrypoint":
      checkFlags(kind, flags);
      return { kind, at, keyword, original, flags, comments, command: toCommand(raw.arguments) };
    case "shell":
      return { kind, at, keyword, original, flags, comments, args: readShell(raw) };
    case "healthcheck":
      return { kind, at, keyword, original, flags, comments, test: readHealthcheck(raw) };
    case "onbuild":
      return { kind, at, keyword, original, flags, comments, expression: readOnbuild(raw) };
    default: {
      const near = suggest(keyword, KEYWORDS, false);
      throw new BuildError("DOCKERFILE_SYNTAX", `unknown instruction: ${keyword}`, {
        hint: near === null ? null : `did you mean ${near}?`,
        cause: new WordError(keyword),
      });
    }
  }
}

function readFrom(raw: RawInstruction): {
  image: string;
  as: string | null;
  platform: string | null;
  comment: string;
} {
  const words = wordsOf(raw.arguments);
  const [image, as, name] = words;
  let stage: string | null = null;
  if (words.length === 3 && as?.toLowerCase() === "as" && name !== undefined) {
    stage = name.toLowerCase();
    if (!/^[a-z][a-z0-9\-_.]*$/.test(stage)) {
      throw new BuildError(
        "DOCKERFILE_SYNTAX",
        `invalid name for build stage: ${quote(name)}, name can't start with a number or contain symbols`,
        { cause: new WordError(name) },
      );
    }
  } else if (words.length !== 1) {
    throw syntax(
      "FROM requires either one or three arguments",
      "the form is FROM IMAGE or FROM IMAGE AS NAME",
    );
  }
  checkFlags("from", raw.flags);
  return {
    image: image ?? "",
    as: stage,
    platform: flagValue(raw.flags, "platform") || null, // nothing written is nothing said
    comment: stage === null ? "" : (readDescriptions(raw.comments).get(stage) ?? ""),
  };
}

function readArg(raw: RawInstruction): readonly KeyValue[] {
  const words = wordsOf(raw.arguments);
  if (words.length === 0) throw syntax("ARG requires at least one argument");
  const descriptions = readDescriptions(raw.comments);
  return words.map((word) => {
    const equals = word.indexOf("=");
    if (equals === 0) throw syntax("ARG names can not be blank");
    const key = equals < 0 ? word : word.slice(0, equals);
    return {
      key,
      value: equals < 0 ? null : word.slice(equals + 1),
      legacy: false,
      comment: descriptions.get(key) ?? "",
    };
  });
}

function readPairs(raw: RawInstruction): readonly KeyValue[] {
  const name = raw.split.keyword.toUpperCase();
  const list = raw.arguments.kind === "pairs" ? raw.arguments.pairs : [];
  if (list.length === 0) throw syntax(`${name} requires at least one argument`);
  if (list.some((pair) => pair.key === "")) throw syntax(`${name} names can not be blank`);
  return list;
}

function readValues(raw: RawInstruction, kind: "expose" | "volume"): readonly string[] {
  const words = wordsOf(raw.arguments);
  if (words.length === 0) throw syntax(`${kind.toUpperCase()} requires at least one argument`);
  checkFlags(kind, raw.flags);
  if (kind === "expose") return [...words].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const volumes = words.map(trimSpace);
  if (volumes.includes("")) throw syntax("VOLUME specified can not be an empty string");
  return volumes;
}

function readCopy(
  raw: RawInstruction,
  kind: "add" | "copy",
): { sources: readonly string[]; dest: string; heredocs: readonly Heredoc[] } {
  const name = kind.toUpperCase();
  const words = wordsOf(raw.arguments);
  const dest = words.at(-1);
  if (dest === undefined || words.length < 2) {
    throw syntax(
      `${name} requires at least two arguments, but only one was provided. Destination could not be determined`,
    );
  }
  checkFlags(kind, raw.flags);
  if (heredocWordOrNull(dest) !== null) throw syntax(`${name} cannot accept a heredoc as a destination`);
  // Documents are looked up by their name: of two with one name the last counts for both.
  const byName = new Map(raw.heredocs.map((heredoc) => [heredoc.name, heredoc]));
  const sources: string[] = [];
  const heredocs: Heredoc[] = [];
  for (const source of words.slice(0, -1)) {
    const head = heredocWordOrNull(source);
    if (head === null) {
      sources.push(source);
    } else {
      const body = byName.get(head.name)?.raw ?? "";
      heredocs.push({ ...head, content: head.chomp ? chompHeredoc(body) : body, raw: body });
    }
  }
  return { sources, dest, heredocs };
}

function readShell(raw: RawInstruction): readonly string[] {
  checkFlags("shell", raw.flags);
  const args = raw.arguments;
  if (args.kind === "json" && args.words.length > 0) return args.words;
  if (args.kind === "json" || (args.kind === "text" && args.text === null)) {
    throw syntax("SHELL requires at least one argument");
  }
  throw syntax(
    "SHELL requires the arguments to be in JSON form",
    /"[a-z]:\\[^\\]/i.test(raw.line)
      ? "backslashes must be doubled in JSON"
      : 'as in SHELL ["/bin/sh", "-c"]',
  );
}

function readHealthcheck(raw: RawInstruction): CommandLine | "NONE" {
  const args = raw.arguments;
  if (args.kind !== "health" || args.type === null)
    throw syntax("HEALTHCHECK requires at least one argument");
  const type = args.type.toUpperCase();
  const command = toCommand(args.command);
  const isEmpty = command.form === "exec" ? command.args.length === 0 : command.text === "";
  if (type === "NONE") {
    if (!isEmpty) throw syntax("HEALTHCHECK NONE takes no arguments");
    return "NONE";
  }
  checkFlags("healthcheck", raw.flags);
  if (type !== "CMD") throw syntax(`Unknown type ${quote(type)} in HEALTHCHECK (try CMD)`);
  if (isEmpty) throw syntax("Missing command after HEALTHCHECK CMD");
  checkHealthcheckFlags(raw.flags);
  return command;
}

function readOnbuild(raw: RawInstruction): string {
  const keyword = raw.arguments.kind === "trigger" ? raw.arguments.keyword : null;
  if (keyword === null) throw syntax("ONBUILD requires at least one argument");
  checkFlags("onbuild", raw.flags);
  const trigger = keyword.toUpperCase();
  if (trigger === "ONBUILD") throw syntax("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
  if (trigger === "MAINTAINER" || trigger === "FROM") {
    throw syntax(`${trigger} isn't allowed as an ONBUILD trigger`);
  }
  let expression = raw.line.replace(/^[\t\n\f\r ]*ONBUILD[\t\n\f\r ]*/i, "");
  for (const heredoc of raw.heredocs) expression += `\n${heredoc.raw}${heredoc.name}`;
  return expression;
}

const NO_DESCRIPTIONS: ReadonlyMap<string, string> = new Map();

/** The texts of the description comments ("# NAME text") by name; of several for one name the first counts. */
function readDescriptions(comments: readonly string[]): ReadonlyMap<string, string> {
  if (comments.length === 0) return NO_DESCRIPTIONS;
  const texts = new Map<string, string>();
  for (const comment of comments) {
    const blank = comment.indexOf(" ");
    const name = comment.slice(0, blank);
    if (blank > 0 && !texts.has(name)) texts.set(name, comment.slice(blank + 1));
  }
  return texts;
}

function wordsOf(args: Arguments): readonly string[] {
  return args.kind === "words" || args.kind === "json" ? args.words : [];
}

function toCommand(args: Arguments): CommandLine {
  if (args.kind === "json") return { form: "exec", args: args.words };
  return { form: "shell", text: args.kind === "text" ? (args.text ?? "") : "" };
}

function syntax(message: string, hint: string | null = null): BuildError {
  return new BuildError("DOCKERFILE_SYNTAX", message, { hint });
}
