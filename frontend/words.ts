// Words of a Dockerfile: quotes, escapes and ${variables}, as in BuildKit's shell lexer (Dockerfile reference,
// "Environment replacement"). One pass; nested ${} recurse with a limit.

import { BuildError } from "../solver/graph/error.ts";
import { isSpace } from "./go-strings.ts";
import { replacePattern, trimPrefix, trimSuffix } from "./word-patterns.ts";
import { quote } from "../solver/graph/go-quote.ts";

/** Where the value of a variable comes from; undefined: not set. */
export interface Lookup {
  get(name: string): string | undefined;
}

export interface WordOptions {
  readonly escape: string; // "\\" or "`"
  /** Variables that are not set stay as they are written. */
  readonly skipUnset?: boolean;
  /** Quotes have no meaning (content of a here document). */
  readonly skipQuotes?: boolean;
  /** Quotes keep their meaning and stay in the result. */
  readonly rawQuotes?: boolean;
  /** Escapes keep their meaning and stay in the result. */
  readonly rawEscapes?: boolean;
}

/** Names that were asked for, each once, in order of appearance. */
export interface Names {
  readonly matched: readonly string[];
  readonly unmatched: readonly string[];
}

/** Deepest nesting of ${a:-${b:-…}}. */
export const EXPANSION_MAX_DEPTH = 200;
/** Longest result of one expansion, in UTF-16 units. Stops `ARG B=$A$A` ladders that double every line. */
export const EXPANSION_MAX_LENGTH: number = 4 * 1024 * 1024;

/** No variable is set. */
export const NO_VARIABLES: Lookup = { get: () => undefined };

