// Parses the arguments of an instruction by its grammar only: words, JSON, pairs, one text. parse-instruction.ts validates
// them after the whole file has been parsed.

import { BuildError } from "../solver/graph/error.ts";
import { trimSpace } from "./go-strings.ts";
import type { KeyValue } from "./instruction.ts";
import { readJsonForm } from "./json-form.ts";
import { WordError } from "./locate.ts";
import { BLANKS, type SplitCommand, splitCommand, splitWords } from "./split-command.ts";
import { quote } from "../solver/graph/go-quote.ts";

/** Arguments as read by the instruction's grammar. */
export type Arguments =
  | { readonly kind: "words"; readonly words: readonly string[] }
  | { readonly kind: "pairs"; readonly pairs: readonly KeyValue[] }
  | { readonly kind: "json"; readonly words: readonly string[] }
  | { readonly kind: "text"; readonly text: string | null } // null: nothing given
  | { readonly kind: "health"; readonly type: string | null; readonly command: Arguments }
  | { readonly kind: "trigger"; readonly keyword: string | null; readonly takesHeredocs: boolean }
  | { readonly kind: "unknown" };

/** Reads the arguments of an instruction. Throws DOCKERFILE_SYNTAX without a place. */
export function readArguments(split: SplitCommand, escape: string): Arguments {
  const { rest } = split;
  switch (split.kind) {
    case "add":
    case "copy":
    case "volume":
      return jsonOrNull(rest) ?? words(rest);
    case "from":
    case "expose":
      return words(rest);
    case "run":
    case "cmd":
    case "entrypoint":
    case "shell":
      return commandLine(rest);
    case "env":
      return pairs("ENV", rest, escape);
    case "label":
      return pairs("LABEL", rest, escape);
    case "arg":
      return { kind: "words", words: splitWords(rest, escape) };
    case "maintainer":
    case "stopsignal":
    case "user":
    case "workdir":
      return { kind: "text", text: rest === "" ? null : rest };
    case "healthcheck": {
      const [type = ""] = rest.split(BLANKS, 1);
      if (type === "") return { kind: "health", type: null, command: { kind: "text", text: null } };
      return { kind: "health", type, command: commandLine(trimSpace(rest.slice(type.length))) };
    }
    case "onbuild": {
      if (rest === "") return { kind: "trigger", keyword: null, takesHeredocs: false };
      // The trigger's grammar must be right; what it means is not looked at.
      const inner = splitCommand(rest);
      // A trigger of a trigger is refused later; reading on would nest as deep as the line is long.
      if (inner.kind === "onbuild") return { kind: "trigger", keyword: inner.keyword, takesHeredocs: false };
      const args = readArguments(inner, escape);
      return { kind: "trigger", keyword: inner.keyword, takesHeredocs: takesHeredocs(inner, args) };
    }
    default:
      return { kind: "unknown" };
  }
}

/** Whether here documents may follow: RUN, COPY and ADD not in JSON form, or one of them as a trigger. */
export function takesHeredocs(split: SplitCommand, args: Arguments): boolean {
  if (args.kind === "trigger") return args.takesHeredocs;
  const { kind } = split;
  return (kind === "run" || kind === "copy" || kind === "add") && args.kind !== "json";
}

function jsonOrNull(rest: string): Arguments | null {
  const list = readJsonForm(rest);
  return list === null ? null : { kind: "json", words: list };
}

function commandLine(rest: string): Arguments {
  return jsonOrNull(rest) ?? { kind: "text", text: rest === "" ? null : rest };
}

function words(rest: string): Arguments {
  return { kind: "words", words: rest === "" ? [] : rest.split(BLANKS) };
}

/** ENV and LABEL: KEY=value … or, when the first word has no "=", one KEY and everything behind it. */
function pairs(name: string, rest: string, escape: string): Arguments {
  const list = splitWords(rest, escape);
  const first = list[0];
  if (first === undefined) return { kind: "pairs", pairs: [] };
  if (!first.includes("=")) {
    const blank = BLANKS.exec(rest);
    if (blank === null) throw new BuildError("DOCKERFILE_SYNTAX", `${name} must have two arguments`);
    const value = rest.slice(blank.index + blank[0].length);
    return { kind: "pairs", pairs: [{ key: rest.slice(0, blank.index), value, legacy: true, comment: "" }] };
  }
  return {
    kind: "pairs",
    pairs: list.map((word) => {
      const equals = word.indexOf("=");
      if (equals < 0) {
        throw new BuildError(
          "DOCKERFILE_SYNTAX",
          `Syntax error - can't find = in ${quote(word)}. Must be of the form: name=value`,
          { cause: new WordError(word), hint: "quote values that contain spaces" },
        );
      }
      return { key: word.slice(0, equals), value: word.slice(equals + 1), legacy: false, comment: "" };
    }),
  };
}
