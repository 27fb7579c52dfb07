// Patterns over paths with "/": those of .dockerignore and COPY --exclude, which also match everything below a directory
// they match, and Go's filepath.Match for wildcards in COPY and ADD. Matching time is proportional to path times
// pattern, for any pattern.

import { BuildError } from "./error.ts";

/** A compiled list of patterns; the last that matches decides, and "!" takes back. Paths are relative, cleaned, with "/". */
export interface Patterns {
  readonly isEmpty: boolean;
  /** As they are compared: cleaned, without the "!" of exceptions. */
  readonly list: readonly string[];
  readonly hasExceptions: boolean;
  /** Whether the path, or a directory above it, matches and is not re-included. */
  matches(path: string): boolean;
  /** Index (in the given list) of the pattern that decided, even if it re-included; null: none did. */
  which(path: string): number | null;
  /** For a directory that `matches`: whether something below may be re-included. False: it need not be entered. */
  mayContainIncluded(directory: string): boolean;
}

/** Number of directories whose results are cached: enough for the widest walks. */
const CACHE_MAX_DIRECTORIES = 4096;

type Token =
  | { readonly kind: "char"; readonly char: string }
  | { readonly kind: "one" } // "?": one character, not "/"
  | { readonly kind: "star" } // "*": any, not "/"
  | {
      readonly kind: "class";
      readonly negated: boolean;
      readonly ranges: readonly (readonly [string, string])[];
    }
  | { readonly kind: "folders" } // "**" in the middle: nothing, or anything that ends in "/"
  | { readonly kind: "rest" }; // "**" at the end: anything

interface Pattern {
  readonly index: number;
  readonly isException: boolean;
  readonly text: string;
  match(path: string): boolean;
}

interface Decision {
  readonly excluded: boolean;
  readonly by: number | null;
  readonly matched: readonly boolean[]; // of each pattern, whether it matched the path or a directory above
}

/** Compiles patterns from .dockerignore. Blank ones are skipped. Throws DOCKERFILE_SYNTAX for malformed
 *  ones. Semantics: github.com/moby/patternmatcher, MatchesUsingParentResults. */