/** A word without any of these stands for itself, as most do. */
const SPECIAL = /[$'"\\`]/;
const NO_NAMES: readonly string[] = [];

/** Expands a word; blanks stay. Throws DOCKERFILE_SYNTAX (bad substitution, missing quote) and LIMIT_EXCEEDED. */
export function expandWord(
  text: string,
  lookup: Lookup,
  options: WordOptions,
): { readonly text: string } & Names {
  if (text.length <= EXPANSION_MAX_LENGTH && !SPECIAL.test(text))
    return { text, matched: NO_NAMES, unmatched: NO_NAMES };
  return expand(text, lookup, options, null);
}

/** Expands a text and splits the result at blanks that were not quoted. Throws as `expandWord`. */
export function expandWords(
  text: string,
  lookup: Lookup,
  options: WordOptions,
): { readonly words: readonly string[] } & Names {
  const splitter = openSplitter();
  const { matched, unmatched } = expand(text, lookup, options, splitter);
  return { words: splitter.finish(), matched, unmatched };
}

interface State {
  readonly source: string;
  readonly lookup: Lookup;
  readonly options: WordOptions;
  matched: Set<string> | null; // null: none
  unmatched: Set<string> | null;
  position: number;
  depth: number;
  rawEscapes: boolean;
}

/** Only these characters mean anything outside of quotes; the rest is copied in runs. */
const PLAIN_RUN = /[^$'"\\`}/]+/y;

function expand(
  source: string,
  lookup: Lookup,
  options: WordOptions,
  splitter: Splitter | null,
): { readonly text: string } & Names {
  const state: State = {
    source,
    lookup,
    options,
    matched: null,
    unmatched: null,
    // Go's text scanner drops a byte order mark at the start of what it reads.
    position: source.charCodeAt(0) === 0xfeff ? 1 : 0,
    depth: 0,
    rawEscapes: options.rawEscapes === true,
  };
  try {
    const text = readUntil(state, null, splitter);
    const { matched, unmatched } = state;
    return {
      text,
      matched: matched === null ? NO_NAMES : [...matched],
      unmatched: unmatched === null ? NO_NAMES : [...unmatched],
    };
  } catch (error) {
    if (!(error instanceof BuildError) || error.code !== "DOCKERFILE_SYNTAX") throw error;
    throw new BuildError(error.code, `failed to process ${quote(source)}: ${error.message}`, {
      cause: error.cause,
      hint: error.hint,
    });
  }
}

/** Reads to the end of the text, or to `stop`, which is taken. */
function readUntil(state: State, stop: string | null, splitter: Splitter | null): string {
  const { source, options } = state;
  let result = "";
  while (state.position < source.length) {
    const char = source[state.position] as string;
    if (char === stop) {
      state.position++;
      return result;
    }
    if (char === "$") {
      const value = readDollar(state);
      result += value;
      splitter?.split(value);
    } else if ((char === "'" || char === '"') && options.skipQuotes !== true) {
      const value = char === "'" ? readSingleQuote(state) : readDoubleQuote(state);
      result += value;
      splitter?.keep(value);
    } else if (char === options.escape) {
      state.position++;
      if (state.rawEscapes) {
        result += char;
        splitter?.keep(char);
      }
      const next = takeCharacter(state);
      if (next === null) break; // an escape at the end escapes nothing
      result += next;
      splitter?.keep(next);
    } else {
      const run = readRun(state);
      result += run;
      splitter?.split(run);
    }
    checkLength(result);
  }
  if (stop !== null) {
    throw syntax(`unexpected end of statement while looking for matching ${stop}`);
  }
  return result;
}

/** The characters up to the next one that may mean something; always at least one. */
function readRun(state: State): string {
  PLAIN_RUN.lastIndex = state.position;
  const run = PLAIN_RUN.exec(state.source)?.[0] ?? (state.source[state.position] as string);
  state.position += run.length;
  return run;
}

function readSingleQuote(state: State): string {
  const start = state.position + 1;
  const end = state.source.indexOf("'", start);
  if (end < 0) {
    state.position = state.source.length;
    throw syntax("unexpected end of statement while looking for matching single-quote");
  }
  state.position = end + 1;
  return state.options.rawQuotes === true
    ? state.source.slice(start - 1, end + 1)
    : state.source.slice(start, end);
}

function readDoubleQuote(state: State): string {
  const { source, options } = state;
  const mark = options.rawQuotes === true ? '"' : "";
  let result = mark;
  state.position++;
  while (state.position < source.length) {
    const char = source[state.position] as string;
    if (char === '"') {
      state.position++;
      return result + mark;
    }
    if (char === "$") {
      result += readDollar(state);
    } else if (char === options.escape) {
      state.position++;
      if (state.rawEscapes) result += char;
      const next = source[state.position];
      if (next === undefined) continue;
      // Only these can be escaped within double quotes; another escape stands for itself.
      if (next === '"' || next === "$" || next === options.escape) {
        result += next;
        state.position++;
      } else {
        result += char;
      }
    } else {
      result += readRun(state);
    }
    checkLength(result);
  }
  throw syntax("unexpected end of statement while looking for matching double-quote");
}

function readDollar(state: State): string {
  const { source, options } = state;
  state.position++;
  if (source[state.position] !== "{") {
    const name = readName(state);
    if (name === "") return "$";
    const value = lookUp(state, name);
    return value ?? (options.skipUnset === true ? `$${name}` : "");
  }
  state.position++;
  const first = source[state.position];
  if (first === undefined) throw syntax("syntax error: missing '}'");
  if (first === "{" || first === "}" || first === ":") throw syntax("syntax error: bad substitution");
  const name = readName(state);
  const sign = takeCharacter(state);
  switch (sign) {
    case "}": {
      const value = lookUp(state, name);
      return value ?? (options.skipUnset === true ? `\${${name}}` : "");
    }
    case ":":
      return applyModifier(state, name, takeCharacter(state), true);
    case "+":
    case "-":
    case "?":
    case "#":
    case "%":
      return applyModifier(state, name, sign, false);
    case "/":
      return applyReplace(state, name);
    case null:
    default:
      throw syntax(`unsupported modifier (${sign ?? "\uFFFD"}) in substitution`);
  }
}

function applyModifier(state: State, name: string, sign: string | null, emptyIsUnset: boolean): string {
  const modifier = (emptyIsUnset ? ":" : "") + (sign ?? "\uFFFD");
  let word = readNested(state, "}", sign === "#" || sign === "%", "syntax error: missing '}'");
  const value = lookUp(state, name);
  if (value === undefined && state.options.skipUnset === true) return `\${${name}${modifier}${word}}`;
  const isSet = value !== undefined && !(emptyIsUnset && value === "");
  switch (sign) {
    case "-":
      return isSet ? value : word;
    case "+":
      return isSet ? word : "";
    case "?":
      if (isSet) return value;
      throw syntax(
        `${name}: ${word !== "" ? word : `is not allowed to be ${value === undefined ? "unset" : "empty"}`}`,
      );
    case "#":
    case "%": {
      if (emptyIsUnset) break;
      const greedy = word.startsWith(sign);
      if (greedy) word = word.slice(1);
      return sign === "#" ? trimPrefix(word, value ?? "", greedy) : trimSuffix(word, value ?? "", greedy);
    }
    case null:
    default:
      break;
  }
  throw syntax(`unsupported modifier (${modifier}) in substitution`);
}

/** ${name/pattern/replacement} and ${name//pattern/replacement} */
function applyReplace(state: State, name: string): string {
  const all = state.source[state.position] === "/";
  if (all) state.position++;
  const pattern = readNested(state, "/", true, "syntax error: missing '/' in ${}");
  const replacement = readNested(state, "}", true, "syntax error: missing '}'");
  const value = lookUp(state, name);
  if (value === undefined && state.options.skipUnset === true) return `\${${name}/${pattern}/${replacement}}`;
  const result = replacePattern(pattern, value ?? "", replacement, all);
  checkLength(result);
  return result;
}

function readNested(state: State, stop: string, rawEscapes: boolean, missing: string): string {
  if (state.depth >= EXPANSION_MAX_DEPTH) {
    throw new BuildError("LIMIT_EXCEEDED", `variables are nested more than ${EXPANSION_MAX_DEPTH} deep`);
  }
  const outer = state.rawEscapes;
  state.depth++;
  state.rawEscapes = rawEscapes;
  try {
    return readUntil(state, stop, null);
  } catch (error) {
    if (
      error instanceof BuildError &&
      error.code === "DOCKERFILE_SYNTAX" &&
      state.position >= state.source.length
    ) {
      throw syntax(missing);
    }
    throw error;
  } finally {
    state.depth--;
    state.rawEscapes = outer;
  }
}

const ASCII_NAME = /[A-Za-z_][A-Za-z0-9_]*/y;
const NAME = /\p{Nd}+|[@*#?$!-]|[\p{L}_][\p{L}\p{Nd}_]*/uy;

/** A name, a number, or one of the shell's special parameters; "" when none stands here. */
function readName(state: State): string {
  ASCII_NAME.lastIndex = state.position;
  let name = ASCII_NAME.exec(state.source)?.[0];
  const next = name === undefined ? 0x80 : state.source.charCodeAt(state.position + name.length);
  if (name === undefined || next >= 0x80) {
    NAME.lastIndex = state.position;
    name = NAME.exec(state.source)?.[0] ?? "";
  }
  state.position += name.length;
  return name;
}

/** The next character, whole even when it takes two UTF-16 units; null at the end. */
function takeCharacter(state: State): string | null {
  const code = state.source.codePointAt(state.position);
  if (code === undefined) return null;
  const char = String.fromCodePoint(code);
  state.position += char.length;
  return char;
}

function lookUp(state: State, name: string): string | undefined {
  const value = state.lookup.get(name);
  if (value === undefined) (state.unmatched ??= new Set()).add(name);
  else (state.matched ??= new Set()).add(name);
  return value;
}

function checkLength(text: string): void {
  if (text.length > EXPANSION_MAX_LENGTH) {
    throw new BuildError("LIMIT_EXCEEDED", `a word expands to more than ${EXPANSION_MAX_LENGTH} characters`);
  }
}

function syntax(message: string): BuildError {
  return new BuildError("DOCKERFILE_SYNTAX", message);
}

interface Splitter {
  /** Text in which blanks end words. */
  split(text: string): void;
  /** Text that belongs to the word unchanged. */
  keep(text: string): void;
  finish(): readonly string[];
}

function openSplitter(): Splitter {
  const words: string[] = [];
  let word = "";
  return {
    split(text) {
      let start = 0;
      for (let index = 0; index < text.length; index++) {
        if (!isSpace(text.charCodeAt(index))) continue;
        word += text.slice(start, index);
        if (word !== "") words.push(word);
        word = "";
        start = index + 1;
      }
      word += text.slice(start);
    },
    keep(text) {
      word += text;
    },
    finish() {
      if (word !== "") words.push(word);
      word = "";
      return words;
    },
  };
}