export function compilePatterns(list: readonly string[]): Patterns {
  const patterns = list.flatMap((text, index) => compilePattern(text, index) ?? []);
  const exceptions = patterns.filter((pattern) => pattern.isException);
  const prefixes = exceptions.map((pattern) => withoutTrailingGlob(pattern.text));
  const onlyPrefixes = prefixes.every((prefix) => !/[*?[]/.test(prefix));
  const cache = new Map<string, Decision>();

  const decide = (path: string, isDirectory: boolean): Decision => {
    const known = cache.get(path);
    if (known !== undefined) return known;
    const slash = path.lastIndexOf("/");
    const parent = slash > 0 ? decide(path.slice(0, slash), true) : null;
    const decision = judge(patterns, path, parent);
    if (isDirectory) {
      if (cache.size >= CACHE_MAX_DIRECTORIES) cache.clear();
      cache.set(path, decision);
    }
    return decision;
  };

  return {
    isEmpty: patterns.length === 0,
    list: patterns.map(({ text }) => text),
    hasExceptions: exceptions.length > 0,
    matches: (path) => decide(path, false).excluded,
    which: (path) => decide(path, false).by,
    mayContainIncluded(directory) {
      if (exceptions.length === 0) return false;
      if (!onlyPrefixes) return true;
      return prefixes.some((prefix) => `${prefix}/`.startsWith(`${directory}/`));
    },
  };
}

/** The result of the patterns for a path, given the result for its directory. */
function judge(patterns: readonly Pattern[], path: string, parent: Decision | null): Decision {
  let excluded = false;
  let by: number | null = null;
  const matched: boolean[] = [];
  for (const [position, pattern] of patterns.entries()) {
    let hit = parent?.matched[position] === true;
    // Only patterns that would change the result are tried; one that matched a directory above always applies.
    if (!hit && pattern.isException === excluded) hit = pattern.match(path);
    matched.push(hit);
    if (hit && excluded !== !pattern.isException) {
      excluded = !pattern.isException;
      by = pattern.index;
    }
  }
  return { excluded, by, matched };
}

function withoutTrailingGlob(text: string): string {
  return text.replace(/\/\*\*\/\*$/, "").replace(/\/\*\*?$/, "");
}

function compilePattern(written: string, index: number): Pattern | null {
  const trimmed = written.trim();
  if (trimmed === "") return null;
  let text = cleanPath(trimmed);
  const isException = text.startsWith("!");
  if (isException) {
    if (text.length === 1) {
      throw new BuildError("DOCKERFILE_SYNTAX", 'illegal exclusion pattern: "!"', {
        hint: "an exclamation mark must be followed by a pattern",
      });
    }
    text = text.slice(1);
  }
  matchPath(text, "."); // throws when malformed
  return { index, isException, text, match: compileMatch(text) };
}

/** Most patterns need no automaton: plain text, "x/**" and "**" + plain text are string comparisons. */
function compileMatch(text: string): (path: string) => boolean {
  const isPlain = (part: string): boolean => !/[*?[\]\\]/.test(part);
  if (isPlain(text)) return (path) => path === text;
  if (text === "**") return () => true;
  if (text.endsWith("**") && isPlain(text.slice(0, -2))) {
    const prefix = text.slice(0, -2);
    return (path) => path.startsWith(prefix);
  }
  if (text.startsWith("**") && isPlain(text.slice(2))) {
    const suffix = text.slice(2);
    return (path) => path.endsWith(suffix) || (suffix.startsWith("/") && path === suffix.slice(1));
  }
  return automaton(tokenize(text));
}

function tokenize(text: string): readonly Token[] {
  const chars = Array.from(text);
  const tokens: Token[] = [];
  for (let position = 0; position < chars.length; position++) {
    const char = chars[position] as string;
    if (char === "*" && chars[position + 1] === "*") {
      position++;
      if (chars[position + 1] === "/") position++;
      const kind = position + 1 >= chars.length ? "rest" : "folders";
      if (tokens.at(-1)?.kind !== kind) tokens.push({ kind });
    } else if (char === "*") {
      tokens.push({ kind: "star" });
    } else if (char === "?") {
      tokens.push({ kind: "one" });
    } else if (char === "\\") {
      position++;
      tokens.push(escaped(chars[position] ?? "\\"));
    } else if (char === "[") {
      const found = readClass(chars, position + 1);
      // Go's Match treats [z-a] as an empty class, which a regular expression does not allow.
      if (found.isReversed) throw malformed(text);
      tokens.push(found.token);
      position = found.end;
    } else {
      tokens.push({ kind: "char", char });
    }
  }
  return tokens;
}

/** What follows a backslash. moby's matcher passes it to a regular expression, so letters have their meaning
 *  there: "\\a.txt" does not name a.txt. https://github.com/google/re2/wiki/Syntax */
function escaped(char: string): Token {
  const control = CONTROLS[char];
  if (control !== undefined) return { kind: "char", char: control };
  const ranges = CLASSES[char.toLowerCase()];
  if (ranges !== undefined) return { kind: "class", negated: char !== char.toLowerCase(), ranges };
  return { kind: "char", char };
}
const CONTROLS: Readonly<Record<string, string>> = { a: "\x07", f: "\f", n: "\n", r: "\r", t: "\t", v: "\v" };
const CLASSES: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
  d: [["0", "9"]],
  w: [
    ["0", "9"],
    ["A", "Z"],
    ["a", "z"],
    ["_", "_"],
  ],
  s: [
    ["\t", "\n"],
    ["\f", "\r"],
    [" ", " "],
  ],
};

/** Reads a class after its "["; end: the position of its "]"; isReversed: one of its ranges ends before it starts. The
 *  pattern is known to be well formed. */
function readClass(
  chars: readonly string[],
  start: number,
): { token: Token; end: number; isReversed: boolean } {
  const ranges: (readonly [string, string])[] = [];
  let position = start;
  const negated = chars[position] === "^";
  if (negated) position++;
  const take = (): string => {
    if (chars[position] === "\\") position++;
    return chars[position++] ?? "";
  };
  while (position < chars.length && chars[position] !== "]") {
    const low = take();
    if (chars[position] === "-") {
      position++;
      ranges.push([low, take()]);
    } else {
      ranges.push([low, low]);
    }
  }
  const isReversed = ranges.some(([low, high]) => codeOf(low) > codeOf(high));
  return { token: { kind: "class", negated, ranges }, end: position, isReversed };
}

const codeOf = (char: string): number => char.codePointAt(0) ?? 0;

function isInClass(token: Extract<Token, { kind: "class" }>, char: string): boolean {
  const code = codeOf(char);
  const inside = token.ranges.some(([low, high]) => codeOf(low) <= code && code <= codeOf(high));
  return inside !== token.negated;
}

/** Follows all paths through the tokens in parallel: one flag per token, one pass over the path. */
function automaton(tokens: readonly Token[]): (path: string) => boolean {
  const count = tokens.length;
  let now = new Uint8Array(count + 1);
  let next = new Uint8Array(count + 1);
  return (path) => {
    now.fill(0);
    enter(tokens, now, 0);
    let alive = true;
    for (const char of path) {
      next.fill(0);
      alive = false;
      for (let index = 0; index < count; index++) {
        if (now[index] !== 1) continue;
        const to = step(tokens[index] as Token, index, char);
        if (to < 0) continue;
        alive = true;
        // "folders" is left only behind a "/"; staying in it must not pass it over.
        if (to === index && (tokens[index] as Token).kind === "folders") {
          next[index] = 1;
          if (char === "/") enter(tokens, next, index + 1);
        } else {
          enter(tokens, next, to);
        }
      }
      [now, next] = [next, now];
      if (!alive) return false;
    }
    return now[count] === 1;
  };
}

/** The token to continue with after a character; negative: this path ends. */
function step(token: Token, index: number, char: string): number {
  switch (token.kind) {
    case "char":
      return char === token.char ? index + 1 : -1;
    case "one":
      return char !== "/" ? index + 1 : -1;
    case "class":
      return isInClass(token, char) ? index + 1 : -1;
    case "star":
      return char !== "/" ? index : -1;
    case "folders":
    case "rest":
      return char !== "\n" ? index : -1;
  }
}

/** Marks a token and the following ones that can be reached without a character. */
function enter(tokens: readonly Token[], flags: Uint8Array, from: number): void {
  // At most three in a row: equal neighbours are merged when the pattern is parsed.
  for (let index = from; index <= tokens.length; index++) {
    flags[index] = 1;
    const kind = tokens[index]?.kind;
    if (kind !== "star" && kind !== "rest" && kind !== "folders") return;
  }
}

/** Go's filepath.Match: the whole name must match; "*" and "?" do not match "/". Throws DOCKERFILE_SYNTAX for a malformed
 *  pattern, also where the name could not have matched. */
export function matchPath(pattern: string, name: string): boolean {
  return compileGlob(pattern)(name);
}

/** matchPath() for many names. */
export function compileGlob(pattern: string): (name: string) => boolean {
  const tokens = parseGlob(pattern);
  if (tokens === null) throw malformed(pattern);
  return automaton(tokens);
}

function malformed(pattern: string): BuildError {
  return new BuildError("DOCKERFILE_SYNTAX", `syntax error in pattern: ${JSON.stringify(pattern)}`, {
    hint: "a [ must be closed, its ranges must be ascending, and a \\ must be followed by a character",
  });
}

/** The tokens of a glob; null when it is malformed (Go filepath.ErrBadPattern). */
function parseGlob(pattern: string): readonly Token[] | null {
  const chars = Array.from(pattern);
  const tokens: Token[] = [];
  for (let position = 0; position < chars.length; position++) {
    const char = chars[position] as string;
    if (char === "*") {
      if (tokens.at(-1)?.kind !== "star") tokens.push({ kind: "star" });
    } else if (char === "?") {
      tokens.push({ kind: "one" });
    } else if (char === "\\") {
      const escaped = chars[++position];
      if (escaped === undefined) return null;
      tokens.push({ kind: "char", char: escaped });
    } else if (char === "[") {
      if (!isClassValid(chars, position + 1)) return null;
      const found = readClass(chars, position + 1);
      tokens.push(found.token);
      position = found.end;
    } else {
      tokens.push({ kind: "char", char });
    }
  }
  return tokens;
}

/** Go: at least one range, each bound a character that is not "-" or "]" unless escaped, and a "]" at the end. */
function isClassValid(chars: readonly string[], start: number): boolean {
  let position = start;
  if (chars[position] === "^") position++;
  for (let count = 0; ; count++) {
    if (chars[position] === "]" && count > 0) return true;
    for (let bound = 0; bound < 2; bound++) {
      const char = chars[position];
      if (char === undefined || char === "-" || char === "]") return false;
      if (char === "\\") position++;
      if (chars[position] === undefined) return false;
      position++;
      if (position >= chars.length) return false;
      if (bound === 1 || chars[position] !== "-") break;
      position++;
    }
  }
}

/** Go's filepath.Clean: no empty parts, no ".", no ".." that can be resolved, no "/" at the end; "." for nothing. */
export function cleanPath(path: string): string {
  const rooted = path.startsWith("/");
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== "..") parts.push(part);
    else if (parts.length > 0 && parts.at(-1) !== "..") parts.pop();
    else if (!rooted) parts.push("..");
  }
  const text = parts.join("/");
  return rooted ? `/${text}` : text === "" ? "." : text;
}
